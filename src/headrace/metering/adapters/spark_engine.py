"""The engine for logs that outgrow one machine: Apache Spark, through PySpark (`pip install headrace[spark]`).

It runs in this process (local[2]) or on a cluster (spark://..., yarn, k8s://...). The folder of totals must then be one
that all its machines see under the same path, because batches are fetched into it and totals are written from it.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import ibis
import pyarrow
import pyarrow.parquet
from ibis.expr.types import Table
from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from headrace.metering.errors import EngineError

_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.compression.codec": "zstd",
}
_LOCAL = {"spark.sql.shuffle.partitions": "4"}
"""On one machine: each part of a shuffle is a task, which costs more than it does there. Clusters take Spark's 200."""
_END_S = 30


class SparkEngine:
    """See ports.Engine."""

    def __init__(self, scratch: Path, *, master: str, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are Spark's own, laid over ours."""
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        self._scratch = scratch
        self._numbers = count()
        with _ours():
            builder = SparkSession.builder.master(master).appName("headrace demand")
            for key, value in {
                **_SETTINGS,
                **(_LOCAL if master.startswith("local") else {}),
                **(settings or {}),
            }.items():
                builder = builder.config(key, value)
            builder = builder.config("spark.sql.warehouse.dir", str(scratch / "warehouse"))
            self._session = builder.config("spark.local.dir", str(scratch / "local")).getOrCreate()
            self._database = ibis.pyspark.connect(self._session)

    def read(self, files: Sequence[Path]) -> Table:
        with _ours():
            frame = self._session.read.parquet(*(file.as_uri() for file in files))
            return self._named(frame)

    def rows_of(self, columns: dict[str, list[Any]], types: Sequence[tuple[str, str]]) -> Table:
        # As a file, because Spark takes rows from Python through pandas, of which it knows only old versions.
        file = self._scratch / f"rows-{next(self._numbers)}.parquet"
        schema = ibis.schema(dict(types)).to_pyarrow()
        pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), file)
        return self.read([file])

    def keep(self, name: str, table: Table) -> Table:
        # As files, and not in memory: what an executor loses must not be computed from all requests again.
        folder = self._scratch / "kept" / name
        shutil.rmtree(folder, ignore_errors=True)
        with _ours():
            self._write(table, folder)
            return self._named(self._session.read.parquet(folder.as_uri()))

    def write(self, table: Table, folder: Path) -> list[Path]:
        with _ours():
            self._write(table, folder)
        return sorted(folder.glob("part-*.parquet"))

    def fetch(self, table: Table) -> pyarrow.Table:
        folder = self._scratch / f"fetched-{next(self._numbers)}"
        # The parts are in the order of the rows, and their names in the order of the parts.
        parts = [pyarrow.parquet.read_table(file) for file in self.write(table, folder)]
        shutil.rmtree(folder)
        empty = table.schema().to_pyarrow().empty_table()
        return pyarrow.concat_tables([empty, *parts], promote_options="permissive")

    def close(self) -> None:
        gateway = SparkContext._gateway
        self._session.stop()
        if gateway is not None:
            # Stopping a session leaves the Java machine behind, and it would run on until this process ends.
            gateway.shutdown()
            SparkContext._gateway = SparkContext._jvm = None
            java = getattr(gateway, "proc", None)
            if java is not None:
                java.stdin.close()
                java.wait(timeout=_END_S)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _write(self, table: Table, folder: Path) -> None:
        self._database.to_parquet_dir(table, folder.as_uri())

    def _named(self, frame: Any) -> Table:
        name = f"headrace_{next(self._numbers)}"
        frame.createOrReplaceTempView(name)
        return self._database.table(name)


@contextmanager
def _ours() -> Iterator[None]:
    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise EngineError(f"Spark: {(str(error).splitlines() or [''])[0][:300]}") from error
