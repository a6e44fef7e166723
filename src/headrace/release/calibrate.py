"""What the checks can tell on this machine: false alarms and smallest effects found, from a baseline against itself.

Input: pairs of runs of one build against itself (A/A), measured by `lab`, one row for all checks of a run. Runs are
drawn again from them, with replacement and whole rows, so that checks stay as dependent as they were; an effect is
put in by shifting. Measures nothing itself, and knows of no noise that the pairs did not show.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from headrace.release.config import ReleaseConfig
from headrace.release.deterministic import LEAST_REPEATS
from headrace.release.errors import CheckError
from headrace.release.family import judge_family
from headrace.release.model import (
    CheckDefinition,
    CheckId,
    Interval,
    Pair,
    Repeats,
    Verdict,
    effect_of,
    from_scale,
    to_scale,
)
from headrace.release.sequential import Floats, Side, bounds, log_evidence, spreads
from headrace.release.verdicts import Measured, effects_of

Flags = npt.NDArray[np.bool_]

POWER = 0.9
CONFIDENCE = 0.95
LEAST_PAIRS = 8
"""Fewer say nothing of the noise; the check is listed without figures."""
_HALVINGS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Share of `runs` in which something happened, with its exact (Clopper-Pearson) interval."""

    hits: int
    runs: int
    low: float
    high: float

    @property
    def ratio(self) -> float:
        """The share itself; nan without runs."""
        return self.hits / self.runs if self.runs else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckCalibration:
    """What one check can tell."""

    check_id: CheckId
    pairs: int
    """Usable A/A pairs (for deterministic checks: repeats of both sides)."""
    spread: float | None
    """Standard deviation of a pair's effect, robust (1.4826 times the median distance from the median); relative or
    in the unit.
    """
    bias: Interval | None
    """Where the effect of a build against itself lies, 95 % each side: not around 0 says that the runs are not
    exchangeable.
    """
    false_alarms: Rate | None
    """Of drawn qualifications at no effect."""
    passes: Rate | None
    """Of the same: a check that rarely passes at no effect needs a wider margin or more pairs."""
    pairs_to_pass: int | None
    """Median number of pairs to a pass at no effect; None where fewer than half pass."""
    smallest_effect: float | None
    """Smallest worsening that fails with 90 % probability within the budget; None where the budget is too small for
    any.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What the whole family can tell."""

    checks: tuple[CheckCalibration, ...]
    measured_alarms: Rate
    """Of the real A/A qualifications that were run: the figure that no resampling can better."""
    drawn_alarms: Rate
    """Of qualifications drawn from their pairs: any check failing."""


def rate(hits: int, runs: int) -> Rate:
    """A share with its exact 95 % interval; 0 to 1 without runs."""
    if runs == 0:
        return Rate(hits=0, runs=0, low=0.0, high=1.0)
    interval = binomtest(hits, runs).proportion_ci(CONFIDENCE, method="exact")
    return Rate(hits=hits, runs=runs, low=float(interval.low), high=float(interval.high))


def calibrate(
    definitions: Sequence[CheckDefinition],
    runs: Sequence[Mapping[CheckId, Measured]],
    config: ReleaseConfig,
    *,
    seed: int = 1,
    draws: int = 400,
) -> Calibration:
    """Find the error rates and the power of a family of checks.

    Args:
        runs: one entry for each A/A qualification that was run; all their pairs are pooled for the drawing. The n-th
        pairs of
            the checks within one qualification must stem from the same run.
        draws: drawn qualifications; the interval of a drawn rate tells of this number only, not of how few pairs
        there were.

    Raises:
        CheckError: something was measured for a check that is not of the family.
    """
    alarms = sum(
        any(result.verdict is Verdict.FAIL for result in judge_family(definitions, one, config)) for one in runs
    )
    table = _table(definitions, runs)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, max(1, table.shape[0]), size=(draws, config.budget.most_pairs))
    # The strictest level of Holm's steps, the one that holds while nothing has failed yet.
    fail_error = config.errors.false_alarm_ratio / max(1, len(definitions))
    checks, failed = [], np.zeros(draws, dtype=bool)
    for column, definition in enumerate(definitions):
        if definition.repeat_spread is not None:
            checks.append(_deterministic(definition, runs))
            continue
        known = np.isfinite(table[:, column]).sum()
        if known < LEAST_PAIRS:
            checks.append(_unknown(definition, int(known)))
            continue
        drawn = table[rows, column]
        coins = rng.integers(0, 2, size=drawn.shape) * 2 - 1
        check, alarm = _paired(definition, drawn, coins * (drawn - np.nanmedian(table[:, column])), config, fail_error)
        checks.append(_with_noise(definition, check, table[np.isfinite(table[:, column]), column]))
        failed |= alarm
    drawn_alarms = rate(int(failed.sum()), draws) if table.shape[0] >= LEAST_PAIRS else rate(0, 0)
    return Calibration(checks=tuple(checks), measured_alarms=rate(alarms, len(runs)), drawn_alarms=drawn_alarms)


def measured_spread(definition: CheckDefinition, repeats: Repeats) -> float | None:
    """How far repeats of one build differ at most, on the check's scale, for `repeat_spread`; None with fewer than
    two.
    """
    sides = []
    for side in (repeats.baseline, repeats.candidate):
        effects = [effect_of(definition.metric, side[0], one) for one in side]
        known = [one for one in effects if math.isfinite(one)]
        if len(known) >= LEAST_REPEATS:
            sides.append(max(known) - min(known))
    return max(sides, default=None)


def _table(definitions: Sequence[CheckDefinition], runs: Sequence[Mapping[CheckId, Measured]]) -> Floats:
    """Effects of all A/A pairs, one row a pair, one column a check, nan where there is none."""
    rows: list[list[float]] = []
    known = {definition.check_id for definition in definitions}
    for run in runs:
        unknown = set(run) - known
        if unknown:
            raise CheckError(f"check {min(unknown)!r} is not of the family")
        columns = [_effects(definition, run.get(definition.check_id)) for definition in definitions]
        longest = max((len(column) for column in columns), default=0)
        rows += [[column[row] if row < len(column) else math.nan for column in columns] for row in range(longest)]
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), len(definitions))


def _effects(definition: CheckDefinition, measured: Measured | None) -> list[float]:
    pairs: tuple[Pair, ...] = measured.pairs if measured else ()
    return effects_of(definition, pairs)


def _paired(
    definition: CheckDefinition, drawn: Floats, fair: Floats, config: ReleaseConfig, fail_error: float
) -> tuple[CheckCalibration, Flags]:
    """Rates from the pairs as `drawn`; power from them made `fair`: centred, signs by the coin that drew the order.

    A pool of A/A pairs is off its own centre by chance, which would be counted as power or as lack of it.
    """
    metric = definition.metric
    margin = to_scale(metric, definition.margin.value)
    fail_goal, pass_goal = -math.log(fail_error), -math.log(config.errors.false_pass_ratio)
    fair_spreads, drawn_spreads = spreads(fair), spreads(drawn)

    def fails(shift: float) -> Flags:
        # Shifting every effect by `shift` is lowering the margin by it.
        found: Flags = log_evidence(fair, margin - shift, Side.ABOVE, fair_spreads).max(axis=-1) >= fail_goal
        return found

    alarm: Flags = log_evidence(drawn, margin, Side.ABOVE, drawn_spreads).max(axis=-1) >= fail_goal
    passing = log_evidence(drawn, margin, Side.BELOW, drawn_spreads) >= pass_goal
    passed = passing.any(axis=-1)
    check = CheckCalibration(
        check_id=definition.check_id,
        pairs=0,
        spread=None,
        bias=None,
        false_alarms=rate(int(alarm.sum()), alarm.size),
        passes=rate(int((passed & ~alarm).sum()), passed.size),
        pairs_to_pass=_median_pairs(passing),
        smallest_effect=_smallest(definition, fails, margin, float(np.nanmax(np.abs(fair)))),
    )
    return check, alarm


def _with_noise(definition: CheckDefinition, check: CheckCalibration, known: Floats) -> CheckCalibration:
    metric, error = definition.metric, 1 - CONFIDENCE
    spread = float(1.4826 * np.median(np.abs(known - np.median(known))))
    low, high = bounds(known.tolist(), low_error=error, high_error=error)
    ends = [from_scale(metric, end) if math.isfinite(end) else None for end in (low, high)]
    bias = Interval(low=ends[0], high=ends[1], low_error=error, high_error=error)
    return replace(check, pairs=int(known.size), spread=from_scale(metric, spread), bias=bias)


def _median_pairs(passing: Flags) -> int | None:
    passed = passing.any(axis=-1)
    first = np.where(passed, passing.argmax(axis=-1) + 1, passing.shape[-1] + 1)
    middle = int(np.median(first))
    return middle if middle <= passing.shape[-1] else None


def _smallest(
    definition: CheckDefinition, fails: Callable[[float], Flags], margin: float, largest_noise: float
) -> float | None:
    low, high = margin, margin + 2 * largest_noise + 1e-9  # every pair lies above the margin then
    if fails(high).mean() < POWER:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if fails(middle).mean() >= POWER else (middle, high)
    return from_scale(definition.metric, high)


def _deterministic(definition: CheckDefinition, runs: Sequence[Mapping[CheckId, Measured]]) -> CheckCalibration:
    """Within the noise model nothing fails at no effect; the model's spread against the measured one is what
    matters.
    """
    assert definition.repeat_spread is not None
    all_repeats = [one.repeats for run in runs if (one := run.get(definition.check_id)) and one.repeats]
    seen = [spread for one in all_repeats if (spread := measured_spread(definition, one)) is not None]
    worst = max(seen, default=None)
    # The bracket's low end lies at most two spreads and one side's range below the true effect.
    margin = to_scale(definition.metric, definition.margin.value)
    found = margin + 3 * definition.repeat_spread
    held = sum(spread <= definition.repeat_spread for spread in seen)
    return CheckCalibration(
        check_id=definition.check_id,
        pairs=sum(min(len(one.baseline), len(one.candidate)) for one in all_repeats),
        spread=worst,
        bias=None,
        false_alarms=None,
        passes=rate(held, len(seen)) if seen else None,
        pairs_to_pass=None,
        smallest_effect=from_scale(definition.metric, found),
    )


def _unknown(definition: CheckDefinition, pairs: int) -> CheckCalibration:
    return CheckCalibration(
        check_id=definition.check_id,
        pairs=pairs,
        spread=None,
        bias=None,
        false_alarms=None,
        passes=None,
        pairs_to_pass=None,
        smallest_effect=None,
    )
