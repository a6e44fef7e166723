"""Builders for tests and benches of judging: noise as machines make it, pairs, definitions, histories, played
searches.
"""

import numpy as np

from headrace.release.bisect import BisectState, Conclusion, Outcome, Step, StepKind, next_step
from headrace.release.history import Commit, History
from headrace.release.model import Better, CheckDefinition, CheckId, Margin, Metric, Pair, Scale, level_of
from headrace.release.sequential import Floats

NOISES = ("normal", "heavy", "drift", "bursts", "growing")


def noise_of_slots(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Noise of consecutive runs in time; the last axis is time."""
    calm = rng.standard_normal(shape)
    if kind == "heavy":
        return rng.standard_cauchy(shape)
    if kind == "drift":
        return np.linspace(0, 30, shape[-1]) + np.cumsum(calm, axis=-1)
    if kind == "bursts":
        return calm + 8.0 * (rng.random(shape) < 0.1)
    if kind == "growing":
        return calm * np.linspace(0.1, 5, shape[-1])
    return calm


def effects_under(kind: str, rng: np.random.Generator, effect: float, draws: int, pairs: int) -> Floats:
    """Effects of pairs whose order a fair coin drew, shape (draws, pairs)."""
    slots = noise_of_slots(kind, rng, (draws, 2 * pairs))
    first, second = slots[:, 0::2], slots[:, 1::2]
    coin = rng.integers(0, 2, size=first.shape) * 2 - 1
    return effect + coin * (second - first)


def definition(
    check: str = "performance.cpu-per-gb",
    *,
    margin: float = 0.05,
    better: Better = Better.LOWER,
    scale: Scale = Scale.RATIO,
    repeat_spread: float | None = None,
) -> CheckDefinition:
    """A check with plain defaults."""
    return CheckDefinition(
        check_id=CheckId(check),
        level=level_of(CheckId(check)),
        metric=Metric(name="cpu_s_per_gb", unit="CPU s/GB", better=better, scale=scale),
        margin=Margin(value=margin, why="a test"),
        repeat_spread=repeat_spread,
    )


def pairs_of(ratio: float, spread: float, count: int, *, seed: int = 1) -> tuple[Pair, ...]:
    """Pairs around 100 whose candidate is `ratio` times the baseline."""
    rng = np.random.default_rng(seed)
    return tuple(
        Pair(
            baseline=float(100 * np.exp(spread * rng.standard_normal())),
            candidate=float(100 * ratio * np.exp(spread * rng.standard_normal())),
        )
        for _ in range(count)
    )


def merged_history(rng: np.random.Generator, count: int) -> tuple[list[Commit], str]:
    """About `count` commits from `good` on, in branches of 1 to 6 that are merged, as maintainers' trees are."""
    commits: list[Commit] = []
    head = "good"
    while len(commits) < count:
        base = head
        for _ in range(int(rng.integers(1, 4))):
            commits.append(Commit(commit_id=f"k{len(commits)}", parents=(head,)))
            head = commits[-1].commit_id
        if rng.random() < 0.5:
            side = base
            for _ in range(int(rng.integers(1, 7))):
                commits.append(Commit(commit_id=f"k{len(commits)}", parents=(side,)))
                side = commits[-1].commit_id
            commits.append(Commit(commit_id=f"k{len(commits)}", parents=(head, side)))
            head = commits[-1].commit_id
    return commits, head


def play(
    state: BisectState, culprit: str, rng: np.random.Generator, unbuildable: frozenset[str] = frozenset()
) -> Conclusion:
    """Run a search to its end against a world in which `culprit` is at fault and answers are wrong as often as
    expected.
    """
    history = History(state.search.commits, state.search.bad)
    at = history.index[culprit]
    while isinstance(step := next_step(state), Step):
        outcome = Outcome.UNBUILDABLE
        if step.commit_id not in unbuildable:
            is_bad = {
                StepKind.CHECK_GOOD: False,
                StepKind.CHECK_BAD: True,
                StepKind.REVERT: step.commit_id != culprit,
            }.get(step.kind)
            if is_bad is None:
                is_bad = bool(history.ancestors(history.index[step.commit_id])[at])
            error = state.search.false_pass_ratio if is_bad else state.search.false_fail_ratio
            outcome = Outcome.FAIL if is_bad != (rng.random() < error) else Outcome.PASS
        state = state.answered(step, outcome, cost_s=state.search.run_cost_s)
    return step
