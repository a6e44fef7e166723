"""How often each file will be asked for in the time ahead, how sure that is, and from what it was concluded. Pure.

Plays are Poisson; the logarithm of their mean is a quadratic form in logarithms of the fading counts of `popularity`,
of the plays of the file's group, and of its age, with a constant for each class of age (a generalized linear model:
McCullagh and Nelder, *Generalized Linear Models*, 2nd ed., ch. 6). Products matter: two plays in the last hours of a
title that nobody asked for in weeks foretell more than two of a title with two plays each evening. In a trial, sums of
weighted counts kept 2 to 3 points less of the plays ahead in 5 % of the room, gradient-boosted trees no more.

The uncertainty is that of a negative binomial whose dispersion is measured in the same past. Never sees the future of
what it forecasts: `learn` is given what was known then beside what came.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from headrace.demand.popularity import DAY_S, HALF_LIVES_S, Floats, Ints, Popularity

AGE_EDGES_S = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 40.0]) * DAY_S
"""Edges of the classes of age; below the first a title is announced and not out yet."""
_AGES = len(AGE_EDGES_S) + 1
N_CLASSES = 2 * _AGES
"""Ages since an announced date, then ages since the first play, which says less."""
ANNOUNCED_AHEAD_S = 2 * DAY_S
"""A title is in the forecast from this long before its date."""
NEW_AFTER_S = 14 * DAY_S
"""What was first asked for so soon after records began is taken for old."""
_LEAST_PLAYS = 0.05
"""Counts below this are as good as none: it is added before the logarithm is taken."""
_N_LOGS = len(HALF_LIVES_S) + 2
_PAIRS = np.triu_indices(_N_LOGS)
N_TERMS = _N_LOGS + len(_PAIRS[0]) + N_CLASSES
_RIDGE = 3.0
"""How many plays of evidence it takes to believe half of a term."""


class ForecastReason(IntEnum):
    """What a forecast stands on, mostly."""

    NO_HISTORY = 0
    """Nothing is known of it but its age."""
    RISING = 1
    """The last hours say more than the days before."""
    STEADY = 2
    """Plays of the last days and weeks."""
    LAUNCH = 3
    """Out soon or for less than a week: launches of others at this age, and its own plays so far."""
    SIMILAR = 4
    """No plays of its own lately, but of titles of its group."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """What the catalogue says of each file."""

    announced_s: Floats
    """When it comes out, or came out; NaN where nobody told."""
    group: Ints
    """Files of one group are alike (series, kind, maker, same rendition); -1 for none."""
    since_s: float
    """Before this no plays were recorded."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What is known of files at one instant: the input of a forecast."""

    logs: Floats
    """Shape (n_files, n_half_lives + 2): logarithms of fading counts, of the group's, of the age; 0 for none."""
    age_class: Ints
    """By file, 0 to N_CLASSES - 1."""

    def __len__(self) -> int:
        return len(self.age_class)

    def rows(self, chosen: Ints | NDArray[np.bool_]) -> "Known":
        """Some of the files."""
        return Known(logs=self.logs[chosen], age_class=self.age_class[chosen])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """What was learned."""

    terms: Floats
    """By term of the model, shape (N_TERMS,)."""
    dispersion: Floats
    """By class of age: variance of the plays is mean + dispersion * mean ** 2."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """Plays in the time ahead, by file."""

    plays: Floats
    """Expected."""
    spread: Floats
    """Standard deviation of what will come: chance and the error of the expectation together."""
    reason: Ints
    """Values of `ForecastReason`."""


def know(popularity: Popularity, facts: Facts, *, now_s: float) -> Known:
    """What is known of all files."""
    counts = popularity.at(now_s)
    return _known(counts, _of_groups(counts[:, 4], facts.group), popularity.first_s, facts, facts.announced_s, now_s)


def know_again(popularity: Popularity, facts: Facts, before: Known, rows: Ints, *, now_s: float) -> Known:
    """What is known of some files now; of their groups, what was known `before`."""
    group = np.expm1(before.logs[rows, -2]) * _LEAST_PLAYS
    return _known(popularity.at(now_s, rows), group, popularity.first_s[rows], facts, facts.announced_s[rows], now_s)


def know_new(*, now_s: float) -> Known:
    """What is known of a title that comes out now and of which nothing was told."""
    nothing = np.zeros((1, len(HALF_LIVES_S)))
    facts = Facts(announced_s=np.array([now_s]), group=np.array([-1]), since_s=0.0)
    return _known(nothing, np.zeros(1), np.array([np.inf]), facts, facts.announced_s, now_s)


def _known(counts: Floats, group: Floats, first_s: Floats, facts: Facts, announced_s: Floats, now_s: float) -> Known:
    is_told = np.isfinite(announced_s)
    is_old = (first_s < facts.since_s + NEW_AFTER_S) | ~np.isfinite(first_s)
    age_s = np.where(is_told, now_s - announced_s, np.where(is_old, AGE_EDGES_S[-1], now_s - first_s))
    classes = np.digitize(age_s, AGE_EDGES_S)
    logs = np.empty((len(counts), _N_LOGS))
    logs[:, : len(HALF_LIVES_S)] = np.log1p(counts / _LEAST_PLAYS)
    logs[:, -2] = np.log1p(group / _LEAST_PLAYS)
    logs[:, -1] = np.log(np.clip(age_s / DAY_S, 0.0, 200.0) + 0.25)
    return Known(logs=logs, age_class=np.where(is_told, classes, classes + _AGES))


def _of_groups(counts: Floats, group: Ints) -> Floats:
    """Mean of the other files of the group."""
    mean = np.zeros(len(counts))
    has = group >= 0
    if has.any():
        total, size = np.bincount(group[has], weights=counts[has]), np.bincount(group[has])
        mean[has] = np.maximum(0.0, total[group[has]] - counts[has]) / np.maximum(size[group[has]] - 1, 1)
    return mean


def is_candidate(popularity: Popularity, facts: Facts, *, now_s: float) -> NDArray[np.bool_]:
    """Files that may be asked for: out or nearly so, or played before."""
    candidates: NDArray[np.bool_] = (facts.announced_s < now_s + ANNOUNCED_AHEAD_S) | (popularity.first_s <= now_s)
    return candidates


def forecast(known: Known, weights: Weights) -> Forecast:
    """Expected plays in the time ahead that `weights` was learned for, with spread and reason."""
    plays = expect(known, weights)
    spread = np.sqrt(plays + weights.dispersion[known.age_class] * plays**2)
    return Forecast(plays=plays, spread=spread, reason=_reasons(known))


def expect(known: Known, weights: Weights) -> Floats:
    """Expected plays alone: what is asked for with each batch of logs."""
    linear, rest = weights.terms[:_N_LOGS], weights.terms[_N_LOGS:]
    square = np.zeros((_N_LOGS, _N_LOGS))
    square[_PAIRS] = rest[: len(_PAIRS[0])] * _PAIR_SCALE
    exponent = known.logs @ linear + np.einsum("ij,ij->i", known.logs @ square, known.logs)
    exponent += rest[len(_PAIRS[0]) :][known.age_class]
    plays: Floats = np.exp(np.clip(exponent, -15.0, 12.0))
    return plays


_PAIR_SCALE = 0.3
"""Products are of a larger scale than logarithms; the same ridge then fits both."""


def _terms(known: Known) -> Floats:
    pairs = known.logs[:, _PAIRS[0]] * known.logs[:, _PAIRS[1]] * _PAIR_SCALE
    return np.hstack([known.logs, pairs, np.eye(N_CLASSES)[known.age_class]])


def _reasons(known: Known) -> Ints:
    counts = np.expm1(known.logs[:, :-1]) * _LEAST_PLAYS
    per_day = counts[:, :-1] / HALF_LIVES_S * DAY_S
    reason = np.full(len(known), int(ForecastReason.NO_HISTORY))
    reason[counts[:, -1] > 2 * _LEAST_PLAYS] = ForecastReason.SIMILAR
    reason[counts[:, -2] > 2 * _LEAST_PLAYS] = ForecastReason.STEADY
    reason[known.age_class % _AGES <= 4] = ForecastReason.LAUNCH
    reason[(counts[:, 1] > 1.5) & (per_day[:, 1] > 3 * per_day[:, 3])] = ForecastReason.RISING
    return reason


def untaught() -> Weights:
    """Weights before anything was learned: a play of the last days foretells another."""
    terms = np.zeros(N_TERMS)
    terms[1:5] = 0.25
    terms[_N_LOGS + len(_PAIRS[0]) :] = np.log(_LEAST_PLAYS)
    return Weights(terms=terms, dispersion=np.ones(N_CLASSES))


def thin(known: Known, *, keep_one_in: int = 8) -> tuple[Ints, Floats]:
    """Which rows to keep as examples, and the weight of each: of files that nobody asks for, one in some."""
    is_quiet = (known.logs[:, :4].max(axis=1) < 1.0) & (known.age_class % _AGES > 4)
    kept = np.flatnonzero(~is_quiet | (np.arange(len(known)) % keep_one_in == 0))
    return kept, np.where(is_quiet[kept], float(keep_one_in), 1.0)


def learn(
    examples: Sequence[Known], plays: Floats, row_weights: Floats, before: Weights, *, rounds: int = 8
) -> Weights:
    """Weights that would have foretold best what came: penalized Poisson likelihood, by Newton's method.

    Args:
        examples: what was known, at several instants of the past.
        plays: what each row of them brought, one below the other.
        row_weights: how many files a row stands for (`thin`).
        before: where to begin; weights of a week ago need few rounds.
    """
    known = Known(
        logs=np.concatenate([one.logs for one in examples]),
        age_class=np.concatenate([one.age_class for one in examples]),
    )
    terms, inputs = before.terms, _terms(known)
    if len(plays) > _MANY_ROWS:  # most of the way on some of the rows: the rest then needs few rounds
        some = slice(None, None, len(plays) // _MANY_ROWS + 1)
        terms = _climb(inputs[some], plays[some], row_weights[some], terms, rounds)
    terms = _climb(inputs, plays, row_weights, terms, rounds)
    mean = np.exp(np.clip(inputs @ terms, -15.0, 12.0))
    excess = np.bincount(known.age_class, row_weights * ((plays - mean) ** 2 - mean), N_CLASSES)
    square = np.bincount(known.age_class, row_weights * mean**2, N_CLASSES)
    dispersion = np.clip((excess + 1.0) / (square + 1.0), 0.0, 50.0)
    return Weights(terms=terms, dispersion=dispersion)


_MANY_ROWS = 50_000


def _climb(inputs: Floats, plays: Floats, row_weights: Floats, terms: Floats, rounds: int) -> Floats:
    """The terms of the greatest penalized likelihood, or what so many rounds come to."""
    penalty = np.full(N_TERMS, _RIDGE)
    for _ in range(rounds):
        mean = row_weights * np.exp(np.clip(inputs @ terms, -15.0, 12.0))
        slope = inputs.T @ (row_weights * plays - mean) - penalty * terms
        step = np.linalg.solve((inputs * mean[:, None]).T @ inputs + np.diag(penalty), slope)
        # Far from the optimum a full step overshoots the exponential.
        most = float(np.abs(inputs[mean > 0] @ step).max())
        terms = terms + step * min(1.0, 2.0 / max(most, 1e-9))
        if most < 0.01:
            break
    return terms


def weekly_pattern(plays_by_hour: Floats, *, fade: float = 0.7) -> Floats:
    """Share of a week's plays in each of its hours, from hourly totals of whole weeks, shape (n_weeks, 168).

    A week counts `fade` times the week after it. Files of a site share the pattern: it moves amounts, not ranks.
    """
    weight = fade ** np.arange(len(plays_by_hour))[::-1]
    total = (plays_by_hour * weight[:, None]).sum(axis=0) + 1e-9
    shares: Floats = total / total.sum()
    return shares
