"""Turn a piece of the access log into a batch, with DuckDB: one statement, one thread, a bounded amount of memory.

The result is that of telemetry.access_log.parse_line and telemetry.cmcd for the columns of telemetry.batch; a contract
test compares them line by line.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

import duckdb

from headrace.appliance.errors import ApplianceError
from headrace.appliance.log_reader import OWN_AGENTS
from headrace.base.ids import ApplianceId
from headrace.telemetry import batch
from headrace.telemetry.access_log import FIELDS, INDEX, MOST_LINE_BYTES
from headrace.telemetry.cmcd import MOST_CHARACTERS

_MEMORY = "512MB"


class BatchError(ApplianceError):
    """A piece of the access log cannot be turned into a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientBits:
    """How much of a client's address is shipped."""

    ipv4: int = 24
    ipv6: int = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCounts:
    """What a batch was made of."""

    lines: int
    flawed: int
    own: int
    rows: int


def write_batch(piece: Path, target: Path, *, appliance: ApplianceId, bits: ClientBits) -> BatchCounts:
    """Write the batch of the lines in `piece`.

    Raises:
        BatchError: DuckDB cannot do it, or a disk is full.
    """
    try:
        with duckdb.connect(config={"threads": 1, "memory_limit": _MEMORY}) as database:
            lines = _count_lines(piece)
            # Each step is a query of its own, so that what several columns are made of is made once.
            database.execute(
                f"CREATE TEMP TABLE line AS SELECT {_columns()}, {_is_whole()} AS is_whole, {_is_own()} AS is_own, "  # noqa: S608 (own constants)
                f"{_is_asked()} AS is_asked FROM (SELECT f, bytes, said, {_BARE} AS bare FROM "
                f"(SELECT f, bytes, {_said()} AS said FROM "
                "(SELECT string_split(line, chr(9)) AS f, length(line) AS bytes FROM "
                "read_csv($piece, delim = chr(1), quote = '', escape = '', header = false, auto_detect = false, "
                f"columns = {{'line': 'VARCHAR'}}, ignore_errors = true, max_line_size = {4 * MOST_LINE_BYTES}))))",
                {"piece": str(piece)},
            )
            _write_clients(database, bits)
            whole, own, rows = _row(
                database,
                "SELECT count(*) FILTER (is_whole), count(*) FILTER (is_whole AND is_own), "
                "count(*) FILTER (is_whole AND is_asked AND NOT is_own) FROM line",
            )
            counts = BatchCounts(lines=lines, flawed=lines - whole, own=own, rows=rows)
            _copy(database, target, appliance, counts)
    except (duckdb.Error, OSError) as error:
        raise BatchError(f"{piece}: {str(error).splitlines()[0][:300]}") from error
    return counts


def _copy(database: duckdb.DuckDBPyConnection, target: Path, appliance: ApplianceId, counts: BatchCounts) -> None:
    meta = {
        batch.META_VERSION: batch.VERSION,
        batch.META_LINES: counts.lines,
        batch.META_FLAWED: counts.flawed,
        batch.META_OWN: counts.own,
    }
    written = ", ".join(f"'{key.decode()}': '{value}'" for key, value in meta.items())
    special = {"appliance": f"'{appliance}' AS appliance", "client": "client.prefix AS client"}
    columns = ", ".join(special.get(name, name) for name, _ in batch.COLUMNS)
    database.execute(
        f"COPY (SELECT {columns} FROM line "  # noqa: S608 (a checked id)
        "LEFT JOIN client ON client.address = line.address WHERE is_whole AND is_asked AND NOT is_own "
        f"ORDER BY file, time_ms) TO '{_quoted(target)}' "
        f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{written}}})"
    )


def _write_clients(database: duckdb.DuckDBPyConnection, bits: ClientBits) -> None:
    """Shorten each address once."""
    database.execute("CREATE TEMP TABLE client (address VARCHAR, prefix VARCHAR)")
    addresses = [row[0] for row in database.execute("SELECT DISTINCT address FROM line WHERE is_whole").fetchall()]
    pairs = list(_prefixes(addresses, bits))
    if pairs:
        database.execute(
            "INSERT INTO client SELECT unnest($addresses), unnest($prefixes)",
            {"addresses": [pair[0] for pair in pairs], "prefixes": [pair[1] for pair in pairs]},
        )


def _prefixes(addresses: Iterable[str], bits: ClientBits) -> Iterator[tuple[str, str]]:
    # The module ipaddress takes eight times as long, and there may be as many addresses as lines.
    for address in addresses:
        family, length, size = (AF_INET6, bits.ipv6, 16) if ":" in address else (AF_INET, bits.ipv4, 4)
        try:
            packed = inet_pton(family, address)
        except (OSError, ValueError):  # such as 'unix:'
            continue
        rest = 8 * size - length
        masked = (int.from_bytes(packed) >> rest << rest).to_bytes(size)
        yield address, f"{inet_ntop(family, masked)}/{length}"


def _columns() -> str:
    """The columns of a batch, and the client's whole address, from the fields `f` of a line."""
    span = "'^bytes=([0-9]{1,15})-([0-9]{0,15})$'"
    asked = _field("range")
    expressions = {
        "time_ms": f"CAST(round(1000 * try_cast({_field('time')} AS DECIMAL(18, 3))) AS BIGINT)",
        "duration_ms": f"CAST(round(1000 * try_cast({_field('duration')} AS DECIMAL(18, 3))) AS BIGINT)",
        "file": f"substr({_field('path')}, 7, 64)",
        "status": f"try_cast({_field('status')} AS BIGINT)",
        # nginx asks itself over a socket for some preconditions; that is no other machine.
        "is_proxied": f"{_field('upstream')} <> '-' AND regexp_matches({_field('upstream')}, '(?:^|[,:] )[^u ,:]')",
        "first_byte": f"CASE WHEN {asked} = '-' THEN 0 ELSE try_cast(regexp_extract({asked}, {span}, 1) AS BIGINT) END",
        "last_byte": f"try_cast(regexp_extract({asked}, {span}, 2) AS BIGINT)",
        "body_bytes": f"try_cast({_field('body_bytes')} AS BIGINT)",
        "session": f"try_cast('0x' || left(md5(nullif(regexp_extract(said, {_SESSION}, 1), '')), 15) AS BIGINT)",
        **{name: _number(key) for name, key in _NUMBERS.items()},
        **{name: _flag(key) for name, key in _FLAGS.items()},
        "address": _field("client"),
    }
    return ", ".join(f"{expression} AS {name}" for name, expression in expressions.items())


_BARE = "regexp_replace(said, '\"[^\"]*\"', '', 'g')"
"""Without what stands in quotes, where anything may stand."""
_SESSION = '\'(?:^|,)\\s*sid="([^"]{1,64})"\''
_CMCD_FIELDS = ("cmcd_session", "cmcd_request", "cmcd_object", "cmcd_status")
_NUMBERS = {"bitrate_kbps": "br", "throughput_kbps": "mtp", "buffer_ms": "bl", "start_delay_ms": "msd"}
_FLAGS = {"is_starved": "bs", "is_startup": "su"}


def _field(name: str) -> str:
    return f"f[{INDEX[name] + 1}]"


def _said() -> str:
    """All that a player says about itself, as one list: a key in a header comes before the same key in the query."""
    headers = ", ".join(f"left(nullif({_field(name)}, '-'), {MOST_CHARACTERS})" for name in _CMCD_FIELDS)
    argument = f"left(regexp_extract({_field('query')}, '(?:^|&)CMCD=([^&]*)', 1), {3 * MOST_CHARACTERS})"
    query = f"CASE WHEN contains({_field('query')}, 'CMCD=') THEN try(url_decode({argument})) END"
    return f"replace(concat_ws(',', {headers}, {query}), '\\x22', '\"')"


def _number(key: str) -> str:
    return f"try_cast(regexp_extract(bare, '(?:^|,)\\s*{key}=([0-9]{{1,9}})\\s*(?:,|$)', 1) AS BIGINT)"


def _flag(key: str) -> str:
    return f"regexp_matches(bare, '(?:^|,)\\s*{key}(?:=true)?\\s*(?:,|$)')"


def _is_whole() -> str:
    numbers = ("time_ms", "duration_ms", "status", "body_bytes")
    known = " AND ".join(f"{name} IS NOT NULL" for name in numbers)
    return f"len(f) >= {len(FIELDS)} AND bytes <= {MOST_LINE_BYTES} AND {known}"


def _is_own() -> str:
    agents = " OR ".join(f"starts_with({_field('user_agent')}, '{agent.decode()}')" for agent in OWN_AGENTS)
    return f"({agents})"


def _is_asked() -> str:
    return f"{_field('method')} = 'GET' AND {_field('path')} LIKE '/f/__/%'"


def _count_lines(piece: Path) -> int:
    return sum(chunk.count(b"\n") for chunk in _chunks(piece))


def _chunks(piece: Path) -> Iterator[bytes]:
    with piece.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk


def _row(database: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    row = database.execute(query).fetchone()
    assert row is not None
    return tuple(int(value) for value in row)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
