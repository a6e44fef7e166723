"""`headrace plan` against a real control node: foretold from counted logs, shown, explained, undone."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from headrace.appliance.config import ShipSettings
from headrace.appliance.ship import LogShipper
from headrace.base.clock import ManualClock
from headrace.base.ids import ApplianceId, SiteId, TitleId
from headrace.base.rng import make_rng
from headrace.catalog.model import content_path
from headrace.cli.testing import Cli
from headrace.control.adapters.store import SqlStore, open_store
from headrace.control.loops.testing import enrol, make_title, publish
from headrace.control.model import StoredReport
from headrace.control.testing_process import running
from headrace.demand.forecast import ForecastReason
from headrace.demand.forecast_titles import ANY_REGION, RegionForecast, TitleForecast
from headrace.fleet.model import ApplianceReport, DiskReport
from headrace.telemetry.testing import log_line
from headrace.wire.batch_store import open_batch_store
from headrace.wire.forecast import read_forecast, write_forecast

COUNT, FILE_BYTES = 12, 10_000
NAMES = [TitleId(f"t{number:02}") for number in range(COUNT)]
A1 = ApplianceId("a1")


def _fleet(store: SqlStore) -> None:
    enrol(store, "a1", "http://127.0.0.1:1")
    for name in NAMES:
        publish(store, make_title(name, FILE_BYTES))
    room = 6 * 2 * FILE_BYTES
    disk = DiskReport(folder="/cache", is_ok=True, total_bytes=room, free_bytes=room)
    now_s = time.time()
    report = StoredReport(
        boot_id="b", sequence=1, received_at_s=now_s, heard_at_s=now_s, report=ApplianceReport(disks=(disk,))
    )
    store.save_report(A1, report, expected_boot_id="", expected_sequence=0)


def _foretell(path: Path, plays: np.ndarray) -> None:
    region = RegionForecast(
        plays=plays, spread=np.sqrt(plays), reason=np.full(COUNT, int(ForecastReason.STEADY)), newcomer_plays=1.0
    )
    write_forecast(path, TitleForecast(made_s=1.8e9, titles=tuple(NAMES), regions={ANY_REGION: region}, scales={}))


def _ship(folder: Path, batches: Path) -> None:
    """Two days of a log in which title t03 was played most."""
    logs = folder / "nginx"
    logs.mkdir()
    lines = []
    for hour in range(40, 1, -1):
        for name in (NAMES[3], NAMES[3], NAMES[hour % 3]):
            file = make_title(name, FILE_BYTES).files[0]
            fields = {
                "time": f"{time.time() - 3600 * hour:.3f}",
                "path": content_path(file.sha256, file.suffix),
                "range": f"bytes=0-{FILE_BYTES - 1}",
                "status": "206",
                "body_bytes": str(FILE_BYTES),
            }
            lines.append(log_line(**fields) + b"\n")
    (logs / "access.log").write_bytes(b"".join(lines))
    settings = ShipSettings(
        url="", batch_bytes=10**6, batch_s=60.0, timeout_s=10.0, client_bits_ipv4=24, client_bits_ipv6=48
    )
    clock = ManualClock(time.time())

    async def ship() -> None:
        store = open_batch_store(str(batches))
        shipper = LogShipper(A1, store, settings, logs=logs, folder=folder / "ship", clock=clock, rng=make_rng(1))
        await shipper.open()
        await shipper.turn()
        clock.advance(120.0)
        await shipper.turn()

    asyncio.run(ship())


def test_what_was_counted_is_foretold_shown_before_it_is_done_explained_and_undone(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "net"
    assert cli("init", str(folder), "--host", "127.0.0.1").code == 0
    store = open_store(f"sqlite:///{folder}/headrace.db")
    _fleet(store)
    store.close()
    _ship(tmp_path, tmp_path / "batches")
    totals, forecast = tmp_path / "totals", tmp_path / "forecast"
    with running(folder) as node:

        def plan(*words: str) -> Any:
            done = cli("plan", *words, "--json", *node.options)
            assert done.code == 0, done.err
            return json.loads(done.out)

        _wait_for_plan(plan)
        (shown,) = plan("show")
        assert (shown["appliance_id"], len(shown["titles"])) == ("a1", 5)
        counted = cli("demand", "count", "--batches", str(tmp_path / "batches"), "--totals", str(totals), *node.options)
        assert counted.code == 0, counted.err
        words = ("--totals", str(totals), "--forecast", str(forecast))
        done = cli("plan", "forecast", *words, *node.options)
        assert done.code == 0, done.err
        made = read_forecast(forecast.read_bytes())
        assert int(np.argmax(made.regions[ANY_REGION].plays)) == made.titles.index(NAMES[3])
        (change,) = plan("diff", "--forecast", str(forecast), "--region-copies", "0")
        assert NAMES[3] in change["comes"]
        assert change["fill_bytes"] == 2 * FILE_BYTES * len(change["comes"])
        assert change["expected_bytes"] > change["expected_now_bytes"]
        file = make_title(NAMES[3], FILE_BYTES).files[0].sha256
        for what in (NAMES[3], file):
            (why,) = plan("explain", what, "--forecast", str(forecast), "--region-copies", "0")
            assert (why["site_id"], why["reason"], why["appliances"]) == (SiteId("site-a"), "expected", ["a1"])
        table = cli("plan", "diff", "--forecast", str(forecast), *node.options)
        assert ("a1" in table.out, table.code) == (True, 0)
    assert cli("plan", "explain", "x", "--forecast", str(forecast), "--control", "http://127.0.0.1:1").code != 0


def _wait_for_plan(plan: Any) -> None:
    ends_s = time.monotonic() + 60
    while not plan("show")[0]["version"]:
        assert time.monotonic() < ends_s
        time.sleep(0.2)


def test_an_earlier_forecast_comes_back(tmp_path: Path, cli: Cli) -> None:
    forecast = tmp_path / "forecast"
    _foretell(tmp_path / "forecast.1", np.full(COUNT, 7.0))
    _foretell(forecast, np.full(COUNT, 9.0))
    done = cli("plan", "rollback", "--forecast", str(forecast))
    assert done.code == 0, done.err
    assert read_forecast(forecast.read_bytes()).regions[ANY_REGION].plays[0] == 7.0
    assert read_forecast((tmp_path / "forecast.1").read_bytes()).regions[ANY_REGION].plays[0] == 9.0
    again = cli("plan", "rollback", "--forecast", str(forecast), "--version", "5")
    assert (again.code, "nothing was kept" in again.err) == (2, True)
