"""What the checks can tell on this machine: false alarms and smallest effects found, from a baseline against itself.

Input: pairs of runs of one build against itself (A/A), measured by `lab`. The unit is a single run: all are of one
build, so any two of them that are near in time make a pair as good as the measured ones. From 2 n runs (n pairs) there
are nearly (2 n)^2 such pairs, which is why a few runs suffice; whole qualifications are drawn from them, with
replacement, all checks of one run together, so that checks stay as dependent as they were. An effect is put in by
shifting. Measures nothing itself, and knows of no noise that the runs did not show.
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
    Level,
    Order,
    Reason,
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
LEAST_RUNS = 8
"""Single runs with a value; fewer say nothing of the noise, and the check is listed without figures."""
WINDOW = 7
"""Runs more than so many places apart make no pair: what drifts slowly is no noise of a pair."""
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
    """Usable A/A pairs that were measured (for deterministic checks: repeats of both sides)."""
    spread: float | None
    """Standard deviation of a pair's effect, robust (1.4826 times the median distance from none), over all pairs that
    its runs make; relative or in the unit. For deterministic checks: most that repeats differ.
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
    rest: Mapping[CheckId, Measured] | None = None,
    seed: int = 1,
    draws: int = 400,
) -> Calibration:
    """Find the error rates and the power of a family of checks.

    Args:
        runs: one entry for each A/A qualification that was run (`split_qualifications`), in time; all their pairs are
            pooled for the drawing. Within one level the n-th pairs of all checks must stem from the same runs.
        rest: what was measured besides, and is no whole qualification: it tells of the noise, and is no alarm.
        draws: drawn qualifications; the interval of a drawn rate tells of this number only, not of how few pairs
        there were.

    Raises:
        CheckError: something was measured for a check that is not of the family.
    """
    pool = [*runs, rest or {}]
    known = {definition.check_id for definition in definitions}
    for name in (name for run in pool for name in run):
        if name not in known:
            raise CheckError(f"check {name!r} is not of the family")
    alarms = sum(
        any(result.verdict is Verdict.FAIL for result in judge_family(definitions, one, config)) for one in runs
    )
    rng = np.random.default_rng(seed)
    tables = {level: _crossed(definitions, pool, level) for level in {one.level for one in definitions}}
    shape = (draws, config.budget.most_pairs)
    rows = {level: rng.integers(0, max(1, table.shape[0]), size=shape) for level, table in tables.items()}
    # The strictest level of Holm's steps, the one that holds while nothing has failed yet.
    fail_error = config.errors.false_alarm_ratio / max(1, len(definitions))
    checks, failed, is_drawn = [], np.zeros(draws, dtype=bool), False
    for column, definition in enumerate(definitions):
        if definition.repeat_spread is not None:
            checks.append(_deterministic(definition, pool))
            continue
        real = _known([effect for run in pool for effect in _effects(definition, run.get(definition.check_id))])
        if _usable_runs(definition, pool) < LEAST_RUNS:
            checks.append(_unknown(definition, len(real)))
            continue
        crossed = tables[definition.level][:, column]
        check, alarm = _paired(definition, crossed[rows[definition.level]], config, fail_error)
        checks.append(_with_noise(definition, check, real, crossed))
        failed, is_drawn = failed | alarm, True
    drawn_alarms = rate(int(failed.sum()), draws) if is_drawn else rate(0, 0)
    return Calibration(checks=tuple(checks), measured_alarms=rate(alarms, len(runs)), drawn_alarms=drawn_alarms)


def split_qualifications(
    definitions: Sequence[CheckDefinition], measured: Mapping[CheckId, Measured], config: ReleaseConfig
) -> list[dict[CheckId, Measured]]:
    """Cut one long series of A/A pairs into qualifications, each ending where a real one would have.

    What is left at the end decided nothing yet: it counts only when it holds an alarm.
    """
    found: list[dict[CheckId, Measured]] = []
    rest = dict(measured)
    while any(one.pairs for one in rest.values()):
        taken = _one_qualification(definitions, rest, config)
        results = judge_family(definitions, taken, config)
        is_whole = not any(one.reason is Reason.MORE_PAIRS_NEEDED for one in results)
        if is_whole or any(one.verdict is Verdict.FAIL for one in results):
            found.append(taken)
        rest = {
            name: replace(one, pairs=one.pairs[len(taken[name].pairs) :], repeats=None) for name, one in rest.items()
        }
    return found


def _one_qualification(
    definitions: Sequence[CheckDefinition], rest: Mapping[CheckId, Measured], config: ReleaseConfig
) -> dict[CheckId, Measured]:
    """The first pairs, level by level, until each check of the level is decided or out of budget."""
    taken = {name: replace(one, pairs=()) for name, one in rest.items()}
    for level in sorted({one.level for one in definitions}):
        own = {one.check_id for one in definitions if one.level is level} & set(rest)
        longest = max((len(rest[name].pairs) for name in own), default=0)
        for count in range(1, longest + 1):
            taken |= {name: replace(rest[name], pairs=rest[name].pairs[:count]) for name in own}
            results = judge_family(definitions, taken, config)
            if not any(one.check_id in own and one.reason is Reason.MORE_PAIRS_NEEDED for one in results):
                break
    return taken


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


def _crossed(
    definitions: Sequence[CheckDefinition], runs: Sequence[Mapping[CheckId, Measured]], level: Level
) -> Floats:
    """Effects of all pairs that the single runs of a level make, one row a pair, one column a check, nan for none."""
    own = [definition if definition.level is level else None for definition in definitions]
    columns = [_singles(definition, runs) if definition else [] for definition in own]
    length = max((len(column) for column in columns), default=0)
    spans = [(i, j) for i in range(length) for j in range(max(0, i - WINDOW), min(length, i + WINDOW + 1)) if i != j]
    table = np.full((len(spans), len(definitions)), np.nan)
    for number, (definition, column) in enumerate(zip(own, columns, strict=True)):
        if definition is not None and column:
            padded = [*column, *([None] * (length - len(column)))]
            table[:, number] = [effect_of(definition.metric, padded[i], padded[j]) for i, j in spans]
    return table


def _singles(definition: CheckDefinition, runs: Sequence[Mapping[CheckId, Measured]]) -> list[float | None]:
    """The values of single runs in the order in which they were made; both sides are the same build."""
    values: list[float | None] = []
    for pair in (pair for run in runs for pair in run.get(definition.check_id, Measured()).pairs):
        both = [pair.baseline, pair.candidate]
        values += both if pair.order is Order.BASELINE_FIRST else reversed(both)
    return values


def _usable_runs(definition: CheckDefinition, runs: Sequence[Mapping[CheckId, Measured]]) -> int:
    return sum(math.isfinite(effect_of(definition.metric, one, one)) for one in _singles(definition, runs))


def _effects(definition: CheckDefinition, measured: Measured | None) -> list[float]:
    return effects_of(definition, measured.pairs if measured else ())


def _known(effects: Sequence[float]) -> list[float]:
    return [effect for effect in effects if math.isfinite(effect)]


def _paired(
    definition: CheckDefinition, drawn: Floats, config: ReleaseConfig, fail_error: float
) -> tuple[CheckCalibration, Flags]:
    """Rates and power from drawn qualifications; crossed pairs are as often one way round as the other."""
    metric = definition.metric
    margin = to_scale(metric, definition.margin.value)
    fail_goal, pass_goal = -math.log(fail_error), -math.log(config.errors.false_pass_ratio)
    drawn_spreads = spreads(drawn)

    def fails(shift: float) -> Flags:
        # Shifting every effect by `shift` is lowering the margin by it.
        found: Flags = log_evidence(drawn, margin - shift, Side.ABOVE, drawn_spreads).max(axis=-1) >= fail_goal
        return found

    alarm = fails(0.0)
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
        smallest_effect=_smallest(definition, fails, margin, float(np.nanmax(np.abs(drawn)))),
    )
    return check, alarm


def _with_noise(
    definition: CheckDefinition, check: CheckCalibration, real: Sequence[float], crossed: Floats
) -> CheckCalibration:
    metric, error = definition.metric, 1 - CONFIDENCE
    spread = float(1.4826 * np.nanmedian(np.abs(crossed)))
    low, high = bounds(real, low_error=error, high_error=error)
    ends = [from_scale(metric, end) if math.isfinite(end) else None for end in (low, high)]
    bias = Interval(low=ends[0], high=ends[1], low_error=error, high_error=error)
    return replace(check, pairs=len(real), spread=from_scale(metric, spread), bias=bias)


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
    all_repeats = [known for run in runs if (known := _repeats(run.get(definition.check_id)))]
    seen = [spread for one in all_repeats if (spread := measured_spread(definition, one)) is not None]
    # Both sides are the same build, and so are those of all qualifications: the bound is about them all.
    everything = tuple(value for one in all_repeats for value in (*one.baseline, *one.candidate))
    worst = measured_spread(definition, Repeats(baseline=everything, candidate=()))
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


def _repeats(measured: Measured | None) -> Repeats | None:
    """Repeats of both sides; runs of pairs are repeats too (`verdicts`)."""
    if measured is None or (measured.repeats is None and not measured.pairs):
        return None
    pairs = measured.pairs
    return measured.repeats or Repeats(
        baseline=tuple(one.baseline for one in pairs), candidate=tuple(one.candidate for one in pairs)
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
