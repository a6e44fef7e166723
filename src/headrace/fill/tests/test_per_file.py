from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from headrace.base.ids import ApplianceId, FileNo, Sha256, SiteId
from headrace.catalog.fileset import FileSet
from headrace.fill.model import SourceKind
from headrace.fill.per_file import Holder, Rankings, rank_files
from headrace.fill.sources import Candidate, SourceLimits, SourceSkip, subnet_of
from headrace.fleet.model import AdminState, HealthState

WANTED = {FileNo(number): Sha256(f"{number:064x}") for number in range(1, 9)}
ALL = FileSet(WANTED)


def a_candidate(name: str, site: str = "ams", **fields: object) -> Candidate:
    base = Candidate(
        appliance_id=ApplianceId(name),
        site_id=SiteId(site),
        content_url=f"http://{name}",
        admin_state=AdminState.ENABLED,
        health_state=HealthState.HEALTHY,
        held_files=1,
        capacity_bps=10**9,
    )
    return replace(base, **fields)  # type: ignore[arg-type]


OWN = a_candidate("own")


def rank(peers: list, tiers: list = (), *, planners: dict | None = None, origin: str = "http://origin") -> Rankings:
    plans = planners if planners is not None else {OWN.appliance_id: ALL}
    return rank_files(OWN, WANTED, peers, list(tiers), plans, origin_url=origin, limits=SourceLimits())


def urls(ranked: Rankings, number: int) -> list[str]:
    found = next(one for one in ranked.files if one.file_no == number)
    return [ranked.sources[at].base_url for at in found.sources]


def test_only_who_holds_a_file_is_named_peers_first_then_sites_by_cost_then_the_origin() -> None:
    peer = Holder(candidate=a_candidate("p"), held=FileSet([1, 2]))
    near = Holder(candidate=a_candidate("n", "fra"), held=FileSet([2, 3]))
    far = Holder(candidate=a_candidate("f", "nyc"), held=FileSet([1, 2, 3]), is_near=False)
    ranked = rank([peer], [near, far])
    assert urls(ranked, 1) == ["http://p", "http://f", "http://origin"]
    assert urls(ranked, 2) == ["http://p", "http://n", "http://f", "http://origin"]
    assert urls(ranked, 3) == ["http://n", "http://f", "http://origin"]
    assert urls(ranked, 4) == ["http://origin"]
    assert [one.is_near for one in ranked.sources] == [False, True, False, False]
    assert [one.kind for one in ranked.sources] == [
        SourceKind.PEER,
        SourceKind.TIER,
        SourceKind.TIER,
        SourceKind.ORIGIN,
    ]


def test_who_serves_all_that_it_can_gives_nothing_and_the_others_half_of_what_is_free() -> None:
    busy = Holder(candidate=a_candidate("busy", tx_bps=8.9e8), held=ALL)
    free = Holder(candidate=a_candidate("free", tx_bps=3e8), held=ALL)
    unknown = Holder(candidate=a_candidate("unknown", capacity_bps=0, tx_bps=3e12), held=ALL)
    ranked = rank([busy, free, unknown])
    assert ranked.skipped == {ApplianceId("busy"): SourceSkip.BUSY}
    assert {one.base_url: one.rate_bps for one in ranked.sources} == {
        "http://free": 300_000_000,
        "http://unknown": 0,
        "http://origin": 0,
    }


def test_a_peer_may_give_before_its_turn_up_and_a_tier_may_not() -> None:
    new = {"health_state": HealthState.TURNING_UP}
    ranked = rank(
        [Holder(candidate=a_candidate("p", **new), held=ALL), Holder(candidate=OWN, held=ALL)],
        [Holder(candidate=a_candidate("t", "fra", **new), held=ALL)],
    )
    assert urls(ranked, 1) == ["http://p", "http://origin"]
    assert ranked.skipped == {ApplianceId("t"): SourceSkip.NOT_HEALTHY}


def test_the_line_of_a_file_is_of_those_who_plan_it() -> None:
    planners = {OWN.appliance_id: FileSet([1, 2]), ApplianceId("p"): FileSet([2, 3])}
    places = {one.file_no: one.place for one in rank([], planners=planners).files}
    assert places[FileNo(1)] == 0
    assert places[FileNo(2)] in (0, 1)
    assert places[FileNo(3)] == 1, "it may not go first for what it does not plan"
    assert places[FileNo(4)] == 0, "nobody plans it any more"


def test_one_subnet_is_a_slash_24_or_a_slash_64() -> None:
    assert subnet_of("http://192.0.2.10:8080") == subnet_of("https://192.0.2.200") == "192.0.2.0/24"
    assert subnet_of("http://[2001:db8:1:2::7]") == "2001:db8:1:2::/64"
    assert {subnet_of(url) for url in ("http://a1.example", "http://127.0.0.1:80", "http://[::1]", "")} == {""}


def test_who_holds_a_file_already_is_not_waited_for() -> None:
    """Else nobody would go out when what it gives is wrong."""
    plans = {OWN.appliance_id: ALL, **{ApplianceId(f"p{at}"): ALL for at in range(5)}}
    peers = [Holder(candidate=a_candidate(f"p{at}"), held=ALL if at < 5 else FileSet()) for at in range(5)]
    assert {one.place for one in rank(peers, planners=plans).files} == {0}


@given(st.lists(st.sets(st.integers(1, 8)), max_size=12), st.lists(st.sets(st.integers(1, 8)), max_size=12))
def test_never_more_sources_than_the_limit_and_always_a_holder(own: list, other: list) -> None:
    peers = [Holder(candidate=a_candidate(f"p{at}"), held=FileSet(held)) for at, held in enumerate(own)]
    tiers = [Holder(candidate=a_candidate(f"t{at}", "fra"), held=FileSet(held)) for at, held in enumerate(other)]
    ranked = rank(peers, tiers, origin="")
    held_by = {one.candidate.content_url: one.held for one in (*peers, *tiers)}
    for one in ranked.files:
        named = [ranked.sources[at] for at in one.sources]
        assert len(named) <= SourceLimits().most
        assert len({source.base_url for source in named}) == len(named)
        assert all(one.file_no in held_by[source.base_url] for source in named)
        assert bool(named) == any(one.file_no in held for held in held_by.values())
        kinds = [source.kind for source in named]
        assert kinds == sorted(kinds, key=list(SourceKind).index)
