"""The engine by default: DuckDB in this process. What does not fit into its memory goes to a scratch folder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow
from ibis.expr.types import Table

from headrace.metering.errors import EngineError


class DuckDbEngine:
    """See ports.Engine."""

    def __init__(self, scratch: Path, *, memory_bytes: int = 1 << 30, threads: int = 0) -> None:
        """`threads` 0: one for each core."""
        scratch.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Any] = {
            "memory_limit": f"{memory_bytes}B",
            "temp_directory": str(scratch),
            "preserve_insertion_order": False,
            # Nothing is fetched from anywhere, whatever a file asks for.
            "autoinstall_known_extensions": False,
        }
        if threads:
            settings["threads"] = threads
        with _ours():
            self._database = ibis.duckdb.connect(**settings)

    def read(self, files: Sequence[Path]) -> Table:
        with _ours():
            return self._database.read_parquet([str(file) for file in files])

    def rows_of(self, columns: dict[str, list[Any]], types: Sequence[tuple[str, str]]) -> Table:
        return ibis.memtable(columns, schema=ibis.schema(dict(types)))

    def keep(self, name: str, table: Table) -> Table:
        with _ours():
            # Before the new one is made, for room; one may be left of a query that failed. Ibis's own way to overwrite
            # does not work on DuckDB 2.
            self._database.con.execute(f"DROP TABLE IF EXISTS {name}")
            return self._database.create_table(name, table, temp=True)

    def write(self, table: Table, folder: Path) -> list[Path]:
        folder.mkdir(parents=True)
        target = folder / "part-0.parquet"
        with _ours():
            self._database.to_parquet(table, target, compression="zstd")
        return [target]

    def fetch(self, table: Table) -> pyarrow.Table:
        with _ours():
            return self._database.to_pyarrow(table)

    def close(self) -> None:
        self._database.disconnect()


@contextmanager
def _ours() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise EngineError(f"DuckDB: {(str(error).splitlines() or [''])[0][:300]}") from error
