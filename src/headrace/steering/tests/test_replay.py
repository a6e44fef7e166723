"""Replays: what is counted, and that shedding works in them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.steering.approach import Location
from headrace.steering.compile import CompiledSnapshot, compile_snapshot
from headrace.steering.load import LoadRules
from headrace.steering.rank import Limits
from headrace.steering.replay import LoggedSession, replay
from headrace.steering.testing import make_appliance, make_site, make_snapshot, make_title, numbers_of

TITLES = [make_title("film"), make_title("other")]
HELD = numbers_of(TITLES)
PARIS, TOKYO = (
    Location(latitude_deg=48.9, longitude_deg=2.4),
    Location(latitude_deg=35.7, longitude_deg=139.7),
)


def world(*, capacity_bps: int = 10**9) -> CompiledSnapshot:
    sites = [
        make_site("paris", "10.1.0.0/16", latitude_deg=48.9, longitude_deg=2.4),
        make_site("tokyo", "10.0.0.0/8", latitude_deg=35.7, longitude_deg=139.7),
    ]
    fleet = [
        make_appliance(name, site, HELD, capacity_bps=capacity_bps, tx_bps=capacity_bps * 0.99)
        for name, site in (("p", "paris"), ("q", "paris"), ("t", "tokyo"))
    ]
    return compile_snapshot(make_snapshot(sites, fleet, TITLES))


def session(no: int, appliance: str = "t", **changes: object) -> LoggedSession:
    fields: dict = {
        "at_s": 1000.0 + no / 100,
        "client": bytes([10, 1, no >> 8 & 255, no & 255]),
        "title_id": "film",
        "appliance_id": appliance,
        "session_bps": 1e6,
        "location": PARIS,
    }
    return LoggedSession(**{**fields, **changes})


def test_what_moves_how_far_and_how_high() -> None:
    logged = [session(no) for no in range(100)] + [session(100, title_id="gone"), session(101, appliance="")]
    found = replay(logged, world(), Limits(), top=2)
    assert (found.sessions, found.unknown_titles, found.moved_ratio) == (101, 1, 1.0)
    assert found.tiers_before["origin"] == pytest.approx(1 / 101)
    assert found.tiers_after == {"embedded": 1.0}
    assert found.mean_km_before == pytest.approx(9700, rel=0.05)
    assert found.mean_km_after == pytest.approx(0, abs=1)
    assert len(found.peaks) == 2
    peaks = {peak.appliance_id: peak for peak in found.peaks}
    assert peaks["t"].before_ratio == pytest.approx(0.1)


def test_sessions_end_with_their_titles() -> None:
    logged = [session(0), session(1, at_s=1059.0), session(2, at_s=1061.0)]
    peaks = {peak.appliance_id: peak for peak in replay(logged, world(), Limits(), top=9).peaks}
    assert peaks["t"].before_ratio == pytest.approx(2e6 / 1e9)


@settings(max_examples=20)
@given(count=st.integers(1, 800), bps=st.sampled_from([1e6, 3e6]))
def test_no_appliance_passes_its_room_while_another_has_some(count: int, bps: float) -> None:
    compiled = world(capacity_bps=10**9)
    limits = Limits(load=LoadRules())
    found = replay([session(no, session_bps=bps) for no in range(count)], compiled, limits, top=9)
    assert found.full_after == 0
    for peak in found.peaks:
        assert peak.after_ratio <= limits.load.room_ratio + 1 / 64 + bps / 1e9
    if count * bps < 2e9:
        assert "origin" not in found.tiers_after
