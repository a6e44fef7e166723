"""Builders for tests and benches of judging: noise as machines make it, pairs, definitions, histories, played
searches.
"""

import hashlib

import numpy as np

from headrace.release.bisect import BisectState, Conclusion, Outcome, Step, StepKind, next_step
from headrace.release.history import Commit, History
from headrace.release.model import Better, CheckDefinition, CheckId, Margin, Metric, Pair, Scale, level_of
from headrace.release.sequential import Floats
from headrace.upstream.build import BuildId
from headrace.upstream.candidate import Candidate, CandidateId, Component
from headrace.upstream.model import CommitId

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


def sample_candidate(name: str, *, linux: str, patches: tuple[str, ...] = ()) -> Candidate:
    """A candidate of a kernel and an nginx, with made-up digests."""

    def component(part: str, version: str, commit: str) -> Component:
        digest = hashlib.sha256(f"{part} {version}".encode()).hexdigest()
        return Component(
            name=part,
            recipe=part,
            recipe_digest=digest,
            build_id=BuildId(f"b-{digest[:12]}"),
            upstream=part,
            commit=CommitId(commit * 40),
            version=version,
            patches=patches if part == "linux" else (),
            config_sha256=digest,
            toolchain="gcc 14.2.0, binutils 2.44",
            toolchain_digest=digest,
            output_sha256=digest,
            outputs={part: digest},
        )

    return Candidate(
        candidate_id=CandidateId(name),
        made_at_s=1_795_300_000.0,
        components=(component("linux", linux, linux[2]), component("nginx", "1.31.3", "e")),
        headrace_version="0.1.0",
        nginx_template_sha256="ab" * 32,
    )
