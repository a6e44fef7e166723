"""The sequential test: does the effect of paired runs lie below or above a margin, looked at after every pair.

Input: the effect d_i of each pair on an additive scale (`model.effect_of`), in the order of the runs. Never decides how
many runs to make, and never measures.

Assumption, and where it comes from: the effect theta is a shift that is the same in both orders of a pair, and a fair
coin, drawn before the pair, says which run comes first. Then d_i - theta is ± the difference of the noise of the two
places, the sign being the coin's: given all that came before and its own size, it is up or down with probability 1/2.
Noise may be heavy-tailed, may drift, may change from pair to pair; no normal distribution, no equal variances, no
large numbers.

Test: bet on signs. With g_i(x) odd, not falling in x, within [-1, 1] and fixed by the past, the product of 1 +
g_i(d_i - theta) is a non-negative martingale that starts at 1; for a true effect below theta it is a supermartingale,
because g_i does not fall. By Ville's inequality it ever reaches 1/a with probability at most a: the error holds
however often one looks. (Ramdas, Ruf, Larsson, Koolen 2020, "Admissible anytime-valid sequential inference must rely
on nonnegative martingales", section on symmetric distributions; de la Peña 1999; Vovk and Wang 2024, "Nonparametric
e-tests of symmetry".) The mean of several such products is one again, so bold and careful bets are mixed, and none
has to be chosen beforehand. Decision record 0012 says what else was looked at.
"""

import math
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SIGN_BETS = (0.5, 0.95)
"""Shares of the stake put on the sign alone: the bold one decides clear cases in few pairs, the careful one survives
outliers.
"""
SIZE_BETS = (0.35, 1.0)
"""Bets tanh(c |x| / spread): nearly nothing on a small difference, nearly all on a large one; for noise without
outliers.
"""
SIZE_BET_MOST = 0.98
FIRST_BET = 0.5
"""Size bets begin as a plain bet on the sign: a spread is known only after two pairs."""
SPREAD_FROM = 2
_STEPS = 60


class Side(IntEnum):
    """Which alternative the bets are on."""

    ABOVE = 1
    """Evidence that the effect is above the margin."""
    BELOW = -1


def log_evidence(effects: Floats, margin: float, side: Side, spread: Floats | None = None) -> Floats:
    """Natural logarithm of the e-process after each pair.

    Args:
        effects: shape (..., pairs); nan where a pair gave no value, which counts as if it spoke against `side`: a run
        that is
            missing because the build broke must not help it, and must not convict it either.
        margin: on the same scale.
        spread: `spreads(effects)`, for callers that ask about many margins.

    Returns:
        Shape (..., pairs). Its running maximum reaches log(1/a) with probability at most a when the effect is not on
        `side`.
    """
    against = -float(side) * math.inf
    x = float(side) * (np.where(np.isnan(effects), against, effects) - margin)
    sign = np.sign(x)
    spread = spreads(effects) if spread is None else spread
    wealth = [np.cumsum(np.log1p(bet * sign), axis=-1) for bet in SIGN_BETS]
    wealth += [np.cumsum(np.log1p(_size_bet(c, x, spread) * sign), axis=-1) for c in SIZE_BETS]
    mixed: Floats = np.logaddexp.reduce(np.stack(wealth), axis=0) - math.log(len(wealth))
    return mixed


def anytime_p(effects: Sequence[float], margin: float, side: Side) -> float:
    """A p-value that stays valid however often it is looked at: one over the largest evidence so far; 1 without
    data.
    """
    if not effects:
        return 1.0
    return _p_value(np.asarray(effects, dtype=np.float64), None, margin, side)


def bounds(effects: Sequence[float], *, low_error: float, high_error: float) -> tuple[float, float]:
    """Ends of the confidence sequence: the effects that neither side rejects yet; infinite where nothing is rejected.

    `low` is above the true effect at any time ever with probability at most `low_error`, `high` below it with at most
    `high_error`.
    """
    values = np.asarray(effects, dtype=np.float64)
    known = values[np.isfinite(values)]
    if not known.size:
        return -math.inf, math.inf
    spread = spreads(values)
    lowest, highest = float(known.min()), float(known.max())
    reach = highest - lowest + 1e-9

    def end(side: Side, error: float) -> float:
        # Evidence falls as the margin moves to `side`: the rejected margins are a half line, and halving finds its end.
        kept, rejected = (highest + reach, lowest - reach) if side is Side.ABOVE else (lowest - reach, highest + reach)
        if _p_value(values, spread, rejected, side) > error:
            return -side * math.inf
        for _ in range(_STEPS):
            middle = (kept + rejected) / 2
            if _p_value(values, spread, middle, side) <= error:
                rejected = middle
            else:
                kept = middle
        return rejected

    return end(Side.ABOVE, low_error), end(Side.BELOW, high_error)


def spreads(effects: Floats) -> Floats:
    """For each pair the spread of all *earlier* effects (median distance from their median), nan while fewer than two
    are known.

    Known before the pair is run, and the same for every margin: both are needed for the bets to be fair.
    """
    found = np.full(effects.shape, np.nan)
    for index in range(SPREAD_FROM, effects.shape[-1]):
        past = effects[..., :index]
        spread = _median(np.abs(past - _median(past)))[..., 0]
        found[..., index] = np.where(np.isfinite(past).sum(axis=-1) >= SPREAD_FROM, spread, np.nan)
    return found


def guess(effects: Sequence[float]) -> float:
    """The median of the usable effects; nan without any."""
    known = [effect for effect in effects if math.isfinite(effect)]
    return float(np.median(known)) if known else math.nan


def least_pairs(error: float) -> int:
    """Pairs that a verdict needs at least, at this error, when every pair says the same."""
    log_goal = -math.log(error)
    ups = np.full(200, 1.0)
    return int(np.argmax(log_evidence(ups, 0.0, Side.ABOVE) >= log_goal)) + 1


def _p_value(effects: Floats, spread: Floats | None, margin: float, side: Side) -> float:
    best = float(np.max(log_evidence(effects, margin, side, spread)))
    return min(1.0, math.exp(-best))


def _size_bet(c: float, x: Floats, spread: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        sized = np.minimum(np.tanh(c * np.abs(x) / spread), SIZE_BET_MOST)
    # No spread yet: the sign alone. A spread of all but zero gives inf, so most on the sign; 0/0 is a tie: no bet.
    result: Floats = np.nan_to_num(np.where(np.isnan(spread), FIRST_BET, sized), nan=0.0)
    return result


def _median(values: Floats) -> Floats:
    """Median of the known values along the last axis (nan where none is), keeping the axis."""
    ordered = np.sort(values, axis=-1)  # nan goes last
    known = np.isfinite(values).sum(axis=-1, keepdims=True)
    below = np.take_along_axis(ordered, np.maximum(known - 1, 0) // 2, axis=-1)
    above = np.take_along_axis(ordered, np.minimum(known // 2, values.shape[-1] - 1), axis=-1)
    middle: Floats = np.where(known > 0, (below + above) / 2, np.nan)
    return middle
