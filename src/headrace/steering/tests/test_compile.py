"""Classes of clients, titles and files of a compiled snapshot."""

import ipaddress

from headrace.steering.compile import CompiledSnapshot, compile_snapshot
from headrace.steering.testing import make_appliance, make_site, make_snapshot, make_title, numbers_of

TITLES = [make_title("one"), make_title("two", subtitles=("fr",))]


def compiled(*sites: object) -> CompiledSnapshot:
    holdings = numbers_of(TITLES)
    fleet = [make_appliance("x", "a", holdings), make_appliance("stray", "gone", holdings)]
    return compile_snapshot(make_snapshot(list(sites), fleet, TITLES))


def class_of(snapshot: CompiledSnapshot, address: str) -> int:
    return snapshot.class_no(ipaddress.ip_address(address).packed)


def test_prefixes_with_one_ranking_share_a_class() -> None:
    snapshot = compiled(make_site("a", "10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"), make_site("b", "10.2.0.0/16"))
    assert class_of(snapshot, "10.9.9.9") == class_of(snapshot, "192.0.2.1")
    routes = snapshot.network.routes
    assert routes.groups(class_of(snapshot, "2001:db8::1")) == routes.groups(class_of(snapshot, "10.9.9.9")) == ((0,),)
    assert snapshot.network.routes.groups(class_of(snapshot, "10.2.0.1")) == ((1,), (0,))
    assert snapshot.network.routes.groups(class_of(snapshot, "203.0.113.1")) == ()


def test_equal_lengths_are_one_group() -> None:
    snapshot = compiled(make_site("a", "10.0.0.0/8"), make_site("b", "10.0.0.0/8"))
    assert snapshot.network.routes.groups(class_of(snapshot, "10.0.0.1")) == ((0, 1),)


def test_titles_and_files() -> None:
    snapshot = compiled(make_site("a", "10.0.0.0/8"))
    one = snapshot.library.titles["one"]
    assert (one.number, one.usual_bps) == (1, 5_000_000 + 120_000)
    assert one.least_bps == 480_000 + 128_000
    assert one.fingerprint != snapshot.library.titles["two"].fingerprint
    assert len(one.fingerprint) == 8
    assert snapshot.library.titles.holder(TITLES[1].files[0].sha256).title.title_id == "two"
    assert snapshot.library.titles.holder("0" * 64) is None


def test_appliances_of_unknown_sites_are_kept_apart() -> None:
    snapshot = compiled(make_site("a", "10.0.0.0/8"))
    assert [one.appliance_id for one in snapshot.homeless] == ["stray"]
    assert [[one.appliance_id for one in row] for row in snapshot.by_hearer] == [["x"]]


def test_bad_prefixes_do_not_stop_it() -> None:
    assert compiled(make_site("a", "nonsense", "10.0.0.0/8")).network.bad_prefixes == ("nonsense",)


def test_an_empty_snapshot() -> None:
    snapshot = compile_snapshot(make_snapshot([], [], []))
    assert snapshot.network.routes.groups(class_of(snapshot, "10.0.0.1")) == ()
    assert snapshot.network.last_resort == ()
