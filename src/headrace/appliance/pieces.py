"""Which piece of the access log is shipped next: a pure decision over what lies in the folder and what was shipped.

A log file is known by its first line, so that renaming it changes nothing. Of each file an unbroken beginning is
shipped. A piece is decided once: it is written down before it is shipped, and shipped again as it is after a crash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

LINGER_S = 5.0
"""A renamed file is still written to for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """One log file as it lies in the folder."""

    name: str
    log: str
    """What it is known by: see telemetry.batch."""
    day: str
    size_bytes: int
    idle_s: float
    """Since the last line was written."""
    is_current: bool
    """nginx writes to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of a log; `end` may still move back to the end of a line."""

    log: str
    day: str
    first: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """What is remembered over restarts."""

    ends: Mapping[str, int] = field(default_factory=dict)
    """By log: all before this byte is in the store."""
    decided: Piece | None = None
    """Perhaps in the store, perhaps not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipLimits:
    """When a piece is large or old enough."""

    batch_bytes: int
    batch_s: float


def next_piece(
    logs: Sequence[LogFile], shipped: Shipped, limits: ShipLimits, *, waited_s: Mapping[str, float]
) -> Piece | None:
    """The piece to ship now, of the oldest log that has one.

    Args:
        logs: oldest first.
        waited_s: by log, how long bytes have been waiting since the last piece of it.
    """
    if shipped.decided is not None:
        return shipped.decided
    for log in logs:
        first = shipped.ends.get(log.log, 0)
        waiting_bytes = log.size_bytes - first
        if waiting_bytes <= 0:
            continue
        is_done = not log.is_current and log.idle_s >= LINGER_S
        if is_done or waiting_bytes >= limits.batch_bytes or waited_s.get(log.log, 0.0) >= limits.batch_s:
            return Piece(log=log.log, day=log.day, first=first, end=first + min(waiting_bytes, limits.batch_bytes))
    return None


def decide(shipped: Shipped, piece: Piece) -> Shipped:
    """What is remembered before a piece is shipped."""
    return replace(shipped, decided=piece)


def advance(shipped: Shipped, piece: Piece) -> Shipped:
    """What is remembered once a piece is in the store."""
    end = max(piece.end, shipped.ends.get(piece.log, 0))
    return Shipped(ends={**shipped.ends, piece.log: end}, decided=None)


def learn(shipped: Shipped, log: str, end: int) -> Shipped:
    """What is remembered once a log was met for the first time, of which all before `end` is in the store."""
    return replace(shipped, ends={**shipped.ends, log: end})


def forget(shipped: Shipped, logs: Sequence[LogFile]) -> Shipped:
    """Without logs that are gone, and without a decided piece of one."""
    there = {log.log for log in logs}
    decided = shipped.decided if shipped.decided is not None and shipped.decided.log in there else None
    return Shipped(ends={log: end for log, end in shipped.ends.items() if log in there}, decided=decided)
