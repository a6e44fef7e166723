"""The measures say what syncs left behind; what was not measured is None, and no password gets out."""

from dataclasses import replace
from datetime import date

import pytest

from headrace.upstream.measures import DAY_S, conflicts_per_sync, measure_queue, measure_upstream
from headrace.upstream.model import PatchQueue, Reached, Reason, Stage
from headrace.upstream.testing import (
    NOW_S,
    commit_named,
    make_candidate,
    make_entry,
    make_landed,
    make_patch,
    make_record,
)
from headrace.wire.codec import encode


def test_before_the_first_sync_nothing_is_known() -> None:
    status = measure_upstream(make_record(), PatchQueue(), now_s=NOW_S)
    assert (status.lag_commits, status.lag_days, status.conflicts_per_sync) == (None, None, None)
    assert all(one.median_s is None and one.syncs == 0 for one in status.stages)
    assert [one.stage for one in status.stages] == list(Stage)
    assert b"secret" not in encode(status)


def test_a_candidate_at_the_head_has_no_lag() -> None:
    record = make_record(candidate=make_candidate(1), head=commit_named("head 1"), history=(make_entry(1),))
    status = measure_upstream(record, PatchQueue(), now_s=NOW_S)
    assert (status.lag_commits, status.lag_days) == (0, 0.0)


def test_a_conflict_leaves_the_lag_of_its_sync() -> None:
    history = (make_entry(1), make_entry(4, lag_commits=70, lag_s=3 * DAY_S, conflicts=("a",), candidate=None))
    record = make_record(candidate=make_candidate(1), head=commit_named("head 4"), history=history)
    status = measure_upstream(record, PatchQueue(), now_s=NOW_S)
    assert (status.lag_commits, status.lag_days, status.conflicts_per_sync) == (70, 3.0, 0.5)


def test_an_unreadable_queue_is_said() -> None:
    status = measure_upstream(make_record(), None, queue_fault="a.patch: line 3: ...", now_s=NOW_S)
    assert status.queue is None
    assert status.queue_fault


def test_the_queue_is_counted() -> None:
    queue = PatchQueue(
        patches=(
            make_patch("a", since=date(2026, 9, 1)),
            make_patch("b", since=date(2026, 9, 21), sent="https://example.org/1", reason=Reason.GENERALISE),
            make_patch("c", since=date(2027, 1, 1), reason=Reason.AGREEMENT),
        )
    )
    measured = measure_queue(queue, today=date(2026, 10, 1))
    assert (measured.patches, measured.lines, measured.unsent) == (3, 12, 1)
    assert (measured.oldest_days, measured.median_days) == (30.0, 10.0)
    assert measured.by_reason == {Reason.AGREEMENT: 1, Reason.DEVELOPMENT: 1, Reason.GENERALISE: 1}


def test_conflicts_are_those_of_the_last_syncs() -> None:
    old = [make_entry(day, conflicts=("a", "b")) for day in range(30)]
    assert conflicts_per_sync([*old, *(make_entry(day) for day in range(30, 50))]) == 0.0
    assert conflicts_per_sync(old) == 2.0
    assert conflicts_per_sync([]) is None


@pytest.mark.parametrize("stage", list(Stage))
def test_times_to_a_stage(stage: Stage) -> None:
    reached = tuple(
        Reached(commit=commit_named(str(days)), stage=stage, at_s=NOW_S + days * DAY_S, landed=make_landed(NOW_S))
        for days in (1, 4, 2)
    )
    status = measure_upstream(make_record(reached=reached), PatchQueue(), now_s=NOW_S)
    times = {one.stage: one for one in status.stages}[stage]
    assert (times.syncs, times.last_s, times.median_s, times.worst_s) == (3, 2.5 * DAY_S, 2.5 * DAY_S, 5 * DAY_S)


def test_a_clock_that_was_set_gives_no_negative_time() -> None:
    early = Reached(commit=commit_named("c"), stage=Stage.CANDIDATE, at_s=0.0, landed=make_landed(NOW_S))
    status = measure_upstream(replace(make_record(), reached=(early,)), PatchQueue(), now_s=NOW_S)
    assert status.stages[0].worst_s == 0.0
