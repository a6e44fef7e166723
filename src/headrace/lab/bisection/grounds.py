"""What is searched: the commits between two candidates of one upstream, or between two revisions of a repository.

Upstream commits are tested with the patches that both ends have on top, so that nothing but the commit differs. A patch
that only the bad end has is a commit of the search; where the good end had patches that the bad end has not, the commit
below them stands for their loss. Reads the mirror, and changes nothing in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.base.errors import UsageError
from headrace.lab.bisection.model import Grounds, Kind, SearchedCommit
from headrace.release.plausible import FileChange, Harmless, harmless_because, parse_diff
from headrace.upstream.candidate import Component
from headrace.upstream.model import CommitId, show_url, upstream_name
from headrace.upstream.tree import TreeId
from headrace.workshop.adapters.git import Git
from headrace.workshop.errors import RepositoryError
from headrace.workshop.repository import CommitFacts, Mirror
from headrace.workshop.sync import open_mirror

LOOKED_INTO_MOST = 400
"""So many commits are looked into for comments; of more, only the names of the files are looked at."""
_HARMLESS = {
    Harmless.COMMENTS: "it changes only comments",
    Harmless.DOCS: "it changes only documentation",
    Harmless.OTHER_ARCHITECTURE: "it changes only other architectures",
    Harmless.NOT_BUILT: "it changes only what is not built",
    Harmless.EMPTY: "it changes nothing",
    Harmless.MIXED: "it changes only comments, documentation and what is not built",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end, as a candidate has it."""

    commit: CommitId
    """With patches."""
    upstream_commit: CommitId
    patches: tuple[CommitId, ...]
    """As commits on top of upstream's, in order."""


def grounds_of_candidates(
    root: Path, good: tuple[Component, TreeId], bad: tuple[Component, TreeId]
) -> tuple[Grounds, Mirror]:
    """Between a component of the baseline and that of the candidate, each with the tree it was built from.

    Raises:
        UsageError: no upstream is recorded, not the same one, or the two are equal.
        UpstreamError: the upstream is not tracked any more.
        RepositoryError: the mirror is gone, does not hold a commit, or the ends are not in one history.
    """
    name = bad[0].upstream
    for component, _ in (good, bad):
        if not component.upstream or component.commit is None:
            raise UsageError(
                f"no upstream is recorded for {component.name} {component.version} ({component.build_id}): it was "
                "built from a folder or a tarball. Build it with `headrace release build --upstream NAME`, or search "
                "in a repository: --repository PATH --good REV --bad REV --recipe NAME"
            )
        if component.upstream != name:
            raise UsageError(
                f"the two are not of one upstream: {good[0].upstream} and {name}; there is no history between them"
            )
    record, mirror = open_mirror(root, upstream_name(name))
    check_mirror(mirror, f"run `headrace upstream sync {name}`")
    ends = [_end_of(mirror, *one) for one in (good, bad)]
    made = _grounds(mirror, ends[0], ends[1], component=bad[0].name)
    return replace(made, upstream=name, url=show_url(record.upstream.url)), mirror


def grounds_of_repository(mirror: Mirror, path: Path, good: str, bad: str, *, component: str) -> Grounds:
    """Between two revisions of a repository, without patches.

    Raises:
        RepositoryError: no such revision, or not in one history.
    """
    commits = [mirror.resolve(revision) for revision in (good, bad)]
    ends = [End(commit=commit, upstream_commit=commit, patches=()) for commit in commits]
    return replace(_grounds(mirror, ends[0], ends[1], component=component), url=str(path))


def check_repository(path: Path) -> None:
    """Make sure that there is a git repository. Raises RepositoryError."""
    if not path.is_dir():
        raise RepositoryError(f"{path} is no folder: name a git repository on this disk (clone one that is remote)")
    try:
        Git(folder=path).run("rev-parse", "--git-dir")
    except RepositoryError as error:
        raise RepositoryError(f"{path}: {error}") from None


def borrow_repository(path: Path, folder: Path) -> Mirror:
    """A bare repository in `folder` that reads the objects of the one at `path`, and writes only its own.

    Raises:
        RepositoryError: there is no repository.
    """
    said = Git(folder=path).run("rev-parse", "--path-format=absolute", "--git-common-dir")
    objects = Path(said.text) / "objects"
    mirror = Mirror(folder=folder, url=str(path))
    mirror.create()
    (folder / "objects/info").mkdir(parents=True, exist_ok=True)
    (folder / "objects/info/alternates").write_text(f"{objects}\n", encoding="utf-8")
    return mirror


def resolve_in(path: Path, revision: str) -> CommitId:
    """The commit that a revision names in somebody's repository. Raises RepositoryError."""
    found = Git(folder=path).run(
        *("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"), may_fail=(1, 128)
    )
    if found.code:
        raise RepositoryError(f"{revision[:80]!r} is no commit of {path}")
    return CommitId(found.text)


def check_mirror(mirror: Mirror, mend: str) -> None:
    """Make sure that it is there and whole enough to be asked.

    Raises:
        RepositoryError: it is not.
    """
    if not (mirror.folder / "objects").is_dir():
        raise RepositoryError(f"the mirror {mirror.folder} is missing: {mend}")
    try:
        mirror.git().run("rev-parse", "--git-dir")
        mirror.git().run("for-each-ref", "--count=1")
    except RepositoryError as error:
        raise RepositoryError(f"the mirror {mirror.folder} is damaged ({error}): remove it and {mend}") from None


def _end_of(mirror: Mirror, component: Component, tree: TreeId) -> End:
    """The commit that a component was built from: its upstream commit, and its patches on top, by their tree."""
    assert component.commit is not None
    upstream_commit = mirror.resolve(component.commit)
    candidates: Sequence[CommitId] = mirror.held_candidates() if component.patches else (upstream_commit,)
    for commit in candidates:
        if mirror.facts([commit])[0].tree == str(tree) and mirror.is_ancestor(upstream_commit, commit):
            chain = tuple(one.commit for one in mirror.between(upstream_commit, commit))
            if len(chain) == len(component.patches):
                return End(commit=commit, upstream_commit=upstream_commit, patches=chain)
    what = f"{len(component.patches)} patches on {upstream_commit[:12]}" if component.patches else upstream_commit[:12]
    raise RepositoryError(
        f"no commit of the mirror {mirror.folder} is what {component.build_id} was built from ({what}); the mirror was "
        "made anew since, or the source was changed by hand: build the candidate again from the upstream"
    )


def _grounds(mirror: Mirror, good: End, bad: End, *, component: str) -> Grounds:
    _check_one_history(mirror, good, bad)
    ids = mirror.patch_ids([*good.patches, *bad.patches])
    in_good = {ids.get(commit, commit) for commit in good.patches}
    in_bad = {ids.get(commit, commit) for commit in bad.patches}
    carried = tuple(commit for commit in bad.patches if ids.get(commit, commit) in in_good)
    upstream = mirror.between(good.upstream_commit, bad.upstream_commit)
    taken = (
        set(mirror.patch_ids([one.commit for one in upstream[-LOOKED_INTO_MOST:]]).values()) if good.patches else set()
    )
    left = tuple(
        commit for commit in good.patches if (patch := ids.get(commit, commit)) not in in_bad and patch not in taken
    )
    commits = [_searched(one) for one in upstream]
    if left:
        commits = _with_loss(commits, _searched_loss(mirror, good.upstream_commit, left))
    commits += _own(mirror, bad, carried)
    if not commits:
        raise UsageError(f"both ends are the same commit {bad.commit[:12]}: there is nothing to search")
    doubts = _doubts(mirror, good.upstream_commit, bad.upstream_commit)
    return Grounds(
        component=component,
        upstream="",
        url="",
        good=good.commit,
        bad=bad.commit,
        upstream_good=good.upstream_commit,
        upstream_bad=bad.upstream_commit,
        commits=tuple(replace(one, doubt=doubts.get(one.commit, one.doubt)) for one in commits),
        top=commits[-1].commit,
        chain=bad.patches,
        carried=carried,
        left=left,
        good_chain=good.patches,
        patch_ids={commit: str(patch) for commit, patch in ids.items()},
    )


def _check_one_history(mirror: Mirror, good: End, bad: End) -> None:
    one, other = good.upstream_commit, bad.upstream_commit
    if mirror.is_ancestor(one, other):
        return
    if mirror.is_ancestor(other, one):
        raise RepositoryError(
            f"the good end {one[:12]} is newer than the bad end {other[:12]}: a search goes from old to new; "
            "where the older one is bad, there is nothing to bisect"
        )
    fork = mirror.fork_point(one, other)
    where = (
        f"they part at {fork[:12]}; a baseline at or before it can be searched from" if fork else "they share no commit"
    )
    raise RepositoryError(f"the ends {one[:12]} (good) and {other[:12]} (bad) are not in one history: {where}")


def _searched(facts: CommitFacts) -> SearchedCommit:
    return SearchedCommit(commit=facts.commit, parents=facts.parents, subject=facts.subject, author=facts.author)


def _searched_loss(mirror: Mirror, below: CommitId, left: Sequence[CommitId]) -> SearchedCommit:
    subjects = ", ".join(f'"{one.subject}"' for one in mirror.facts(left))
    return SearchedCommit(
        commit=below,
        parents=(),
        subject=f"patches that left the queue: {subjects}",
        author="",
        kind=Kind.DROPPED,
    )


def _with_loss(commits: Sequence[SearchedCommit], loss: SearchedCommit) -> list[SearchedCommit]:
    """The loss of patches is below everything, also below what was begun before the good end and merged after it."""
    known = {one.commit for one in commits}
    roots = {one.commit for one in commits if not known & set(one.parents)}
    return [
        loss,
        *(replace(one, parents=(*one.parents, loss.commit)) if one.commit in roots else one for one in commits),
    ]


def _own(mirror: Mirror, bad: End, carried: Sequence[CommitId]) -> list[SearchedCommit]:
    """The patches of ours that only the bad end has; each lies on the one before, or on upstream's commit."""
    found: list[SearchedCommit] = []
    below = bad.upstream_commit
    for facts in mirror.facts(bad.patches) if bad.patches else ():
        if facts.commit in carried:
            continue
        found.append(replace(_searched(facts), parents=(below,), kind=Kind.PATCH))
        below = facts.commit
    return [replace(one, doubt=_doubt_inside(mirror, one.commit)) for one in found]


def _doubt_inside(mirror: Mirror, commit: CommitId) -> str:
    reason = harmless_because(parse_diff(mirror.diff_of(commit)))
    return _HARMLESS[reason] if reason else ""


def _doubts(mirror: Mirror, old: CommitId, new: CommitId) -> Mapping[CommitId, str]:
    """Which upstream commits are implausible, and why; first by the names of files, which asks for no contents."""
    paths = mirror.changed_paths(old, new)
    found: dict[CommitId, str] = {}
    looks_inside = len(paths) <= LOOKED_INTO_MOST
    for commit, names in paths.items():
        reason = harmless_because(FileChange(path=name, hunks=()) for name in names)
        found[commit] = _HARMLESS[reason] if reason else _doubt_inside(mirror, commit) if looks_inside else ""
    return found
