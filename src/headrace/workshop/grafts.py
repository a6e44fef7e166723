"""Commits that nobody made: a commit with our patches put on top, and a head with one commit taken out.

Works on an index of its own beside the mirror, so no file is checked out and nothing but new objects is added. What
does not fit is a result (`Refused`), not an error. The same inputs give the same commit.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.upstream.model import CommitId, commit_id
from headrace.workshop.adapters.git import NETWORK_TIMEOUT_S, Git
from headrace.workshop.repository import Mirror

_DATE = "1790000000 +0000"
"""Fixed: the name of a graft must depend on nothing but what is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why there is no such commit."""

    why: str


def put_on(mirror: Mirror, onto: CommitId, commits: Sequence[CommitId]) -> CommitId | Refused:
    """The changes of `commits` on `onto`, in order, as one commit; `onto` itself where there are none.

    Raises:
        RepositoryError: no such commit, or the disk is full.
    """
    return _grafted(mirror, onto, [(commit, False) for commit in commits])


def without(mirror: Mirror, head: CommitId, commit: CommitId) -> CommitId | Refused:
    """`head` with the change of `commit` taken back, as `git revert` does; later changes nearby may refuse it.

    Raises:
        RepositoryError: no such commit, or the disk is full.
    """
    return _grafted(mirror, head, [(commit, True)])


def _grafted(mirror: Mirror, onto: CommitId, changes: Sequence[tuple[CommitId, bool]]) -> CommitId | Refused:
    if not changes:
        return onto
    with tempfile.TemporaryDirectory(prefix="headrace-graft-") as folder:
        git = mirror.git(index=Path(folder) / "index")
        git.run("read-tree", onto)
        for commit, is_back in changes:
            refused = _apply(mirror, git, commit, is_back=is_back)
            if refused is not None:
                return refused
        tree = git.run("write-tree").text
    if tree == mirror.facts([onto])[0].tree:
        return onto if not any(is_back for _, is_back in changes) else Refused(why="taking it back changes nothing")
    message = "".join(f"{'without' if is_back else 'with'} {commit}\n" for commit, is_back in changes)
    dates = {"GIT_AUTHOR_DATE": _DATE, "GIT_COMMITTER_DATE": _DATE}
    made = git.run("commit-tree", tree, "-p", onto, stdin=message.encode(), environment=dates)
    return commit_id(made.text)


def _apply(mirror: Mirror, git: Git, commit: CommitId, *, is_back: bool) -> Refused | None:
    facts = mirror.facts([commit])[0]
    if len(facts.parents) > 1:
        return Refused(why=f"{commit[:12]} is a merge: it has no change of its own to take")
    if not facts.parents:
        return Refused(why=f"{commit[:12]} is the first commit of its history")
    diff = git.run(
        *("diff-tree", "-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv"),
        *(facts.parents[0], commit),
        timeout_s=NETWORK_TIMEOUT_S,
    ).out
    if not diff:
        return None
    words = ("apply", "--cached", "--3way", "--whitespace=nowarn", *(("--reverse",) if is_back else ()))
    said = git.run(*words, stdin=diff, timeout_s=NETWORK_TIMEOUT_S, may_fail=(1, 128))
    if said.code == 0:
        return None
    files = sorted({line.split("'")[1] for line in said.err.splitlines() if "with conflicts" in line and "'" in line})
    where = f" in {', '.join(files[:3])}" if files else ""
    verb = "taken back" if is_back else "put on"
    return Refused(why=f"{commit[:12]} cannot be {verb}: later changes touch the same lines{where}")
