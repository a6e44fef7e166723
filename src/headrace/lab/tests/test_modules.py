"""Order of modules, from lines of a real modules.dep."""

from headrace.lab.modules import module_files

DEP = """kernel/net/tls/tls.ko:
kernel/crypto/gcm.ko: kernel/crypto/ghash-generic.ko kernel/lib/gf128.ko
kernel/crypto/ghash-generic.ko: kernel/lib/gf128.ko
kernel/lib/gf128.ko:
kernel/net/sched/sch_netem.ko.xz:
"""


def test_needs_come_first_and_once() -> None:
    assert module_files(DEP, ["gcm", "ghash_generic", "tls"]) == [
        "kernel/lib/gf128.ko",
        "kernel/crypto/ghash-generic.ko",
        "kernel/crypto/gcm.ko",
        "kernel/net/tls/tls.ko",
    ]


def test_what_is_no_module_is_left_out() -> None:
    assert module_files(DEP, ["built_in", "sch_netem"]) == ["kernel/net/sched/sch_netem.ko.xz"]
