"""How many log records a second of one core become demand, and in how much memory.

    .venv/bin/python bench/demand.py [--records 5000000] [--rounds 3] [--quick] [--json]

Each case runs in a process of its own on one thread, in turn; figures are records per second of its CPU time (imports
left out) and its greatest memory. `ours` is the whole of `headrace demand count`: batches fetched, looked at, judged,
tallied, totals written and committed. Peers do less: `sql` is the same judgement and tally in one statement of
hand-written SQL on DuckDB, without totals; `pandas` sums bytes by file, site and hour and judges nothing. `scattered`
is ours with the worst input there is: no two records of one session. `ship` is the appliance's side: lines of a log
made into a batch. Goals: ours at 1,000,000 records a second of a core, within the memory that DuckDB is given and 400
MiB for Python and its libraries, whatever the number of records.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from headrace.appliance.adapters.batch_file import ClientBits, write_batch
from headrace.base.clock import SystemClock
from headrace.base.ids import ApplianceId, SiteId
from headrace.metering.adapters.duckdb_engine import DuckDbEngine
from headrace.metering.count import Meter, Surroundings
from headrace.metering.folder import hold_totals
from headrace.metering.model import MeterLimits
from headrace.telemetry.batch import BatchName
from headrace.telemetry.testing import log_line
from headrace.wire.batch_store import open_batch_store
from rig.machine import machine_facts

GOAL_PER_S = 1_000_000
MEMORY_BYTES = 512 << 20
MOST_RSS_BYTES = MEMORY_BYTES + (400 << 20)
BATCHES = 8
FILES = 50_000
ASKS = 200
"""Of one session."""
RESULTS = Path(__file__).parent / "results" / "demand.json"
CASES = ("ours", "sql", "pandas", "scattered", "ship")

_MADE = """
COPY (
    SELECT '{appliance}' AS appliance, {start_ms} + s.start_ms + 4000 * j AS time_ms,
        (50 + hash(j) % 300)::BIGINT AS duration_ms, f.file,
        (CASE WHEN is_miss THEN 302 ELSE 206 END)::BIGINT AS status, false AS is_proxied,
        (j * 1000000)::BIGINT AS first_byte, (j * 1000000 + 999999)::BIGINT AS last_byte,
        (CASE WHEN is_miss THEN 0 WHEN {number} = 0 AND hash(s.s + j * 13) % 100 = 0 THEN 5000000000 ELSE 1000000
            END)::BIGINT AS body_bytes,
        '10.' || (s.s % 200) || '.' || (s.s % 250) || '.0/24' AS client, {session} AS session,
        3200::BIGINT AS bitrate_kbps,
        (20000 + hash(s.s * j) % 30000)::BIGINT AS throughput_kbps, (hash(j * s.s) % 30000)::BIGINT AS buffer_ms,
        NULL::BIGINT AS start_delay_ms, hash(s.s * 3 + j) % 200 = 0 AS is_starved, j < 3 AS is_startup
    FROM (
        SELECT s.*, j, hash(s.s * 7 + j) % 50 = 0 AS is_miss FROM (
            SELECT i AS s, (hash(i * 31) % 7200000)::BIGINT AS start_ms,
                (pow((hash(i * 17 + {number}) % 100000) / 100000.0, 4) * {files})::INT AS file_number
            FROM range({sessions}) t(i)
        ) s, range({asks}) u(j)
    ) s JOIN files f ON f.number = s.file_number
    ORDER BY f.file, time_ms
) TO '{path}' (FORMAT parquet, COMPRESSION zstd, KV_METADATA {{'headrace.batch': '1', 'headrace.lines': '{rows}'}})
"""
_SQL = """
SELECT file, appliance, hour, reason, session, count(*), sum(asked), sum(served), min(begun_ms),
    min(begun_ms) FILTER (is_startup), min(begun_ms) FILTER (NOT is_startup), sum(throughput_kbps), sum(is_starved::INT)
FROM (
    SELECT b.*, time_ms // 3600000 AS hour, time_ms - duration_ms AS begun_ms,
        CASE WHEN f.file IS NULL THEN 'unknown' WHEN first_byte >= size_bytes THEN 'beyond' WHEN body_bytes > size_bytes
            THEN 'long' WHEN time_ms > 1900000000000 THEN 'ahead' ELSE '' END AS reason,
        least(last_byte, size_bytes - 1) - first_byte + 1 AS asked,
        CASE WHEN status = 302 OR is_proxied THEN 0 ELSE body_bytes END AS served
    FROM read_parquet('{batches}') b LEFT JOIN '{files}' f USING (file)
) GROUP BY ALL
"""


def make(folder: Path, records: int, *, is_scattered: bool) -> None:
    """Batches in a store, as agents leave them, and the files that are asked for."""
    with duckdb.connect(config={"threads": 2}) as database:
        database.execute(
            "CREATE TABLE files AS SELECT i AS number, sha256('f' || i) AS file, "
            f"(300000000 + hash(i) % 1800000000)::BIGINT AS size_bytes, "
            f"'t' || (i // 12) AS title, 'r' || (i % 12) AS rendition FROM range({FILES}) t(i)"
        )
        database.execute(f"COPY (SELECT * EXCLUDE number FROM files) TO '{folder}/files.parquet' (FORMAT parquet)")
        sessions = records // BATCHES // ASKS
        start_ms = (int(time.time()) - 4 * 3_600) * 1_000
        for number in range(BATCHES):
            name = BatchName(
                day="2027-01-15",
                appliance=ApplianceId(f"a{number}"),
                log=f"{start_ms:013d}-{number:016x}",
                first=0,
                end=1,
            )
            path = folder / "batches" / name.path
            path.parent.mkdir(parents=True)
            session = (
                f"(hash((s.s + {number} * 1000000) * 1000 + j) >> 4)::BIGINT"
                if is_scattered
                else f"(hash(s.s + {number} * 1000000) >> 4)::BIGINT"
            )
            database.execute(
                _MADE.format(
                    appliance=name.appliance, start_ms=start_ms, number=number, files=FILES, sessions=sessions,
                    asks=ASKS, path=path, session=session, rows=sessions * ASKS,
                )
            )  # fmt: skip


def ours(folder: Path) -> int:
    """`headrace demand count`."""
    totals = folder / "totals"
    with hold_totals(totals) as held:
        engine = DuckDbEngine(totals / "scratch", memory_bytes=MEMORY_BYTES, threads=1)
        meter = Meter(open_batch_store(str(folder / "batches")), held, engine, MeterLimits(), clock=SystemClock())
        sites = {ApplianceId(f"a{number}"): SiteId(f"s{number // 2}") for number in range(BATCHES)}
        around = Surroundings(
            files=folder / "files.parquet", sites=sites, home_of=lambda client: f"s{int(client.split('.')[1]) % 4}"
        )
        report = meter.count(around)
        engine.close()
    return report.requests


def sql(folder: Path) -> int:
    """The same by hand."""
    with duckdb.connect(
        config={"threads": 1, "memory_limit": f"{MEMORY_BYTES}B", "preserve_insertion_order": False}
    ) as database:
        database.execute(
            "CREATE TEMP TABLE tally AS "
            + _SQL.format(batches=folder / "batches/*/*/*/*.parquet", files=folder / "files.parquet")
        )
        (requests,) = database.execute("SELECT sum(#6) FROM tally").fetchone() or (0,)
    return int(requests)


def pandas(folder: Path) -> int:
    """Bytes by file, site and hour, a batch at a time."""
    sizes = pd.read_parquet(folder / "files.parquet", columns=["file", "size_bytes"])
    requests = 0
    columns = ["appliance", "time_ms", "file", "first_byte", "last_byte", "body_bytes", "status"]
    for path in sorted((folder / "batches").rglob("*.parquet")):
        batch = pd.read_parquet(path, columns=columns).merge(sizes, on="file")
        batch["hour"] = batch.time_ms // 3_600_000
        batch["asked"] = batch.last_byte.clip(upper=batch.size_bytes - 1) - batch.first_byte + 1
        summed = batch.groupby(["file", "appliance", "hour"]).agg(
            {"asked": "sum", "body_bytes": "sum", "status": "size"}
        )
        requests += int(summed.status.sum())
    return requests


def ship(folder: Path) -> int:
    """A piece of a log into a batch."""
    write_batch(folder / "piece.log", folder / "batch.parquet", appliance=ApplianceId("a1"), bits=ClientBits())
    return LINES


LINES = 80_000


def make_log(folder: Path) -> None:
    """About what an agent ships at once."""
    with (folder / "piece.log").open("wb") as log:
        for number in range(LINES):
            name = f"{hash(number % 997) % 2**256:064x}"
            log.write(
                log_line(
                    time=f"{1_800_000_000 + number / 1_000:.3f}", status="206", path=f"/f/{name[:2]}/{name}.mp4",
                    range=f"bytes={number}-{number + 3_999_999}", body_bytes="4000000", duration="0.312",
                    client=f"10.{number % 7}.{number % 251}.{number % 241}",
                    cmcd_session=rf"sid=\x22{number % 5_000:08x}-c457-11e9-bb97-0800200c9a66\x22,sf=h,st=v",
                    cmcd_request="bl=21300,dl=21300,mtp=48100", cmcd_object="br=3200,d=4004,ot=v,tb=6000",
                    rtt="20000", rttvar="100", snd_cwnd="10", rcv_space="14600",
                    user_agent="Mozilla/5.0 (X11; Linux x86_64)",
                )
                + b"\n"
            )  # fmt: skip


def run_case(name: str, folder: Path) -> dict[str, Any]:
    """In this process."""
    work: dict[str, Callable[[Path], int]] = {
        "ours": ours,
        "scattered": ours,
        "sql": sql,
        "pandas": pandas,
        "ship": ship,
    }
    warm = DuckDbEngine(folder / "warm", memory_bytes=64 << 20, threads=1)
    warm.fetch(warm.rows_of({"warm": [1]}, [("warm", "int64")]))  # imports what Ibis loads late
    warm.close()
    begun_s = time.process_time()
    records = work[name](folder)
    cpu_s = time.process_time() - begun_s
    return {
        "case": name,
        "records": records,
        "cpu_s": cpu_s,
        "per_s": records / cpu_s,
        "rss_bytes": most_memory_bytes(),
    }


def most_memory_bytes() -> int:
    """Of this process; getrusage would tell of what it was forked from as well."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1_024


def measure(name: str, folder: Path) -> dict[str, Any]:
    """In a process of its own."""
    command = [sys.executable, __file__, "--case", name, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-1_500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rounds_of(records: int, rounds: int) -> list[dict[str, Any]]:
    """All cases, in turn, as often as asked for; and ours once with a quarter of the records, to see memory grow."""
    samples = []
    with tempfile.TemporaryDirectory(prefix="headrace-bench-demand-") as scratch:
        places = {name: Path(scratch, name) for name in ("plain", "scattered", "quarter")}
        for name, place in places.items():
            place.mkdir()
            make(place, records // 4 if name == "quarter" else records, is_scattered=name == "scattered")
        make_log(places["plain"])
        samples.append({**measure("ours", places["quarter"]), "case": "ours, a quarter"})
        for number in range(rounds):
            for name in CASES:
                place = places["scattered" if name == "scattered" else "plain"]
                subprocess.run(["rm", "-rf", str(place / "totals")], check=True)
                samples.append({**measure(name, place), "round": number})
    return samples


def report(samples: list[dict[str, Any]], *, as_json: bool) -> bool:
    """Print the figures; whether the goals are met."""
    table = {}
    for name in dict.fromkeys(sample["case"] for sample in samples):
        some = [sample for sample in samples if sample["case"] == name]
        table[name] = {
            "records": some[0]["records"],
            "per_s": statistics.median(sample["per_s"] for sample in some),
            "rss_bytes": max(sample["rss_bytes"] for sample in some),
        }
    is_met = table["ours"]["per_s"] >= GOAL_PER_S and table["ours"]["rss_bytes"] <= MOST_RSS_BYTES
    result = {"machine": machine_facts(), "memory_bytes": MEMORY_BYTES, "table": table, "samples": samples}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    if as_json:
        print(json.dumps(result))
        return is_met
    print(f"{'case':<16} {'records':>12} {'records/CPU s':>14} {'ours is':>8} {'memory':>9}")
    for name, row in table.items():
        ratio = table["ours"]["per_s"] / row["per_s"]
        memory = f"{row['rss_bytes'] / 2**20:.0f} MiB"
        print(f"{name:<16} {row['records']:>12,} {row['per_s']:>14,.0f} {ratio:>7.2f}x {memory:>9}")
    print("goals met" if is_met else f"goal missed: {GOAL_PER_S:,} records a second within {MOST_RSS_BYTES >> 20} MiB")
    return is_met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the records, one round")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.case:
        print(json.dumps(run_case(asked.case, asked.folder)))
        return 0
    records, rounds = (asked.records // 10, 1) if asked.quick else (asked.records, asked.rounds)
    return 0 if report(rounds_of(records, rounds), as_json=asked.json) else 1


if __name__ == "__main__":
    sys.exit(main())
