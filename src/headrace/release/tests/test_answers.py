"""Readings become answers: how many are needed, when the ends are known, and that the error rates given are kept."""

import numpy as np
import pytest

from headrace.release.answers import (
    COUNTS_ERROR,
    ENDS_MOST,
    PAIRS_ERROR_LEAST,
    RARE_TRIES,
    RUNS_MOST,
    TRIES,
    End,
    Reading,
    Way,
    Yardstick,
    answer_of,
    make_yardstick,
    next_end,
)
from headrace.release.bisect import Outcome
from headrace.release.config import parse_release_config
from headrace.release.errors import CheckError
from headrace.release.model import CheckDefinition
from headrace.release.testing import definition

SETTINGS = parse_release_config().bisection
P, F, I = (Reading(outcome=outcome) for outcome in (Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE))  # noqa: E741


def measured(good: float, value: float) -> Reading:
    return Reading(outcome=Outcome.PASS, good=good, value=value)


def pairs(rng: np.random.Generator, count: int, *, effect: float, spread: float) -> list[Reading]:
    """Pairs whose effect is `effect`, each run with half of the spread's variance."""
    noise = np.exp(spread / np.sqrt(2) * rng.standard_normal((count, 2)))
    return [measured(100 * one, 100 * np.exp(effect) * other) for one, other in noise]


@pytest.mark.parametrize(
    ("good", "bad", "wanted"),
    [
        ([], [], End.GOOD),
        ([F], [], None),  # nothing else needs to be known
        ([P], [], End.BAD),
        ([P], [F] * (TRIES - 1), End.BAD),
        ([P], [F] * TRIES, None),
        ([P], [F, F, P], End.BAD),
        ([P], [P] * TRIES, End.BAD),  # a rare fault is given more tries
        ([P], [P] * RARE_TRIES, None),
        ([P], [F, *[P] * (RARE_TRIES - 1)], End.GOOD),  # an answer needs many runs, so the good end does
        ([P] * RUNS_MOST, [F, *[P] * (RARE_TRIES - 1)], None),
    ],
)
def test_runs_say_which_end_is_read_next(good: list[Reading], bad: list[Reading], wanted: End | None) -> None:
    assert next_end(Way.RUNS, good, bad, None, SETTINGS) is wanted


def test_a_fault_that_always_shows_takes_one_run() -> None:
    yardstick = make_yardstick(Way.RUNS, [P], [F] * TRIES, None, SETTINGS)
    assert yardstick is not None
    assert yardstick.readings == 1
    assert yardstick.false_pass_ratio < SETTINGS.false_pass_ratio
    assert make_yardstick(Way.RUNS, [P], [P] * RARE_TRIES, None, SETTINGS) is None


def test_a_fault_in_one_run_of_five_takes_many_and_is_told_from_none() -> None:
    """Played: the answers are wrong no more often than the yardstick says."""
    rng = np.random.default_rng(7)
    wrong_passes, wrong_said = 0, 0.0
    for _ in range(300):
        bad = [F if rng.random() < 0.2 else P for _ in range(RARE_TRIES)]
        yardstick = make_yardstick(Way.RUNS, [P] * RUNS_MOST, bad, None, SETTINGS)
        if yardstick is None:
            continue  # it did not show at all
        runs = [F if rng.random() < 0.2 else P for _ in range(yardstick.readings)]
        answer = answer_of(yardstick, runs, None)
        assert answer is not None
        wrong_passes += answer[0] is Outcome.PASS
        wrong_said += yardstick.false_pass_ratio
    assert wrong_passes <= wrong_said + 3 * np.sqrt(wrong_said)
    assert wrong_passes < 0.15 * 300


def test_an_answer_ends_with_the_first_run_that_fails_or_cannot_be_made() -> None:
    yardstick = Yardstick(way=Way.RUNS, readings=3, false_pass_ratio=0.1, false_fail_ratio=0.1)
    assert answer_of(yardstick, [P, P], None) is None
    assert answer_of(yardstick, [P, F], None) == (Outcome.FAIL, 2)
    assert answer_of(yardstick, [P, P, P, F], None) == (Outcome.PASS, 3)
    assert answer_of(yardstick, [P, I], None) == (Outcome.INCONCLUSIVE, 2)


def test_counts_that_repeat_decide_at_once() -> None:
    check = definition("performance.instructions-small", margin=0.005, repeat_spread=0.0015)
    bad = [measured(1000.0, 1010.0), measured(1000.2, 1010.1)]
    assert next_end(Way.COUNTS, [], bad[:1], check, SETTINGS) is End.BAD
    assert next_end(Way.COUNTS, [], bad, check, SETTINGS) is None
    yardstick = make_yardstick(Way.COUNTS, [], bad, check, SETTINGS)
    assert yardstick is not None
    assert (yardstick.readings, yardstick.false_pass_ratio) == (1, COUNTS_ERROR)
    assert answer_of(yardstick, [measured(1000.0, 1006.0)], check) == (Outcome.FAIL, 1)
    assert answer_of(yardstick, [measured(1000.0, 1004.0)], check) == (Outcome.PASS, 1)
    assert answer_of(yardstick, [Reading(outcome=Outcome.PASS)], check) == (Outcome.INCONCLUSIVE, 1)
    assert make_yardstick(Way.COUNTS, [], [measured(1000.0, 1003.0)] * 2, check, SETTINGS) is None, "within the margin"


def test_counts_that_do_not_repeat_are_decided_as_pairs() -> None:
    check = definition("performance.instructions-small", margin=0.005, repeat_spread=0.0015)
    bad = [measured(1000.0, 1010.0), measured(1008.0, 1022.0)]
    yardstick = make_yardstick(Way.COUNTS, [], bad, check, SETTINGS)
    assert yardstick is not None
    assert yardstick.false_fail_ratio > COUNTS_ERROR


@pytest.mark.parametrize(("effect", "spread"), [(0.25, 0.05), (0.25, 0.08), (0.5, 0.02)])
def test_pairs_keep_the_error_they_promise(effect: float, spread: float) -> None:
    rng, check = np.random.default_rng(3), definition(margin=0.1)
    wrong = {True: 0, False: 0}
    said = {True: 0.0, False: 0.0}
    for _ in range(100):
        bad: list[Reading] = []
        while next_end(Way.PAIRS, [], bad, check, SETTINGS):
            bad += pairs(rng, 1, effect=effect, spread=spread)
        yardstick = make_yardstick(Way.PAIRS, [], bad, check, SETTINGS)
        assert yardstick is not None
        for is_bad in (True, False):
            answer = answer_of(yardstick, pairs(rng, 6, effect=effect * is_bad, spread=spread), check)
            assert answer is not None
            wrong[is_bad] += (answer[0] is Outcome.FAIL) != is_bad
            said[is_bad] += yardstick.false_pass_ratio if is_bad else yardstick.false_fail_ratio
    assert wrong[True] <= said[True] + 3 * np.sqrt(said[True])
    assert wrong[False] <= said[False] + 3 * np.sqrt(said[False])


def test_pairs_at_the_ends_end() -> None:
    rng, check = np.random.default_rng(5), definition(margin=0.01)
    bad: list[Reading] = []
    while next_end(Way.PAIRS, [], bad, check, SETTINGS):
        bad += pairs(rng, 1, effect=0.05, spread=0.05)
    assert len(bad) == ENDS_MOST
    quiet = [measured(100.0, 150.0)] * 3
    assert next_end(Way.PAIRS, [], quiet, check, SETTINGS) is None
    yardstick = make_yardstick(Way.PAIRS, [], quiet, check, SETTINGS)
    assert yardstick is not None
    assert (yardstick.readings, yardstick.false_pass_ratio) == (1, PAIRS_ERROR_LEAST), "never taken for certain"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([measured(100.0, 112.0), measured(150.0, 155.0), measured(80.0, 95.0)], "too little for the spread"),
        ([Reading(outcome=Outcome.INCONCLUSIVE, summary="the machine ended")] * 3, "the machine ended"),
    ],
)
def test_ends_that_cannot_be_told_apart_are_said_so(bad: list[Reading], said: str) -> None:
    check: CheckDefinition = definition(margin=0.01)
    with pytest.raises(CheckError, match=said):
        make_yardstick(Way.PAIRS, [], bad, check, SETTINGS)
