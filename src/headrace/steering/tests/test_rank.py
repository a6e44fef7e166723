"""Ranking: who is eligible, in which order, and what must always hold."""

import ipaddress
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.fleet.model import AdminState, HealthState, SiteKind
from headrace.routes.model import Hearing
from headrace.steering.approach import Location, approaches, distance_km
from headrace.steering.compile import compile_snapshot
from headrace.steering.load import STEPS, outcome
from headrace.steering.model import Exclusion, SnapshotAppliance
from headrace.steering.rank import (
    NEW_SESSION,
    Limits,
    Ranking,
    Session,
    Sharing,
    choose,
    choose_new,
    choose_running,
    rank,
)
from headrace.steering.rendezvous import SLOTS, hash_key, rendezvous_score
from headrace.steering.testing import (
    HEALTHY,
    make_appliance,
    make_hearing,
    make_site,
    make_snapshot,
    make_title,
    numbers_of,
)

TITLE = make_title("film")
HELD = numbers_of([TITLE])
CLIENT = "10.1.2.3"
LIMITS = Limits()


def ranked(
    sites: list,
    appliances: list[SnapshotAppliance],
    *,
    client: str = CLIENT,
    location: Location | None = None,
    limits: Limits = LIMITS,
    session: Session = NEW_SESSION,
) -> Ranking:
    compiled = compile_snapshot(make_snapshot(sites, appliances, [TITLE]))
    class_no = compiled.class_no(ipaddress.ip_address(client).packed)
    return rank(compiled, class_no, compiled.library.titles["film"], location, limits, session)


def names(ranking: Ranking) -> list[str]:
    return [one.appliance.appliance_id for one in ranking.chosen]


def reasons(ranking: Ranking) -> dict[str, Exclusion]:
    return {one.appliance.appliance_id: one.reason for one in ranking.excluded}


SITE = make_site("a", "10.0.0.0/8")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"admin_state": AdminState.DISABLED}, Exclusion.DISABLED),
        ({"admin_state": AdminState.DRAINING}, Exclusion.DRAINING),
        ({"health": replace(HEALTHY, state=HealthState.UNKNOWN)}, Exclusion.NOT_TURNED_UP),
        ({"health": replace(HEALTHY, state=HealthState.TURNING_UP)}, Exclusion.NOT_TURNED_UP),
        ({"health": replace(HEALTHY, is_turned_up=False)}, Exclusion.NOT_TURNED_UP),
        ({"health": replace(HEALTHY, state=HealthState.UNHEALTHY)}, Exclusion.UNHEALTHY),
        ({"health": replace(HEALTHY, state=HealthState.LOST)}, Exclusion.LOST),
        ({"holdings": FileSet()}, Exclusion.TITLE_NOT_HELD),
        ({"site_id": "elsewhere"}, Exclusion.NO_ROUTE),
        ({"tx_bps": 9_000_000_000.0}, Exclusion.NO_ROOM),
        ({"capacity_bps": 0}, Exclusion.NO_ROOM),
    ],
)
def test_reason_why_an_appliance_is_left_out(changes: dict, reason: Exclusion) -> None:
    faulty = replace(make_appliance("bad", "a", HELD), **changes)
    ranking = ranked([SITE, make_site("elsewhere", "192.0.2.0/24")], [make_appliance("good", "a", HELD), faulty])
    assert names(ranking) == ["good"]
    assert reasons(ranking) == {"bad": reason}


def test_an_appliance_of_an_unknown_site_has_no_route() -> None:
    ranking = ranked([SITE], [make_appliance("stray", "gone", HELD)])
    assert reasons(ranking) == {"stray": Exclusion.NO_ROUTE}


def test_longer_prefix_before_kind_before_distance() -> None:
    paris = Location(latitude_deg=48.9, longitude_deg=2.4)
    sites = [
        make_site("far-long", "10.1.2.0/24", kind=SiteKind.ORIGIN_SIDE, latitude_deg=-33.0, longitude_deg=151.0),
        make_site("peer-near", "10.0.0.0/8", kind=SiteKind.PUBLIC_PEERING, latitude_deg=48.9, longitude_deg=2.4),
        make_site("embedded-far", "10.0.0.0/8", latitude_deg=59.3, longitude_deg=18.1),
        make_site("embedded-near", "10.0.0.0/8", latitude_deg=48.5, longitude_deg=2.0),
        make_site("embedded-unknown", "10.0.0.0/8"),
    ]
    appliances = [make_appliance(site.site_id, site.site_id, HELD) for site in sites]
    ranking = ranked(sites, appliances, location=paris, limits=Limits(pathways=5))
    assert names(ranking) == ["far-long", "embedded-near", "embedded-far", "embedded-unknown", "peer-near"]
    assert ranking.chosen[1].distance_km == pytest.approx(53, abs=3)


def test_haversine_between_known_cities() -> None:
    paris = Location(latitude_deg=48.8566, longitude_deg=2.3522)
    sydney = Location(latitude_deg=-33.8688, longitude_deg=151.2093)
    assert distance_km(paris, sydney) == pytest.approx(16_960, rel=0.005)
    assert distance_km(paris, paris) == 0


def test_last_resort_serves_clients_that_no_site_hears_and_whom_no_routed_site_can_serve() -> None:
    sites = [SITE, make_site("last", is_last_resort=True)]
    appliances = [make_appliance("near", "a", HELD), make_appliance("far", "last", HELD)]
    assert names(ranked(sites, appliances)) == ["near"]
    assert reasons(ranked(sites, appliances)) == {"far": Exclusion.NO_ROUTE}
    assert names(ranked(sites, appliances, client="203.0.113.1")) == ["far"]
    assert names(ranked(sites, appliances, client="2001:db8::1")) == ["far"]
    dead = replace(appliances[0], health=replace(HEALTHY, state=HealthState.LOST))
    ranking = ranked(sites, [dead, appliances[1]])
    assert names(ranking) == ["far"]
    assert reasons(ranking) == {"near": Exclusion.LOST}


def test_nobody_hears_the_client() -> None:
    assert reasons(ranked([SITE], [make_appliance("x", "a", HELD)], client="203.0.113.1")) == {"x": Exclusion.NO_ROUTE}


def test_two_sites_where_there_are_two() -> None:
    sites = [make_site("a", "10.1.0.0/16"), make_site("b", "10.0.0.0/8")]
    appliances = [make_appliance(f"a{number}", "a", HELD) for number in range(9)]
    appliances.append(make_appliance("b0", "b", HELD))
    ranking = ranked(sites, appliances, limits=Limits(pathways=3))
    assert len(names(ranking)) == 3
    assert names(ranking)[2] == "b0"
    assert names(ranked(sites, appliances, limits=Limits(pathways=1)))[0].startswith("a")


def test_a_draining_appliance_is_kept_last_for_a_session_that_has_it() -> None:
    appliances = [make_appliance(name, "a", HELD) for name in ("x", "y", "z")]
    draining = replace(appliances[0], admin_state=AdminState.DRAINING)
    fleet = [draining, *appliances[1:]]
    assert reasons(ranked([SITE], fleet)) == {"x": Exclusion.DRAINING}
    session = Session(written=(ApplianceId("x"), ApplianceId("y")), current=ApplianceId("x"))
    ranking = ranked([SITE], fleet, session=session)
    assert "x" not in names(ranking)
    assert [one.appliance.appliance_id for one in ranking.kept] == ["x"]


def test_a_full_appliance_keeps_the_session_that_uses_it_but_takes_no_new_one() -> None:
    full = make_appliance("x", "a", HELD, tx_bps=9_500_000_000.0)
    fleet = [full, make_appliance("y", "b", HELD)]
    sites = [make_site("a", "10.1.0.0/16"), make_site("b", "10.0.0.0/8")]
    assert names(ranked(sites, fleet)) == ["y"]
    using = Session(written=(ApplianceId("x"), ApplianceId("y")), current=ApplianceId("x"))
    assert names(ranked(sites, fleet, session=using)) == ["x", "y"]
    having = Session(written=(ApplianceId("x"), ApplianceId("y")), current=ApplianceId("y"))
    ranking = ranked(sites, fleet, session=having)
    assert names(ranking) == ["y"]
    assert [one.appliance.appliance_id for one in ranking.kept] == ["x"]


def test_a_pathway_that_was_slow_for_this_client_goes_last() -> None:
    fleet = [make_appliance(name, "a", HELD) for name in ("x", "y", "z")]
    first, *rest = names(ranked([SITE], fleet))
    slow = Session(written=(ApplianceId(first),), current=ApplianceId(first), slow=(ApplianceId(first),))
    assert names(ranked([SITE], fleet, session=slow)) == [*rest, first]


def test_a_dead_appliance_leaves_a_session_that_has_it() -> None:
    dead = make_appliance("x", "a", HELD, health=replace(HEALTHY, state=HealthState.LOST))
    session = Session(written=(ApplianceId("x"),), current=ApplianceId("x"))
    ranking = ranked([SITE], [dead, make_appliance("y", "a", HELD)], session=session)
    assert names(ranking) == ["y"]
    assert ranking.kept == ()


FLEETS = st.lists(
    st.builds(
        lambda site, admin, state, is_turned_up, held, load, capacity: (
            site,
            admin,
            replace(HEALTHY, state=state, is_turned_up=is_turned_up),
            held,
            load,
            capacity,
        ),
        st.sampled_from(["a", "b", "c", "gone"]),
        st.sampled_from(AdminState),
        st.sampled_from([*HealthState, *[HealthState.HEALTHY] * 6]),
        st.sampled_from([True, True, True, False]),
        st.sampled_from([HELD, HELD, HELD, FileSet([2]), FileSet()]),
        st.floats(0, 1.2),
        st.sampled_from([0, 1_000_000, 10_000_000_000]),
    ),
    max_size=14,
)
SITES = st.lists(
    st.tuples(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24"]), st.booleans(), st.sampled_from(SiteKind)),
    min_size=3,
    max_size=3,
)


def build(sites: list, fleet: list) -> tuple[list, list[SnapshotAppliance]]:
    made = [
        make_site(name, prefix, is_last_resort=is_last, kind=kind)
        for name, (prefix, is_last, kind) in zip("abc", sites, strict=True)
    ]
    appliances = [
        make_appliance(
            f"n{number}", site, held, admin_state=admin, health=health, capacity_bps=capacity, tx_bps=load * capacity
        )
        for number, (site, admin, health, held, load, capacity) in enumerate(fleet)
    ]
    return made, appliances


SESSIONS = st.builds(
    lambda written, current, slow: Session(
        written=tuple(ApplianceId(f"n{one}") for one in written),
        current=ApplianceId(f"n{current}") if current is not None else None,
        slow=tuple(ApplianceId(f"n{one}") for one in slow),
    ),
    st.lists(st.integers(0, 15), max_size=5, unique=True),
    st.none() | st.integers(0, 15),
    st.lists(st.integers(0, 15), max_size=3, unique=True),
)


@settings(max_examples=300)
@given(sites=SITES, fleet=FLEETS, session=SESSIONS, pathways=st.integers(1, 5))
def test_what_always_holds(sites: list, fleet: list, session: Session, pathways: int) -> None:
    made, appliances = build(sites, fleet)
    limits = Limits(pathways=pathways)
    ranking = ranked(made, appliances, limits=limits, session=session)
    check_ranking(ranking, made, appliances, limits, session)


def check_ranking(
    ranking: Ranking, sites: list, appliances: list[SnapshotAppliance], limits: Limits, session: Session
) -> None:
    """Each appliance is accounted for once; only eligible ones are chosen; two sites where there are two."""
    accounted = Counter(one.appliance.appliance_id for one in (*ranking.chosen, *ranking.kept, *ranking.excluded))
    assert accounted == Counter(one.appliance_id for one in appliances)
    known = {site.site_id for site in sites}
    for one in ranking.chosen + ranking.kept:
        appliance = one.appliance
        assert appliance.health.state is HealthState.HEALTHY
        assert appliance.health.is_turned_up
        assert appliance.admin_state is not AdminState.DISABLED
        assert HELD.issubset(appliance.holdings)
        assert appliance.site_id in known
    for one in ranking.chosen:
        assert one.appliance.admin_state is AdminState.ENABLED
        has_room = one.appliance.tx_bps < limits.load.room_ratio * one.appliance.capacity_bps
        assert has_room or one.appliance.appliance_id == session.current
    assert all(one.appliance.appliance_id in session.written for one in ranking.kept)
    assert len(ranking.chosen) <= limits.pathways
    outranked = [one.appliance for one in ranking.excluded if one.reason is Exclusion.OUTRANKED]
    if outranked:
        assert len(ranking.chosen) == limits.pathways
    chosen_sites = {one.appliance.site_id for one in ranking.chosen}
    if limits.pathways >= 2 and len(chosen_sites) == 1:
        assert {one.site_id for one in outranked} <= chosen_sites


@settings(max_examples=100)
@given(sites=SITES, fleet=FLEETS)
def test_the_order_of_the_snapshot_does_not_matter(sites: list, fleet: list) -> None:
    made, appliances = build(sites, fleet)
    assert names(ranked(made, appliances)) == names(ranked(made, appliances[::-1]))


@settings(max_examples=60)
@given(count=st.integers(2, 12), leaver=st.integers(0, 11), pathways=st.integers(1, 4))
def test_leaving_moves_only_what_the_leaver_had(count: int, leaver: int, pathways: int) -> None:
    """Whoever ranked behind the leaver moves up by one; nobody else changes places."""
    fleet = [make_appliance(f"n{number}", "a", HELD) for number in range(count)]
    limits = Limits(pathways=pathways)
    before = names(ranked([SITE], fleet, limits=limits))
    gone = f"n{leaver % count}"
    after = names(ranked([SITE], [one for one in fleet if one.appliance_id != gone], limits=limits))
    assert after[: len(before) - (gone in before)] == [name for name in before if name != gone]


SHARES = st.dictionaries(st.integers(0, 13).map(lambda no: f"n{no}"), st.integers(-32, 63), max_size=5)


@settings(max_examples=150)
@given(sites=SITES, fleet=FLEETS, levels=SHARES, draw=st.integers(0, 63), pathways=st.integers(1, 5), own=st.booleans())
def test_the_short_way_gives_what_the_long_way_chooses(
    sites: list, fleet: list, levels: dict, draw: int, pathways: int, own: bool
) -> None:
    made, appliances = build(sites, fleet)
    compiled = compile_snapshot(make_snapshot(made, appliances, [TITLE]))
    limits, sharing = Limits(pathways=pathways, sites=1 + own), Sharing(levels=levels, draw=draw)
    film = compiled.library.titles["film"]
    class_no = compiled.class_no(ipaddress.ip_address(CLIENT).packed)
    ways = approaches(compiled, class_no, None, distance_step_km=100.0)
    for _ in range(2):  # the second time it may be remembered
        short = choose_new(compiled, ways, film, limits, sharing)
        long = choose(compiled, ways, film, limits, sharing=sharing)
        assert short.appliances == tuple(one.appliance for one in long.chosen)
        assert short.is_last_resort == (bool(long.chosen) and long.approach is ways.last_resort)
        if levels:
            assert short.met == long.met
        else:
            assert set(short.met) <= set(long.met)


NAMES = st.integers(0, 13).map(lambda no: f"n{no}")


@settings(max_examples=150)
@given(
    sites=SITES,
    fleet=FLEETS,
    levels=SHARES,
    draw=st.integers(0, 63),
    current=st.none() | NAMES,
    written=st.lists(NAMES, max_size=4, unique=True) | st.none(),
    slow=st.lists(NAMES, max_size=2),
)
def test_the_short_way_gives_a_running_session_what_the_long_way_chooses(
    sites: list, fleet: list, levels: dict, draw: int, current: str | None, written: list | None, slow: list
) -> None:
    made, appliances = build(sites, fleet)
    compiled = compile_snapshot(make_snapshot(made, appliances, [TITLE]))
    limits, sharing = Limits(), Sharing(levels=levels, draw=draw)
    film = compiled.library.titles["film"]
    ways = approaches(compiled, compiled.class_no(ipaddress.ip_address(CLIENT).packed), None, distance_step_km=100.0)
    if written is None:  # what it was given when it began
        written = [one.appliance_id for one in choose_new(compiled, ways, film, limits).appliances]
    session = Session(written=tuple(written), current=current, slow=tuple(slow))
    short = choose_running(compiled, ways, film, limits, session, sharing)
    long = choose(compiled, ways, film, limits, session, sharing)
    assert short.appliances == tuple(one.appliance for one in long.chosen + long.kept)
    assert short.best == (long.chosen[0].appliance.appliance_id if long.chosen else "")
    for levels_later in ({}, levels):  # all whom the long way met with another level are known to the short way
        again = Sharing(levels=levels_later, draw=draw)
        came_to = [
            outcome(levels_later.get(one.name, STEPS), draw, one.key, is_in_use=one.is_in_use) for one in short.met
        ]
        if came_to == [one.outcome for one in short.met]:
            later = choose(compiled, ways, film, limits, session, again)
            assert short.appliances == tuple(one.appliance for one in later.chosen + later.kept)


@settings(max_examples=100)
@given(sites=SITES, fleet=FLEETS, level=st.integers(1, 63), draw=st.integers(0, 63))
def test_who_sheds_goes_behind_and_nobody_is_lost(sites: list, fleet: list, level: int, draw: int) -> None:
    """As many pathways as without shedding; every appliance has its reason."""
    made, appliances = build(sites, fleet)
    sharing = Sharing(levels={one.appliance_id: level for one in appliances[::2]}, draw=draw)
    compiled = compile_snapshot(make_snapshot(made, appliances, [TITLE]))
    class_no = compiled.class_no(ipaddress.ip_address(CLIENT).packed)
    film = compiled.library.titles["film"]
    everybody = rank(compiled, class_no, film, None, LIMITS, sharing=Sharing())
    shedding = rank(compiled, class_no, film, None, LIMITS, sharing=sharing)
    assert len(shedding.chosen) == len(everybody.chosen)
    assert len(shedding.chosen) + len(shedding.excluded) == len(appliances)
    for one in shedding.excluded:
        if one.reason is Exclusion.SHED:
            assert one.appliance.appliance_id in sharing.levels


def heard_by(*hearings: Hearing, sites: list, appliances: list[SnapshotAppliance], client: str = CLIENT) -> Ranking:
    snapshot = replace(make_snapshot(sites, appliances, [TITLE]), hearings=hearings)
    compiled = compile_snapshot(snapshot)
    class_no = compiled.class_no(ipaddress.ip_address(client).packed)
    return rank(compiled, class_no, compiled.library.titles["film"], None, Limits(pathways=9))


def test_path_length_before_med_before_kind_and_a_missing_med_is_zero() -> None:
    sites = [make_site(name, kind=SiteKind.EMBEDDED) for name in ("far", "dear", "cheap")]
    sites.append(make_site("none", kind=SiteKind.ORIGIN_SIDE))
    appliances = [make_appliance(site.site_id, site.site_id, HELD) for site in sites]
    ranking = heard_by(
        make_hearing(["far"], "10.0.0.0/8 3 0"),
        make_hearing(["dear"], "10.0.0.0/8 2 50"),
        make_hearing(["cheap"], "10.0.0.0/8 2 10"),
        make_hearing(["none"], "10.0.0.0/8 2"),
        sites=sites,
        appliances=appliances,
    )
    assert names(ranking) == ["none", "cheap", "dear", "far"]


def test_members_of_a_site_that_hear_different_prefixes_serve_different_clients() -> None:
    sites = [make_site("a", "192.0.2.0/24"), make_site("last", is_last_resort=True)]
    appliances = [make_appliance(name, "a", HELD) for name in ("x", "y", "z")]
    hearings = (make_hearing(["x"], "10.0.0.0/8", "10.1.0.0/16"), make_hearing(["y"], "10.0.0.0/8"))
    ranking = heard_by(*hearings, sites=sites, appliances=appliances)
    assert names(ranking) == ["x", "y"]
    assert reasons(ranking) == {"z": Exclusion.NO_ROUTE}
    everywhere = heard_by(*hearings, sites=sites, appliances=appliances, client="192.0.2.1")
    assert set(names(everywhere)) == {"x", "y", "z"}


def test_a_route_that_an_operator_gave_counts_as_the_shortest_path() -> None:
    sites = [make_site("given", "10.0.0.0/8"), make_site("heard")]
    appliances = [make_appliance(site.site_id, site.site_id, HELD) for site in sites]
    hearings = (make_hearing(["heard", "given"], "10.0.0.0/8 1"),)
    assert names(heard_by(*hearings, sites=sites, appliances=appliances)) == ["given", "heard"]


ROUTES = st.lists(
    st.builds(
        "{} {} {}".format,
        st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24"]),
        st.integers(0, 3),
        st.integers(0, 2),
    ),
    max_size=4,
    unique_by=lambda route: route.split()[0],
)


@settings(max_examples=120)
@given(sites=SITES, fleet=FLEETS, heard=st.lists(ROUTES, min_size=3, max_size=3))
def test_nobody_is_steered_to_who_does_not_hear_them(sites: list, fleet: list, heard: list) -> None:
    made, appliances = build(sites, fleet)
    hearings = tuple(
        make_hearing([one.appliance_id for one in appliances[no::3]], *routes) for no, routes in enumerate(heard)
    )
    ranking = heard_by(*hearings, sites=made, appliances=appliances)
    client, last = ipaddress.ip_address(CLIENT), {site.site_id for site in made if site.is_last_resort}
    static = {site.site_id: [(text, 0, 0) for text in site.prefixes] for site in made}
    best = []
    for one in ranking.chosen:
        number = appliances.index(one.appliance) % 3
        own = [route.split() for route in heard[number]]
        rows = [*static[one.appliance.site_id], *((text, int(path), int(med)) for text, path, med in own)]
        covering = [
            (-ipaddress.ip_network(text).prefixlen, path, med)
            for text, path, med in rows
            if client in ipaddress.ip_network(text)
        ]
        assert covering or one.appliance.site_id in last
        best.append(min(covering, default=None))
    routed = [one for one in best if one is not None]
    if len(routed) == len(best):
        assert best == sorted(best)


@settings(max_examples=20)
@given(count=st.integers(2, 10), seed=st.integers(0, 99))
def test_joining_by_whole_answers_takes_only_its_share(count: int, seed: int) -> None:
    """Over all slots: whoever is first now was first before or is the newcomer, and it gets about its share."""
    fleet = [make_appliance(f"n{seed}-{number}", "a", HELD) for number in range(count)]
    joined = [*fleet, make_appliance(f"new-{seed}", "a", HELD)]
    before, after = (compile_snapshot(make_snapshot([SITE], some, [TITLE])) for some in (fleet, joined))
    won = 0
    for slot in range(0, SLOTS, 4):
        old, new = before.roster((0,)), after.roster((0,))
        first_old, first_new = (one.members[one.order(slot)[0]][0] for one in (old, new))
        assert first_new in (first_old, f"new-{seed}")
        won += first_new != first_old
    assert won / (SLOTS / 4) == pytest.approx(1 / (count + 1), abs=0.12)


def score(title: str, appliance: str, weight: float = 1.0) -> float:
    return rendezvous_score(hash_key(title), hash_key(appliance), weight)


def test_joining_takes_about_its_share_and_nothing_else_moves() -> None:
    old = [f"n{number}" for number in range(9)]
    titles = [f"t{number}" for number in range(3000)]
    moved = 0
    for title in titles:
        before = max(old, key=lambda name: score(title, name))
        after = max([*old, "new"], key=lambda name: score(title, name))
        assert after in (before, "new")
        moved += after == "new"
    assert moved == pytest.approx(len(titles) / 10, rel=0.2)


def test_weights_are_shares() -> None:
    wins = Counter(
        max([("small", 1.0), ("large", 3.0)], key=lambda one: score(f"t{number}", *one))[0] for number in range(4000)
    )
    assert wins["large"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_scores_never_change_between_versions() -> None:
    """Another hash would move every title at an upgrade."""
    assert score("film", "edge-1", 1e10) == pytest.approx(25013080210.85092, rel=1e-9)
