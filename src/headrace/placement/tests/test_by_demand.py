"""Plans by demand: whole titles within the room, reasons for all that is left out, stable, everything where it fits."""

import numpy as np
import pytest

from headrace.base.ids import ApplianceId, FileNo, SiteId, TitleId
from headrace.catalog.fileset import FileSet
from headrace.demand.forecast import ForecastReason
from headrace.demand.forecast_titles import ANY_REGION, RegionForecast, TitleForecast
from headrace.placement.by_demand import DemandPlan, Seat, explain, plan_by_demand
from headrace.placement.fleet import FleetRules, HoldReason
from headrace.placement.plan import PlacedTitle, Room, SkipReason, check_plan

GIB = 1 << 30
COUNT = 60
RULES = FleetRules(region_copies=0, reactive_ratio=0.0)


def _titles() -> list[PlacedTitle]:
    return [
        PlacedTitle(
            title_id=TitleId(f"t{number:03}"),
            published_at_s=float(number),
            file_nos=(FileNo(2 * number + 1), FileNo(2 * number + 2)),
            size_bytes=GIB * (1 + number % 3),
        )
        for number in range(COUNT)
    ]


def _forecast(plays: np.ndarray | None = None) -> TitleForecast:
    expected = 50.0 / (np.arange(COUNT) + 1.0) if plays is None else plays
    region = RegionForecast(
        plays=expected,
        spread=np.sqrt(expected),
        reason=np.full(COUNT, int(ForecastReason.STEADY)),
        newcomer_plays=3.0,
    )
    return TitleForecast(
        made_s=0.0,
        titles=tuple(title.title_id for title in _titles()),
        regions={ANY_REGION: region},
        scales={SiteId("s1"): 2.0},
    )


def _room(name: str, usable_gib: float, planned: FileSet | None = None) -> Room:
    usable = int(usable_gib * GIB)
    return Room(
        appliance_id=ApplianceId(name),
        usable_bytes=usable,
        reserve_bytes=usable // 20,
        planned=planned or FileSet(),
    )


def _seats(*names: str, site: str = "s1") -> dict[ApplianceId, Seat]:
    return {ApplianceId(name): Seat(site_id=SiteId(site), region="", throughput_bps=1e10) for name in names}


def _plan(rooms: list[Room], seats: dict[ApplianceId, Seat], forecast: TitleForecast | None = None) -> DemandPlan:
    plan = plan_by_demand(_titles(), rooms, seats, forecast or _forecast(), RULES)
    check_plan(plan.plan, _titles(), rooms)
    return plan


def test_everything_stays_everywhere_where_it_fits_and_a_tight_site_gets_what_is_asked_for() -> None:
    seats = _seats("a1", "a2") | _seats("b1", site="s2")
    plan = _plan([_room("a1", 25), _room("a2", 25), _room("b1", 500)], seats)
    assert len(plan.plan.plans[ApplianceId("b1")].files) == 2 * COUNT
    held = plan.plan.plans[ApplianceId("a1")].files | plan.plan.plans[ApplianceId("a2")].files
    assert all(number in held for title in _titles()[:15] for number in title.file_nos)
    assert len(held) < 2 * COUNT
    reasons = {one.title_id: one.reason for one in plan.plan.plans[ApplianceId("a1")].skipped}
    assert SkipReason.ON_A_PEER in reasons.values()
    assert reasons[TitleId("t059")] is SkipReason.LESS_EXPECTED


def test_planning_again_from_its_own_plan_changes_nothing() -> None:
    seats = _seats("a1", "a2")
    rooms = [_room("a1", 25), _room("a2", 18)]
    plans = _plan(rooms, seats).plan.plans
    for _ in range(3):
        again = _plan([_room(str(one), 25 - 7 * (one == "a2"), plans[one].files) for one in plans], seats).plan.plans
        assert {name: one.files for name, one in again.items()} == {name: one.files for name, one in plans.items()}


def test_free_space_that_drifts_a_little_moves_no_title() -> None:
    seats = _seats("a1")
    first = _plan([_room("a1", 30.2)], seats).plan.plans[ApplianceId("a1")].files
    later = _plan([_room("a1", 30.1, first)], seats).plan.plans[ApplianceId("a1")].files
    assert first == later


def test_explains_what_is_held_what_is_not_and_what_is_unknown() -> None:
    seats = _seats("a1", "a2")
    plan = _plan([_room("a1", 25), _room("a2", 25)], seats)
    (hot,) = explain(plan, TitleId("t000"), seats)
    assert hot.reason is HoldReason.EXPECTED
    assert hot.plays == pytest.approx(100.0)
    assert hot.appliances
    (cold,) = explain(plan, TitleId("t059"), seats)
    assert cold.reason is HoldReason.LESS_EXPECTED
    assert not cold.appliances
    assert cold.plays < cold.least_new_plays
    assert explain(plan, TitleId("nobody"), seats) == ()


def test_a_title_that_the_forecast_does_not_know_yet_counts_as_a_newcomer() -> None:
    seats = _seats("a1")
    known = _forecast()
    cut = TitleForecast(
        made_s=0.0,
        titles=known.titles[:-1],
        regions={
            ANY_REGION: RegionForecast(
                plays=known.regions[ANY_REGION].plays[:-1],
                spread=known.regions[ANY_REGION].spread[:-1],
                reason=known.regions[ANY_REGION].reason[:-1],
                newcomer_plays=30.0,
            )
        },
        scales={},
    )
    plan = _plan([_room("a1", 25)], seats, cut)
    assert 2 * COUNT in plan.plan.plans[ApplianceId("a1")].files


def test_a_site_outside_its_window_takes_in_only_what_rose_and_drops_only_for_that() -> None:
    seats = _seats("a1")
    night = FleetRules(region_copies=0, reactive_ratio=0.2)
    by_day = FleetRules(region_copies=0, reactive_ratio=0.0, fill_price=1.0)
    first = plan_by_demand(_titles(), [_room("a1", 30)], seats, _forecast(), night).plan.plans[ApplianceId("a1")].files
    plays = 50.0 / (np.arange(COUNT) + 1.0)
    plays[55] = 40.0
    later = plan_by_demand(
        _titles(), [_room("a1", 30, first)], seats, _forecast(plays), night, rules_of={SiteId("s1"): by_day}
    )
    files = later.plan.plans[ApplianceId("a1")].files
    assert 111 in files
    assert first.issubset(files)


def test_a_site_that_holds_everything_is_the_regions_copy() -> None:
    seats = _seats("a1") | _seats("b1", site="s2")
    rules = FleetRules(region_copies=1, reactive_ratio=0.0)
    tight = [_room("a1", 25)]
    alone = plan_by_demand(_titles(), tight, seats, _forecast(), rules)
    beside = plan_by_demand(_titles(), [*tight, _room("b1", 500)], seats, _forecast(), rules)
    assert len(alone.sites[SiteId("s1")].pinned) > 0
    assert len(beside.sites[SiteId("s1")].pinned) == 0
    assert beside.sites[SiteId("s1")].expected_bytes > alone.sites[SiteId("s1")].expected_bytes
