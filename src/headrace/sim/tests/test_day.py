"""A small day of a whole network: what must hold whatever the seed is."""

from dataclasses import replace

import numpy as np
import pytest

from headrace.sim.day import DayPlan, DaySeen, live_a_day

SMALL = DayPlan(sites=12, regions=2, titles=300, sessions=6_000, history_days=6, launches=10)


@pytest.fixture(scope="module")
def day() -> DaySeen:
    return live_a_day(SMALL, seed=3)


def test_every_session_is_served_and_most_by_their_own_site(day: DaySeen) -> None:
    served = day.served_bytes
    assert day.sessions == SMALL.sessions
    assert served.sum() == pytest.approx(SMALL.sessions * SMALL.session_bps / 8 * SMALL.session_s)
    # 12 % of the room for 300 titles hold more than 25 % of what is watched; the region's other sites most of the rest.
    assert day.offload_ratio > 0.25
    assert day.offload_ratio + day.region_ratio > 0.6


def test_fill_keeps_to_the_windows(day: DaySeen) -> None:
    open_hours = np.zeros(24, dtype=bool)
    for ahead in (0, 1):  # London and Berlin in winter.
        open_hours[(np.arange(2, 14) - ahead) % 24] = True
    assert day.fill_bytes.sum() > 0
    assert not day.fill_bytes[~open_hours].any()
    assert day.unfilled_bytes == 0


def test_the_plan_is_near_its_bound_and_spares_copies(day: DaySeen) -> None:
    assert 0.95 < day.expected_ratio <= 1.0  # 36 titles in two to five appliances leave gaps
    assert sum(day.copies.values()) == SMALL.titles
    assert day.copies[1] + day.copies[2] > day.copies[9]


def test_one_seed_is_one_day(day: DaySeen) -> None:
    again = live_a_day(SMALL, seed=3)
    other = live_a_day(SMALL, seed=4)
    assert again.offload_ratio == day.offload_ratio
    assert (again.fill_bytes == day.fill_bytes).all()
    assert other.offload_ratio != day.offload_ratio


def test_a_site_lost_at_its_peak_is_served_by_its_region(day: DaySeen) -> None:
    calm = live_a_day(replace(SMALL, is_site_lost=False, dead_ratio=0.0), seed=3)
    assert calm.from_site_bytes.sum() > day.from_site_bytes.sum()
    assert calm.from_region_bytes.sum() < day.from_region_bytes.sum()


def test_a_rate_that_is_too_small_leaves_files_unfilled() -> None:
    slow = live_a_day(replace(SMALL, fill_bps=200_000), seed=3)
    assert slow.unfilled_bytes > 0
