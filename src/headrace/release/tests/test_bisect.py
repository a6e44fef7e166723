"""The search names the right commit under noise and merges, around what does not build, and can be taken up again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from headrace.release.bisect import (
    BisectState,
    Conclusion,
    Ending,
    Outcome,
    Step,
    StepKind,
    bits_left,
    next_step,
    posterior,
    start_search,
)
from headrace.release.config import parse_release_config
from headrace.release.errors import HistoryError
from headrace.release.history import Commit
from headrace.release.testing import merged_history, play

SETTINGS = parse_release_config().bisection
LINE = [Commit(commit_id=f"c{n:02}", parents=(f"c{n - 1:02}",)) for n in range(32)]


def started(commits: list[Commit] = LINE, bad: str = "c31", **rates: float) -> BisectState:
    return start_search(commits, good="good", bad=bad, settings=SETTINGS, **rates)


def ends_checked(state: BisectState) -> BisectState:
    while isinstance(step := next_step(state), Step) and step.kind in {StepKind.CHECK_GOOD, StepKind.CHECK_BAD}:
        outcome = Outcome.PASS if step.kind is StepKind.CHECK_GOOD else Outcome.FAIL
        state = state.answered(step, outcome, cost_s=10.0)
    return state


def test_without_noise_it_takes_as_few_tests_as_halving_and_the_confirmations() -> None:
    for culprit in LINE:
        state = started(false_pass_ratio=1e-6, false_fail_ratio=1e-6)
        end = play(state, culprit.commit_id, np.random.default_rng(1))
        assert (end.ending, end.commit_ids) == (Ending.CULPRIT, (culprit.commit_id,))
        assert (end.fails, end.reverted_passes) == (3, 3)
        assert end.steps <= 2 + 6 + 3 + 3


@pytest.mark.parametrize(
    ("false_pass", "false_fail", "least_right"), [(0.05, 0.02, 56), (0.2, 0.1, 54), (0.4, 0.05, 54)]
)
def test_under_noise_it_still_names_the_right_one(false_pass: float, false_fail: float, least_right: int) -> None:
    right = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        commits, bad = merged_history(rng, 40)
        culprit = commits[int(rng.integers(len(commits)))].commit_id
        end = play(started(commits, bad, false_pass_ratio=false_pass, false_fail_ratio=false_fail), culprit, rng)
        right += end.commit_ids == (culprit,)
    assert right >= least_right


def test_ends_are_checked_before_anything_else() -> None:
    first = next_step(started())
    assert (first.kind, first.commit_id) == (StepKind.CHECK_GOOD, "good")
    second = next_step(started().answered(first, Outcome.PASS, cost_s=1.0))
    assert (second.kind, second.commit_id) == (StepKind.CHECK_BAD, "c31")


@pytest.mark.parametrize(
    ("outcomes", "ending"),
    [
        ([Outcome.FAIL] * 9, Ending.GOOD_END_FAILS),
        ([Outcome.PASS] * 9, Ending.BAD_END_PASSES),
        ([Outcome.UNBUILDABLE], Ending.END_UNBUILDABLE),
        ([Outcome.INCONCLUSIVE] * 99, Ending.BUDGET_ENDED),
    ],
)
def test_ends_that_are_not_what_they_were_end_the_search(outcomes: list[Outcome], ending: Ending) -> None:
    state = started()
    for outcome in outcomes:
        if isinstance(step := next_step(state), Step):
            state = state.answered(step, outcome, cost_s=1.0)
    assert next_step(state).ending is ending


def test_one_odd_answer_of_an_end_is_asked_again() -> None:
    state = started(false_pass_ratio=0.3, false_fail_ratio=0.3)
    step = next_step(state)
    again = next_step(state.answered(step, Outcome.FAIL, cost_s=1.0))
    assert again.kind is StepKind.CHECK_GOOD


def test_stored_builds_come_first() -> None:
    commits = [Commit(commit_id=one.commit_id, parents=one.parents, is_stored=one.commit_id == "c12") for one in LINE]
    assert next_step(ends_checked(started(commits))).commit_id == "c12"
    assert next_step(ends_checked(started())).commit_id in {"c15", "c16"}


def test_what_does_not_build_is_stepped_round_and_a_range_is_named() -> None:
    broken = frozenset({"c14", "c15", "c16", "c17"})
    for culprit in sorted(broken):
        state = started(false_pass_ratio=0.01, false_fail_ratio=0.01)
        end = play(state, culprit, np.random.default_rng(4), broken)
        assert end.ending is Ending.RANGE
        assert set(end.commit_ids) == broken | {"c18"}
    end = play(started(false_pass_ratio=0.01, false_fail_ratio=0.01), "c20", np.random.default_rng(4), broken)
    assert (end.ending, end.commit_ids) == (Ending.CULPRIT, ("c20",))


def test_a_culprit_that_does_not_revert_is_named_with_the_missing_proof() -> None:
    state = started(false_pass_ratio=0.001, false_fail_ratio=0.001)
    while isinstance(step := next_step(state), Step):
        outcome = Outcome.UNBUILDABLE
        if step.kind is not StepKind.REVERT:
            outcome = Outcome.FAIL if step.commit_id != "good" and step.commit_id >= "c07" else Outcome.PASS
        state = state.answered(step, outcome, cost_s=1.0)
    assert (step.ending, step.commit_ids, step.fails) == (Ending.CULPRIT_NOT_REVERTED, ("c07",), 3)
    assert "does not revert" in step.why


def test_when_head_without_it_still_fails_another_is_searched() -> None:
    state = ends_checked(started())
    seen = False
    while isinstance(step := next_step(state), Step):
        if step.kind is StepKind.REVERT and not seen:
            seen, before = True, posterior(state)[step.commit_id]
            state = state.answered(step, Outcome.FAIL, cost_s=1.0)
            assert posterior(state)[step.commit_id] < before - 0.05
            continue
        fails = step.commit_id >= "c09" and step.kind is not StepKind.REVERT
        state = state.answered(step, Outcome.FAIL if fails else Outcome.PASS, cost_s=1.0)
    assert seen
    assert step.commit_ids == ("c09",)


def test_inconclusive_answers_count_for_nothing_and_a_commit_is_left_after_two() -> None:
    state = ends_checked(started())
    asked = []
    for _ in range(3):
        step = next_step(state)
        asked.append(step.commit_id)
        state = state.answered(step, Outcome.INCONCLUSIVE, cost_s=1.0)
    assert asked[0] == asked[1] != asked[2]
    assert bits_left(state) == pytest.approx(5.0)


def test_the_budget_ends_with_the_likeliest() -> None:
    tight = start_search(
        LINE, good="good", bad="c31", settings=parse_release_config("[bisection]\nmost_cost_s = 40.0\n").bisection
    )
    end = play(tight, "c05", np.random.default_rng(1))
    assert end.ending is Ending.BUDGET_ENDED
    assert "c05" in end.commit_ids
    assert end.confidence >= 0.95


def test_little_prior_weight_is_overcome_by_answers() -> None:
    commits = [
        Commit(commit_id=one.commit_id, parents=one.parents, weight=0.02 if one.commit_id == "c21" else 1.0)
        for one in LINE
    ]
    assert posterior(started(commits))["c21"] < 0.001
    assert play(started(commits), "c21", np.random.default_rng(2)).commit_ids == ("c21",)


def test_refused_searches() -> None:
    with pytest.raises(HistoryError, match="prior weight"):
        started([Commit(commit_id="a", weight=0.0)], "a")
    with pytest.raises(HistoryError, match="good end"):
        started([Commit(commit_id="good"), Commit(commit_id="b", parents=("good",))], "b")


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 12), broken=st.sets(st.integers(0, 29), max_size=8))
def test_a_search_written_down_and_read_again_goes_on_the_same(seed: int, cut: int, broken: set[int]) -> None:
    rng = np.random.default_rng(seed)
    commits, bad = merged_history(rng, 30)
    unbuildable = frozenset(f"k{n}" for n in broken) - {bad}
    culprit = commits[int(rng.integers(len(commits)))].commit_id
    state = started(commits, bad)
    adapter = TypeAdapter(BisectState)
    for _ in range(cut):
        if isinstance(step := next_step(state), Conclusion):
            break
        outcome = Outcome.UNBUILDABLE if step.commit_id in unbuildable else Outcome.FAIL
        state = state.answered(step, Outcome.PASS if step.commit_id == "good" else outcome, cost_s=1.0)
    again = adapter.validate_json(adapter.dump_json(state))
    assert again == state
    assert next_step(again) == next_step(state)
    assert sum(posterior(again).values()) == pytest.approx(1.0)
    end = play(again, culprit, rng, unbuildable)
    assert end.steps <= SETTINGS.most_steps
    assert len(set(end.commit_ids)) == len(end.commit_ids)


def test_equal_builds_rule_out_what_lies_between_without_a_run() -> None:
    commits = [Commit(commit_id=f"k{number}", parents=(f"k{number - 1}",)) for number in range(8)]
    state = start_search(commits, good="good", bad="k7", settings=parse_release_config().bisection)
    state = state.found_same("k5", "k7", cost_s=30.0).found_same("k1", "good")
    probability = posterior(state)
    assert sum(probability[name] for name in ("k0", "k1", "k6", "k7")) < 1e-4
    assert state.cost_s == 30.0
    rng = np.random.default_rng(2)
    assert play(state, "k4", rng).commit_ids == ("k4",)


def test_fails_of_an_equal_build_count_for_the_culprit() -> None:
    commits = [Commit(commit_id="k0"), Commit(commit_id="k1", parents=("k0",))]
    state = start_search(commits, good="good", bad="k1", settings=parse_release_config().bisection)
    state = state.answered(Step(kind=StepKind.CHECK_GOOD, commit_id="good", why=""), Outcome.PASS, cost_s=1.0)
    state = state.answered(Step(kind=StepKind.CHECK_BAD, commit_id="k1", why=""), Outcome.FAIL, cost_s=1.0)
    for _ in range(2):
        state = state.answered(Step(kind=StepKind.TEST, commit_id="k1", why=""), Outcome.FAIL, cost_s=1.0)
    state = state.found_same("k0", "k1")
    step = next_step(state)
    assert isinstance(step, Step)
    assert (step.kind, step.commit_id, "failed 2 of 3" in step.why) == (StepKind.CONFIRM, "k0", True)
