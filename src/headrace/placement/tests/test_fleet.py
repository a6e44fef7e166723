"""The nightly plan: near the bound, within the room, stable from day to day, few moves when the fleet changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.base.ids import ApplianceId, SiteId
from headrace.placement.choose import choose_files, fractional_bound
from headrace.placement.fleet import FleetRules, SiteRoom, Units, cut, plan_fleet
from headrace.placement.hashing import SLOTS
from headrace.placement.reactive import Ration, victims
from headrace.placement.spread import Bin, spread_units

N = 3_000


def _units(seed: int = 1) -> Units:
    rng = np.random.default_rng(seed)
    return Units(
        size_bytes=np.exp(rng.normal(20, 0.7, N)),
        slots=rng.integers(0, SLOTS, N),
        plays={"r": 300.0 / (rng.permutation(N) + 5.0)},
    )


def _bins(count: int, room_bytes: float, *, first: int = 0) -> tuple[Bin, ...]:
    return tuple(
        Bin(appliance_id=ApplianceId(f"a{number}"), room_bytes=room_bytes, throughput_bps=1e10)
        for number in range(first, first + count)
    )


def _site(units: Units, ratio: float, bins: int = 4, name: str = "s1") -> SiteRoom:
    room = ratio * float(units.size_bytes.sum()) / bins
    return SiteRoom(site_id=SiteId(name), region="r", scale=1.0, bins=_bins(bins, room))


def _moved(units: Units, before: np.ndarray, after: np.ndarray) -> float:
    """Bytes that some appliance has to fill, of the bytes held."""
    return float((units.size_bytes @ (after & ~before)).sum() / (units.size_bytes @ before).sum())


def _held(units: Units, plan: object, places: dict[str, int], site: SiteRoom) -> np.ndarray:
    found = np.zeros((N, len(places)), dtype=bool)
    for column, one in enumerate(site.bins):
        found[plan.spread.units[plan.spread.on[:, column]], places[one.appliance_id]] = True
    return found


@pytest.mark.parametrize("ratio", [0.05, 0.2, 0.6, 2.0])
def test_a_site_serves_within_one_percent_of_the_bound_and_keeps_within_its_room(ratio: float) -> None:
    units = _units()
    site = _site(units, ratio)
    (plan,) = plan_fleet(units, [site], FleetRules(region_copies=0))
    assert plan.expected_bytes >= 0.99 * plan.bound_bytes
    used = (units.size_bytes[plan.spread.units][:, None] * plan.spread.on).sum(axis=0)
    assert (used <= [0.8 * one.room_bytes + 1 for one in site.bins]).all()


def test_yesterdays_plan_stays_when_demand_hardly_changes_and_gives_way_when_it_does() -> None:
    units, rules = _units(), FleetRules(region_copies=0, fill_price=0.2)
    site = _site(units, 0.2)
    (first,) = plan_fleet(units, [site], rules)
    noise = np.exp(np.random.default_rng(2).normal(0, 0.2, N))
    later = Units(size_bytes=units.size_bytes, slots=units.slots, plays={"r": units.plays["r"] * noise})
    kept = SiteRoom(site_id=site.site_id, region="r", scale=1.0, bins=site.bins, held=first.spread.units)
    places = {one.appliance_id: at for at, one in enumerate(site.bins)}
    before = _held(units, first, places, site)
    (with_memory,), (without,) = plan_fleet(later, [kept], rules), plan_fleet(later, [site], rules)
    moved, free = (_moved(units, before, _held(units, plan, places, site)) for plan in (with_memory, without))
    assert moved < 0.5 * free
    risen = units.plays["r"].copy()
    left_out = np.setdiff1d(np.arange(N), first.spread.units)[0]
    risen[left_out] = 500.0
    (after,) = plan_fleet(Units(size_bytes=units.size_bytes, slots=units.slots, plays={"r": risen}), [kept], rules)
    assert left_out in after.spread.units


@settings(max_examples=12, deadline=None)
@given(bins=st.integers(4, 12), seed=st.integers(0, 5), leaves=st.booleans())
def test_an_appliance_that_joins_or_leaves_moves_little_more_than_its_share(bins: int, seed: int, leaves: bool) -> None:
    units = _units(seed)
    room = 1.6 * float(units.size_bytes.sum()) / bins
    rules = FleetRules(region_copies=0, reactive_ratio=0.2)
    small = SiteRoom(site_id=SiteId("s"), region="r", scale=1.0, bins=_bins(bins, room))
    large = SiteRoom(site_id=SiteId("s"), region="r", scale=1.0, bins=_bins(bins + 1, room))
    places = {one.appliance_id: at for at, one in enumerate(large.bins)}
    (first,), (second,) = plan_fleet(units, [small], rules), plan_fleet(units, [large], rules)
    few, many = _held(units, first, places, small), _held(units, second, places, large)
    moved = _moved(units, many, few) if leaves else _moved(units, few, many)
    assert moved <= 1.6 / bins + 0.03


def test_hot_units_lie_on_fast_appliances_and_the_tail_on_large_ones_with_copies_by_demand() -> None:
    units = _units()
    total = float(units.size_bytes.sum())
    bins = (
        Bin(appliance_id=ApplianceId("fast"), room_bytes=0.05 * total, throughput_bps=9e10),
        Bin(appliance_id=ApplianceId("large"), room_bytes=0.45 * total, throughput_bps=1e10),
    )
    order = np.argsort(-units.plays["r"])[:1_000]
    demand = (units.plays["r"] * units.size_bytes)[order]
    copies = np.where(np.arange(1_000) < 3, 2, 1)
    spread = spread_units(order, units.size_bytes[order], demand, copies, units.slots[order], bins)
    hot, tail = spread.on[3:20], spread.on[600:]
    assert hot[:, 0].mean() > 0.7
    assert tail[:, 1].mean() > 0.95
    assert (spread.on[:3].sum(axis=1) == 2).all()


def test_each_unit_has_its_copies_in_the_region_where_there_is_room() -> None:
    units = _units()
    sites = [_site(units, 0.35, name=f"s{number}") for number in range(8)]
    counts = np.zeros(N, dtype=int)
    for plan in plan_fleet(units, sites, FleetRules(region_copies=1)):
        counts[plan.spread.units[plan.spread.on.any(axis=1)]] += 1
    assert (counts >= 1).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1_000), ratio=st.floats(0.01, 1.5), price=st.sampled_from([0.0, 0.5]))
def test_cut_and_choice_keep_to_the_room_and_near_the_bound(seed: int, ratio: float, price: float) -> None:
    rng = np.random.default_rng(seed)
    plays = -np.sort(-rng.gamma(0.5, 2.0, 300))
    size = rng.uniform(1, 3, 300)
    held = rng.random(300) < 0.3
    room = ratio * float(size.sum())
    chosen, new, kept = cut(plays, size, held, room, price)
    assert size[chosen].sum() <= room * (1 + 1e-9)
    assert new == pytest.approx(kept + price)
    other = choose_files(plays, size, room_bytes=room, held=held, fill_price=price)
    assert size[other].sum() <= room * (1 + 1e-9)
    free = choose_files(plays, size, room_bytes=room, held=np.zeros(300, dtype=bool))
    assert (plays * size)[free].sum() >= fractional_bound(plays, size, room_bytes=room) - 3 * plays.max()


def test_fills_by_day_are_rationed_and_the_best_offers_get_them() -> None:
    rng, ration = np.random.default_rng(4), Ration(day_share=0.3)
    night = day = 0.0
    gains: list[float] = []
    for _ in range(30):
        ration.day_ends()
        ration.filled_at_night(70.0)
        night += 70.0
        for gain in rng.exponential(1.0, 200):
            if ration.may_admit(float(gain), 1.0, price=0.1):
                ration.left_bytes -= 1.0
                day += 1.0
                gains.append(float(gain))
    assert day <= 0.3 * (night + day) + 1.0
    assert np.mean(gains[-300:]) > 2.0


def test_victims_are_the_least_wanted_and_enough() -> None:
    plays, size = np.arange(200.0), np.full(200, 2.0)
    assert victims(plays, size, plays >= 10, need_bytes=5.0).tolist() == [10, 11, 12]
    assert victims(plays, size, plays >= 10, need_bytes=0.0).tolist() == []
