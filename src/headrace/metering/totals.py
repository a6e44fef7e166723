"""Read what was counted: as tables for queries, and as the columns that forecast and placement take."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ibis
import numpy as np
import pyarrow
from ibis.expr.types import Table

from headrace.base.ids import Sha256, SiteId
from headrace.demand.model import HOUR_S, Demand, Ints
from headrace.metering.adapters.ledger import MeteringLedger
from headrace.metering.errors import TotalsError
from headrace.metering.folder import LEDGER
from headrace.metering.model import Kind
from headrace.metering.ports import Engine

SCHEMAS = {
    Kind.DEMAND: ibis.schema(
        {
            "hour": "int64",
            "site": "string",
            "file": "string",
            "title": "string",
            "rendition": "string",
            "size_bytes": "int64",
            "bytes_asked": "int64",
            "bytes_served": "int64",
            "requests": "int64",
        }
    ),
    Kind.SESSIONS: ibis.schema(
        {
            "hour": "int64",
            "site": "string",
            "title": "string",
            "session": "int64",
            "requests": "int64",
            "bytes_served": "int64",
            "begun_ms": "int64",
            "startup_ms": "int64",
            "steady_ms": "int64",
            "said_delay_ms": "int64",
            "starved": "int64",
            "kbps_sum": "int64",
            "kbps_count": "int64",
        }
    ),
    Kind.OFFLOAD: ibis.schema(
        {
            "hour": "int64",
            "home": "string",
            "served_by": "string",
            "bytes_served": "int64",
            "bytes_through": "int64",
        }
    ),
}
"""Columns of totals; every kind has `hour`, hours since the epoch (UTC)."""


@contextmanager
def open_totals(folder: Path) -> Iterator["Totals"]:
    """The totals of a folder, to be read beside whoever counts into it.

    Raises:
        TotalsError: nothing was ever counted there.
    """
    if not (folder / LEDGER).exists():
        raise TotalsError(f"{folder} holds no totals; `headrace demand count --totals {folder}` makes them")
    ledger = MeteringLedger(folder / LEDGER)
    try:
        yield Totals(folder, ledger)
    finally:
        ledger.close()


class Totals:
    """A folder of totals, for reading."""

    def __init__(self, folder: Path, ledger: MeteringLedger) -> None:
        self.ledger = ledger
        self._folder = folder

    def table(self, engine: Engine, kind: Kind, *, first_s: float, end_s: float) -> Table | None:
        """What was counted in the hours from `first_s` to `end_s` (UTC epoch seconds); None for nothing."""
        first_hour, end_hour = int(first_s // HOUR_S), int(-(-end_s // HOUR_S))
        paths = self.ledger.results(kind, first_hour=first_hour, end_hour=end_hour)
        if not paths:
            return None
        table = engine.read([self._folder / path for path in paths])
        return table.filter((table.hour >= first_hour) & (table.hour < end_hour))

    def demand(self, engine: Engine, *, first_s: float, end_s: float) -> Demand:
        """Demand of these hours as columns: what forecast and placement take."""
        table = self.table(engine, Kind.DEMAND, first_s=first_s, end_s=end_s)
        if table is None:
            return Demand(
                files=(), sizes=_ints(), sites=(), file=_ints(), site=_ints(), hour=_ints(), bytes_asked=_ints(),
                bytes_served=_ints(), requests=_ints(),
            )  # fmt: skip
        rows = engine.fetch(
            table.group_by("hour", "site", "file")
            .aggregate(
                size_bytes=table.size_bytes.max(),
                bytes_asked=table.bytes_asked.sum().cast("int64"),
                bytes_served=table.bytes_served.sum().cast("int64"),
                requests=table.requests.sum().cast("int64"),
            )
            .order_by("hour", "site", "file")
        )
        files, file = _numbered(rows.column("file"))
        sites, site = _numbered(rows.column("site"))
        numbers = {name: rows.column(name).to_numpy() for name in _NUMBERS}
        sizes = np.zeros(len(files), dtype=np.int64)
        sizes[file] = numbers.pop("size_bytes")
        return Demand(
            files=tuple(map(Sha256, files)),
            sizes=sizes,
            sites=tuple(map(SiteId, sites)),
            file=file,
            site=site,
            **numbers,
        )


_NUMBERS = ("size_bytes", "hour", "bytes_asked", "bytes_served", "requests")


def _numbered(names: pyarrow.ChunkedArray) -> tuple[list[str], Ints]:
    """The different names, sorted, and for each row the number of its name. Without a Python object for each row."""
    column = names.combine_chunks().dictionary_encode()
    different = column.dictionary.to_numpy(zero_copy_only=False)
    order = np.argsort(different)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return list(different[order]), place[column.indices.to_numpy()]


def _ints() -> Ints:
    return np.zeros(0, dtype=np.int64)
