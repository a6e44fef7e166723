"""What commands on the folder of totals share: their options, the engine that reads, spans of time."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.base.instants import read_duration, read_instant, show_instant
from headrace.demand.model import HOUR_S
from headrace.metering.adapters.duckdb_engine import DuckDbEngine
from headrace.metering.ports import Engine

TotalsOption = Annotated[
    Path, typer.Option("--totals", envvar="HEADRACE_TOTALS", help="Folder of the totals; `demand count` makes it.")
]
EngineOption = Annotated[str, typer.Option(help="duckdb, or a Spark master: local[4], spark://host:7077 and the like.")]
MemoryOption = Annotated[int, typer.Option("--memory", min=64, help="MiB for the query; the rest goes to the disk.")]
SinceOption = Annotated[str, typer.Option(help="Only from here on: 24h, 7d, or an instant such as 2027-01-15T02:00Z.")]
UntilOption = Annotated[str, typer.Option(help="Only before this instant.")]
SiteOption = Annotated[str, typer.Option(help="Only this site.")]
MostOption = Annotated[int, typer.Option("--top", min=1, max=1_000_000, help="How many rows.")]


@contextmanager
def an_engine(name: str, scratch: Path, memory_mib: int) -> Iterator[Engine]:
    """The engine of that name for the block; what does not fit into its memory goes to `scratch`."""
    opened = _open_engine(name, scratch, memory_mib)
    try:
        yield opened
    finally:
        opened.close()


def _open_engine(name: str, scratch: Path, memory_mib: int) -> Engine:
    if name == "duckdb":
        return DuckDbEngine(scratch, memory_bytes=memory_mib << 20)
    try:
        from headrace.metering.adapters.spark_engine import SparkEngine
    except ImportError:
        raise UsageError(
            f"--engine {name[:60]!r} is Spark's, which is not installed: pip install 'headrace[spark]'"
        ) from None
    return SparkEngine(scratch, master=name)


def read_span(since: str, until: str) -> tuple[float, float]:
    """First and end instant (UTC epoch seconds) of --since and --until."""
    now_s = SystemClock().now_s()
    end_s = read_instant(until) if until else now_s + HOUR_S
    try:
        first_s = now_s - read_duration(since)
    except UsageError:
        first_s = read_instant(since)
    if first_s >= end_s:
        raise UsageError(f"--since {show_instant(first_s)} is not before --until {show_instant(end_s)}")
    return first_s, end_s


def read_columns(by: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of --by, each once."""
    columns = tuple(dict.fromkeys(word.strip() for word in by.split(",")))
    for column in columns:
        if column not in allowed:
            raise UsageError(f"--by {column[:40]!r}: use {', '.join(allowed)}, with commas between")
    return columns


def show_hour(hour: int) -> str:
    """Hours since the epoch as an instant."""
    return datetime.fromtimestamp(hour * HOUR_S, UTC).strftime("%Y-%m-%dT%H:%MZ")
