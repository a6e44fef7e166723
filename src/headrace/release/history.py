"""The commits among which a fault is searched, as a graph: what is before what, and which cannot be told apart.

The set is what the bad end reaches and the good end does not (`git rev-list --parents --topo-order good..bad`), our
patches as commits of their own on top. Built by whoever has the repository; nothing here reads one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.release.errors import HistoryError

Bits = npt.NDArray[np.uint8]
_CHUNK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit, or one of our patches, between the ends."""

    commit_id: str
    parents: tuple[str, ...] = ()
    """Those outside the set are known good and ignored."""
    subject: str = ""
    is_patch: bool = False
    """One of ours: reverting it is dropping it from the queue."""
    weight: float = 1.0
    """Prior weight, above zero; less for commits that plausibly change nothing (`plausible`)."""
    is_stored: bool = False
    """A build of it lies in the store."""


class History:
    """Commits in an order in which parents come first, with the set of ancestors of each."""

    def __init__(self, commits: Iterable[Commit], bad: str) -> None:
        """Raises HistoryError: no commits, one twice, a circle, the bad end missing or not a descendant of all."""
        given = list(commits)
        self.commits = _parents_first(given)
        self.index = {commit.commit_id: number for number, commit in enumerate(self.commits)}
        if bad not in self.index:
            raise HistoryError(f"the bad end {bad} is not among the {len(given)} commits to search")
        self.parents = [[self.index[one] for one in commit.parents if one in self.index] for commit in self.commits]
        self._ancestors = self._closed()
        reached = int(np.unpackbits(self._ancestors[self.index[bad]], count=len(self.commits)).sum())
        if reached != len(self.commits):
            raise HistoryError(f"{len(self.commits) - reached} commits are not reachable from the bad end {bad}")

    def __len__(self) -> int:
        return len(self.commits)

    def mass_within(self, probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """For each commit, the probability that the one at fault is it or an ancestor: that it is bad, then."""
        parts = []
        for start in range(0, len(self), _CHUNK):
            bits = np.unpackbits(self._ancestors[start : start + _CHUNK], axis=1, count=len(self))
            parts.append(bits @ probability)
        return np.concatenate(parts)

    def ancestors(self, number: int) -> npt.NDArray[np.bool_]:
        """Which commits are `number` itself or before it."""
        return np.unpackbits(self._ancestors[number], count=len(self)).astype(bool)

    def told_apart(self, untestable: frozenset[int]) -> list[int]:
        """For each commit the number of its group; members of one group are seen by the same testable commits."""
        if not untestable:
            return list(range(len(self)))
        # Who sees a commit: itself, if testable, and whoever sees one of its children. As bits of a whole number.
        seen_by = [0] * len(self)
        for number in range(len(self) - 1, -1, -1):
            if number not in untestable:
                seen_by[number] |= 1 << number
            for parent in self.parents[number]:
                seen_by[parent] |= seen_by[number]
        groups: dict[int, int] = {}
        return [groups.setdefault(seen, len(groups)) for seen in seen_by]

    def near(self, numbers: frozenset[int], most: int) -> dict[int, int]:
        """Steps along the graph, either way, from the nearest of `numbers`, for all within `most`."""
        if not numbers:
            return {}
        children: dict[int, list[int]] = {}
        for number, parents in enumerate(self.parents):
            for parent in parents:
                children.setdefault(parent, []).append(number)
        found = dict.fromkeys(numbers, 0)
        border = list(numbers)
        for step in range(1, most + 1):
            reached = {other for one in border for other in (*self.parents[one], *children.get(one, ()))}
            border = [one for one in sorted(reached) if one not in found]
            found.update(dict.fromkeys(border, step))
        return found

    def _closed(self) -> Bits:
        rows: Bits = np.zeros((len(self.commits), -(-len(self.commits) // 8)), dtype=np.uint8)
        for number, parents in enumerate(self.parents):
            for parent in parents:
                rows[number] |= rows[parent]
            rows[number, number // 8] |= 128 >> (number % 8)
        return rows


def _parents_first(commits: Sequence[Commit]) -> tuple[Commit, ...]:
    by_id = {commit.commit_id: commit for commit in commits}
    if not commits:
        raise HistoryError("there are no commits between the good and the bad end")
    if len(by_id) != len(commits):
        raise HistoryError("a commit stands twice among those to search")
    waits = {commit.commit_id: sum(parent in by_id for parent in commit.parents) for commit in commits}
    children: dict[str, list[str]] = {}
    for commit in commits:
        for parent in commit.parents:
            children.setdefault(parent, []).append(commit.commit_id)
    ready = [commit.commit_id for commit in commits if waits[commit.commit_id] == 0]
    ordered: list[Commit] = []
    while ready:
        one = ready.pop()
        ordered.append(by_id[one])
        for child in children.get(one, ()):
            waits[child] -= 1
            if waits[child] == 0:
                ready.append(child)
    if len(ordered) != len(commits):
        raise HistoryError("the commits form a circle; a history has none")
    return tuple(ordered)
