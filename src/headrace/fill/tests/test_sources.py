from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.fill.model import SourceKind
from headrace.fill.sources import (
    UNKNOWN_KM,
    Candidate,
    SourceLimits,
    SourceSkip,
    distance_km,
    nearest_sites,
    rank_sources,
)
from headrace.fleet.model import AdminState, HealthState, Site

ORIGIN = "http://origin.example"
BERLIN = Site(site_id="berlin", latitude_deg=52.52, longitude_deg=13.40)
PARIS = Site(site_id="paris", latitude_deg=48.86, longitude_deg=2.35)
SYDNEY = Site(site_id="sydney", latitude_deg=-33.87, longitude_deg=151.21)
NOWHERE = Site(site_id="nowhere")


def candidate(name, site, **changes):
    good = Candidate(
        appliance_id=name,
        site_id=site,
        content_url=f"http://{name}.example",
        admin_state=AdminState.ENABLED,
        health_state=HealthState.HEALTHY,
        held_files=1,
    )
    return replace(good, **changes)


def by_site(*candidates):
    found = {}
    for one in candidates:
        found.setdefault(one.site_id, []).append(one)
    return found


OWN = candidate("own", "berlin", held_files=0)


def names(ranked):
    return [source.appliance_id or "origin" for source in ranked.sources]


def test_distances():
    assert distance_km(BERLIN, PARIS) == pytest.approx(878, abs=3)
    assert distance_km(BERLIN, BERLIN) == 0
    assert distance_km(BERLIN, NOWHERE) == UNKNOWN_KM == distance_km(NOWHERE, BERLIN)
    near = nearest_sites([SYDNEY, NOWHERE, PARIS, BERLIN], 3)
    assert near["berlin"] == ("paris", "sydney", "nowhere")
    assert nearest_sites([SYDNEY, PARIS, BERLIN], 1)["berlin"] == ("paris",)


def test_peers_then_other_sites_by_distance_then_origin():
    fleet = by_site(OWN, candidate("peer", "berlin"), candidate("far", "sydney"), candidate("near", "paris"))
    ranked = rank_sources(OWN, fleet, ("paris", "sydney"), ORIGIN)
    assert names(ranked) == ["peer", "near", "far", "origin"]
    assert [source.kind for source in ranked.sources] == [
        SourceKind.PEER,
        SourceKind.TIER,
        SourceKind.TIER,
        SourceKind.ORIGIN,
    ]
    assert ranked.skipped == {"own": SourceSkip.IS_ITSELF}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"admin_state": AdminState.DRAINING}, SourceSkip.NOT_ENABLED),
        ({"admin_state": AdminState.DISABLED}, SourceSkip.NOT_ENABLED),
        ({"health_state": HealthState.TURNING_UP}, SourceSkip.NOT_HEALTHY),
        ({"health_state": HealthState.LOST}, SourceSkip.NOT_HEALTHY),
        ({"held_files": 0}, SourceSkip.HOLDS_NOTHING),
    ],
)
def test_who_is_no_source(changes, reason):
    ranked = rank_sources(OWN, by_site(OWN, candidate("peer", "berlin", **changes)), (), ORIGIN)
    assert names(ranked) == ["origin"]
    assert ranked.skipped["peer"] is reason


def test_one_of_each_other_site_and_no_more_than_allowed():
    fleet = by_site(
        *(candidate(f"peer-{number}", "berlin") for number in range(2)),
        *(candidate(f"paris-{number}", "paris") for number in range(2)),
        candidate("far", "sydney"),
    )
    ranked = rank_sources(OWN, fleet, ("paris", "sydney"), "", SourceLimits(most=3))
    assert len(ranked.sources) == 3
    assert [source.kind for source in ranked.sources] == [SourceKind.PEER, SourceKind.PEER, SourceKind.TIER]
    assert list(ranked.skipped.values()) == [SourceSkip.OUTRANKED]
    assert ranked.reason("far") is SourceSkip.OUTRANKED
    ranked = rank_sources(OWN, fleet, ("paris", "sydney"), "", SourceLimits(most=4))
    assert names(ranked)[3] == "far"
    assert list(ranked.skipped.values()) == [SourceSkip.ENOUGH_OF_SITE]


def test_one_place_is_kept_for_another_site():
    peers = [candidate(f"peer-{number}", "berlin") for number in range(9)]
    ranked = rank_sources(OWN, by_site(*peers, candidate("near", "paris")), ("paris",), "", SourceLimits(most=3))
    assert [source.kind for source in ranked.sources] == [SourceKind.PEER, SourceKind.PEER, SourceKind.TIER]
    assert set(ranked.skipped.values()) == {SourceSkip.ENOUGH_OF_SITE}


def test_the_appliances_of_a_site_do_not_all_ask_the_same_peer_first():
    peers = [candidate(f"peer-{number}", "berlin") for number in range(8)]
    first = {names(rank_sources(one, by_site(*peers), (), ""))[0] for one in peers}
    assert len(first) > 2


shapes = st.tuples(
    st.sampled_from(["berlin", "paris", "sydney"]),
    st.sampled_from(AdminState),
    st.sampled_from(HealthState),
    st.integers(0, 1),
)


@given(st.lists(shapes, max_size=20), st.integers(0, 5), st.integers(0, 3))
def test_every_candidate_is_a_source_or_has_a_reason(fleet, most, per_site):
    everyone = [
        candidate(f"a-{at}", site, admin_state=admin, health_state=health, held_files=held)
        for at, (site, admin, health, held) in enumerate(fleet)
    ]
    limits = SourceLimits(most=most, per_site=per_site)
    ranked = rank_sources(OWN, by_site(*everyone), ("paris", "sydney"), ORIGIN, limits)
    chosen = {source.appliance_id for source in ranked.sources if source.appliance_id}
    assert not chosen & set(ranked.skipped)
    for one in everyone:
        is_good = one.admin_state is AdminState.ENABLED and one.health_state is HealthState.HEALTHY and one.held_files
        reason = ranked.reason(one.appliance_id)
        enough = (SourceSkip.OUTRANKED, SourceSkip.ENOUGH_OF_SITE)
        assert one.appliance_id in chosen or not is_good or reason in enough
        assert is_good or one.appliance_id not in chosen
    assert len(chosen) <= most
    assert names(ranked)[-1] == "origin"
    assert ranked == rank_sources(OWN, by_site(*everyone), ("paris", "sydney"), ORIGIN, limits)
