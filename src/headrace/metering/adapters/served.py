"""What appliances served to networks of clients, out of shipped batches: summed by DuckDB in a scratch folder.

One batch at a time is fetched, looked at and summed by network, file, appliance and minute; the sums lie on disk and
come out in order of time, so that neither batches nor sums need to fit into memory. Nothing is written to the store.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow
import pyarrow.parquet

from headrace.metering.errors import EngineError
from headrace.metering.intake import inspect
from headrace.metering.model import Fate, MeterLimits
from headrace.steering.used import Served
from headrace.telemetry.batch import BatchName, parse_name
from headrace.wire.batch_store import BatchStore, StoredBatch

_PORTION = 10_000
_MOST_REQUEST_BYTES = 10**13
"""A request that says it served more is not believed."""
_TABLE = (
    "CREATE TABLE served (network VARCHAR, file VARCHAR, appliance VARCHAR, is_fetched BOOLEAN, last_ms BIGINT, "
    "bytes HUGEINT)"
)
_ADD = """
INSERT INTO served
SELECT coalesce(client, ''), file, $appliance, coalesce(is_proxied, false), max(time_ms), sum(body_bytes)
FROM read_parquet($file)
WHERE status IN (200, 206) AND body_bytes BETWEEN 1 AND $most AND time_ms >= $first_ms AND time_ms < $end_ms
  AND regexp_full_match(file, '[0-9a-f]{64}')
GROUP BY client, file, coalesce(is_proxied, false), time_ms // 60000
"""


class ServedSums:
    """Sums of one span of time. Files of `scratch` are its own; memory is bounded by `memory_bytes`."""

    def __init__(self, scratch: Path, *, first_s: float, end_s: float, memory_bytes: int = 512 << 20) -> None:
        self.fates: Counter[Fate] = Counter()
        self.strangers = 0
        """Things in the store that are no batches."""
        self._scratch, self._first_s, self._end_s = scratch, first_s, end_s
        self._taken: dict[tuple[str, str], list[tuple[int, int]]] = {}
        with _ours():
            self._database = duckdb.connect(
                str(scratch / "sums.duckdb"),
                config={
                    "threads": 1,
                    "memory_limit": f"{memory_bytes}B",
                    "temp_directory": str(scratch / "spill"),
                    "autoinstall_known_extensions": False,
                },
            )
            self._database.execute(_TABLE)

    def close(self) -> None:
        """Let go of the files."""
        self._database.close()

    def add_all(self, store: BatchStore, limits: MeterLimits) -> None:
        """Sum the batches that may hold something of the span; of pieces that overlap, the one that was stored first.

        Raises:
            BatchStoreError: the store cannot be used.
            EngineError: DuckDB cannot do it.
        """
        found: list[tuple[StoredBatch, BatchName]] = []
        for stored in store.list():
            name = parse_name(stored.path)
            if name is None:
                self.strangers += 1
            elif stored.stored_s + limits.skew_s >= self._first_s and int(name.log[:13]) < 1000 * self._end_s:
                found.append((stored, name))
        for stored, name in sorted(found, key=lambda one: (one[0].stored_s, one[0].path)):
            file = self._scratch / "batch.parquet"
            if store.get(stored.path, file):
                self.fates[self._add(file, stored, name, limits)] += 1
                file.unlink()

    def lengths(self) -> list[tuple[bool, str]]:
        """Which networks there are: whether of IPv6, and their bits."""
        query = "SELECT DISTINCT contains(network, ':'), split_part(network, '/', 2) FROM served LIMIT 1000"
        with _ours():
            return [(bool(is_v6), str(bits)) for is_v6, bits in self._database.execute(query).fetchall()]

    def rows(self) -> Iterator[Served]:
        """The sums, in order of time."""
        with _ours():
            query = self._database.execute("SELECT * FROM served ORDER BY last_ms, network, file, appliance")
        while True:
            with _ours():
                portion = query.fetchmany(_PORTION)
            if not portion:
                return
            for network, file, appliance, is_fetched, last_ms, size in portion:
                yield Served(
                    network=network,
                    file=file,
                    appliance_id=appliance,
                    is_fetched=is_fetched,
                    at_s=last_ms / 1000,
                    bytes=int(size),
                )

    def _add(self, file: Path, stored: StoredBatch, name: BatchName, limits: MeterLimits) -> Fate:
        pieces = self._taken.setdefault((name.appliance, name.log), [])
        if any(first < name.end and end > name.first for first, end in pieces):
            return Fate.OVERLAP
        fate = inspect(file, name, stored, appliances={name.appliance}, limits=limits).fate
        if fate is not Fate.COUNTED:
            return fate
        try:
            self._database.execute(
                _ADD,
                {
                    "appliance": name.appliance,
                    "file": str(file),
                    "most": _MOST_REQUEST_BYTES,
                    "first_ms": int(1000 * self._first_s),
                    "end_ms": int(1000 * self._end_s),
                },
            )
        except duckdb.Error as error:
            # A footer may be well and what it describes not; else it is the disk or the memory.
            if _is_readable(file):
                raise _engine_error(error) from error
            return Fate.CORRUPT
        pieces.append((name.first, name.end))
        return Fate.COUNTED


def _is_readable(file: Path) -> bool:
    try:
        with pyarrow.parquet.ParquetFile(file) as parquet:
            for part in parquet.iter_batches(batch_size=65_536):
                part.validate(full=True)
    except (pyarrow.ArrowException, OSError, ValueError):
        return False
    return True


def _engine_error(error: duckdb.Error) -> EngineError:
    return EngineError(f"DuckDB: {(str(error).splitlines() or [''])[0][:300]}")


@contextmanager
def _ours() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise _engine_error(error) from error
