"""The graph of commits: ancestors through merges, and which commits nobody can tell apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.release.errors import HistoryError
from headrace.release.history import Commit, History
from headrace.release.testing import merged_history


def line(count: int) -> list[Commit]:
    return [Commit(commit_id=f"c{n}", parents=(f"c{n - 1}",)) for n in range(count)]


def test_a_merge_has_both_sides_before_it() -> None:
    #  a - b --- m
    #    \ s - t /
    commits = [
        Commit(commit_id="m", parents=("b", "t")),
        Commit(commit_id="b", parents=("a",)),
        Commit(commit_id="t", parents=("s",)),
        Commit(commit_id="s", parents=("a",)),
        Commit(commit_id="a", parents=("good",)),
    ]
    history = History(commits, "m")
    names = [one.commit_id for one in history.commits]
    before = {one: {names[n] for n in np.flatnonzero(history.ancestors(history.index[one]))} for one in names}
    assert before == {"a": {"a"}, "b": {"a", "b"}, "s": {"a", "s"}, "t": {"a", "s", "t"}, "m": set(names)}
    mass = history.mass_within(np.full(5, 0.2))
    assert mass[history.index["b"]] == pytest.approx(0.4)
    assert mass[history.index["t"]] == pytest.approx(0.6)


def test_commits_around_an_untestable_stretch_fall_together() -> None:
    history = History(line(6), "c5")
    groups = history.told_apart(frozenset({2, 3}))
    assert [groups[n] == groups[4] for n in range(6)] == [False, False, True, True, True, False]
    assert len(set(history.told_apart(frozenset()))) == 6


def test_near_counts_steps_both_ways() -> None:
    assert History(line(8), "c7").near(frozenset({3}), 2) == {3: 0, 2: 1, 4: 1, 1: 2, 5: 2}


@pytest.mark.parametrize(
    ("commits", "bad", "named"),
    [
        ([], "x", "no commits"),
        (line(3), "x", "bad end x"),
        ([*line(3), Commit(commit_id="c1")], "c2", "twice"),
        ([Commit(commit_id="a", parents=("b",)), Commit(commit_id="b", parents=("a",))], "a", "circle"),
        ([*line(3), Commit(commit_id="apart")], "c2", "1 commits are not reachable"),
    ],
)
def test_what_is_no_history_is_refused(commits: list[Commit], bad: str, named: str) -> None:
    with pytest.raises(HistoryError, match=named):
        History(commits, bad)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 60))
def test_ancestors_agree_with_walking_the_parents(seed: int, count: int) -> None:
    commits, bad = merged_history(np.random.default_rng(seed), count)
    history = History(commits, bad)
    parents = {one.commit_id: one.parents for one in commits}
    for one in commits:
        seen, todo = set(), [one.commit_id]
        while todo:
            name = todo.pop()
            if name in parents and name not in seen:
                seen.add(name)
                todo += parents[name]
        found = {history.commits[n].commit_id for n in np.flatnonzero(history.ancestors(history.index[one.commit_id]))}
        assert found == seen
