"""One turn of an upstream: fetch its head, let go of what it has taken, put the queue on top, remember the outcome.

Everything is prepared beside what is in force (new objects in the mirror, a temporary work tree), then the record is
replaced whole: killed at any time, the last good candidate stays in force. One sync of an upstream at a time (a lock).
Decisions are in `upstream.queue`; git's answers come from `repository` and `rebase`.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.base.clock import Clock
from headrace.base.logs import event
from headrace.upstream.errors import UpstreamError
from headrace.upstream.model import (
    CandidateCommit,
    CommitId,
    Conflict,
    PatchId,
    PatchQueue,
    Reached,
    Stage,
    SyncEntry,
    Taken,
    Upstream,
    UpstreamName,
    UpstreamRecord,
    show_url,
)
from headrace.upstream.queue import TAKEN_MOST, find_taken, possibly_taken, taken_by_content, with_entry, with_reached
from headrace.workshop.adapters.records import ReadQueue, UpstreamFolder, read_queue
from headrace.workshop.errors import RewrittenError
from headrace.workshop.rebase import Rebased, rebase_queue
from headrace.workshop.repository import CONFLICT, HEAD, Mirror, ask_remote

LOOK_BACK = 500
"""First-parent commits before the head in which a patch that is new to the queue is looked for: weeks of upstream."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """What a sync did."""

    record: UpstreamRecord
    """As it is in force now."""
    new_commits: int | None
    """That the head has and the candidate before had not; None for the first sync."""
    taken: tuple[Taken, ...]
    """Recognised now. While a conflict waits, they stay in the queue."""
    is_changed: bool
    """Whether there is another candidate than before."""
    took_s: float

    @property
    def conflict(self) -> Conflict | None:
        return self.record.conflict

    def public(self) -> "SyncView":
        """What may be shown: all but the URL."""
        return SyncView(
            name=self.record.upstream.name,
            head=self.record.head,
            candidate=self.record.candidate,
            conflict=self.conflict,
            new_commits=self.new_commits,
            taken=self.taken,
            is_changed=self.is_changed,
            took_s=self.took_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncView:
    """A sync's result for programs."""

    name: UpstreamName
    head: CommitId | None
    candidate: CandidateCommit | None
    conflict: Conflict | None
    new_commits: int | None
    taken: tuple[Taken, ...]
    is_changed: bool
    took_s: float


def add_upstream(
    root: Path, name: UpstreamName, url: str, *, branch: str | None, patches: Path | None, now_s: float
) -> UpstreamRecord:
    """Remember an upstream after asking whether it is there. Nothing is fetched yet.

    Args:
        branch: the default branch for None.
        patches: the operator's folder of patches; None for one within `root`.

    Raises:
        UpstreamError: the name is taken, or there is no such patch folder.
        RepositoryError: unreachable, no repository, empty, no such branch.
    """
    place = UpstreamFolder(root=root, name=name)
    if (place.path / "record.json").exists():
        raise UpstreamError(f"there is an upstream {name} already: {place.path}")
    found, _ = ask_remote(url, branch)
    upstream = Upstream(name=name, url=url, branch=found, patches=str(patches or place.path / "patches"))
    if patches is not None:
        read_queue(upstream)
    record = UpstreamRecord(upstream=upstream, added_at_s=now_s)
    place.create(record)
    event(_log, "upstream_added", upstream=name, url=show_url(url), branch=found)
    return record


def remove_upstream(root: Path, name: UpstreamName, *, may_discard_patches: bool) -> None:
    """Forget an upstream: its mirror and its record. The operator's own folder of patches stays.

    Raises:
        UpstreamError: there is no such upstream, or its queue lies within `root` and would be lost.
        BusyError: a sync of it runs.
    """
    place = UpstreamFolder(root=root, name=name)
    record = place.read()
    with place.locked():
        own = Path(record.upstream.patches)
        if own.is_relative_to(place.path) and not may_discard_patches and any(own.rglob("*.patch")):
            raise UpstreamError(f"{name} has patches in {own}, which would be lost: move them, or --discard-patches")
        place.remove()
    event(_log, "upstream_removed", upstream=name)


def open_mirror(root: Path, name: UpstreamName) -> tuple[UpstreamRecord, Mirror]:
    """The record and the mirror of an upstream, for reading: builds, bisection, `release where`.

    Raises:
        UpstreamError: there is no such upstream, or it was never synced.
    """
    place = UpstreamFolder(root=root, name=name)
    record = place.read()
    if record.head is None:
        raise UpstreamError(f"{name} was never synced; run `headrace upstream sync {name}`")
    return record, Mirror(folder=place.mirror, url=record.upstream.url)


def sync_upstream(
    root: Path,
    name: UpstreamName,
    *,
    clock: Clock,
    watch: Callable[[str], None],
    is_resume: bool = False,
    may_be_rewritten: bool = False,
) -> SyncResult:
    """Bring the candidate to upstream's head. A conflict is a result: it waits, and the old candidate stays in force.

    Args:
        watch: given a line for each step, and git's own progress.
        is_resume: go on with the head of the conflict that waits, after its patch was corrected; fetches nothing.
        may_be_rewritten: accept a branch whose history was rewritten.

    Raises:
        UpstreamError: no such upstream or patch folder, a malformed patch, nothing to resume.
        BusyError: another sync runs.
        RewrittenError: the branch was rewritten.
        RepositoryError: unreachable, no such branch, disk full.
    """
    begun_s = clock.monotonic_s()
    place = UpstreamFolder(root=root, name=name)
    with place.locked():
        record = place.finish_leaving(place.read())
        mirror = Mirror(folder=place.mirror, url=record.upstream.url)
        place.clear_work()
        mirror.create()
        mirror.clean()
        queue = read_queue(record.upstream)
        head = _waiting_head(record) if is_resume else mirror.fetch(record.upstream.branch, watch=watch, clock=clock)
        turn = _Turn(place=place, mirror=mirror, record=record, queue=queue, head=head, is_resume=is_resume)
        turn.check_history(may_be_rewritten=may_be_rewritten)
        result = turn.run(clock=clock, watch=watch)
    result = replace(result, took_s=clock.monotonic_s() - begun_s)
    _note(result)
    return result


def candidate_at(
    root: Path, name: UpstreamName, onto: CommitId, *, work: Path, watch: Callable[[str], None], now_s: float
) -> Rebased | Conflict:
    """The queue on any upstream commit, as a bisection wants it. Changes no state; `work` holds temporary files."""
    record, mirror = open_mirror(root, name)
    queue = read_queue(record.upstream)
    patches = [(patch, queue.bodies[patch.file_name]) for patch in queue.queue.patches]
    return rebase_queue(mirror, work, patches, onto=onto, watch=watch, now_s=now_s)


def note_reached(root: Path, name: UpstreamName, commit: CommitId, stage: Stage, *, now_s: float) -> None:
    """Remember that a candidate commit was qualified, or is on the whole fleet; a repetition changes nothing.

    Raises:
        UpstreamError: no such upstream, or no such candidate among those remembered.
        BusyError: a sync runs.
    """
    place = UpstreamFolder(root=root, name=name)
    with place.locked():
        record = place.read()
        made = next((one for one in record.reached if one.commit == commit and one.stage is Stage.CANDIDATE), None)
        if made is None:
            raise UpstreamError(f"{commit[:12]} is no candidate of {name}")
        reached = with_reached(record.reached, replace(made, stage=stage, at_s=now_s))
        place.write(replace(record, reached=reached))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One sync, once head and queue are known."""

    place: UpstreamFolder
    mirror: Mirror
    record: UpstreamRecord
    queue: ReadQueue
    head: CommitId
    is_resume: bool

    def check_history(self, *, may_be_rewritten: bool) -> None:
        """Refuse a head that does not hold the last one."""
        last = self.record.head
        if last is None or may_be_rewritten or self.mirror.is_ancestor(last, self.head):
            return
        upstream = self.record.upstream
        raise RewrittenError(
            f"branch {upstream.branch} of {upstream.name} was rewritten: its head {self.head[:12]} does not "
            f"hold the last one, {last[:12]}; if that is meant, run sync again with --accept-rewrite"
        )

    def run(self, *, clock: Clock, watch: Callable[[str], None]) -> SyncResult:
        now_s = clock.now_s()
        base = self._base()
        new_commits = self.mirror.count(base, self.head) if base else None
        if self._is_same():
            record = replace(self.record, fetched_at_s=now_s)
            self.place.write(record)
            return SyncResult(record=record, new_commits=0, taken=(), is_changed=False, took_s=0.0)
        watch("looking for patches that upstream has taken")
        taken = self._find_taken(base, now_s=now_s)
        rest = self.queue.queue.without(one.file_name for one in taken)
        patches = [(patch, self.queue.bodies[patch.file_name]) for patch in rest.patches]
        outcome = rebase_queue(self.mirror, self.place.work, patches, onto=self.head, watch=watch, now_s=now_s)
        entry = self._entry(new_commits, now_s=now_s)
        if isinstance(outcome, Conflict):
            record = self._stop(outcome, replace(entry, conflicts=(outcome.file_name,)))
        else:
            taken = (*taken, *(taken_by_content(patch, now_s=now_s) for patch in outcome.empty))
            record = self._finish(outcome, taken, entry, base, now_s=clock.now_s())
        before = self.record.candidate
        is_changed = record.candidate is not None and (before is None or before.commit != record.candidate.commit)
        return SyncResult(record=record, new_commits=new_commits, taken=taken, is_changed=is_changed, took_s=0.0)

    def _resumes(self) -> bool:
        """Whether this goes on with the conflict that waits: asked for, or upstream has not moved since."""
        return self.record.conflict is not None and self.record.conflict.head == self.head

    def _base(self) -> CommitId | None:
        """What the candidate in force and the new head have in common; None before the first candidate."""
        candidate = self.record.candidate
        return self.mirror.fork_point(candidate.upstream_commit, self.head) if candidate else None

    def _is_same(self) -> bool:
        candidate = self.record.candidate
        if candidate is None or self.record.conflict is not None or candidate.upstream_commit != self.head:
            return False
        return tuple((one.file_name, one.sha256) for one in candidate.patches) == self.queue.queue.digest

    def _find_taken(self, base: CommitId | None, *, now_s: float) -> tuple[Taken, ...]:
        queue = self.queue.queue
        candidate = self.record.candidate
        applied = {one.sha256: one.patch_id for one in candidate.patches} if candidate else {}
        old = base
        if any(patch.sha256 not in applied for patch in queue.patches):
            before = self.mirror.back(self.head, LOOK_BACK)
            old = self.mirror.fork_point(base, before) if base and before else before
        if old is None:
            return ()
        commits = self.mirror.touching(old, self.head, queue.paths)
        return find_taken(
            queue,
            commits,
            patch_ids=self.mirror.patch_ids(possibly_taken(queue, commits)),
            own_ids=self._own_ids(queue, applied),
            decided=self.record.taken,
            now_s=now_s,
        )

    def _own_ids(self, queue: PatchQueue, applied: Mapping[str, PatchId]) -> dict[str, frozenset[PatchId]]:
        """As the file says, and as it was last applied: a merge may have moved its context."""
        return {
            patch.file_name: frozenset(
                patch_id
                for patch_id in (self.mirror.patch_id_of(self.queue.bodies[patch.file_name]), applied.get(patch.sha256))
                if patch_id
            )
            for patch in queue.patches
        }

    def _entry(self, new_commits: int | None, *, now_s: float) -> SyncEntry:
        candidate = self.record.candidate
        head_s = self.mirror.facts([self.head])[0].committed_at_s
        lag_s = head_s - self.mirror.facts([candidate.upstream_commit])[0].committed_at_s if candidate else 0.0
        return SyncEntry(
            at_s=now_s,
            head=self.head,
            head_committed_at_s=head_s,
            lag_commits=new_commits,
            lag_s=max(0.0, lag_s),
            patches=len(self.queue.queue.patches),
            queue_lines=self.queue.queue.lines,
        )

    def _stop(self, conflict: Conflict, entry: SyncEntry) -> UpstreamRecord:
        self.mirror.keep(CONFLICT, conflict.onto)
        return self._write(entry, conflict=conflict)

    def _finish(
        self, made: Rebased, taken: tuple[Taken, ...], entry: SyncEntry, base: CommitId | None, *, now_s: float
    ) -> UpstreamRecord:
        landed = self.mirror.landed(base, self.head)
        candidate = CandidateCommit(
            commit=made.commit,
            upstream_commit=self.head,
            tree=made.tree,
            patches=made.applied,
            made_at_s=now_s,
            landed=landed,
        )
        reached = self.record.reached
        if landed.count:
            new = Reached(commit=made.commit, stage=Stage.CANDIDATE, at_s=now_s, landed=landed)
            reached = with_reached(reached, new)
        self.mirror.keep_candidate(made.commit)
        record = self._write(
            replace(entry, taken=len(taken), candidate=made.commit),
            conflict=None,
            candidate=candidate,
            reached=reached,
            taken=(*self.record.taken, *taken)[-TAKEN_MOST:],
            leaving=taken,
        )
        record = self.place.finish_leaving(record)
        self.mirror.let_go({made.commit, *(one.candidate for one in record.history if one.candidate)})
        self.mirror.tidy()
        return record

    def _write(self, entry: SyncEntry, **changes: object) -> UpstreamRecord:
        """The moment at which a sync comes into force."""
        self.mirror.keep(HEAD, self.head)
        record = replace(
            self.record,
            head=self.head,
            head_committed_at_s=entry.head_committed_at_s,
            fetched_at_s=self.record.fetched_at_s if self.is_resume else entry.at_s,
            history=with_entry(self.record.history, entry, resumes=self._resumes()),
            **changes,  # type: ignore[arg-type]
        )
        self.place.write(record)
        return record


def _waiting_head(record: UpstreamRecord) -> CommitId:
    if record.conflict is None:
        raise UpstreamError(f"no conflict of {record.upstream.name} waits; run sync without --resume")
    return record.conflict.head


def _note(result: SyncResult) -> None:
    record = result.record
    event(
        _log,
        "upstream_synced",
        upstream=record.upstream.name,
        head=record.head,
        candidate=record.candidate.commit if record.candidate else None,
        new_commits=result.new_commits,
        taken=len(result.taken),
        conflict=record.conflict.file_name if record.conflict else None,
        took_s=result.took_s,
    )
