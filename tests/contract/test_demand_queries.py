"""The queries of demand on each engine, real: the same totals, to the byte, as counted here the slow way."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from headrace.demand import queries
from headrace.demand.queries import Reason, Span
from headrace.metering.adapters.duckdb_engine import DuckDbEngine
from headrace.metering.adapters.spark_engine import SparkEngine
from headrace.metering.errors import EngineError
from headrace.metering.intake import COLUMNS
from headrace.metering.ports import Engine

pytestmark = pytest.mark.filterwarnings(
    # PySpark lets sockets to its Java machine be closed by the garbage collector.
    "ignore:unclosed <socket:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
HOUR_MS = queries.HOUR_MS
NOW_MS = 500_000 * HOUR_MS
SPAN = Span(first_ms=NOW_MS - 10 * HOUR_MS, end_ms=NOW_MS + HOUR_MS)
FILES = [
    {"file": "f1", "size_bytes": 10_000, "title": "t1", "rendition": "v720"},
    {"file": "f2", "size_bytes": 500, "title": "t1", "rendition": "a"},
    {"file": "f3", "size_bytes": 20_000, "title": "t2", "rendition": "v720"},
]
PLAIN: dict[str, Any] = {
    "appliance": "a1",
    "time_ms": NOW_MS,
    "duration_ms": 100,
    "file": "f1",
    "status": 206,
    "is_proxied": False,
    "first_byte": 0,
    "last_byte": 999,
    "body_bytes": 1_000,
    "client": "192.0.2.0/24",
    "session": None,
    "bitrate_kbps": None,
    "throughput_kbps": None,
    "buffer_ms": None,
    "start_delay_ms": None,
    "is_starved": False,
    "is_startup": False,
}
SESSION = [
    {"session": 7, "time_ms": NOW_MS + 1_000, "duration_ms": 500, "is_startup": True, "throughput_kbps": 4_000},
    {"session": 7, "time_ms": NOW_MS + 2_000, "duration_ms": 500, "is_startup": True, "throughput_kbps": 10**9},
    {"session": 7, "time_ms": NOW_MS + 4_000, "duration_ms": 500, "throughput_kbps": 6_000},
    {"session": 7, "time_ms": NOW_MS + HOUR_MS - 1, "duration_ms": 500, "is_starved": True},
    {"session": 8, "time_ms": NOW_MS + 9_000, "start_delay_ms": 250, "file": "f3"},
    {"session": 8, "time_ms": NOW_MS + 9_500, "start_delay_ms": 10**9, "file": "f3", "appliance": "a2"},
    {"session": 9, "time_ms": NOW_MS + 9_000, "file": "f3"},
]
MAX = 2**63 - 1
HOME = ("198.51.100.0/24", "south")
"""Clients of a network belong to a site; of all others nothing is known."""

FEW_ROWS = {
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.adaptive.enabled": "false",
}
"""With a few rows Spark would mostly compile; the answers are the same."""

CASES: dict[str, tuple[dict[str, Any], tuple[int, int] | Reason]] = {
    "a range": ({}, (1_000, 1_000)),
    "a range past the end": ({"first_byte": 9_500, "last_byte": 99_999, "body_bytes": 500}, (500, 500)),
    "broken off": ({"body_bytes": 10}, (1_000, 10)),
    "a range without end, broken off": ({"last_byte": None, "body_bytes": 3_000}, (3_000, 3_000)),
    "a range without end, redirected": (
        {"status": 302, "first_byte": 4_000, "last_byte": None, "body_bytes": 138},
        (6_000, 0),
    ),
    "redirected": ({"status": 302, "body_bytes": 0}, (1_000, 0)),
    "fetched through": ({"is_proxied": True}, (1_000, 0)),
    "whole": ({"status": 200, "last_byte": None, "body_bytes": 10_000}, (10_000, 10_000)),
    "the whole file for a range": ({"status": 200, "body_bytes": 10_000}, (10_000, 10_000)),
    "confirmed": ({"status": 304, "body_bytes": 0}, (0, 0)),
    "several ranges": ({"first_byte": None, "last_byte": None, "body_bytes": 700}, (700, 700)),
    "first instant": ({"time_ms": SPAN.first_ms}, (1_000, 1_000)),
    "too old": ({"time_ms": SPAN.first_ms - 1}, Reason.LATE),
    "at the epoch": ({"time_ms": 0}, Reason.LATE),
    "before the epoch": ({"time_ms": -5}, Reason.IMPLAUSIBLE),
    "ahead": ({"time_ms": SPAN.end_ms}, Reason.AHEAD),
    "far ahead": ({"time_ms": 2**45}, Reason.AHEAD),
    "beyond all time": ({"time_ms": MAX, "duration_ms": -MAX}, Reason.IMPLAUSIBLE),
    "no such file": ({"file": "f9"}, Reason.UNKNOWN_FILE),
    "no file": ({"file": None}, Reason.IMPLAUSIBLE),
    "empty file name": ({"file": ""}, Reason.UNKNOWN_FILE),
    "begins after the end": (
        {"status": 302, "first_byte": 10_000, "last_byte": None, "body_bytes": 0},
        Reason.BEYOND_FILE,
    ),
    "huge range": ({"last_byte": 10**15 - 1}, (10_000, 1_000)),
    "endless range": ({"first_byte": -MAX, "last_byte": MAX}, Reason.IMPLAUSIBLE),
    "more than the file": ({"status": 200, "last_byte": None, "body_bytes": 10_001}, Reason.TOO_LONG),
    "more than the range": ({"body_bytes": 1_001}, Reason.TOO_LONG),
    "endless": ({"status": 200, "last_byte": None, "body_bytes": MAX}, Reason.IMPLAUSIBLE),
    "a redirect with a film in it": ({"status": 302, "body_bytes": 100_000}, Reason.TOO_LONG),
    "less than nothing": ({"body_bytes": -1}, Reason.IMPLAUSIBLE),
    "backwards": ({"first_byte": 10, "last_byte": 5, "body_bytes": 0}, Reason.IMPLAUSIBLE),
    "before the file": ({"first_byte": -10, "body_bytes": 0}, Reason.IMPLAUSIBLE),
    "took for ever": ({"duration_ms": MAX}, Reason.IMPLAUSIBLE),
    "ended before it began": ({"duration_ms": -1}, Reason.IMPLAUSIBLE),
    "without time": ({"time_ms": None}, Reason.IMPLAUSIBLE),
    "without status": ({"status": None}, Reason.IMPLAUSIBLE),
    "an error": ({"status": 404, "body_bytes": 0, "file": "f9"}, Reason.ANSWER),
    "a refusal": ({"status": 416, "first_byte": 99_999, "last_byte": None, "body_bytes": 0}, Reason.ANSWER),
}


@pytest.fixture(scope="module", params=["duckdb", "spark"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    scratch = tmp_path_factory.mktemp(request.param)
    if request.param == "duckdb":
        opened: Engine = DuckDbEngine(scratch / "work", memory_bytes=512 << 20)
    else:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        opened = SparkEngine(scratch / "work", master="local[1]", settings=FEW_ROWS)
    yield opened
    opened.close()


@pytest.fixture
def read(engine: Engine, tmp_path: Path) -> Callable[..., Any]:
    """Requests, each laid over a plain one, as the engine reads them from two batches."""

    def judged(*requests: dict[str, Any]) -> Any:
        files, batches = tmp_path / "files.parquet", [tmp_path / f"batch-{number}.parquet" for number in range(2)]
        types = {"string": pyarrow.string(), "int64": pyarrow.int64()}
        schema = pyarrow.schema([(name, types[kind]) for name, kind in queries.FILES])
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(FILES, schema=schema), files)
        for number, batch in enumerate(batches):
            some = [PLAIN | request for request in requests[number::2]]
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(some, schema=pyarrow.schema(COLUMNS)), batch)
        homes = engine.rows_of({"client": [HOME[0]], "home": [HOME[1]]}, queries.HOMES)
        return queries.at_home(queries.judged(engine.read(batches), engine.read([files]), SPAN), homes)

    return judged


def around(engine: Engine) -> tuple[Any, Any]:
    """Appliances and files."""
    files = {name: [row[name] for row in FILES] for name, _ in queries.FILES}
    sites = {"appliance": ["a1", "a2"], "site": ["north", "south"]}
    return engine.rows_of(sites, queries.APPLIANCES), engine.rows_of(files, queries.FILES)


def rows(engine: Engine, table: Any) -> list[dict[str, Any]]:
    return engine.fetch(table).to_pylist()


def test_each_request_is_judged(engine: Engine, read: Callable[..., Any]) -> None:
    # The number of a case goes with it as the bit rate, which nothing is judged by.
    table = read(*(case | {"bitrate_kbps": number} for number, (case, _) in enumerate(CASES.values())))
    found = {row["bitrate_kbps"]: row for row in rows(engine, table)}
    assert len(found) == len(CASES)
    for number, (name, (_, wanted)) in enumerate(CASES.items()):
        row = found[number]
        if isinstance(wanted, Reason):
            assert row["reason"] == wanted, name
        else:
            assert (row["reason"], row["asked"], row["served"]) == ("", *wanted), name


def test_demand_is_the_sum_of_what_counts(engine: Engine, read: Callable[..., Any]) -> None:
    table = read(*(case for case, _ in CASES.values()), {"appliance": "a2"}, {"time_ms": NOW_MS - 1})
    tallied = engine.keep("tally", queries.tally(table))
    good = [wanted for _, wanted in CASES.values() if not isinstance(wanted, Reason)]
    found = {
        (row["hour"], row["site"], row["file"], row["title"], row["rendition"], row["size_bytes"]): (
            row["bytes_asked"],
            row["bytes_served"],
            row["requests"],
        )
        for row in rows(engine, queries.demand(tallied, *around(engine)))
    }
    first_hour = SPAN.first_ms // HOUR_MS
    f1 = ("f1", "t1", "v720", 10_000)
    assert found == {
        (500_000, "north", *f1): (
            sum(one[0] for one in good) - 1_000,
            sum(one[1] for one in good) - 1_000,
            len(good) - 1,
        ),
        (first_hour, "north", *f1): (1_000, 1_000, 1),
        (499_999, "north", *f1): (1_000, 1_000, 1),
        (500_000, "south", *f1): (1_000, 1_000, 1),
    }


def test_demand_is_of_the_site_that_should_have_served(engine: Engine, read: Callable[..., Any]) -> None:
    ours = {"client": HOME[0]}
    table = read(ours, ours, ours | {"appliance": "a2"}, {"appliance": "a1"}, {"client": ""}, {"client": None})
    networks = rows(engine, queries.clients(table, most=10))
    assert sorted(row["client"] for row in networks) == sorted([HOME[0], PLAIN["client"]])
    tallied = engine.keep("tally", queries.tally(table))
    found = {row["site"]: row for row in rows(engine, queries.demand(tallied, *around(engine)))}
    assert {site: (row["bytes_asked"], row["bytes_served"]) for site, row in found.items()} == {
        "south": (3_000, 1_000),
        "north": (3_000, 3_000),
    }


def test_offload_says_who_served_whose_clients(engine: Engine, read: Callable[..., Any]) -> None:
    ours = {"client": HOME[0]}
    table = read(
        ours,
        ours | {"time_ms": NOW_MS - 1},
        ours | {"appliance": "a2", "body_bytes": 400},
        ours | {"appliance": "a2", "file": "f3"},
        {},
        ours | {"appliance": "a2", "is_proxied": True},
        ours | {"status": 302, "body_bytes": 138},
        ours | {"status": 404},
        ours | {"file": "f9"},
    )
    offload = engine.keep("offload", queries.offload(engine.keep("tally", queries.tally(table)), around(engine)[0]))
    found = {
        (row["hour"], row["home"], row["served_by"]): (row["bytes_served"], row["bytes_through"])
        for row in rows(engine, offload)
    }
    assert found == {
        (500_000, "south", "north"): (1_000, 0),
        (499_999, "south", "north"): (1_000, 0),
        (500_000, "south", "south"): (1_400, 1_000),
        (500_000, "", "north"): (1_000, 0),
    }
    for kinds, others in (({"north": "public-peering", "west": "embedded"}, "public-peering"), ({}, "unknown")):
        known = engine.rows_of({"served_by": list(kinds), "kind": list(kinds.values())}, queries.KINDS)
        by_tier = rows(engine, queries.offload_by_tier(offload, known, by=("home",)))
        assert {(row["home"], row["tier"]): (row["bytes_served"], row["bytes_through"]) for row in by_tier} == {
            ("south", "own"): (1_400, 1_000),
            ("south", others): (2_000, 0),
            ("", "no-home"): (1_000, 0),
        }
        tiers = rows(engine, queries.offload_by_tier(offload, known, by=()))
        assert sum(row["bytes_served"] for row in tiers) == 4_400


def test_what_does_not_count_is_counted_by_reason_and_set_aside(engine: Engine, read: Callable[..., Any]) -> None:
    table = read(*(case for case, _ in CASES.values()))
    tallied = engine.keep("tally", queries.tally(table))
    wanted = [one for _, one in CASES.values() if isinstance(one, Reason)]
    found = {row["reason"]: row["requests"] for row in rows(engine, queries.flaws(tallied))}
    assert found == {reason: wanted.count(reason) for reason in set(wanted)}
    aside = rows(engine, queries.set_aside(table, most=100))
    assert sorted(row["reason"] for row in aside) == sorted(one for one in wanted if one is not Reason.ANSWER)
    assert len(rows(engine, queries.set_aside(table, most=3))) == 3
    # However many different files and sessions are made up, the tally does not grow by them.
    many = read(*({"file": f"x{number}", "session": number} for number in range(50)))
    assert len(rows(engine, queries.tally(many))) == 1


def test_sessions_and_what_they_lived_through(engine: Engine, read: Callable[..., Any]) -> None:
    tallied = engine.keep("tally", queries.tally(read(*SESSION, {})))
    sessions = engine.keep("sessions", queries.sessions(tallied, *around(engine)))
    by_title = rows(engine, queries.quality(sessions, by=("title",), most=10))
    assert [(row["title"], row["sessions"]) for row in by_title] == [("t2", 2), ("t1", 1)]
    second, first = by_title
    # From the first request's beginning (+500 ms) to the first that is not urgent (+3500 ms).
    assert (first["delay_ms"], first["rebuffers"], first["rebuffered_sessions"], first["kbps"]) == (3_000, 1, 1, 5_000)
    assert (second["delay_ms"], second["rebuffers"], second["kbps"]) == (250, 0, None)
    by_site = rows(engine, queries.quality(sessions, by=("site",), most=10))
    assert {row["site"]: row["sessions"] for row in by_site} == {"north": 3, "south": 1}


def test_what_is_asked_for_most_comes_first(engine: Engine, read: Callable[..., Any]) -> None:
    table = read(
        {},
        {},
        {"file": "f2", "last_byte": 499, "body_bytes": 500},
        {"file": "f3", "last_byte": 8_999, "body_bytes": 9_000},
    )
    demand = engine.keep("demand", queries.demand(engine.keep("tally", queries.tally(table)), *around(engine)))
    found = rows(engine, queries.top(demand, by=("title",), most=10))
    assert [(row["title"], row["bytes_asked"], row["requests"]) for row in found] == [
        ("t2", 9_000, 1),
        ("t1", 2_500, 3),
    ]
    assert [row["plays"] for row in found] == pytest.approx([0.45, 1.2])
    assert [row["file"] for row in rows(engine, queries.top(demand, by=("file",), most=2))] == ["f3", "f1"]


def test_totals_are_files_that_either_engine_reads(engine: Engine, read: Callable[..., Any], tmp_path: Path) -> None:
    tallied = engine.keep("tally", queries.tally(read(*SESSION)))
    files = engine.write(queries.demand(tallied, *around(engine)), tmp_path / "out")
    table = pyarrow.concat_tables(pyarrow.parquet.read_table(file) for file in files)
    assert sum(table.column("requests").to_pylist()) == len(SESSION)
    numbers = {"hour", "size_bytes", "bytes_asked", "bytes_served", "requests"}
    assert {field.name: str(field.type) for field in table.schema} == {
        name: "int64" if name in numbers else "string"
        for name in (
            "hour",
            "site",
            "file",
            "title",
            "rendition",
            "size_bytes",
            "bytes_asked",
            "bytes_served",
            "requests",
        )
    }


def test_a_broken_file_is_the_engines_error(engine: Engine, tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 no parquet PAR1")
    with pytest.raises(EngineError):
        engine.fetch(engine.read([broken]))


def test_counts_put_together_are_one_count(engine: Engine, read: Callable[..., Any]) -> None:
    parts = [SESSION[:3], [*SESSION[3:], {}], [{"client": HOME[0]}, {}]]

    def offload(tallied: Any, appliances: Any, _files: Any) -> Any:
        return queries.offload(tallied, appliances)

    for kind, together in (
        (queries.demand, queries.sum_demand),
        (queries.sessions, queries.sum_sessions),
        (offload, queries.sum_offload),
    ):
        each = []
        for number, part in enumerate(parts):
            tallied = engine.keep("tally", queries.tally(read(*part)))
            each.append(engine.keep(f"part{number}", kind(tallied, *around(engine))))
        whole = engine.keep("tally", queries.tally(read(*(one for part in parts for one in part))))
        joined = engine.keep("joined", each[0].union(each[1]).union(each[2]))
        found, wanted = rows(engine, together(joined)), rows(engine, kind(whole, *around(engine)))
        assert sorted(map(str, found)) == sorted(map(str, wanted))
        assert len(found) < len(rows(engine, joined))
