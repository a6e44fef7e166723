"""What metering needs of a query engine: queries are Ibis expressions, so an engine only reads, keeps and writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow
from ibis.expr.types import Table


class Engine(Protocol):
    """Runs queries. Each call raises EngineError when the engine fails."""

    def read(self, files: Sequence[Path]) -> Table:
        """Parquet files of the same columns as one table; at least one file."""
        ...

    def rows_of(self, columns: dict[str, list[Any]], types: Sequence[tuple[str, str]]) -> Table:
        """A small table of these values."""
        ...

    def keep(self, name: str, table: Table) -> Table:
        """The table, computed once; it replaces the one kept under this name before."""
        ...

    def write(self, table: Table, folder: Path) -> list[Path]:
        """Compute a table into Parquet files in a new folder; none when it has no rows."""
        ...

    def fetch(self, table: Table) -> pyarrow.Table:
        """A result that fits into memory."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
