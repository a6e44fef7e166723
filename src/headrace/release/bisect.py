"""The search for the commit at fault, when each answer may be wrong.

Every commit between the ends has a probability of being the one at fault. A test of commit X says with known error
rates whether it is X or one before X; each answer moves all probabilities (Bayes). The next question is the one that
is expected to tell most for its cost: near the middle of the probability, rather where a build is in the store, and
again where a doubtful answer would shift most. (Horstein 1963; Burnashev and Zigangirov 1974; on graphs with merges:
Emamjomeh-Zadeh, Kempe and Singhal 2016.)

A state machine: `next_step` says what to do, `BisectState.answered` takes what came of it; the state is plain data,
so a search is stopped and taken up again. Builds, runs and reverts nothing itself. Assumes that one commit is at
fault and that the errors of repeated tests are independent; errors that stick to a build are not told from a fault.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from headrace.release.config import BisectionSettings
from headrace.release.errors import HistoryError
from headrace.release.history import Commit, History

Floats = npt.NDArray[np.float64]

BUILDS_NEAR_BROKEN = 4
"""Breakage comes in stretches: within so many commits of one that does not build, others are asked less readily."""
ASKED_IN_VAIN = 2
"""After so many inconclusive runs and no other, a commit counts as one that cannot be tested."""


SAME_DOUBT = 1e-6
"""What is left of the weight of commits between equal builds: nothing of them reached the program."""
ENDS_PRIOR = 0.95
"""The ends were tested when the candidate was judged; they are asked again because machines and loads change."""


class StepKind(StrEnum):
    """What to do next."""

    CHECK_GOOD = "check-good"
    """Test the good end: it must pass now, on this machine."""
    CHECK_BAD = "check-bad"
    TEST = "test"
    CONFIRM = "confirm"
    """Test the commit that seems at fault once more: it must fail."""
    REVERT = "revert"
    """Test the bad end with this commit reverted (a patch of ours: dropped): it must pass."""


class Outcome(StrEnum):
    """What came of a step."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    UNBUILDABLE = "unbuildable"
    """Does not build or boot; for a revert: does not revert cleanly."""


class Ending(StrEnum):
    """How a search ended."""

    CULPRIT = "culprit"
    """One commit, confirmed by failing and by head without it passing."""
    CULPRIT_NOT_REVERTED = "culprit-not-reverted"
    """One commit, confirmed by failing; it does not revert, so the other half of the proof is missing."""
    RANGE = "range"
    """Commits that cannot be told apart, because those between them cannot be tested."""
    GOOD_END_FAILS = "good-end-fails"
    BAD_END_PASSES = "bad-end-passes"
    END_UNBUILDABLE = "end-unbuildable"
    BUDGET_ENDED = "budget-ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is searched, fixed at the start."""

    commits: tuple[Commit, ...]
    """All between the ends, the bad one included, in any order."""
    good: str
    bad: str
    false_pass_ratio: float
    """How often this check passes on a bad commit."""
    false_fail_ratio: float
    build_cost_s: float
    run_cost_s: float
    confidence: float
    confirmations: int
    most_steps: int
    most_cost_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The next thing to do."""

    kind: StepKind
    commit_id: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a step."""

    kind: StepKind
    commit_id: str
    outcome: Outcome
    cost_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Same:
    """Two commits, or a commit and the good end, whose builds are equal byte for byte: both are good, or both bad."""

    commit_id: str
    other_id: str
    cost_s: float = 0.0
    """What finding out has cost: a build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BisectState:
    """The whole search so far."""

    search: Search
    answers: tuple[Answer, ...] = ()
    same: tuple[Same, ...] = ()

    def answered(self, step: Step, outcome: Outcome, *, cost_s: float) -> "BisectState":
        """The state after `step` came to `outcome`."""
        answer = Answer(kind=step.kind, commit_id=step.commit_id, outcome=outcome, cost_s=cost_s)
        return replace(self, answers=(*self.answers, answer))

    def found_same(self, commit_id: str, other_id: str, *, cost_s: float = 0.0) -> "BisectState":
        """The state with two builds known to be equal; `other_id` may be the good end."""
        return replace(self, same=(*self.same, Same(commit_id=commit_id, other_id=other_id, cost_s=cost_s)))

    @property
    def cost_s(self) -> float:
        """What all steps have cost."""
        return sum(one.cost_s for one in self.answers) + sum(one.cost_s for one in self.same)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """The end of a search."""

    ending: Ending
    commit_ids: tuple[str, ...]
    """The culprit, or the range, or after the budget the likeliest, most likely first."""
    confidence: float
    """Probability that the fault is among them."""
    fails: int
    """Times that the culprit failed."""
    reverted_passes: int
    """Times that the bad end passed without it."""
    steps: int
    cost_s: float
    why: str


def start_search(
    commits: Sequence[Commit],
    *,
    good: str,
    bad: str,
    settings: BisectionSettings,
    false_pass_ratio: float | None = None,
    false_fail_ratio: float | None = None,
) -> BisectState:
    """Begin a search; the check's own error rates go before those of the settings where they are known.

    Raises:
        HistoryError: the commits do not form a history with the bad end on top.
    """
    if any(commit.weight <= 0 for commit in commits):
        raise HistoryError("a commit has no prior weight; an implausible one gets little, never none")
    if any(commit.commit_id == good for commit in commits):
        raise HistoryError(f"the good end {good} is among the commits to search")
    search = Search(
        commits=tuple(commits),
        good=good,
        bad=bad,
        false_pass_ratio=settings.false_pass_ratio if false_pass_ratio is None else false_pass_ratio,
        false_fail_ratio=settings.false_fail_ratio if false_fail_ratio is None else false_fail_ratio,
        build_cost_s=settings.build_cost_s,
        run_cost_s=settings.run_cost_s,
        confidence=settings.confidence,
        confirmations=settings.confirmations,
        most_steps=settings.most_steps,
        most_cost_s=settings.most_cost_s,
    )
    _history(search)
    return BisectState(search=search)


def next_step(state: BisectState) -> Step | Conclusion:
    """What to do next, or how the search ended."""
    ends = _check_ends(state)
    if isinstance(ends, Conclusion):
        return ends
    if len(state.answers) >= state.search.most_steps or state.cost_s >= state.search.most_cost_s:
        return _out_of_budget(state)
    if ends is not None:
        return ends
    history, probability = _history(state.search), _posterior(state)
    group = _likeliest_group(state, history, probability)
    mass = float(probability[group].sum())
    if mass >= state.search.confidence:
        if len(group) > 1:
            return _range(state, history, group, mass)
        return _confirm(state, history.commits[group[0]], mass)
    return _ask(state, history, probability)


def posterior(state: BisectState) -> dict[str, float]:
    """The probability of each commit to be the one at fault, likeliest first."""
    history, probability = _history(state.search), _posterior(state)
    ranked = np.argsort(-probability, kind="stable")
    return {history.commits[number].commit_id: float(probability[number]) for number in ranked}


def bits_left(state: BisectState) -> float:
    """What is still unknown, in bits: log2 of the number of commits at the start, near 0 at the end."""
    probability = _posterior(state)
    known = probability[probability > 0]
    return float(-(known * np.log2(known)).sum())


@lru_cache(maxsize=4)
def _history(search: Search) -> History:
    return History(search.commits, search.bad)


def _posterior(state: BisectState) -> Floats:
    history, search = _history(state.search), state.search
    log_weight = np.log(np.array([commit.weight for commit in history.commits]))
    for answer in state.answers:
        if answer.outcome not in {Outcome.PASS, Outcome.FAIL}:
            continue
        if answer.kind in {StepKind.TEST, StepKind.CONFIRM}:
            is_bad = history.ancestors(history.index[answer.commit_id])
        elif answer.kind is StepKind.REVERT:
            is_bad = np.ones(len(history), dtype=bool)
            is_bad[history.index[answer.commit_id]] = False
        else:
            continue  # the ends are as they are whichever commit is at fault
        if answer.outcome is Outcome.FAIL:
            log_weight += np.log(np.where(is_bad, 1 - search.false_pass_ratio, search.false_fail_ratio))
        else:
            log_weight += np.log(np.where(is_bad, search.false_pass_ratio, 1 - search.false_fail_ratio))
    for same in state.same:
        one, other = _reached(history, search, same.commit_id), _reached(history, search, same.other_id)
        log_weight += np.where(one ^ other, math.log(SAME_DOUBT), 0.0)
    weight: Floats = np.exp(log_weight - log_weight.max())
    normed: Floats = weight / weight.sum()
    return normed


def _reached(history: History, search: Search, commit_id: str) -> npt.NDArray[np.bool_]:
    """The commits that a build of this one holds: none of those searched for the good end."""
    if commit_id == search.good:
        return np.zeros(len(history), dtype=bool)
    return history.ancestors(history.index[commit_id])


def _check_ends(state: BisectState) -> Step | Conclusion | None:
    for answer in state.answers:
        if answer.kind in {StepKind.CHECK_GOOD, StepKind.CHECK_BAD} and answer.outcome is Outcome.UNBUILDABLE:
            why = f"{answer.commit_id} does not build or boot now"
            return _conclude(state, Ending.END_UNBUILDABLE, (), 1.0, why)
    for kind, commit_id, expected, ending in (
        (StepKind.CHECK_GOOD, state.search.good, Outcome.PASS, Ending.GOOD_END_FAILS),
        (StepKind.CHECK_BAD, state.search.bad, Outcome.FAIL, Ending.BAD_END_PASSES),
    ):
        outcomes = [answer.outcome for answer in state.answers if answer.kind is kind]
        as_expected = _still_so(state.search, outcomes, expected)
        if 1 - as_expected >= state.search.confidence:
            now = "fails" if expected is Outcome.PASS else "passes"
            return _conclude(state, ending, (), 1 - as_expected, f"{commit_id} {now} now: there is nothing to search")
        if as_expected < state.search.confidence or expected not in outcomes:
            end = "good" if expected is Outcome.PASS else "bad"
            return Step(kind=kind, commit_id=commit_id, why=f"make sure that the {end} end still is")
    return None


def _still_so(search: Search, outcomes: Sequence[Outcome], expected: Outcome) -> float:
    """Probability that an end is what it was found to be before; one odd answer does not overturn it."""
    fails, passes = outcomes.count(Outcome.FAIL), outcomes.count(Outcome.PASS)
    bad = fails * math.log((1 - search.false_pass_ratio) / search.false_fail_ratio)
    bad += passes * math.log(search.false_pass_ratio / (1 - search.false_fail_ratio))
    log_odds = math.log(ENDS_PRIOR / (1 - ENDS_PRIOR)) + (bad if expected is Outcome.FAIL else -bad)
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, log_odds))))


def _untestable(state: BisectState, history: History) -> frozenset[int]:
    found: dict[str, list[Outcome]] = {}
    for answer in state.answers:
        if answer.kind in {StepKind.TEST, StepKind.CONFIRM}:
            found.setdefault(answer.commit_id, []).append(answer.outcome)
    useless = {Outcome.INCONCLUSIVE, Outcome.UNBUILDABLE}
    return frozenset(
        history.index[commit_id]
        for commit_id, outcomes in found.items()
        if set(outcomes) <= useless and (Outcome.UNBUILDABLE in outcomes or len(outcomes) >= ASKED_IN_VAIN)
    )


def _likeliest_group(state: BisectState, history: History, probability: Floats) -> list[int]:
    groups = np.array(history.told_apart(_untestable(state, history)))
    likeliest = int(np.bincount(groups, weights=probability).argmax())
    return [int(number) for number in np.flatnonzero(groups == likeliest)]


def _ask(state: BisectState, history: History, probability: Floats) -> Step:
    search = state.search
    bad_here = np.clip(history.mass_within(probability), 0.0, 1.0)
    told = _information(bad_here, search)
    untestable = _untestable(state, history)
    builds = np.ones(len(history))
    for number, distance in history.near(untestable, BUILDS_NEAR_BROKEN).items():
        builds[number] = 1 - 0.5**distance
    built = {answer.commit_id for answer in state.answers if answer.outcome is not Outcome.UNBUILDABLE}
    built |= {same.commit_id for same in state.same}
    stored = np.array([commit.is_stored or commit.commit_id in built for commit in history.commits])
    cost = search.run_cost_s + np.where(stored, 0.0, search.build_cost_s)
    worth = np.round(builds * told / cost, 12)
    number = int(worth.argmax())
    commit = history.commits[number]
    where = "in the store" if stored[number] else "to be built"
    return Step(
        kind=StepKind.TEST,
        commit_id=commit.commit_id,
        why=f"fails with probability {bad_here[number]:.2f}, tells {told[number]:.2f} bits, {where}",
    )


def _information(bad: Floats, search: Search) -> Floats:
    """Mutual information, in bits, of the answer of a test and whether the commit is bad."""
    fails = bad * (1 - search.false_pass_ratio) + (1 - bad) * search.false_fail_ratio
    noise = bad * _entropy(np.array(search.false_pass_ratio)) + (1 - bad) * _entropy(np.array(search.false_fail_ratio))
    return _entropy(fails) - noise


def _entropy(p: Floats) -> Floats:
    inner = np.clip(p, 1e-15, 1 - 1e-15)
    bits: Floats = -(inner * np.log2(inner) + (1 - inner) * np.log2(1 - inner))
    return bits


def _confirm(state: BisectState, commit: Commit, mass: float) -> Step | Conclusion:
    needed, name = state.search.confirmations, commit.commit_id
    fails = _fails(state, name)
    if fails < needed:
        return Step(kind=StepKind.CONFIRM, commit_id=name, why=f"failed {fails} of {needed} times that a culprit must")
    passes = _count(state, {StepKind.REVERT}, name, Outcome.PASS)
    if _count(state, {StepKind.REVERT}, name, Outcome.UNBUILDABLE):
        why = f"failed {fails} times; it does not revert from the bad end, so that proof is missing"
        return _conclude(state, Ending.CULPRIT_NOT_REVERTED, (name,), mass, why)
    if passes < needed:
        why = f"the bad end without it passed {passes} of {needed} times that it must"
        return Step(kind=StepKind.REVERT, commit_id=name, why=why)
    why = f"failed {fails} times, and the bad end without it passed {passes} times"
    return _conclude(state, Ending.CULPRIT, (name,), mass, why)


def _range(state: BisectState, history: History, group: Sequence[int], mass: float) -> Conclusion:
    names = tuple(history.commits[number].commit_id for number in group)
    why = f"these {len(names)} commits cannot be told apart: those between them do not build or give no answer"
    return _conclude(state, Ending.RANGE, names, mass, why)


def _out_of_budget(state: BisectState) -> Conclusion:
    names: list[str] = []
    mass = 0.0
    for name, probability in posterior(state).items():
        if mass >= state.search.confidence:
            break
        names.append(name)
        mass += probability
    why = f"the budget ended; the fault is among these {len(names)} with probability {mass:.2f}"
    return _conclude(state, Ending.BUDGET_ENDED, tuple(names), mass, why)


def _count(state: BisectState, kinds: set[StepKind], commit_id: str, outcome: Outcome) -> int:
    return sum(
        answer.kind in kinds and answer.commit_id == commit_id and answer.outcome is outcome for answer in state.answers
    )


def _fails(state: BisectState, name: str) -> int:
    """Times that this commit failed, or one whose build is equal."""
    alike = {name}
    for _ in state.same:  # each may join two that were joined before
        alike |= {end for same in state.same for end in (same.commit_id, same.other_id) if alike & _ends(same)}
    return sum(_count(state, {StepKind.TEST, StepKind.CONFIRM}, one, Outcome.FAIL) for one in alike)


def _ends(same: Same) -> set[str]:
    return {same.commit_id, same.other_id}


def _conclude(state: BisectState, ending: Ending, names: tuple[str, ...], mass: float, why: str) -> Conclusion:
    first = names[0] if len(names) == 1 else ""
    return Conclusion(
        ending=ending,
        commit_ids=names,
        confidence=mass,
        fails=_fails(state, first),
        reverted_passes=_count(state, {StepKind.REVERT}, first, Outcome.PASS),
        steps=len(state.answers),
        cost_s=state.cost_s,
        why=why,
    )
