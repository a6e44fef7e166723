"""The fast path for counts that repeat: instructions and emulated ticks, decided by a handful of repeats.

Noise model: all runs of one build lie within `spread` of each other, and so within `spread` of the build's true
count. The spread is measured (`headrace release calibrate`), stands in the configuration, is never zero, and is
checked on every use: repeats that differ more say that the model does not hold here, and then pairs decide like any
other metric. Within the model the interval is certain, not probable.

The model is about builds that keep the margin. A leak may well make a build's own runs differ, by more than any good
build's do: where the baseline's runs hold and every run of the candidate lies beyond the margin and twice the spread
above every one of the baseline's, no build within the margin could have given them. That convicts, and never acquits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_REPEATS = 2
"""Of each build: with one the model could not be checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """Ends of the effect under the noise model."""

    low: float
    high: float
    middle: float
    holds: bool
    """Whether the repeats of both sides differ by no more than the spread."""
    least: float
    """Low end that asks nothing of the candidate's repeats but that they are all so far up; -inf when the baseline's
    differ by more than the spread.
    """


def bracket(baseline: Sequence[float], candidate: Sequence[float], spread: float) -> Bracket | None:
    """Bracket the effect (candidate minus baseline, on the additive scale, positive is worse); None with too few
    repeats.

    A true count lies between the largest run minus the spread and the smallest plus it, on both sides.
    """
    if min(len(baseline), len(candidate)) < LEAST_REPEATS:
        return None
    own, other = (max(side) - min(side) for side in (baseline, candidate))
    middle = (min(candidate) + max(candidate) - min(baseline) - max(baseline)) / 2
    return Bracket(
        low=max(candidate) - min(baseline) - 2 * spread,
        high=min(candidate) - max(baseline) + 2 * spread,
        middle=middle,
        holds=max(own, other) <= spread,
        least=min(candidate) - max(baseline) - 2 * spread if own <= spread else -math.inf,
    )
