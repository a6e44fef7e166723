"""What load to make and what came of it: plain values, passed as JSON between the lab and its client."""

from dataclasses import dataclass, field
from enum import StrEnum

from headrace.lab.content import KnownFile


class Behaviour(StrEnum):
    """What one player does, over and over."""

    SEGMENTS = "segments"
    """Ranges of one bitrate, one after the other on a kept connection, with pauses: a player."""
    SHORT = "short"
    """A connection for every request."""
    ABORT = "abort"
    """Goes away in the middle of a transfer."""
    RESET = "reset"
    """Resets its connection at any moment: before, while or after it asks, and at full speed in mid-transfer."""
    DRAIN = "drain"
    """Ranges of many lengths as fast as they come, some with a pause, to their end; bytes are counted only."""
    SLOW = "slow"
    """Reads far slower than the server could send."""
    PIPELINE = "pipeline"
    """Several requests at once on one connection."""
    MULTI = "multi"
    """Several ranges in one request."""
    CONDITIONAL = "conditional"
    """If-None-Match, If-Match, If-Range, ranges that cannot be satisfied."""
    BORDERS = "borders"
    """Ranges around pages and large pages."""
    BRIEF = "brief"
    """Ranges of 30 KB on a kept connection, with pauses: transfers that end within a few round trips."""


ALL_PLAYERS = {
    Behaviour.SEGMENTS: 4,
    Behaviour.SHORT: 2,
    Behaviour.ABORT: 2,
    Behaviour.SLOW: 1,
    Behaviour.PIPELINE: 1,
    Behaviour.MULTI: 1,
    Behaviour.CONDITIONAL: 1,
    Behaviour.BORDERS: 2,
}
"""How many of each kind, by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """What the client does: first the sweep, if asked for, then the players for a time."""

    address: str
    port: int
    is_tls: bool = False
    files: tuple[KnownFile, ...]
    seconds: float = 5.0
    players: dict[Behaviour, int] = field(default_factory=lambda: dict(ALL_PLAYERS))
    is_sweeping: bool = False
    """Ask for every range around a border of every file, once."""
    stall_s: float = 10.0
    """A transfer that gives nothing for so long has stalled."""
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """An answer that was not right."""

    what: str
    """Such as `byte 8192 of 4194304 is 0x41, not 0x7f`, or `status 200, not 206`."""
    path: str
    asked: str
    """The Range header, or the condition."""
    behaviour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What the client saw."""

    seconds: float = 0.0
    requests: int = 0
    """Answers read and found right."""
    bytes: int = 0
    """Of bodies, those of aborted transfers included."""
    wrong: int = 0
    stalled: int = 0
    failed: int = 0
    """Connections refused, reset or ended in the middle of an answer."""
    aborted: int = 0
    """On purpose, by the client."""
    ttfb_ms: dict[str, float] = field(default_factory=dict)
    """p50, p90, p99, max: from the request to the first byte of the answer. Empty without answers."""
    transfer_bps: dict[str, float] = field(default_factory=dict)
    """p1, p10, p50 of the rate of single answers of 100 KB and more, first byte to last; not of slow readers."""
    finish_ms: dict[str, float] = field(default_factory=dict)
    """p50, p90, p99, max: from the request to the last byte of the answer; not of slow readers."""
    wrongs: tuple[Wrong, ...] = ()
    """The first ones."""
    failures: dict[str, int] = field(default_factory=dict)
    """By text."""

    @property
    def is_right(self) -> bool:
        """Something was asked, and every answer was right and whole."""
        return self.requests > 0 and not (self.wrong or self.stalled or self.failed)

    @property
    def throughput_bps(self) -> float:
        """Bits of bodies a second, all connections together."""
        return 8 * self.bytes / self.seconds if self.seconds else 0.0


def percentiles(samples: list[float], shares: dict[str, float]) -> dict[str, float]:
    """The values below which these shares of the samples lie (nearest rank); empty without samples."""
    ordered = sorted(samples)
    if not ordered:
        return {}
    return {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in shares.items()}
