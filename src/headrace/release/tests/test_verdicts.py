"""One check's verdict: never a pass on missing data, fast on deterministic counts, with its evidence."""

import math
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.base.rng import make_rng
from headrace.release.model import (
    Better,
    Order,
    Pair,
    Reason,
    Repeats,
    Scale,
    Verdict,
    effect_of,
    from_scale,
    to_scale,
)
from headrace.release.testing import definition, pairs_of
from headrace.release.verdicts import Allowed, Measured, draw_order, judge_check, show_effect

ALLOWED = Allowed(fail_error=0.001, pass_error=0.05, most_pairs=40)
values = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.floats(0.5, 2))


@pytest.mark.parametrize(
    ("ratio", "spread", "count", "verdict", "reason"),
    [
        (1.0, 0.01, 12, Verdict.PASS, Reason.WITHIN_MARGIN),
        (0.7, 0.03, 12, Verdict.PASS, Reason.WITHIN_MARGIN),
        (1.2, 0.02, 20, Verdict.FAIL, Reason.BEYOND_MARGIN),
        (1.05, 0.02, 12, Verdict.INCONCLUSIVE, Reason.MORE_PAIRS_NEEDED),
        (1.05, 0.02, 40, Verdict.INCONCLUSIVE, Reason.BUDGET_ENDED),
        (1.2, 0.02, 5, Verdict.INCONCLUSIVE, Reason.MORE_PAIRS_NEEDED),
        (1.0, 0.01, 0, Verdict.INCONCLUSIVE, Reason.NO_DATA),
    ],
)
def test_verdict_from_pairs(ratio: float, spread: float, count: int, verdict: Verdict, reason: Reason) -> None:
    result = judge_check(definition(), Measured(pairs=pairs_of(ratio, spread, count)), ALLOWED)
    assert (result.verdict, result.reason) == (verdict, reason)
    assert result.pairs == count


def test_a_pass_shows_effect_interval_pairs_and_evidence() -> None:
    result = judge_check(definition(), Measured(pairs=pairs_of(1.0, 0.01, 12)), ALLOWED)
    assert result.interval is not None
    assert result.interval.low < result.effect < result.interval.high < 0.05
    assert (result.interval.low_error, result.interval.high_error) == (0.001, 0.05)
    assert len(result.effects) == 12
    assert "passes from 20" in result.evidence[1]
    assert "within the margin of +5.00 %" in result.summary


@pytest.mark.parametrize("gap", [None, math.nan, math.inf, 0.0, -3.0])
def test_missing_values_never_pass(gap: float | None) -> None:
    pairs = tuple(Pair(baseline=1.0, candidate=gap) for _ in range(40))
    result = judge_check(definition(), Measured(pairs=pairs), ALLOWED)
    assert (result.verdict, result.reason, result.missing) == (Verdict.INCONCLUSIVE, Reason.MISSING_DATA, 40)
    mixed = tuple(one for good in pairs_of(1.0, 0.001, 20) for one in (good, Pair(baseline=1.0, candidate=gap)))
    result = judge_check(definition(), Measured(pairs=mixed), ALLOWED)
    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_clear_fault_is_still_found_when_a_run_now_and_then_is_missing() -> None:
    pairs = list(pairs_of(1.5, 0.02, 30))
    pairs[3] = pairs[17] = Pair(baseline=100.0, candidate=None)
    assert judge_check(definition(), Measured(pairs=tuple(pairs)), ALLOWED).verdict is Verdict.FAIL


@example(sides=[(7.6e134, 1.9e-189), (1.7e308, -1.7e308)], repeats=([], []))
@given(sides=st.lists(st.tuples(values, values), max_size=45), repeats=st.tuples(st.lists(values), st.lists(values)))
def test_whatever_was_measured_gets_a_verdict_and_a_pass_has_its_interval(sides: list, repeats: tuple) -> None:
    measured = Measured(
        pairs=tuple(Pair(baseline=b, candidate=c) for b, c in sides),
        repeats=Repeats(baseline=tuple(repeats[0]), candidate=tuple(repeats[1])),
    )
    for spread in (None, 0.001):
        result = judge_check(definition(repeat_spread=spread), measured, ALLOWED)
        if result.verdict is Verdict.PASS:
            assert result.interval.high < result.margin
        if result.verdict is Verdict.FAIL:
            assert result.interval.low > result.margin


@pytest.mark.parametrize(
    ("baseline", "candidate", "verdict", "reason"),
    [
        ((50_037, 50_048, 50_040), (50_041, 50_039, 50_044), Verdict.PASS, Reason.WITHIN_MARGIN),
        ((50_037, 50_048), (51_037, 51_048), Verdict.FAIL, Reason.BEYOND_MARGIN),
        ((50_037, 50_048), (50_537, 50_538), Verdict.INCONCLUSIVE, Reason.AT_MARGIN),
        ((50_037, 50_900), (50_041, 50_039), Verdict.INCONCLUSIVE, Reason.REPEATS_SPREAD),
        ((50_037,), (50_041, 50_039), Verdict.INCONCLUSIVE, Reason.NO_DATA),
        ((50_037, 50_038), (None, 50_039), Verdict.INCONCLUSIVE, Reason.NO_DATA),
        ((), (), Verdict.INCONCLUSIVE, Reason.NO_DATA),
    ],
)
def test_deterministic_counts_decide_at_once(
    baseline: tuple, candidate: tuple, verdict: Verdict, reason: Reason
) -> None:
    check = definition("performance.ticks-small", margin=0.01, repeat_spread=0.001)
    result = judge_check(check, Measured(repeats=Repeats(baseline=baseline, candidate=candidate)), ALLOWED)
    assert (result.verdict, result.reason) == (verdict, reason)


def test_pairs_decide_where_repeats_do_not() -> None:
    check = definition("performance.ticks-small", margin=0.01, repeat_spread=0.001)
    wide = Repeats(baseline=(100.0, 110.0), candidate=(100.0, 101.0))
    result = judge_check(check, Measured(repeats=wide, pairs=pairs_of(1.0, 0.001, 10)), ALLOWED)
    assert result.verdict is Verdict.PASS
    assert result.pairs == 10


@pytest.mark.parametrize("better", list(Better))
@pytest.mark.parametrize("scale", list(Scale))
@given(margin=st.floats(0, 0.9))
def test_margin_and_effect_go_there_and_back(better: Better, scale: Scale, margin: float) -> None:
    metric = definition(better=better, scale=scale).metric
    assert from_scale(metric, to_scale(metric, margin)) == pytest.approx(margin, abs=1e-9)
    worse = (100.0, 100.0 + 100 * margin) if better is Better.LOWER else (100.0, 100.0 - 100 * margin)
    expected = margin if scale is Scale.RATIO else 100 * margin
    assert from_scale(metric, effect_of(metric, *worse)) == pytest.approx(expected, abs=1e-9)


def test_higher_is_better_turns_the_effect_round() -> None:
    check = definition(better=Better.HIGHER)
    assert judge_check(check, Measured(pairs=pairs_of(0.7, 0.02, 20)), ALLOWED).verdict is Verdict.FAIL
    assert judge_check(check, Measured(pairs=pairs_of(1.3, 0.02, 20)), ALLOWED).verdict is Verdict.PASS


def test_effects_read_well() -> None:
    assert show_effect(definition(), 0.0512) == "+5.12 %"
    assert show_effect(definition(scale=Scale.DIFFERENCE), -0.5) == "-0.5 CPU s/GB"
    assert show_effect(definition(), math.inf) == "+∞ %"


def test_the_order_of_a_pair_is_a_fair_coin() -> None:
    rng = make_rng(3)
    counts = Counter(draw_order(rng) for _ in range(2000))
    assert 900 < counts[Order.CANDIDATE_FIRST] < 1100


def growing(*slopes: tuple[float, float]) -> Measured:
    return Measured(pairs=tuple(Pair(baseline=one, candidate=other) for one, other in slopes))


@pytest.mark.parametrize(
    ("slopes", "verdict", "reason"),
    [
        ([(0.0, 0.0)] * 2, Verdict.INCONCLUSIVE, Reason.MORE_PAIRS_NEEDED),
        ([(0.0, 0.0)] * 3, Verdict.PASS, Reason.WITHIN_MARGIN),
        ([(0.0, 4.0)] * 3, Verdict.FAIL, Reason.BEYOND_MARGIN),
        ([(0.0, 1.3)] * 3, Verdict.INCONCLUSIVE, Reason.MORE_PAIRS_NEEDED),
        # A leak that takes some of the connections differs from run to run, and convicts all the same.
        ([(0.0, 600.0), (0.1, 560.0), (0.0, 800.0)], Verdict.FAIL, Reason.BEYOND_MARGIN),
        # One run that is no worse than the baseline's, or a baseline that is restless itself: pairs decide.
        ([(0.0, 600.0), (0.1, 0.0), (0.0, 800.0)], Verdict.INCONCLUSIVE, Reason.MORE_PAIRS_NEEDED),
        ([(0.0, 600.0), (9.0, 560.0), (0.0, 800.0)], Verdict.INCONCLUSIVE, Reason.MORE_PAIRS_NEEDED),
    ],
)
def test_pairs_are_repeats_where_the_noise_has_a_bound(
    slopes: list[tuple[float, float]], verdict: Verdict, reason: Reason
) -> None:
    check = definition("soak.descriptors", margin=1.0, scale=Scale.DIFFERENCE, repeat_spread=0.25)
    result = judge_check(check, growing(*slopes), ALLOWED)
    assert (result.verdict, result.reason, result.pairs) == (verdict, reason, len(slopes))


def test_a_spread_of_the_candidate_alone_never_passes() -> None:
    check = definition("soak.descriptors", margin=1.0, scale=Scale.DIFFERENCE, repeat_spread=0.25)
    result = judge_check(check, growing((0.0, -1.0), (0.0, -5.0), (0.0, 0.0)), ALLOWED)
    assert result.verdict is Verdict.INCONCLUSIVE
