"""A batch says of each line what telemetry.access_log says of it, and its columns are those of telemetry.batch."""

import hashlib
from pathlib import Path

import duckdb
import pytest

from headrace.appliance.adapters.batch_file import BatchCounts, ClientBits, write_batch
from headrace.base.ids import ApplianceId
from headrace.telemetry import batch
from headrace.telemetry.access_log import LogRecord, parse_line
from headrace.telemetry.testing import log_line

FILE = "ab" * 32
PATH = f"/f/ab/{FILE}.mp4"
TYPES = {"string": "VARCHAR", "int64": "BIGINT", "boolean": "BOOLEAN"}

LINES = {
    "plain": {},
    "range": {"range": "bytes=100-4099", "status": "206"},
    "open range": {"range": "bytes=100-", "status": "206"},
    "suffix": {"range": "bytes=-500", "status": "206"},
    "several ranges": {"range": "bytes=0-1,5-9", "status": "206"},
    "range of another unit": {"range": "items=0-1"},
    "huge range": {"range": "bytes=0-" + "9" * 15},
    "redirected": {"status": "302", "body_bytes": "0"},
    "fetched through": {"upstream": "192.0.2.1:80"},
    "asked itself": {"upstream": "unix:/run/own.sock"},
    "asked itself, then another": {"upstream": "unix:/run/own.sock : 192.0.2.1:80"},
    "two upstreams": {"upstream": "192.0.2.1:80, 192.0.2.2:80"},
    "cmcd in headers": {
        "cmcd_session": r"sid=\x226e2fb550-c457-11e9\x22,sf=h,st=v",
        "cmcd_request": "bl=21300,dl=21300,mtp=48100,su",
        "cmcd_object": "br=3200,d=4004,ot=v,tb=6000",
        "cmcd_status": "bs,rtp=12000",
    },
    "cmcd in the query": {"query": "a=1&CMCD=bl%3D500%2Cbr%3D3200%2Cbs%2Cmtp%3D48100%2Csid%3D%226e2fb550%22%2Csu&b=2"},
    "cmcd of both": {"cmcd_object": "br=100", "query": "CMCD=br%3D200%2Cbl%3D300"},
    "keys inside quotes": {"cmcd_session": r"cid=\x22x,su,bs,br=5\x22,sid=\x22s\x22"},
    "flags said at length": {"cmcd_status": "bs=true", "cmcd_request": "su=false"},
    "numbers that are none": {"cmcd_object": "br=high", "cmcd_request": "bl=-5,mtp=1.x"},
    "broken cmcd": {"cmcd_session": r"sid=\x22unended", "query": "CMCD=%ZZ%"},
    "empty cmcd": {"query": "CMCD="},
    "IPv6": {"client": "2001:db8:1:2:3::4"},
}


def rows_of(tmp_path: Path, *lines: bytes, bits: ClientBits | None = None) -> tuple[BatchCounts, list[dict]]:
    piece, target = tmp_path / "piece.log", tmp_path / "batch.parquet"
    piece.write_bytes(b"".join(line + b"\n" for line in lines))
    counts = write_batch(piece, target, appliance=ApplianceId("a1"), bits=bits or ClientBits())
    with duckdb.connect() as database:
        found = database.execute("SELECT * FROM read_parquet(?)", [str(target)])
        names = [column[0] for column in found.description]
        return counts, [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def expected(record: LogRecord) -> dict:
    span = record.range.removeprefix("bytes=").split("-") if record.range.startswith("bytes=") else [""]
    is_single = len(span) == 2 and span[0].isdigit() and "," not in record.range
    said = record.cmcd
    session = said.session_id and int(hashlib.md5(said.session_id.encode()).hexdigest()[:15], 16)
    return {
        "time_ms": round(record.time_s * 1000),
        "duration_ms": round(record.duration_s * 1000),
        "file": record.sha256,
        "status": record.status,
        "first_byte": int(span[0]) if is_single else (None if record.range else 0),
        "last_byte": int(span[1]) if is_single and span[1] else None,
        "body_bytes": record.body_bytes,
        "session": session,
        "bitrate_kbps": said.bitrate_kbps,
        "throughput_kbps": said.throughput_kbps,
        "buffer_ms": said.buffer_ms,
        "is_starved": bool(said.is_starved),
        "is_startup": bool(said.is_startup),
        "is_miss": record.outcome == "miss",
    }


@pytest.mark.parametrize("name", LINES)
def test_says_what_the_parser_of_lines_says(name: str, tmp_path: Path) -> None:
    line = log_line(**LINES[name])
    record = parse_line(line)
    assert isinstance(record, LogRecord)
    counts, (row,) = rows_of(tmp_path, line)
    assert counts == BatchCounts(lines=1, flawed=0, own=0, rows=1)
    row["is_miss"] = row["status"] == 302 or (row["is_proxied"] and row["status"] in (200, 206))
    wanted = expected(record)
    assert {key: row[key] for key in wanted} == wanted


def test_columns_and_their_types(tmp_path: Path) -> None:
    rows_of(tmp_path, log_line())
    with duckdb.connect() as database:
        found = database.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(tmp_path / "batch.parquet")]).fetchall()
        meta = dict(
            database.execute(
                "SELECT key, value FROM parquet_kv_metadata(?)", [str(tmp_path / "batch.parquet")]
            ).fetchall()
        )
    assert {row[0]: row[1] for row in found} == {name: TYPES[kind] for name, kind in batch.COLUMNS}
    assert meta[batch.META_VERSION] == str(batch.VERSION).encode()
    assert meta[batch.META_LINES] == b"1"


def test_addresses_are_shortened_and_nobody_else_is_named(tmp_path: Path) -> None:
    lines = [log_line(client=client) for client in ("192.0.2.77", "2001:db8:1:2:3::4", "unix:")]
    _, rows = rows_of(tmp_path, *lines)
    assert sorted(str(row["client"]) for row in rows) == ["192.0.2.0/24", "2001:db8:1::/48", "None"]
    _, rows = rows_of(tmp_path, *lines, bits=ClientBits(ipv4=32, ipv6=0))
    assert sorted(str(row["client"]) for row in rows) == ["192.0.2.77/32", "::/0", "None"]
    body = (tmp_path / "batch.parquet").read_bytes()
    assert b"2001:db8:1:2:3::4" not in body


def test_what_is_no_demand_is_counted_and_left_out(tmp_path: Path) -> None:
    counts, rows = rows_of(
        tmp_path,
        log_line(),
        log_line(method="HEAD"),
        log_line(path="/healthz"),
        log_line(user_agent="headrace-fill/0.1 a2"),
        log_line(user_agent="headrace-probe/0.1"),
        log_line(time="yesterday"),
        log_line(body_bytes="many"),
        log_line() + b"\tmore fields of a newer version",
        b"cut short\t200",
        b"",
        b"\xff\xfe\x00 a broken disk",
        b"x" * 300_000,
        log_line(),
    )
    assert (counts.lines, counts.own, counts.rows) == (13, 2, 3)
    assert counts.flawed == 6
    assert len(rows) == 3


def test_nothing_asked_is_a_batch_too(tmp_path: Path) -> None:
    counts, rows = rows_of(tmp_path, log_line(path="/healthz"))
    assert (counts.lines, counts.rows, rows) == (1, 0, [])
