"""Order of modules, from what stands in modules themselves."""

from headrace.lab.modules import load_order, module_name, needs_of

NEEDS = {
    "tls": (),
    "gcm": ("ghash_generic", "gf128"),
    "ghash_generic": ("gf128",),
    "gf128": (),
    "turning": ("back",),
    "back": ("turning",),
}


def test_needs_come_first_and_once() -> None:
    assert load_order(["gcm", "ghash-generic", "tls"], NEEDS.get) == ["gf128", "ghash_generic", "gcm", "tls"]


def test_what_is_no_module_is_left_out() -> None:
    assert load_order(["built_in", "tls"], NEEDS.get) == ["tls"]


def test_a_circle_ends() -> None:
    assert load_order(["turning"], NEEDS.get) == ["back", "turning"]


def test_names_and_needs_as_files_have_them() -> None:
    assert [module_name(name) for name in ("sch_netem.ko", "k/ghash-generic.ko.xz", "tls.ko.zst")] == [
        "sch_netem",
        "ghash_generic",
        "tls",
    ]
    assert needs_of(b"\x7fELF..\0license=GPL\0depends=ghash-generic,gf128mul\0intree=Y\0") == (
        "ghash_generic",
        "gf128mul",
    )
    assert needs_of(b"\0depends=\0") == ()
    assert needs_of(b"no module") == ()
