"""The sequential test keeps its errors under peeking and bad noise, and its interval is what its evidence says."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.release.sequential import Side, anytime_p, bounds, guess, least_pairs, log_evidence, spreads
from headrace.release.testing import NOISES, effects_under

effects_lists = st.lists(st.one_of(st.floats(-1, 1, allow_nan=False), st.just(math.nan)), min_size=1, max_size=12)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("side", list(Side))
def test_error_holds_over_all_looks_with_the_effect_exactly_at_the_margin(noise: str, side: Side) -> None:
    draws, error = 1500, 0.05
    effects = effects_under(noise, np.random.default_rng(7), 0.3, draws, 60)
    hits = (log_evidence(effects, 0.3, side).max(axis=-1) >= -math.log(error)).sum()
    # Four standard deviations of a binomial above the promised rate.
    assert hits <= draws * error + 4 * math.sqrt(draws * error * (1 - error))


@pytest.mark.parametrize("noise", NOISES)
def test_error_is_smaller_still_when_the_effect_lies_within_the_margin(noise: str) -> None:
    effects = effects_under(noise, np.random.default_rng(8), -1.0, 1500, 60)
    at_margin = effects_under(noise, np.random.default_rng(8), 0.0, 1500, 60)
    within, at = ((log_evidence(one, 0.0, Side.ABOVE).max(axis=-1) >= 3.0).mean() for one in (effects, at_margin))
    assert within <= at + 0.01


@pytest.mark.parametrize(("noise", "most_median"), [("normal", 16), ("drift", 22), ("bursts", 22), ("heavy", 32)])
def test_a_clear_effect_is_found_in_few_pairs(noise: str, most_median: int) -> None:
    effects = effects_under(noise, np.random.default_rng(9), 4.0, 400, 60)
    found = log_evidence(effects, 0.0, Side.ABOVE) >= math.log(1200)
    first = np.where(found.any(axis=-1), found.argmax(axis=-1) + 1, 999)
    assert np.median(first) <= most_median


def test_peeking_with_a_t_test_would_not_hold_here() -> None:
    # What the test is for: the usual test, looked at after each pair, alarms several times as often as it promises.
    effects = effects_under("normal", np.random.default_rng(7), 0.0, 1000, 60)
    counts = np.arange(1, 61)
    means = np.cumsum(effects, axis=-1) / counts
    squares = np.cumsum(effects**2, axis=-1) / counts
    z = means[:, 5:] / np.sqrt((squares[:, 5:] - means[:, 5:] ** 2) / (counts[5:] - 1))
    assert (z > 1.7).any(axis=-1).mean() > 0.12


def test_least_pairs_at_the_default_errors() -> None:
    assert least_pairs(0.05) == 6
    assert least_pairs(0.01 / 12) == 12
    ups = [1.0] * 12
    assert anytime_p(ups, 0.0, Side.ABOVE) <= 0.01 / 12 < anytime_p(ups[:-1], 0.0, Side.ABOVE)


def test_no_data_says_nothing() -> None:
    assert anytime_p([], 0.0, Side.ABOVE) == 1.0
    assert bounds([], low_error=0.05, high_error=0.05) == (-math.inf, math.inf)
    assert bounds([math.nan] * 9, low_error=0.05, high_error=0.05) == (-math.inf, math.inf)
    assert math.isnan(guess([math.nan]))


def test_missing_pairs_speak_against_both_sides() -> None:
    whole, holed = [0.1] * 10, [0.1] * 10 + [math.nan] * 10
    for side, margin in ((Side.ABOVE, 0.0), (Side.BELOW, 0.2)):
        after_holes = log_evidence(np.array(holed), margin, side)[-1]
        assert after_holes < log_evidence(np.array(whole), margin, side)[-1]
        assert anytime_p([math.nan] * 30, margin, side) == 1.0


def test_ties_say_nothing() -> None:
    assert anytime_p([0.2] * 30, 0.2, Side.ABOVE) == 1.0
    assert anytime_p([0.2] * 30, 0.2, Side.BELOW) == 1.0


@given(effects=effects_lists, low=st.floats(-1, 1), step=st.floats(0.001, 1))
def test_evidence_falls_as_the_margin_moves_away(effects: list[float], low: float, step: float) -> None:
    assert anytime_p(effects, low, Side.ABOVE) <= anytime_p(effects, low + step, Side.ABOVE) * (1 + 1e-9)
    assert anytime_p(effects, low, Side.BELOW) >= anytime_p(effects, low + step, Side.BELOW) * (1 - 1e-9)


@example(effects=[0.0, 2.225073858507203e-309, 0.0], margin=1.0)  # a spread too small to divide by
@given(effects=effects_lists, margin=st.floats(-1.5, 1.5))
def test_interval_and_evidence_agree(effects: list[float], margin: float) -> None:
    low, high = bounds(effects, low_error=0.05, high_error=0.05)
    if abs(margin - low) > 1e-6:
        assert (low > margin) == (anytime_p(effects, margin, Side.ABOVE) <= 0.05)
    if abs(margin - high) > 1e-6:
        assert (high < margin) == (anytime_p(effects, margin, Side.BELOW) <= 0.05)


@given(effects=effects_lists)
def test_the_interval_mirrors_when_effects_change_sign(effects: list[float]) -> None:
    low, high = bounds(effects, low_error=0.05, high_error=0.05)
    mirrored = bounds([-one for one in effects], low_error=0.05, high_error=0.05)
    assert mirrored == pytest.approx((-high, -low), abs=1e-6)


@given(effects=effects_lists, more=effects_lists)
def test_evidence_once_there_is_never_taken_back(effects: list[float], more: list[float]) -> None:
    assert anytime_p(effects + more, 0.0, Side.ABOVE) <= anytime_p(effects, 0.0, Side.ABOVE)


@given(effects=effects_lists, shift=st.floats(-5, 5))
def test_spreads_look_only_back_and_do_not_move_with_the_effects(effects: list[float], shift: float) -> None:
    whole = spreads(np.array(effects))
    assert np.isnan(whole[:2]).all()
    assert np.allclose(spreads(np.array(effects[:-1])), whole[:-1], equal_nan=True)
    assert np.allclose(spreads(np.array(effects) + shift), whole, equal_nan=True, atol=1e-9)
