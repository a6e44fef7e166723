"""Builders of upstreams, patches and records for tests: valid unless told otherwise."""

import hashlib
from datetime import date
from typing import Any

from headrace.upstream.model import (
    CandidateCommit,
    CommitId,
    Landed,
    Patch,
    Reason,
    SyncEntry,
    Upstream,
    UpstreamName,
    UpstreamRecord,
)

DAY_S = 86_400.0
NOW_S = 1_795_000_000.0


def commit_named(text: str) -> CommitId:
    """A valid commit id for a readable name."""
    return CommitId(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def make_patch(name: str, **changes: Any) -> Patch:
    """A patch of one file."""
    fields: dict[str, Any] = {
        "file_name": f"{name}.patch",
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "subject": name,
        "author": "Ann <ann@example.org>",
        "reason": Reason.DEVELOPMENT,
        "sent": None,
        "since": date(2026, 9, 1),
        "paths": ("net/tcp.c",),
        "hunks": (),
        "added_lines": 3,
        "removed_lines": 1,
        **changes,
    }
    return Patch(**fields)


def make_landed(at_s: float, *, count: int = 3) -> Landed:
    """Commits that landed within a day before `at_s`."""
    return Landed(count=count, oldest_s=at_s - DAY_S, median_s=at_s - DAY_S / 2, newest_s=at_s)


def make_entry(day: int, **changes: Any) -> SyncEntry:
    """A sync without trouble, `day` days after the first."""
    fields: dict[str, Any] = {
        "at_s": NOW_S + day * DAY_S,
        "head": commit_named(f"head {day}"),
        "head_committed_at_s": NOW_S + day * DAY_S,
        "lag_commits": 10,
        "lag_s": DAY_S,
        "patches": 2,
        "queue_lines": 40,
        "candidate": commit_named(f"candidate {day}"),
        **changes,
    }
    return SyncEntry(**fields)


def make_candidate(day: int) -> CandidateCommit:
    """The outcome of `make_entry(day)`."""
    at_s = NOW_S + day * DAY_S
    return CandidateCommit(
        commit=commit_named(f"candidate {day}"),
        upstream_commit=commit_named(f"head {day}"),
        tree=commit_named(f"tree {day}"),
        patches=(),
        made_at_s=at_s,
        landed=make_landed(at_s),
    )


def make_record(**changes: Any) -> UpstreamRecord:
    """An upstream that was never synced."""
    upstream = Upstream(
        name=UpstreamName("linux"), url="https://u:secret@example.org/linux.git", branch="main", patches="/p"
    )
    fields: dict[str, Any] = {"upstream": upstream, "added_at_s": NOW_S, **changes}
    return UpstreamRecord(**fields)
