"""How readings of a check become answers of a bisection, and how often such an answer is wrong.

Three ways. *Runs* (levels 0 to 2): any run that fails makes the answer a fail; a fault that shows only sometimes needs
several runs. *Counts*: one value on one side of the midpoint between the ends. *Pairs*: the mean of a few pairs of the
good end against the commit, beside the midpoint between no effect and the effect at the bad end. What the ends showed
decides how many readings an answer takes, so that its error rates are known. Measures nothing.

Error of a pair's answer: with effects of equal spread, the mean of k new pairs lies around the mean of the n pairs of
an end as Student's t with n - 1 degrees of freedom, scaled by s sqrt(1/k + 1/n) (the predictive distribution; Geisser
1993, "Predictive Inference", section 2.2). The midpoint moves with half the error of the bad end's mean. Spreads come
from few pairs, so tails are as heavy as t's; never is an answer taken for better than `PAIRS_ERROR_LEAST`.

Error of an answer of runs: how often a bad commit passes one has a Beta distribution, moved by what the bad end did;
where it always failed it begins at the settings' rate with the weight of `PRIOR_TRIES` runs, else at Jeffreys' prior
(Gelman and others 2013, "Bayesian Data Analysis", sections 2.4 and 2.8). That all runs pass is the mean of its power.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import betaln
from scipy.stats import t as student

from headrace.release.bisect import Outcome
from headrace.release.config import BisectionSettings
from headrace.release.errors import CheckError
from headrace.release.model import CheckDefinition, effect_of, from_scale, to_scale

PRIOR_TRIES = 4
"""How many runs the settings' error rates weigh against what was seen at the ends."""
TRIES = 3
"""Runs of the bad end when all fail; one that passes asks for `RARE_TRIES`."""
RARE_TRIES = 8
ANSWER_ERROR = 0.05
"""An answer takes as many readings as bring both errors below this."""
RUNS_MOST, PAIRS_MOST = 16, 6
"""Most readings of an answer; beyond, it is wrong more often, and the search asks again."""
ENDS_LEAST, ENDS_MOST = 3, 8
"""Pairs at the ends."""
COUNTS = 2
PAIRS_ERROR_LEAST, COUNTS_ERROR = 0.01, 0.001
"""Errors that stick to a build (how its code lies in memory) are not in any spread."""
PAIRS_ERROR_MOST = 0.35
"""Answers that are wrong more often cannot carry a search."""


class Way(StrEnum):
    """How a check is read."""

    RUNS = "runs"
    COUNTS = "counts"
    PAIRS = "pairs"


class End(StrEnum):
    """An end of the history."""

    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One run of the check; for counts and pairs beside a run of the good end."""

    outcome: Outcome
    """Of runs: pass or fail. Of the others: pass where there are values. Inconclusive: the machine did not start, or
    gave no value.
    """
    good: float | None = None
    value: float | None = None
    summary: str = ""
    """What was seen, for people."""
    trace: tuple[str, ...] = ()
    """Lines of the console about a fault."""
    has_started: bool = True
    """Its machine came up."""
    cost_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """What makes an answer, fixed once the ends are known."""

    way: Way
    readings: int
    """That an answer takes, at most."""
    false_pass_ratio: float
    false_fail_ratio: float
    limit: float | None = None
    """On the check's additive scale: an effect above it is a fail."""
    effect: float | None = None
    """Of the bad end against the good one, on the same scale."""
    error: float | None = None
    """Half of the 95 % interval of `effect`."""


def next_end(
    way: Way,
    good: Sequence[Reading],
    bad: Sequence[Reading],
    definition: CheckDefinition | None,
    settings: BisectionSettings,
) -> End | None:
    """Which end is to be read next, before the search; None when enough is known of both."""
    if way is Way.RUNS:
        return _next_end_of_runs(good, bad, settings)
    if way is Way.COUNTS:
        return End.BAD if len(bad) < COUNTS else None
    assert definition is not None
    if len(bad) < ENDS_LEAST:
        return End.BAD
    if len(bad) >= ENDS_MOST or len(_effects(definition, bad)) < len(bad):
        return None
    return None if _pairs_needed(definition, bad)[0] <= 2 else End.BAD  # twice a step is dearer than once an end


def make_yardstick(
    way: Way,
    good: Sequence[Reading],
    bad: Sequence[Reading],
    definition: CheckDefinition | None,
    settings: BisectionSettings,
) -> Yardstick | None:
    """What the ends allow; None when the bad end does not fail now.

    Raises:
        CheckError: runs at the ends gave no values, or the effect is too small for the spread of the pairs.
    """
    if way is Way.RUNS:
        return _runs_yardstick(good, bad, settings)
    assert definition is not None
    effects = _effects(definition, bad)
    if len(effects) < 2:
        raise CheckError(f"{definition.check_id} gave no values at the ends: {_said(bad)}")
    effect = float(np.mean(effects))
    if effect <= to_scale(definition.metric, definition.margin.value):
        return None
    if way is Way.COUNTS and _repeats_hold(definition, bad, effect):
        readings, false_pass, false_fail = 1, COUNTS_ERROR, COUNTS_ERROR
    else:
        readings, false_pass, false_fail = _pairs_needed(definition, bad)
    if max(false_pass, false_fail) > PAIRS_ERROR_MOST:
        raise CheckError(
            f"{definition.check_id}: the bad end is worse by {from_scale(definition.metric, effect):.3g}, too little "
            f"for the spread between runs here: {readings} pairs would give a wrong answer in "
            f"{max(false_pass, false_fail):.0%} of cases; use a quieter machine, or a check that counts"
        )
    return Yardstick(
        way=way,
        readings=readings,
        false_pass_ratio=false_pass,
        false_fail_ratio=false_fail,
        limit=effect / 2,
        effect=effect,
        error=_half_interval(effects),
    )


def answer_of(
    yardstick: Yardstick, readings: Sequence[Reading], definition: CheckDefinition | None
) -> tuple[Outcome, int] | None:
    """The answer and how many readings it took, from the front; None when more are needed."""
    taken = readings[: yardstick.readings]
    for number, reading in enumerate(taken, start=1):
        if reading.outcome in {Outcome.INCONCLUSIVE, Outcome.UNBUILDABLE}:
            return reading.outcome, number
        if yardstick.way is Way.RUNS and reading.outcome is Outcome.FAIL:
            return Outcome.FAIL, number
    if len(taken) < yardstick.readings:
        return None
    if yardstick.way is Way.RUNS:
        return Outcome.PASS, len(taken)
    assert definition is not None
    assert yardstick.limit is not None
    effects = _effects(definition, taken)
    if len(effects) < len(taken):
        return Outcome.INCONCLUSIVE, len(taken)
    return (Outcome.FAIL if float(np.mean(effects)) > yardstick.limit else Outcome.PASS), len(taken)


def _next_end_of_runs(good: Sequence[Reading], bad: Sequence[Reading], settings: BisectionSettings) -> End | None:
    if not good:
        return End.GOOD  # where it fails already, nothing else needs to be known
    if any(reading.outcome is not Outcome.PASS for reading in good):
        return None
    fails = _count(bad, Outcome.FAIL)
    if len(bad) < TRIES or (fails < len(bad) and len(bad) < RARE_TRIES):
        return End.BAD
    # What an answer takes, the good end must pass, too.
    is_wanted = fails and len(good) < _runs_needed(_passing(bad, settings))
    return End.GOOD if is_wanted else None


def _passing(bad: Sequence[Reading], settings: BisectionSettings) -> tuple[float, float]:
    """The Beta distribution of how often the bad end passes."""
    fails, passes = _count(bad, Outcome.FAIL), _count(bad, Outcome.PASS)
    if passes:
        return 0.5 + passes, 0.5 + fails  # seen to be rare, so nothing usual is taken for granted (Jeffreys' prior)
    return settings.false_pass_ratio * PRIOR_TRIES, (1 - settings.false_pass_ratio) * PRIOR_TRIES + fails


def _all_pass(passing: tuple[float, float], runs: int) -> float:
    """The probability that so many runs of a bad commit all pass: the mean of p^runs over the distribution."""
    a, b = passing
    return math.exp(betaln(a + runs, b) - betaln(a, b))


def _runs_needed(passing: tuple[float, float]) -> int:
    return next((runs for runs in range(1, RUNS_MOST) if _all_pass(passing, runs) <= ANSWER_ERROR), RUNS_MOST)


def _runs_yardstick(good: Sequence[Reading], bad: Sequence[Reading], settings: BisectionSettings) -> Yardstick | None:
    if bad and not _count(bad, Outcome.FAIL):
        return None
    passing = _passing(bad, settings)
    runs = _runs_needed(passing)
    odd = settings.false_fail_ratio
    if any(reading.outcome is Outcome.PASS for reading in good):  # else it is the end that is not good
        odd = (odd * PRIOR_TRIES + _count(good, Outcome.FAIL)) / (PRIOR_TRIES + len(good))
    return Yardstick(
        way=Way.RUNS,
        readings=runs,
        false_pass_ratio=_all_pass(passing, runs),
        false_fail_ratio=1 - (1 - odd) ** runs,
    )


def _count(readings: Sequence[Reading], outcome: Outcome) -> int:
    return sum(reading.outcome is outcome for reading in readings)


def _effects(definition: CheckDefinition, readings: Sequence[Reading]) -> list[float]:
    found = [effect_of(definition.metric, reading.good, reading.value) for reading in readings]
    return [effect for effect in found if math.isfinite(effect)]


def _nothings(definition: CheckDefinition, readings: Sequence[Reading]) -> list[float]:
    """What the good end differs from itself, from one pair to the next: drift is in it, which pairs mostly escape."""
    goods = [reading.good for reading in readings]
    found = [effect_of(definition.metric, one, other) for one, other in itertools.pairwise(goods)]
    return [effect for effect in found if math.isfinite(effect)]


def _pairs_needed(definition: CheckDefinition, bad: Sequence[Reading]) -> tuple[int, float, float]:
    """Pairs of an answer, how often it would pass a bad commit, and fail a good one."""
    effects, nothings = _effects(definition, bad), _nothings(definition, bad)
    count, middle = len(effects), float(np.mean(effects)) / 2
    if count < 2 or not nothings or middle <= 0:
        return PAIRS_MOST, 0.5, 0.5
    spread_bad = float(np.std(effects, ddof=1))
    spread_good = float(np.sqrt(np.mean(np.square(nothings))))  # around zero, which is known
    for pairs in range(1, PAIRS_MOST + 1):
        # The midpoint is off by half of what the bad end's mean is off.
        wide = math.sqrt(1 / pairs + 1 / (4 * count))
        false_pass = _tail(middle, spread_bad * wide, count - 1)
        false_fail = _tail(
            middle, math.hypot(spread_good / math.sqrt(pairs), spread_bad / (2 * math.sqrt(count))), count - 1
        )
        if max(false_pass, false_fail) <= ANSWER_ERROR:
            break
    return pairs, false_pass, false_fail


def _tail(distance: float, scale: float, freedom: int) -> float:
    beyond = float(student.sf(distance / scale, freedom)) if scale > 0 else 0.0
    return max(PAIRS_ERROR_LEAST, beyond)


def _half_interval(effects: Sequence[float]) -> float:
    count = len(effects)
    return float(student.ppf(0.975, count - 1) * np.std(effects, ddof=1) / math.sqrt(count))


def _repeats_hold(definition: CheckDefinition, bad: Sequence[Reading], effect: float) -> bool:
    """Whether counts repeat so well that one decides: no two of one build differ by half of the way to the midpoint."""
    effects = _effects(definition, bad)
    apart = [max(effects) - min(effects), *(abs(one) for one in _nothings(definition, bad))]
    return max(*apart, 2 * (definition.repeat_spread or 0.0)) < effect / 2


def _said(readings: Sequence[Reading]) -> str:
    return next((reading.summary for reading in readings if reading.summary), "nothing was said")
