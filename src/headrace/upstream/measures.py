"""Measures of the virtuous cycle: small lag, small and young queue, few conflicts, short way of a commit to the fleet.

Computed from what syncs left in the record; nothing is fetched and no repository is asked. What was never measured is
None, not zero.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from headrace.upstream.model import (
    CommitId,
    Conflict,
    PatchQueue,
    Reached,
    Reason,
    Stage,
    SyncEntry,
    UpstreamName,
    UpstreamRecord,
    show_url,
)

DAY_S = 86_400.0
RECENT_SYNCS = 20
"""Syncs over which conflicts are averaged: what the cycle is like now, not what it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """How long upstream commits took from landing on the branch to a stage."""

    stage: Stage
    syncs: int
    """How many candidates reached it."""
    median_s: float | None
    """Median over candidates, each with the median of its new commits."""
    worst_s: float | None
    """Of the commit that waited longest."""
    last_s: float | None
    """Of the newest candidate that got there, with the median of its commits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMeasures:
    """What is carried over each sync."""

    patches: int
    lines: int
    unsent: int
    """Patches that may be sent (not under an agreement) and were not."""
    by_reason: dict[Reason, int]
    oldest_days: float | None
    median_days: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamStatus:
    """One upstream at a glance; holds no password."""

    name: UpstreamName
    url: str
    branch: str
    patches_folder: str
    head: CommitId | None
    fetched_at_s: float | None
    candidate: CommitId | None
    candidate_upstream: CommitId | None
    candidate_made_at_s: float | None
    lag_commits: int | None
    """Commits that the candidate in force is behind the head as last fetched."""
    lag_days: float | None
    """Days between the committer dates of those two."""
    conflict: Conflict | None
    queue: QueueMeasures | None
    """None where the queue cannot be read; `queue_fault` says why."""
    queue_fault: str
    syncs: int
    conflicts_per_sync: float | None
    """Over the last syncs (at most 20)."""
    stages: tuple[StageTime, ...]
    history: tuple[SyncEntry, ...]


def measure_upstream(
    record: UpstreamRecord, queue: PatchQueue | None, *, queue_fault: str = "", now_s: float
) -> UpstreamStatus:
    """Measure one upstream from its record and the queue as it lies in the folder now."""
    candidate = record.candidate
    commits, days = _lag(record)
    return UpstreamStatus(
        name=record.upstream.name,
        url=show_url(record.upstream.url),
        branch=record.upstream.branch,
        patches_folder=record.upstream.patches,
        head=record.head,
        fetched_at_s=record.fetched_at_s,
        candidate=candidate.commit if candidate else None,
        candidate_upstream=candidate.upstream_commit if candidate else None,
        candidate_made_at_s=candidate.made_at_s if candidate else None,
        lag_commits=commits,
        lag_days=days,
        conflict=record.conflict,
        queue=measure_queue(queue, today=datetime.fromtimestamp(now_s, UTC).date()) if queue is not None else None,
        queue_fault=queue_fault,
        syncs=len(record.history),
        conflicts_per_sync=conflicts_per_sync(record.history),
        stages=tuple(_stage_time(stage, record.reached) for stage in Stage),
        history=record.history,
    )


def measure_queue(queue: PatchQueue, *, today: date) -> QueueMeasures:
    """Count and age of the queue."""
    ages = [float(max(0, (today - patch.since).days)) for patch in queue.patches]
    reasons = [patch.reason for patch in queue.patches]
    return QueueMeasures(
        patches=len(queue.patches),
        lines=queue.lines,
        unsent=sum(patch.sent is None and patch.reason is not Reason.AGREEMENT for patch in queue.patches),
        by_reason={reason: reasons.count(reason) for reason in Reason},
        oldest_days=max(ages, default=None),
        median_days=statistics.median(ages) if ages else None,
    )


def conflicts_per_sync(history: Sequence[SyncEntry]) -> float | None:
    """Patches in conflict a sync, over the last ones."""
    recent = history[-RECENT_SYNCS:]
    return sum(len(entry.conflicts) for entry in recent) / len(recent) if recent else None


def _lag(record: UpstreamRecord) -> tuple[int | None, float | None]:
    if record.candidate is None or record.head is None:
        return None, None
    if record.candidate.upstream_commit == record.head or not record.history:
        return 0, 0.0
    last = record.history[-1]
    return last.lag_commits, last.lag_s / DAY_S


def _stage_time(stage: Stage, reached: Sequence[Reached]) -> StageTime:
    there = [one for one in reached if one.stage is stage]
    waits = [max(0.0, one.at_s - one.landed.median_s) for one in there]
    worst = [max(0.0, one.at_s - one.landed.oldest_s) for one in there]
    return StageTime(
        stage=stage,
        syncs=len(there),
        median_s=statistics.median(waits) if waits else None,
        worst_s=max(worst, default=None),
        last_s=waits[-1] if waits else None,
    )
