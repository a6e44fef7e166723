"""The shapes of judging: levels, verdicts, checks with their margins, pairs of runs, faults, results.

A check of levels 3 and 4 is a statement, "the candidate is not worse than the baseline by more than the margin",
about one metric. What is measured comes from `lab`, as pairs of runs or as repeats of a deterministic count; nothing
here measures.
"""

import math
import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NewType

from headrace.release.errors import CheckError

CheckId = NewType("CheckId", str)
"""`<level>.<what>`, for example `performance.cpu-per-gb`; also the key of the check in the configuration."""

_CHECK_ID = re.compile(r"(build|function|impairment|soak|performance)(\.[a-z0-9][a-z0-9-]*)+")


class Level(IntEnum):
    """How deep a test goes; a candidate takes them in order, and a failed one stops the later ones."""

    BUILD = 0
    FUNCTION = 1
    IMPAIRMENT = 2
    SOAK = 3
    PERFORMANCE = 4


class Verdict(StrEnum):
    """What a check says. Inconclusive never passes."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Reason(StrEnum):
    """Why a check says what it says."""

    ALL_AS_EXPECTED = "all-as-expected"
    """Levels 0 to 2: every expectation held."""
    EXPECTATION_BROKEN = "expectation-broken"
    CONSOLE_FAULT = "console-fault"
    WITHIN_MARGIN = "within-margin"
    """The whole interval lies below the margin."""
    BEYOND_MARGIN = "beyond-margin"
    """The whole interval lies above the margin."""
    MORE_PAIRS_NEEDED = "more-pairs-needed"
    BUDGET_ENDED = "budget-ended"
    """The interval still holds the margin after the last pair of the budget."""
    NO_DATA = "no-data"
    MISSING_DATA = "missing-data"
    """Too many runs gave no value to decide; a run without a value counts against either verdict."""
    AT_MARGIN = "at-margin"
    """A deterministic count lies nearer to the margin than its noise model tells apart; more runs would not tell."""
    REPEATS_SPREAD = "repeats-spread"
    """Repeats of a deterministic count differ more than its noise model allows; pairs must decide."""
    NOT_RUN = "not-run"
    """An earlier level failed, or what the check needs is not on this machine."""


class Better(StrEnum):
    """Which way a metric is better."""

    LOWER = "lower"
    HIGHER = "higher"


class Scale(StrEnum):
    """How two values of a metric are compared."""

    RATIO = "ratio"
    """By the logarithm of candidate over baseline; values must be above zero."""
    DIFFERENCE = "difference"
    """By candidate minus baseline: for shares, slopes and counts that may be zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What is measured."""

    name: str
    unit: str
    better: Better = Better.LOWER
    scale: Scale = Scale.RATIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """How much worse still counts as not worse."""

    value: float
    """For a ratio: 0.05 is 5 % worse. For a difference: in the metric's unit."""
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDefinition:
    """One statement of levels 3 and 4, fixed before the first run."""

    check_id: CheckId
    level: Level
    metric: Metric
    margin: Margin
    repeat_spread: float | None = None
    """Deterministic metrics only: most that repeats of one build differ, on the check's scale, and measured to do
    so.
    """


class Order(StrEnum):
    """Which run of a pair came first; drawn by a fair coin before each pair (`draw_order`)."""

    BASELINE_FIRST = "baseline-first"
    CANDIDATE_FIRST = "candidate-first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One independent run of each, next to each other in time. None or a value that is not finite: the run gave
    none.
    """

    baseline: float | None
    candidate: float | None
    order: Order = Order.BASELINE_FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """Repeated counts of a deterministic metric."""

    baseline: tuple[float | None, ...]
    candidate: tuple[float | None, ...]


class FaultKind(StrEnum):
    """What a console line tells of."""

    PANIC = "panic"
    OOPS = "oops"
    BUG = "bug"
    WARNING = "warning"
    HUNG = "hung"
    STALL = "stall"
    ASAN = "asan"
    """A memory error found by a sanitizer (ASan, KASAN, UBSAN) or the slab checker."""
    CRASH = "crash"
    """A process of the server ended by a signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault seen on a console or in a log."""

    kind: FaultKind
    title: str
    trace: tuple[str, ...]
    """Function names, innermost first, without addresses and offsets."""
    fingerprint: str
    """The same for the same fault on another boot, core, address or process."""
    line_no: int
    """First line of the fault, counted from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where the effect lies, at any number of pairs at once (a confidence sequence); positive is worse."""

    low: float | None
    """None: nothing is ruled out on this side yet."""
    high: float | None
    low_error: float
    """Most probability that the effect is ever shown above `low` while it is below."""
    high_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check said, and on what evidence. Effects are relative (0.05: 5 % worse) for ratios, else in the
    unit.
    """

    check_id: CheckId
    level: Level
    verdict: Verdict
    reason: Reason
    summary: str = ""
    """One sentence for people."""
    effect: float | None = None
    """Best guess; positive is worse."""
    interval: Interval | None = None
    margin: float | None = None
    pairs: int = 0
    missing: int = 0
    """Pairs among them without a usable value."""
    evidence: tuple[str, ...] = ()
    effects: tuple[float, ...] = ()
    """The effect of each usable pair, for plots."""
    faults: tuple[Fault, ...] = ()
    started_s: float = 0.0
    ended_s: float = 0.0


def check_id(text: str) -> CheckId:
    """Check a check's id: the level's name, a dot, lower-case words with hyphens; more parts by dots."""
    if not _CHECK_ID.fullmatch(text):
        raise CheckError(f"check {text[:80]!r} is not an id: write <level>.<what>, for example performance.cpu-per-gb")
    return CheckId(text)


def level_of(check: CheckId) -> Level:
    """The level that a check's id begins with."""
    return Level[check.split(".", 1)[0].upper()]


def effect_of(metric: Metric, baseline: float | None, candidate: float | None) -> float:
    """How much worse the candidate is, on the additive scale of the test; nan when either gave no usable value."""
    if baseline is None or candidate is None or not (math.isfinite(baseline) and math.isfinite(candidate)):
        return math.nan
    if metric.scale is Scale.RATIO:
        if baseline <= 0 or candidate <= 0:
            return math.nan
        worse = math.log(candidate) - math.log(baseline)  # the quotient could underflow
    else:
        worse = candidate - baseline
    if not math.isfinite(worse):
        return math.nan
    return worse if metric.better is Better.LOWER else -worse


def to_scale(metric: Metric, margin: float) -> float:
    """A margin on the additive scale of the test: for ratios, `margin` worse of the baseline as a logarithm.

    5 % worse is log(1.05) where lower is better and -log(0.95) where higher is.
    """
    if metric.scale is Scale.DIFFERENCE:
        return margin
    return math.log1p(margin) if metric.better is Better.LOWER else -math.log1p(-margin)


def from_scale(metric: Metric, effect: float) -> float:
    """Back from the additive scale to what people read; the inverse of `to_scale`."""
    if metric.scale is Scale.DIFFERENCE or not math.isfinite(effect):
        return effect
    return math.expm1(min(effect, 700.0)) if metric.better is Better.LOWER else -math.expm1(min(-effect, 700.0))
