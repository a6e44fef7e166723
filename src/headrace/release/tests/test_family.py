"""The family keeps one false-alarm rate, and a level's verdict follows from its checks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.release.config import parse_release_config
from headrace.release.errors import CheckError
from headrace.release.family import judge_family, level_verdict, not_run, open_checks, step_down_error
from headrace.release.model import CheckId, CheckResult, Level, Pair, Reason, Scale, Verdict
from headrace.release.sequential import Side, log_evidence
from headrace.release.testing import NOISES, definition, effects_under, pairs_of
from headrace.release.verdicts import Measured

CONFIG = parse_release_config("[errors]\nfalse_alarm_ratio = 0.05\n")
FAMILY = tuple(definition(f"performance.m{number:02}", scale=Scale.DIFFERENCE) for number in range(8))


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("is_shared", [False, True])
def test_false_alarms_over_the_family_stay_below_the_rate(noise: str, is_shared: bool) -> None:
    # Each check exactly at its margin, the hardest place; with shared noise all checks see the same runs.
    draws, ratio, rng = 600, 0.05, np.random.default_rng(11)
    shared = effects_under(noise, rng, 0.0, draws, 40)
    p_values = []
    for _ in FAMILY:
        effects = (
            shared + effects_under("normal", rng, 0.0, draws, 40)
            if is_shared
            else effects_under(noise, rng, 0.0, draws, 40)
        )
        p_values.append(np.exp(-np.maximum(0, log_evidence(effects, 0.0, Side.ABOVE).max(axis=-1))))
    alarms = sum(min(row) <= step_down_error(list(row), ratio) for row in np.array(p_values).T)
    assert alarms <= draws * ratio + 4 * math.sqrt(draws * ratio * (1 - ratio))


def test_a_candidate_that_is_worse_in_one_metric_rarely_passes() -> None:
    # Intersection-union: the level passes only when all checks do; one at its margin keeps the rate, uncorrected.
    draws, ratio = 600, CONFIG.errors.false_pass_ratio
    at_margin = effects_under("bursts", np.random.default_rng(5), 0.0, draws, 40)
    passes = (log_evidence(at_margin, 0.0, Side.BELOW).max(axis=-1) >= -math.log(ratio)).sum()
    assert passes <= draws * ratio + 4 * math.sqrt(draws * ratio * (1 - ratio))


def test_each_faulty_check_is_named_and_the_others_judged() -> None:
    names = [one.check_id for one in FAMILY]
    measured = {
        name: Measured(pairs=tuple(Pair(baseline=0.0, candidate=one.candidate - 100) for one in pairs))
        for name, pairs in (
            (name, pairs_of(1.01 if index < 2 else 1.0, 0.0001, 14, seed=index)) for index, name in enumerate(names)
        )
    }
    results = judge_family(FAMILY, measured, CONFIG)
    assert [one.verdict for one in results] == [Verdict.FAIL] * 2 + [Verdict.PASS] * 6
    assert level_verdict(results, Level.PERFORMANCE) is Verdict.FAIL
    assert open_checks(results) == ()


def test_nothing_measured_is_inconclusive_and_open() -> None:
    results = judge_family(FAMILY, {}, CONFIG)
    assert {one.verdict for one in results} == {Verdict.INCONCLUSIVE}
    assert len(open_checks(results)) == 8
    assert level_verdict(results, Level.PERFORMANCE) is Verdict.INCONCLUSIVE


def test_the_family_is_fixed_beforehand() -> None:
    with pytest.raises(CheckError, match="not of the family"):
        judge_family(FAMILY, {CheckId("performance.new"): Measured()}, CONFIG)


@given(p_values=st.lists(st.floats(0, 1), max_size=12))
def test_the_last_level_of_holm_names_the_same_checks_as_its_steps(p_values: list[float]) -> None:
    ratio, rejected = 0.05, set()
    for rank, (p, index) in enumerate(sorted((p, index) for index, p in enumerate(p_values))):
        if p > ratio / (len(p_values) - rank):
            break
        rejected.add(index)
    error = step_down_error(p_values, ratio)
    assert {index for index, p in enumerate(p_values) if p <= error} == rejected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["pass", "pass"], "pass"),
        (["pass", "inconclusive"], "inconclusive"),
        (["pass", "fail", "inconclusive"], "fail"),
        ([], "inconclusive"),
    ],
)
def test_a_level_passes_only_when_all_of_its_checks_do(verdicts: list[str], expected: str) -> None:
    results = [
        CheckResult(check_id=CheckId("soak.a"), level=Level.SOAK, verdict=Verdict(one), reason=Reason.NO_DATA)
        for one in verdicts
    ]
    assert level_verdict(results, Level.SOAK) is Verdict(expected)


def test_a_check_that_was_left_out_does_not_pass() -> None:
    result = not_run(FAMILY[0], "no emulator here")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert open_checks([result]) == ()
