"""From a log to demand on real parts: shipped by the agent's shipper, counted by DuckDB, shown by the command."""

import json
import logging
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pyarrow
import pyarrow.parquet
import pytest
from moto.server import ThreadedMotoServer

from headrace.appliance.config import ShipSettings
from headrace.appliance.ship import LogShipper
from headrace.base.clock import ManualClock, SystemClock
from headrace.base.ids import ApplianceId
from headrace.base.rng import make_rng
from headrace.control.testing import make_site
from headrace.control.testing_api import enrol_request
from headrace.control.testing_process import HEADRACE, register, running
from headrace.demand.offload import Tier
from headrace.fleet.model import SiteKind
from headrace.metering.adapters.duckdb_engine import DuckDbEngine
from headrace.metering.count import CountReport, Meter, Surroundings
from headrace.metering.folder import hold_totals
from headrace.metering.model import Fate, Kind, MeterLimits
from headrace.metering.offload import summarise
from headrace.metering.surroundings import keep_surroundings
from headrace.metering.testing import A1, A2, HOUR, NOW_S, SITES, Ask, expected, title_of, tree_bytes
from headrace.metering.totals import open_totals
from headrace.telemetry.batch import parse_name
from headrace.telemetry.testing import log_line
from headrace.wire.batch_store import BatchStore, BatchStoreError, StoredBatch, open_batch_store
from headrace.wire.codec import encode
from headrace.wire.operator import TitleRegistration

LIMITS = MeterLimits(late_s=10 * 365 * 86_400.0, skew_s=10 * 365 * 86_400.0, keep_s=1e9)
"""Stores keep the machine's time, logs that of the examples."""


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BatchStore:
    if request.param == "folder":
        return open_batch_store(str(tmp_path / "batches"))
    endpoint = request.getfixturevalue("s3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="logs")
    client.close()
    return open_batch_store(f"s3://logs/{tmp_path.name}", timeout_s=30.0)


def shipper(folder: Path, store: BatchStore, appliance: ApplianceId, clock: ManualClock, *, batch_bytes: int = 4_000):
    settings = ShipSettings(
        url="", batch_bytes=batch_bytes, batch_s=60.0, timeout_s=10.0, client_bits_ipv4=24, client_bits_ipv6=48
    )
    logs = folder / appliance / "nginx"
    logs.mkdir(parents=True, exist_ok=True)
    return LogShipper(
        appliance, store, settings, logs=logs, folder=folder / appliance / "ship", clock=clock, rng=make_rng(1)
    )


def log_asks(folder: Path, appliance: ApplianceId, asks: list[Ask]) -> None:
    place = folder / appliance / "nginx"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "access.log").open("ab") as log:
        log.writelines(log_line(**ask.fields()) + b"\n" for ask in asks)


def some_asks(seed: int, many: int) -> list[Ask]:
    rng = random.Random(seed)
    return [
        Ask(
            file=rng.choice([10, 11, 20, 21]),
            first=rng.randrange(1_000_000),
            length=rng.randrange(1, 200_000),
            at_s=NOW_S + rng.randrange(3) * 3_600 + number / 1_000,
            is_miss=rng.random() < 0.2,
            session=f"s{rng.randrange(5)}",
        )
        for number in range(many)
    ]


async def ship_all(each: LogShipper, clock: ManualClock) -> None:
    """What is due, then what has waited long enough."""
    await each.open()
    await each.turn()
    clock.advance(120.0)
    await each.turn()


def count(totals: Path, store: BatchStore, *, limits: MeterLimits = LIMITS) -> CountReport:
    with hold_totals(totals) as folder:
        surroundings: Surroundings = keep_surroundings(totals, [title_of(1), title_of(2)], SITES)
        engine = DuckDbEngine(totals / "scratch", memory_bytes=256 << 20, threads=1)
        try:
            return Meter(store, folder, engine, limits, clock=ManualClock(NOW_S)).count(surroundings)
        finally:
            engine.close()


def demand_of(totals: Path) -> dict[tuple[str, str, int], tuple[int, int, int]]:
    engine = DuckDbEngine(totals / "reading", memory_bytes=256 << 20, threads=1)
    try:
        with open_totals(totals) as opened:
            found = opened.demand(engine, first_s=0, end_s=2 * NOW_S)
    finally:
        engine.close()
    return {
        (found.files[found.file[row]], found.sites[found.site[row]], int(found.hour[row])): (
            int(found.bytes_asked[row]),
            int(found.bytes_served[row]),
            int(found.requests[row]),
        )
        for row in range(len(found.file))
    }


async def test_each_request_counts_once_by_file_site_and_hour(store: BatchStore, tmp_path: Path) -> None:
    asks = {A1: some_asks(1, 120), A2: some_asks(2, 60)}
    clock = ManualClock(NOW_S)
    for appliance, some in asks.items():
        log_asks(tmp_path, appliance, some)
        await ship_all(shipper(tmp_path, store, appliance, clock), clock)
    totals = tmp_path / "totals"
    report = count(totals, store)
    assert report.requests == 180
    assert report.fates[Fate.COUNTED] > 5
    assert demand_of(totals) == expected(asks)
    assert count(totals, store).requests == 0
    log_asks(tmp_path, A1, some_asks(3, 40))
    await ship_all(shipper(tmp_path, store, A1, clock), clock)
    assert count(totals, store).requests == 40
    wanted = expected({A1: asks[A1] + some_asks(3, 40), A2: asks[A2]})
    assert demand_of(totals) == wanted
    # Each count leaves a file of each kind; many small ones become one, and those before it go when nobody reads them.
    before = len(list((totals / "totals").rglob("*.parquet")))
    assert count(totals, store, limits=replace(LIMITS, merge_at=2)).merged == before > 2
    assert demand_of(totals) == wanted
    assert count(totals, store).merged == 0
    assert len(list((totals / "totals").rglob("*.parquet"))) == len(Kind)


def kill(*words: str) -> int:
    """How many children were killed until one ended."""
    script = Path(__file__).with_name("demand_victim.py")
    done = subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return int(done.stdout)


def test_killed_at_any_point_each_request_counts_once(tmp_path: Path) -> None:
    asks = some_asks(4, 200)
    lines = tmp_path / "lines"
    lines.write_bytes(b"".join(log_line(**ask.fields()) + b"\n" for ask in asks))
    (tmp_path / A1 / "nginx").mkdir(parents=True)
    batches = str(tmp_path / "batches")
    assert kill("ship", str(tmp_path), batches, str(lines)) > 5
    totals = tmp_path / "totals"
    with hold_totals(totals):
        keep_surroundings(totals, [title_of(1), title_of(2)], SITES)
    assert kill("count", str(totals), batches) > 5
    assert demand_of(totals) == expected({A1: asks})
    assert not list(open_batch_store(batches).list())


async def ship_some(folder: Path, store: BatchStore, asks: list[Ask]) -> list[StoredBatch]:
    """The log of a1 as batches."""
    clock = ManualClock(NOW_S)
    log_asks(folder, A1, asks)
    await ship_all(shipper(folder, store, A1, clock), clock)
    return sorted(store.list(), key=lambda one: one.path)


async def test_batches_that_are_not_trusted_are_set_aside_whole(tmp_path: Path) -> None:
    store, totals = open_batch_store(str(tmp_path / "batches")), tmp_path / "totals"
    asks = some_asks(5, 60)
    first, second, third, *rest = await ship_some(tmp_path, store, asks)
    good = tmp_path / "batches" / first.path
    # 1. A piece that overlaps: of an appliance that lost its memory and whose store could not be asked.
    name = parse_name(first.path)
    assert name is not None
    store.put(replace(name, end=name.end - 1).path, good)
    # 2. Another's batch under this name; a page that is cut up; an end that is missing; an appliance that nobody knows.
    other = tmp_path / "other.parquet"
    rows = pyarrow.parquet.read_table(good)
    lying = rows.set_column(0, "appliance", pyarrow.array(["a2"] * len(rows)))
    pyarrow.parquet.write_table(lying, other)
    store.put(replace(name, log="9" * 13 + "-" + "0" * 16).path, other)
    broken = tmp_path / "batches" / second.path
    body = bytearray(broken.read_bytes())
    body[8:400] = b"\x55" * 392
    broken.write_bytes(body)
    cut = tmp_path / "batches" / third.path
    cut.write_bytes(cut.read_bytes()[:-50])
    store.put(replace(name, appliance=ApplianceId("stranger")).path, good)
    (tmp_path / "batches" / "notes.txt").write_text("no batch")
    report = count(totals, store)
    assert report.fates == {
        Fate.COUNTED: len(rest) + 1,
        Fate.OVERLAP: 1,
        Fate.CORRUPT: 3,
        Fate.UNKNOWN_APPLIANCE: 1,
    }
    assert report.strangers == 1
    assert len(list((totals / "aside").rglob("*.parquet"))) == 5
    assert sum(row[2] for row in demand_of(totals).values()) == report.requests < 60
    assert not count(totals, store).fates


async def test_requests_that_are_not_trusted_are_counted_by_reason_and_set_aside(tmp_path: Path) -> None:
    store, totals = open_batch_store(str(tmp_path / "batches")), tmp_path / "totals"
    asks = some_asks(6, 30)
    bad = [Ask(file=99), Ask(file=99), Ask(first=5_000_000, is_miss=True), Ask(at_s=NOW_S + 9e8), Ask(at_s=1_000.0)]
    await ship_some(tmp_path, store, asks + bad)
    report = count(totals, store, limits=replace(LIMITS, skew_s=4e8))
    assert report.flaws == {"unknown-file": 2, "beyond-file": 1, "ahead": 1, "late": 1}
    assert demand_of(totals) == expected({A1: asks})
    (aside,) = (totals / "aside").rglob("*.parquet")
    assert sorted(pyarrow.parquet.read_table(aside).column("reason").to_pylist()) == sorted(
        ["unknown-file", "unknown-file", "beyond-file", "ahead", "late"]
    )


async def test_who_forgot_what_was_shipped_asks_the_store(store: BatchStore, tmp_path: Path) -> None:
    asks = some_asks(7, 50)
    shipped = await ship_some(tmp_path, store, asks)
    (tmp_path / A1 / "ship" / "shipped.json").unlink()
    more = some_asks(8, 20)
    again = await ship_some(tmp_path, store, more)
    assert again[: len(shipped)] == shipped
    count(tmp_path / "totals", store)
    assert demand_of(tmp_path / "totals") == expected({A1: asks + more})


async def test_a_store_that_is_away_loses_nothing_and_what_is_deleted_is_counted(tmp_path: Path) -> None:
    clock = ManualClock(NOW_S)
    batches = tmp_path / "batches"
    batches.write_text("no folder")
    store = open_batch_store(str(batches))
    each = shipper(tmp_path, store, A1, clock)
    asks = some_asks(9, 60)
    log_asks(tmp_path, A1, asks)
    with pytest.raises(BatchStoreError):
        await ship_all(each, clock)
    batches.unlink()
    await ship_all(each, clock)
    assert each.counts.waiting_bytes == 0
    assert tree_bytes(tmp_path / A1 / "ship") < 1_000
    count(tmp_path / "totals", store)
    assert demand_of(tmp_path / "totals") == expected({A1: asks})
    log_asks(tmp_path, A1, asks[:3])
    await each.turn()
    (tmp_path / A1 / "nginx" / "access.log").unlink()
    await each.turn()
    assert each.counts.lost_bytes > 100


async def test_the_command_shows_what_was_asked_for(tmp_path: Path) -> None:
    store, totals = open_batch_store(str(tmp_path / "batches")), tmp_path / "totals"
    asks = some_asks(10, 40)
    await ship_some(tmp_path, store, asks)
    count(totals, store)

    def said(*words: str) -> Any:
        command = [sys.executable, "-m", "headrace.cli.main", "demand", *words, "--totals", str(totals), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    wanted = expected({A1: asks})
    span = ("--since", "2027-01-01T00:00Z", "--until", "2027-02-01T00:00Z")
    shown = said("show", "--by", "file,hour", *span)
    assert sum(row["bytes_asked"] for row in shown) == sum(one[0] for one in wanted.values())
    assert shown[0]["bytes_asked"] == max(one[0] for one in wanted.values())
    (site,) = said("quality", "--by", "site", *span)
    assert (site["site"], site["sessions"]) == ("north", 5)
    assert said("flaws")["batches"] == {"counted": len(list(store.list()))}
    assert said("show", "--since", "1h", "--until", "2027-01-01T00:00Z", "--since", "2026-12-31T00:00Z") == []


def served_of(asks: dict[ApplianceId, list[Ask]], appliance: ApplianceId) -> int:
    return sum(one[1] for one in expected({appliance: asks[appliance]}).values())


async def test_offload_says_which_kind_of_site_served_whose_clients(tmp_path: Path) -> None:
    """All clients are of south; north serves some of them. A folder that was begun before knows nothing of the past."""
    store, totals = open_batch_store(str(tmp_path / "batches")), tmp_path / "totals"
    asks = {A1: some_asks(12, 40), A2: some_asks(13, 60)}
    clock = ManualClock(NOW_S)
    for appliance, some in asks.items():
        log_asks(tmp_path, appliance, some)
        await ship_all(shipper(tmp_path, store, appliance, clock), clock)
    kinds = {SITES[A1]: SiteKind.PRIVATE_PEERING}
    with hold_totals(totals) as folder:
        known = keep_surroundings(totals, [title_of(1), title_of(2)], SITES, kinds)
        known = replace(known, home_of=lambda _client: SITES[A2])
        engine = DuckDbEngine(totals / "scratch", memory_bytes=256 << 20, threads=1)
        try:
            # Several runs, which are merged: as one.
            limits = replace(LIMITS, run_batches=2, merge_at=2)
            assert Meter(store, folder, engine, limits, clock=clock).count(known).merged > 3
            with open_totals(totals) as opened:
                summary = summarise(opened, engine, kinds, now_s=NOW_S + 2 * 3_600)
        finally:
            engine.close()
    own, peering = served_of(asks, A2), served_of(asks, A1)
    assert [hour.hour for hour in summary.hours] == [HOUR, HOUR + 1, HOUR + 2]
    assert sum(hour.bytes_by_tier[Tier.OWN] for hour in summary.hours) == own
    assert [(site.site_id, site.own_bytes, site.total_bytes) for site in summary.sites] == [
        (SITES[A2], own, own + peering)
    ]

    def said(*words: str) -> str:
        command = [*HEADRACE, "demand", "offload", "--totals", str(totals), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    span = ("--since", "2027-01-01T00:00Z", "--until", "2027-02-01T00:00Z")
    told = json.loads(said(*span, "--json"))
    assert told["total"]["bytes_by_tier"] == {"own": own, "private-peering": peering}
    assert told["rows"] == [{"site": "south", **told["total"]}]
    assert told["total"]["shares"]["own"] == pytest.approx(own / (own + peering))
    by_hour = said(*span, "--by", "site,hour")
    assert "private-peering" in by_hour
    assert len(by_hour.splitlines()) == 5, by_hour
    assert "no bytes were counted" in said("--since", "1h")


async def test_offload_is_told_after_each_count_to_who_may_hear_it(tmp_path: Path) -> None:
    store, totals, folder = open_batch_store(str(tmp_path / "batches")), tmp_path / "totals", tmp_path / "control"
    now_s = SystemClock().now_s()
    await ship_some(tmp_path, store, [Ask(at_s=now_s - 60), Ask(at_s=now_s - 30, is_miss=True)])

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*HEADRACE, *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr[-1_500:]
        return done

    call("init", str(folder))
    words = ["demand", "count", "--batches", str(tmp_path / "batches"), "--totals", str(totals)]
    with running(folder) as node, node.client() as client:
        client.headers["content-type"] = "application/json"
        client.put("/v1/titles/t1", content=encode(TitleRegistration(title=title_of(1), expected_version=0)))
        client.put("/v1/sites/site-a", content=encode(make_site()))
        join = client.post("/v1/join-tokens", json={"site_id": "site-a"}).json()["token"]
        enrolled = client.post(
            "/v1/enrol", content=encode(enrol_request(A1)), headers={"authorization": f"Bearer {join}"}
        )
        assert enrolled.is_success, enrolled.text
        made = client.post("/v1/tokens", json={"name": "counts", "role": "read"}).json()["token"]
        reader = tmp_path / "read.token"
        reader.write_text(made)
        assert client.get("/v1/offload").json() == {"summary": None}
        may_not = ["--control", node.url, "--ca", str(folder / "ca.pem"), "--token-file", str(reader)]
        assert "--no-tell" in call(*words, *may_not).stderr
        assert call(*words, *may_not, "--no-tell").stderr == ""
        assert client.get("/v1/offload").json() == {"summary": None}
        assert call(*words, *node.options).stderr == ""
        summary = client.get("/v1/offload").json()["summary"]
        tiers = [tiers for hour in summary["hours"] for tiers in hour["bytes_by_tier"].items()]
        assert [size for _, size in tiers] == [100_000]
        assert tiers[0][0] in {"own", "no-home"}, "as control had made its first snapshot or not"


async def test_files_and_sites_come_from_control_and_are_kept_while_it_is_away(tmp_path: Path) -> None:
    store, totals, folder = open_batch_store(str(tmp_path / "batches")), tmp_path / "totals", tmp_path / "control"
    await ship_some(tmp_path, store, some_asks(11, 3))

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*HEADRACE, *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr[-1_500:]
        return done

    call("init", str(folder))
    words = ["demand", "count", "--batches", str(tmp_path / "batches"), "--totals", str(totals), "--json"]
    with running(folder) as node:
        with node.client() as client:
            assert register(client, "film").status_code == 200
        words += node.options
        # Nobody enrolled a1 there.
        assert json.loads(call(*words).stdout)["fates"] == {"unknown-appliance": 1}
        files = pyarrow.parquet.read_table(totals / "files.parquet")
        assert set(files.column("title").to_pylist()) == {"film"}
    assert "known last" in call(*words).stderr
