"""The planning loop on real stores: without a forecast as before, with one by demand, by day only what rose."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from headrace.base.ids import ApplianceId, SiteId, TitleId
from headrace.control.adapters.store import SqlStore
from headrace.control.loops.planning import REFRESH_S, SHRINK_S, PlanCause, Planned, Planner
from headrace.control.loops.reading import StoreReader
from headrace.control.loops.settings import FleetSettings, PlacementSettings
from headrace.control.loops.testing import EVENT, enrol, make_title, publish
from headrace.control.model import StoredReport
from headrace.demand.forecast import ForecastReason
from headrace.demand.forecast_titles import ANY_REGION, RegionForecast, TitleForecast
from headrace.fleet.model import ApplianceReport, DiskReport, Site
from headrace.wire.forecast import write_forecast

COUNT, FILE_BYTES = 24, 10_000
NAMES = [TitleId(f"t{number:02}") for number in range(COUNT)]
TITLE_BYTES = 2 * FILE_BYTES
NOON_S, NIGHT_S = 1_800_014_400.0, 1_800_068_400.0
"""2027-01-15 12:00 and 2027-01-16 03:00 UTC."""
A1 = ApplianceId("a1")


def _fleet(store: SqlStore, room_titles: float, *, hours: str = "02:00-06:00") -> None:
    enrol(store, "a1", "http://127.0.0.1:1")
    site = Site(site_id=SiteId("site-a"), time_zone="UTC", fill_window=hours)
    store.put_site(site, event=EVENT, now_s=NOON_S)
    for name in NAMES:
        publish(store, make_title(name, FILE_BYTES))
    _report(store, room_titles, room_titles, 1)


def _report(store: SqlStore, total_titles: float, free_titles: float, sequence: int) -> None:
    total, free = (int(titles * TITLE_BYTES) for titles in (total_titles, free_titles))
    disk = DiskReport(folder="/cache", is_ok=True, total_bytes=total, free_bytes=free)
    report = StoredReport(
        boot_id="b", sequence=sequence, received_at_s=NOON_S, heard_at_s=NOON_S, report=ApplianceReport(disks=(disk,))
    )
    boot_id = "b" if sequence > 1 else ""
    assert store.save_report(A1, report, expected_boot_id=boot_id, expected_sequence=sequence - 1)


def _foretell(path: Path, plays: np.ndarray, made_s: float) -> None:
    region = RegionForecast(
        plays=plays, spread=np.sqrt(plays), reason=np.full(COUNT, int(ForecastReason.STEADY)), newcomer_plays=1.0
    )
    write_forecast(path, TitleForecast(made_s=made_s, titles=tuple(NAMES), regions={ANY_REGION: region}, scales={}))


def _planner(store: SqlStore, path: Path) -> Planner:
    placement = PlacementSettings(forecast_file=str(path), region_copies=0)
    return Planner(store, replace(FleetSettings(), placement=placement))


def _turn(store: SqlStore, planner: Planner, now_s: float) -> Planned:
    return planner.turn(StoreReader(store).read(), now_s=now_s, has_time=lambda: True)


def _planned(store: SqlStore) -> set[TitleId]:
    plan = store.plan(A1)
    assert plan is not None
    return {one.title.title_id for one in store.titles() if all(number in plan.files for number in one.file_nos)}


def test_without_a_forecast_the_newest_are_placed_and_with_one_what_is_asked_for(
    store: SqlStore, tmp_path: Path
) -> None:
    _fleet(store, 11, hours="always")
    path = tmp_path / "forecast"
    planner = _planner(store, path)
    assert _turn(store, planner, NOON_S).cause is PlanCause.TITLES_CHANGED
    newest = _planned(store)
    _foretell(path, 30.0 / (np.arange(COUNT) + 1.0), NOON_S)
    assert _turn(store, planner, NOON_S + 1).cause is PlanCause.FORECAST_CHANGED
    assert _planned(store) == set(NAMES[:10])
    assert _turn(store, planner, NOON_S + 2).written == 0
    path.write_bytes(b"broken")
    assert _turn(store, planner, NOON_S + 3).written == 0  # the last good one counts
    path.unlink()
    assert _turn(store, planner, NOON_S + 4).cause is PlanCause.FORECAST_CHANGED
    assert newest <= _planned(store)  # what was planned may use the reserve


def test_room_that_deleted_files_still_take_moves_no_title_unless_it_stays_gone(
    store: SqlStore, tmp_path: Path
) -> None:
    _fleet(store, 11, hours="always")
    path = tmp_path / "forecast"
    planner = _planner(store, path)
    _foretell(path, 30.0 / (np.arange(COUNT) + 1.0), NOON_S)
    _turn(store, planner, NOON_S)
    before = _planned(store)
    _report(store, 11, 5, 2)  # nginx has deleted files open: no room yet, and nothing held instead
    assert _turn(store, planner, NOON_S + REFRESH_S).written == 0
    _report(store, 11, 8, 3)
    assert _turn(store, planner, NOON_S + SHRINK_S).written == 0
    assert _planned(store) == before
    assert _turn(store, planner, NOON_S + SHRINK_S + REFRESH_S).cause is PlanCause.FREE_SPACE_CHANGED
    assert _planned(store) < before
    _report(store, 5, 5, 4)  # a disk went: at once
    assert _turn(store, planner, NOON_S + SHRINK_S + REFRESH_S + 1).cause is PlanCause.APPLIANCES_CHANGED
    assert _planned(store) == set(NAMES[:4])


def test_everything_stays_everywhere_while_it_fits_whatever_is_forecast(store: SqlStore, tmp_path: Path) -> None:
    _fleet(store, 40)
    path = tmp_path / "forecast"
    _foretell(path, 30.0 / (np.arange(COUNT) + 1.0), NOON_S)
    _turn(store, _planner(store, path), NOON_S)
    assert _planned(store) == set(NAMES)


def test_outside_the_window_what_rises_takes_the_reactive_share_and_is_fetched_at_once(
    store: SqlStore, tmp_path: Path
) -> None:
    _fleet(store, 11)
    path = tmp_path / "forecast"
    plays = 30.0 / (np.arange(COUNT) + 1.0)
    _foretell(path, plays, NIGHT_S)
    planner = _planner(store, path)
    _turn(store, planner, NIGHT_S)
    at_night = _planned(store)
    assert at_night == set(NAMES[:8])
    day_s = NIGHT_S + 10 * 3600
    plays[20] = 40.0
    _foretell(path, plays, day_s)
    assert _turn(store, planner, day_s).written == 1
    assert at_night | {NAMES[20]} <= _planned(store)
    assert {(one.title_id, one.site_id, one.reason) for one in store.fill_orders()} >= {
        (NAMES[20], SiteId("site-a"), "rising")
    }
    before = len(store.fill_orders())
    _turn(store, planner, day_s + 60)
    assert len(store.fill_orders()) == before
    _turn(store, planner, NIGHT_S + 24 * 3600)
    assert len(_planned(store)) == 8
    assert NAMES[20] in _planned(store)
