"""Between two candidates of one upstream: which commits came in, and that a candidate was qualified.

Bounded: commits are counted by git, and only the newest are read. What changed in files is read where it lies on this
disk; a partial clone would have to fetch each, so there names alone decide.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.release.dossier import UpstreamCommit
from headrace.release.plausible import FileChange, harmless_because, parse_diff
from headrace.upstream.candidate import Candidate, Component
from headrace.upstream.errors import UpstreamError
from headrace.upstream.model import CandidateCommit, CommitId, Stage, UpstreamName, UpstreamRecord, upstream_name
from headrace.workshop.adapters.records import UpstreamFolder
from headrace.workshop.errors import RepositoryError
from headrace.workshop.repository import Mirror, is_remote
from headrace.workshop.sync import note_reached, open_mirror

MOST_COMMITS = 500
_FIELDS = "%H%x1f%P%x1f%an%x1f%ct%x1f%s"
_MOST_DIFF_LINES = 4000
"""A longer change is no comment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What came into the candidate since the baseline."""

    commits: tuple[UpstreamCommit, ...] = ()
    """Newest first of each upstream; merges are not listed, what they bring is."""
    left_out: int = 0
    """More that are not listed."""
    unknown: tuple[str, ...] = ()
    """A line for each component whose commits cannot be told, with the reason."""


def commits_since(root: Path, candidate: Candidate, baseline: Candidate, *, most: int = MOST_COMMITS) -> Since:
    """The upstream commits that the candidate's components have and the baseline's have not."""
    found: list[UpstreamCommit] = []
    left_out, unknown = 0, []
    for component in candidate.components:
        try:
            commits, more = _of_component(root, component, baseline.component(component.name), most=most)
        except (UpstreamError, RepositoryError) as error:
            unknown.append(f"{component.name}: {error}")
            continue
        found += commits
        left_out += more
    return Since(commits=tuple(found), left_out=left_out, unknown=tuple(unknown))


def note_qualified(root: Path, candidate: Candidate, *, now_s: float) -> tuple[UpstreamName, ...]:
    """Note for each tracked upstream of a candidate that its commit was qualified; gives those that were noted.

    Components from elsewhere, and commits that no sync made a candidate of, are nothing to the measures.

    Raises:
        BusyError: a sync of the upstream runs.
    """
    noted = []
    for component in candidate.components:
        if not component.upstream or component.commit is None:
            continue
        name = upstream_name(component.upstream)
        try:
            commit = _candidate_commit(UpstreamFolder(root=root, name=name).read(), component)
        except UpstreamError:
            continue  # no longer tracked
        if commit is not None:
            note_reached(root, name, commit, Stage.QUALIFIED, now_s=now_s)
            noted.append(name)
    return tuple(noted)


def source_of(root: Path, component: Component, folder: Path) -> Path:
    """Put the source that a component was built from into `folder`, our patches with it where they are remembered.

    Raises:
        UpstreamError: it was built from a folder or tarball, or its upstream is no longer tracked.
        RepositoryError: the commit is no longer there, or the disk is full.
    """
    if not component.upstream or component.commit is None:
        raise UpstreamError("it was built from a folder or tarball, whose source is not kept")
    record, mirror = open_mirror(root, upstream_name(component.upstream))
    mirror.check_out(_candidate_commit(record, component) or component.commit, folder)
    return folder


def _candidate_commit(record: UpstreamRecord, component: Component) -> CommitId | None:
    """The commit with our patches that a component was built from, among those that reached the stage of candidate."""
    made = {one.commit for one in record.reached if one.stage is Stage.CANDIDATE}
    in_force = record.candidate
    if component.commit in made and not component.patches:
        return component.commit
    if in_force is not None and in_force.commit in made and _is_of(in_force, component):
        return in_force.commit
    for entry in reversed(record.history):
        is_like = entry.head == component.commit and entry.patches - entry.taken == len(component.patches)
        if is_like and entry.candidate in made:
            return entry.candidate
    return None


def _is_of(commit: CandidateCommit, component: Component) -> bool:
    patches = tuple(str(patch.patch_id) for patch in commit.patches)
    return (commit.upstream_commit, patches) == (component.commit, component.patches)


def _of_component(
    root: Path, new: Component, old: Component | None, *, most: int
) -> tuple[Sequence[UpstreamCommit], int]:
    """The newest commits of `new` that `old` has not, and how many more there are."""
    if old is None:
        raise UpstreamError("the baseline has no such component")
    if old.output_sha256 == new.output_sha256 and new.commit == old.commit:
        return (), 0
    if new.commit is None or old.commit is None:
        raise UpstreamError("it was built from a folder or tarball, which has no commits")
    _, mirror = open_mirror(root, upstream_name(new.upstream))
    count = int(mirror.git().run("rev-list", "--count", "--no-merges", f"{old.commit}..{new.commit}").text)
    commits = _newest(mirror, new.upstream, f"{old.commit}..{new.commit}", most)
    return commits, count - len(commits)


def _newest(mirror: Mirror, upstream: str, span: str, most: int) -> list[UpstreamCommit]:
    """The text of each commit follows a record separator, then its change."""
    has_files = not is_remote(mirror.url)
    change = ("-p", "-M", "--no-ext-diff", "--no-textconv") if has_files else ("--name-only",)
    words = ("log", "--no-merges", f"--max-count={most}", f"--format=%x1e{_FIELDS}", *change, span, "--")
    found = []
    for part in mirror.git().run(*words).text.split("\x1e")[1:]:
        head, _, body = part.partition("\n")
        commit, _, author, at_s, subject = (*head.split("\x1f", 4), "", "", "", "")[:5]
        harmless = _harmless(body, has_files=has_files)
        found.append(
            UpstreamCommit(
                upstream=upstream,
                commit_id=commit,
                subject=subject,
                author=author,
                at_s=float(at_s or 0),
                harmless=harmless,
            )
        )
    return found


def _harmless(body: str, *, has_files: bool) -> str:
    if not has_files:
        names = [line for line in body.split("\n") if line]
        # A name tells of docs and other architectures; without its lines a file of code stays plausible.
        changes = tuple(FileChange(path=name, hunks=(("+",),), is_binary=True) for name in names)
    elif body.count("\n") > _MOST_DIFF_LINES:
        changes = tuple(
            FileChange(path=name, hunks=(), is_binary=True)
            for name in re.findall(r"^diff --git a/.* b/(.*)$", body, re.MULTILINE)
        )
    else:
        changes = parse_diff(body)
    reason = harmless_because(changes)
    return reason.value if reason else ""
