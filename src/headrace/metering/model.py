"""The words of metering: what becomes of a batch, what a run leaves behind."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from headrace.base.ids import ApplianceId
from headrace.telemetry.batch import BatchName


class Kind(StrEnum):
    """Of totals."""

    DEMAND = "demand"
    SESSIONS = "sessions"
    OFFLOAD = "offload"
    """Who served whose clients. Folders of before have none for what was counted then."""


class Fate(StrEnum):
    """What became of a batch."""

    COUNTED = "counted"
    OVERLAP = "overlap"
    """It holds a part of what another one held that was counted: set aside whole."""
    CORRUPT = "corrupt"
    """Not readable, not of the agreed columns, larger than allowed, or of another appliance than its name says."""
    UNKNOWN_APPLIANCE = "unknown-appliance"
    """Of an appliance that the control plane does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFate:
    """One batch and what became of it."""

    path: str
    name: BatchName
    stored_s: float
    fate: Fate
    detail: str = ""
    requests: int = 0
    lines: int = 0
    flawed: int = 0


class Result(NamedTuple):
    """One file of totals, relative to the folder of totals."""

    path: str
    kind: Kind
    first_hour: int
    end_hour: int


class Flaw(NamedTuple):
    """Requests of an appliance that do not count, by reason."""

    appliance: ApplianceId
    reason: str
    requests: int
    body_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterLimits:
    """Bounds of counting."""

    run_bytes: int = 256 << 20
    """Of batches (packed) in one run."""
    run_batches: int = 5_000
    batch_rows: int = 5_000_000
    """A batch with more is not read."""
    batch_bytes: int = 2 << 30
    """A batch that is larger unpacked is not read."""
    skew_s: float = 300.0
    """An appliance's clock may be so far ahead of the store's."""
    late_s: float = 8 * 86_400.0
    """What is older than so long when its batch is stored does not count."""
    keep_s: float = 7 * 86_400.0
    """Batches stay in the store so long after they were counted."""
    merge_at: int = 64
    """Small files of totals of a kind that are made one."""
    merged_bytes: int = 64 << 20
    """A file of totals that is larger is no small one."""
    aside_rows: int = 1_000_000
    """Requests set aside in one run; the others are only counted."""
    aside_bytes: int = 1 << 30
    """All that is set aside; the oldest goes first."""
