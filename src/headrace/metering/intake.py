"""Whether a batch may be counted, by what its name and its Parquet footer say. Reads no rows."""

from collections.abc import Set as AbstractSet
from pathlib import Path

import pyarrow
import pyarrow.parquet

from headrace.base.ids import ApplianceId
from headrace.metering.model import BatchFate, Fate, MeterLimits
from headrace.telemetry import batch
from headrace.telemetry.batch import BatchName
from headrace.wire.batch_store import StoredBatch

_TYPES = {"string": pyarrow.string(), "int64": pyarrow.int64(), "boolean": pyarrow.bool_()}
COLUMNS = [(name, _TYPES[kind]) for name, kind in batch.COLUMNS]


def inspect(
    file: Path, name: BatchName, stored: StoredBatch, *, appliances: AbstractSet[ApplianceId], limits: MeterLimits
) -> BatchFate:
    """The fate that a fetched batch deserves by itself; never raises for what it holds."""

    def refused(fate: Fate, detail: str) -> BatchFate:
        return BatchFate(path=stored.path, name=name, stored_s=stored.stored_s, fate=fate, detail=detail[:300])

    if name.appliance not in appliances:
        return refused(Fate.UNKNOWN_APPLIANCE, "")
    try:
        with pyarrow.parquet.ParquetFile(file) as parquet:
            meta, schema = parquet.metadata, parquet.schema_arrow
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        return refused(Fate.CORRUPT, f"not readable: {error}")
    said = meta.metadata or {}
    if said.get(batch.META_VERSION) != str(batch.VERSION).encode():
        return refused(Fate.CORRUPT, f"version {said.get(batch.META_VERSION)!r}, not {batch.VERSION}")
    if [(field.name, field.type) for field in schema] != COLUMNS:
        return refused(Fate.CORRUPT, "other columns than agreed")
    unpacked = sum(meta.row_group(number).total_byte_size for number in range(meta.num_row_groups))
    if meta.num_rows > limits.batch_rows or unpacked > limits.batch_bytes:
        return refused(Fate.CORRUPT, f"{meta.num_rows} rows of {unpacked} bytes are more than allowed")
    if not _is_of(name.appliance, meta):
        return refused(Fate.CORRUPT, "rows of another appliance than the name says")
    return BatchFate(
        path=stored.path,
        name=name,
        stored_s=stored.stored_s,
        fate=Fate.COUNTED,
        requests=meta.num_rows,
        lines=_number(said, batch.META_LINES),
        flawed=_number(said, batch.META_FLAWED),
    )


def _is_of(appliance: ApplianceId, meta: pyarrow.parquet.FileMetaData) -> bool:
    """Whether all rows are of this appliance; the writer keeps the least and greatest value of each column."""
    for number in range(meta.num_row_groups):
        statistics = meta.row_group(number).column(0).statistics
        if statistics is None or not statistics.has_min_max or statistics.null_count:
            return False
        if (statistics.min, statistics.max) != (appliance, appliance):
            return False
    return True


def _number(said: dict[bytes, bytes], key: bytes) -> int:
    text = said.get(key, b"")
    return int(text) if text.isdigit() and len(text) <= 12 else 0
