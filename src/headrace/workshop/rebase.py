"""Puts a patch queue on a commit: one commit for each patch, the same commits each time.

Works in a temporary linked work tree that holds only the files that the queue touches, so that it takes as long for a
large source tree as for a small one. Author, dates and message come from the patch, the committer is fixed. Nothing of
the mirror but new objects is changed; who calls this decides what the outcome means.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.upstream.model import AppliedPatch, CommitId, Conflict, ConflictPlace, Patch, PatchId, commit_id
from headrace.upstream.queue import conflict_places
from headrace.workshop.adapters.git import NETWORK_TIMEOUT_S, Git, GitOutput, explain
from headrace.workshop.errors import RepositoryError
from headrace.workshop.repository import Mirror

_AM = ("am", "--3way", "--keep-cr", "--keep-non-patch", "--no-scissors", "--committer-date-is-author-date")
_MERGED = "Falling back to patching base and 3-way merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebased:
    """The queue on top of a commit."""

    onto: CommitId
    commit: CommitId
    tree: CommitId
    applied: tuple[AppliedPatch, ...]
    empty: tuple[Patch, ...] = ()
    """Patches that change nothing there: the commit already holds them."""


def rebase_queue(
    mirror: Mirror,
    work: Path,
    patches: Sequence[tuple[Patch, bytes]],
    *,
    onto: CommitId,
    watch: Callable[[str], None],
    now_s: float,
) -> Rebased | Conflict:
    """Apply patches in order on `onto`; a conflict names patch, file and hunk.

    Args:
        work: folder for temporary files, made if missing; what is in it may be removed when no rebase runs.
        watch: given the name of each patch before it is applied.

    Raises:
        RepositoryError: git could not do its work (disk full, contents that the server no longer has).
    """
    work.mkdir(parents=True, exist_ok=True)
    tree = Path(tempfile.mkdtemp(prefix="tree-", dir=work))
    try:
        git = _open_tree(mirror, tree, onto, sorted({path for patch, _ in patches for path in patch.paths}))
        return _apply_all(mirror, git, patches, onto=onto, watch=watch, now_s=now_s)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
        mirror.git().run("worktree", "prune", "--expire=now")


def _open_tree(mirror: Mirror, tree: Path, onto: CommitId, paths: Sequence[str]) -> Git:
    """A work tree at `onto` with only `paths` in it."""
    mirror.git().run("worktree", "add", "--quiet", "--force", "--detach", "--no-checkout", str(tree), onto)
    git = mirror.git_in(tree, {"core.sparseCheckout": "true"})
    patterns = Path(git.run("rev-parse", "--path-format=absolute", "--git-path", "info/sparse-checkout").text)
    patterns.parent.mkdir(parents=True, exist_ok=True)
    patterns.write_text("".join(f"/{_pattern(path)}\n" for path in paths), encoding="utf-8")
    git.run("read-tree", "-m", "-u", "HEAD", timeout_s=NETWORK_TIMEOUT_S)
    return git


def _pattern(path: str) -> str:
    """A path as a pattern of .gitignore's syntax that means only itself."""
    return "".join(f"\\{letter}" if letter in "\\*?[ " else letter for letter in path)


def _apply_all(
    mirror: Mirror,
    git: Git,
    patches: Sequence[tuple[Patch, bytes]],
    *,
    onto: CommitId,
    watch: Callable[[str], None],
    now_s: float,
) -> Rebased | Conflict:
    at = onto
    made: list[tuple[Patch, CommitId, bool]] = []
    empty: list[Patch] = []
    for patch, body in patches:
        watch(f"applying {patch.file_name}")
        said = git.run(*_AM, stdin=body, timeout_s=NETWORK_TIMEOUT_S, may_fail=(1, 128))
        if said.code:
            places = _places(git, patch, body, said)
            return Conflict(
                head=onto, onto=at, file_name=patch.file_name, subject=patch.subject, places=places, at_s=now_s
            )
        before, at = at, commit_id(git.run("rev-parse", "HEAD").text)
        if at == before:
            empty.append(patch)
        else:
            made.append((patch, at, _MERGED in said.text + said.err))
    ids = mirror.patch_ids([commit for _, commit, _ in made])
    applied = tuple(
        AppliedPatch(
            file_name=patch.file_name,
            sha256=patch.sha256,
            patch_id=ids.get(commit, PatchId("")),
            commit=commit,
            was_merged=was_merged,
        )
        for patch, commit, was_merged in made
    )
    return Rebased(onto=onto, commit=at, tree=mirror.facts([at])[0].tree, applied=applied, empty=tuple(empty))


def _places(git: Git, patch: Patch, body: bytes, said: GitOutput) -> tuple[ConflictPlace, ...]:
    """Where it does not fit; the work tree is given up afterwards."""
    if "Patch failed at" not in said.text + said.err:
        raise RepositoryError(f"git could not apply {patch.file_name}: {explain(said.err, code=said.code)}")
    unmerged = git.run("diff", "--no-ext-diff", "--no-textconv", "--diff-filter=U").text
    git.run("reset", "--quiet", "--hard", "HEAD")
    refusals = git.run("apply", "--check", "--reject", "--verbose", "-", stdin=body, may_fail=(1, 128)).err
    return conflict_places(patch, combined_diff=unmerged, refusals=refusals)
