"""Forecasts: learned from what came, never from what comes; reasons; uncertainty that covers what comes."""

import numpy as np

from headrace.demand import forecast as fc
from headrace.demand.popularity import DAY_S, HALF_LIVES_S, HOUR_S, Popularity

N = 400


def _watched(days: int, rates: np.ndarray, seed: int = 3) -> Popularity:
    rng = np.random.default_rng(seed)
    popularity = Popularity.empty(len(rates))
    for hour in range(days * 24):
        plays = rng.poisson(rates / 24)
        rows = np.flatnonzero(plays)
        popularity.observe(rows, plays[rows].astype(float), now_s=(hour + 1) * HOUR_S)
    return popularity


def _facts(announced_s: np.ndarray | None = None, group: np.ndarray | None = None) -> fc.Facts:
    return fc.Facts(
        announced_s=np.full(N, np.nan) if announced_s is None else announced_s,
        group=np.full(N, -1) if group is None else group,
        since_s=0.0,
    )


def _rates() -> np.ndarray:
    return 20.0 / (np.arange(N) + 1.0)


def test_counts_fade_by_their_half_lives_and_batches_add_up() -> None:
    popularity = Popularity.empty(2)
    popularity.observe(np.array([1, 1]), np.array([1.0, 3.0]), now_s=0.0)
    assert popularity.at(HALF_LIVES_S[1])[1, 1] == 2.0
    assert popularity.at(HALF_LIVES_S[1])[0].sum() == 0.0
    popularity.observe(np.array([1]), np.array([1.0]), now_s=HALF_LIVES_S[1])
    assert popularity.at(HALF_LIVES_S[1])[1, 1] == 3.0


def test_a_learned_forecast_is_nearer_than_an_untaught_one_and_its_spread_covers_what_comes() -> None:
    rates = _rates()
    examples, came, weights = [], [], []
    for seed in range(4):
        known = fc.know(_watched(20, rates, seed), _facts(), now_s=20 * DAY_S)
        kept, row_weights = fc.thin(known)
        examples.append(known.rows(kept))
        came.append(np.random.default_rng(100 + seed).poisson(rates)[kept])
        weights.append(row_weights)
    learned = fc.learn(examples, np.concatenate(came).astype(float), np.concatenate(weights), fc.untaught(), rounds=30)
    known = fc.know(_watched(20, rates, 9), _facts(), now_s=20 * DAY_S)
    found = fc.forecast(known, learned)
    assert np.abs(found.plays - rates).sum() < 0.5 * np.abs(fc.expect(known, fc.untaught()) - rates).sum()
    came_then = np.random.default_rng(55).poisson(rates)
    assert (np.abs(came_then - found.plays) <= 3 * found.spread + 1).mean() > 0.97


def test_reasons_tell_rising_from_steady_and_launches_and_what_only_its_group_speaks_for() -> None:
    announced = np.full(N, np.nan)
    announced[3] = 29.5 * DAY_S
    group = np.full(N, -1)
    group[[4, 5]] = 0
    popularity = Popularity.empty(N)
    for day in range(30):
        popularity.observe(np.array([1, 5]), np.array([3.0, 6.0]), now_s=day * DAY_S)
    popularity.observe(np.array([2]), np.array([8.0]), now_s=30 * DAY_S - HOUR_S)
    popularity.first_s[2] = 0.0
    known = fc.know(popularity, _facts(announced, group), now_s=30 * DAY_S)
    reasons = fc.forecast(known, fc.untaught()).reason
    wanted = [
        fc.ForecastReason.NO_HISTORY,
        fc.ForecastReason.STEADY,
        fc.ForecastReason.RISING,
        fc.ForecastReason.LAUNCH,
        fc.ForecastReason.SIMILAR,
    ]
    assert [fc.ForecastReason(reasons[row]) for row in range(5)] == wanted


def test_an_announced_title_without_history_is_expected_as_launches_before_it_were() -> None:
    announced = np.full(N, np.nan)
    announced[:40] = 20 * DAY_S + 6 * HOUR_S
    facts = _facts(announced)
    known = fc.know(Popularity.empty(N), facts, now_s=20 * DAY_S)
    came = np.where(np.arange(N) < 40, 5.0, 0.1)
    learned = fc.learn([known], came, np.ones(N), fc.untaught(), rounds=40)
    assert 3.5 < fc.expect(known, learned)[0] < 6.0
    assert fc.expect(known, learned)[100] < 0.3
    assert fc.is_candidate(Popularity.empty(N), facts, now_s=20 * DAY_S).sum() == 40


def test_the_weekly_pattern_follows_later_weeks_more() -> None:
    weeks = np.ones((4, 168))
    weeks[-1, :24] = 5.0
    pattern = fc.weekly_pattern(weeks)
    assert abs(pattern.sum() - 1.0) < 1e-9
    assert pattern[0] > 1.5 * pattern[100]
