"""Upstreams, patches and their reasons, and what a sync leaves behind.

Values only; all are parsed at the edge (`upstream.patches`, `workshop.adapters`). Nothing here runs git or reads disks.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import NewType

from headrace.upstream.errors import UpstreamError

UpstreamName = NewType("UpstreamName", str)
CommitId = NewType("CommitId", str)
"""40 lower-case hexadecimal digits."""
PatchId = NewType("PatchId", str)
"""git's stable patch-id: the same for the same change, whatever its line numbers, message and white space."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def upstream_name(text: str) -> UpstreamName:
    """Check the name of an upstream: 1-63 lower-case letters, digits and inner hyphens (it becomes a folder)."""
    if not _NAME.fullmatch(text):
        raise UpstreamError(f"upstream name {text[:80]!r} is not allowed: use 1-63 lower-case letters, digits, hyphens")
    return UpstreamName(text)


def commit_id(text: str) -> CommitId:
    """Check the full name of a commit."""
    if not _COMMIT.fullmatch(text):
        raise UpstreamError(f"{text[:80]!r} is not the full name of a commit: 40 lower-case hexadecimal digits")
    return CommitId(text)


class Reason(StrEnum):
    """Why a change is kept local. There are no others: all else belongs upstream."""

    AGREEMENT = "agreement"
    """Covered by an agreement that forbids publishing it."""
    DEVELOPMENT = "development"
    """Still in development or test."""
    GENERALISE = "generalise"
    """Works for us; has to be made general before upstream can want it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A repository and branch that is tracked, and the folder of our patches for it."""

    name: UpstreamName
    url: str
    """May hold a password; show only `show_url(url)`."""
    branch: str
    patches: str
    """Folder of `git format-patch` files, an absolute path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunk:
    """One `@@` block of a patch."""

    path: str
    """The file as the patch leaves it (as it found it, when the patch deletes it)."""
    number: int
    """From 1, within the file."""
    old_start: int
    """First line in the file before the patch, from 1."""
    new_start: int
    """First line in the file after the patch, from 1."""
    new_lines: int
    line_no: int
    """Line of the `@@` in the patch file, from 1."""
    header: str
    """The `@@ ... @@ function` line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A local change, with why it is local, where it was sent and since when."""

    file_name: str
    """Name within the queue's folder; names sort in the order of application."""
    sha256: str
    """Of the file; the same patch text is the same patch."""
    subject: str
    """Without `[PATCH n/m]`."""
    author: str
    """As `Name <address>`."""
    reason: Reason
    sent: str | None
    """URL of the mail or pull request; None when it was not sent yet."""
    since: date
    """Since when this is local."""
    paths: tuple[str, ...]
    """All files it touches, before and after renames, sorted."""
    hunks: tuple[Hunk, ...]
    added_lines: int
    removed_lines: int

    @property
    def lines(self) -> int:
        """Added and removed: what is to be carried over each sync."""
        return self.added_lines + self.removed_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchQueue:
    """All patches of one upstream, in the order of application."""

    patches: tuple[Patch, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """All files that any patch touches, sorted."""
        return tuple(sorted({path for patch in self.patches for path in patch.paths}))

    @property
    def lines(self) -> int:
        return sum(patch.lines for patch in self.patches)

    @property
    def digest(self) -> tuple[tuple[str, str], ...]:
        """Name and content of each patch: equal digests on the same head give the same candidate commit."""
        return tuple((patch.file_name, patch.sha256) for patch in self.patches)

    def without(self, file_names: Iterable[str]) -> "PatchQueue":
        """The queue less some patches."""
        gone = set(file_names)
        return PatchQueue(patches=tuple(patch for patch in self.patches if patch.file_name not in gone))


class TakenBy(StrEnum):
    """How it was recognised that upstream has a patch."""

    PATCH_ID = "patch-id"
    """A commit with the same change."""
    SUBJECT = "subject"
    """A commit with the same subject on the same files, whose contents differ: worth a look."""
    CONTENT = "content"
    """Applying it changes nothing: upstream's files already are as the patch leaves them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A patch that upstream has, so that it left the queue for `taken/`."""

    file_name: str
    sha256: str
    subject: str
    by: TakenBy
    commit: CommitId | None
    """Upstream's commit; None where only the content shows it."""
    at_s: float

    @property
    def note(self) -> str:
        """One line for people."""
        where = f"commit {self.commit[:12]}" if self.commit else "upstream's files"
        return {
            TakenBy.PATCH_ID: f"{self.file_name}: taken upstream by {where}",
            TakenBy.SUBJECT: f"{self.file_name}: {where} has the same subject but other contents; taken for the same, "
            "look at the difference and put the patch back from taken/ if you still need it",
            TakenBy.CONTENT: f"{self.file_name}: {where} already hold all of it",
        }[self.by]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictPlace:
    """Where a patch does not fit."""

    path: str
    hunk: int | None
    """Number of the first hunk of this file that does not fit, from 1; None where the whole file is the trouble."""
    line_no: int | None
    """Line of that hunk in the patch file."""
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A sync that stopped at a patch; waits for a corrected one."""

    head: CommitId
    """Upstream's head that the queue was put on."""
    onto: CommitId
    """The head with the patches before this one: what the corrected patch must apply to."""
    file_name: str
    subject: str
    places: tuple[ConflictPlace, ...]
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedPatch:
    """A patch as a commit on top of upstream."""

    file_name: str
    sha256: str
    patch_id: PatchId
    commit: CommitId
    was_merged: bool = False
    """It needed a three-way merge: upstream moved nearby; worth refreshing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """When the new upstream commits of a sync landed on the branch (committer dates along the first parents)."""

    count: int
    oldest_s: float
    median_s: float
    newest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateCommit:
    """The outcome of a sync: upstream's head with the queue on top. Same head and queue, same commit."""

    commit: CommitId
    upstream_commit: CommitId
    tree: CommitId
    """git's name of the source tree; equal trees are equal sources."""
    patches: tuple[AppliedPatch, ...]
    made_at_s: float
    landed: Landed


class Stage(StrEnum):
    """How far an upstream commit came."""

    CANDIDATE = "candidate"
    QUALIFIED = "qualified"
    FLEET = "fleet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A candidate commit reached a stage."""

    commit: CommitId
    stage: Stage
    at_s: float
    landed: Landed


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncEntry:
    """One sync in the history. Attempts to resume belong to the same sync."""

    at_s: float
    head: CommitId
    head_committed_at_s: float
    lag_commits: int | None
    """Commits that the candidate in force was behind the head before this sync; None before the first candidate."""
    lag_s: float
    """The same in seconds between their committer dates."""
    patches: int
    queue_lines: int
    conflicts: tuple[str, ...] = ()
    """Patches that did not apply, by file name."""
    taken: int = 0
    candidate: CommitId | None = None
    """None while a conflict waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRecord:
    """All that is remembered of an upstream; written whole, so that there is no half-done sync."""

    upstream: Upstream
    added_at_s: float
    head: CommitId | None = None
    """Upstream's head as last fetched."""
    head_committed_at_s: float = 0.0
    fetched_at_s: float | None = None
    candidate: CandidateCommit | None = None
    """The last good one: in force until another sync succeeds."""
    conflict: Conflict | None = None
    taken: tuple[Taken, ...] = ()
    leaving: tuple[Taken, ...] = ()
    """Taken patches whose files are still to be moved to `taken/`: a move that was interrupted is finished later."""
    history: tuple[SyncEntry, ...] = ()
    reached: tuple[Reached, ...] = ()


def show_url(url: str) -> str:
    """The URL without what might be a secret: user and password (but a bare ssh user stays), query, fragment."""
    shown = re.sub(r"[?#].*", "", url, flags=re.DOTALL)
    bare_user = re.fullmatch(r"ssh://[^/@:]+@.*", shown, flags=re.DOTALL)
    return shown if bare_user else re.sub(r"^([a-z0-9+.-]+://)[^/]*@", r"\1", shown, flags=re.IGNORECASE)
