"""What nodes share through the store, on SQLite and on PostgreSQL: events, leases, notes, snapshots."""

import threading
from collections.abc import Callable
from typing import Any

from headrace.control.model import (
    StoredSnapshot,
)
from headrace.control.ports import Store
from headrace.control.testing import (
    A_REASON,
)
from headrace.control.testing_store import NOW_S, at_once


class TestRecords:
    def test_events_have_no_gaps_and_are_seen_in_order(self, store: Store, other: Store) -> None:
        seen: list[int] = []
        done = threading.Event()

        def watch() -> None:
            while not done.is_set() or store.versions().events > (seen[-1] if seen else 0):
                seen.extend(one.event_id for one in store.events(after=seen[-1] if seen else 0))

        watcher = threading.Thread(target=watch)
        watcher.start()

        def write(node: Store) -> None:
            for _ in range(10):
                node.append_event(A_REASON, now_s=NOW_S)

        at_once([lambda: write(store), lambda: write(other), lambda: write(store), lambda: write(other)])
        done.set()
        watcher.join(30)
        assert seen == list(range(1, 41))
        first = store.events(limit=1)[0]
        assert (first.actor, first.kind, first.reason, first.at_s) == (A_REASON.actor, A_REASON.kind, "a test", NOW_S)

    def test_old_events_are_dropped_and_their_ids_never_given_again(self, store: Store) -> None:
        for _ in range(5):
            store.append_event(A_REASON, now_s=NOW_S)
        assert store.drop_events(keep=2) == 3
        assert store.drop_events(keep=2) == 0
        assert store.append_event(A_REASON, now_s=NOW_S) == 6
        assert [one.event_id for one in store.events()] == [4, 5, 6]

    def test_leases(self, store: Store, other: Store) -> None:
        assert store.take_lease("plan", "n1", duration_s=5, now_s=NOW_S) is not None
        assert other.take_lease("plan", "n2", duration_s=5, now_s=NOW_S + 4) is None
        assert store.take_lease("plan", "n1", duration_s=5, now_s=NOW_S + 4) is not None
        assert other.take_lease("plan", "n2", duration_s=5, now_s=NOW_S + 8) is None
        assert other.take_lease("plan", "n2", duration_s=5, now_s=NOW_S + 9) is not None
        store.give_up_lease("plan", "n1")
        assert store.take_lease("plan", "n1", duration_s=5, now_s=NOW_S + 10) is None
        other.give_up_lease("plan", "n2")
        assert store.take_lease("plan", "n1", duration_s=5, now_s=NOW_S + 10) is not None

    def test_one_of_many_gets_a_new_lease(self, store: Store, other: Store) -> None:
        works: list[Callable[[], Any]] = [
            lambda i=i: (store, other)[i % 2].take_lease("x", f"n{i}", duration_s=5, now_s=NOW_S) for i in range(6)
        ]
        assert sum(one is not None for one in at_once(works)) == 1

    def test_notes(self, store: Store) -> None:
        store.put_note("probe/n1", "old", now_s=NOW_S)
        store.put_note("probe/n1", "new", now_s=NOW_S + 1)
        store.put_note("probe/n2", "x", now_s=NOW_S - 50)
        store.put_note("other", "y", now_s=NOW_S)
        assert store.notes("probe/") == {"probe/n1": "new", "probe/n2": "x"}
        assert store.notes("probe/", since_s=NOW_S) == {"probe/n1": "new"}
        store.drop_notes("probe/", before_s=NOW_S)
        assert store.notes("") == {"probe/n1": "new", "other": "y"}

    def test_a_note_may_be_as_large_as_a_summary_of_offload(self, store: Store, other: Store) -> None:
        text = "é" * 2**19
        store.put_note("offload", text, now_s=NOW_S)
        assert other.notes("offload") == {"offload": text}

    def test_snapshot_by_compare_and_set(self, store: Store) -> None:
        assert (store.snapshot(), store.snapshot_etag()) == (None, None)
        one = StoredSnapshot(version=1, etag="e1", packed=b"\x00\xff")
        assert store.save_snapshot(one, expected_version=0)
        assert not store.save_snapshot(one, expected_version=0)
        assert store.snapshot() == one
        two = StoredSnapshot(version=2, etag="e2", packed=b"2")
        assert not store.save_snapshot(two, expected_version=7)
        assert store.save_snapshot(two, expected_version=1)
        assert store.snapshot_etag() == (2, "e2")

    def test_parts_of_a_snapshot_stay_while_somebody_may_ask(self, store: Store) -> None:
        one, other = "1" * 64, "2" * 64
        assert store.snapshot_part(one) is None
        first = StoredSnapshot(version=1, etag="e1", packed=b"1", parts={one: b"body", other: b""})
        assert store.save_snapshot(first, expected_version=0)
        assert (store.snapshot_part(one), store.snapshot_part(other)) == (b"body", b"")
        lost = StoredSnapshot(version=2, etag="e2", packed=b"2", parts={"3" * 64: b"x"})
        assert not store.save_snapshot(lost, expected_version=7)
        assert store.snapshot_part("3" * 64) is None, "the race was lost"
        for version in range(2, 50):
            next_one = StoredSnapshot(version=version, etag="e", packed=b"2", parts={other: b""})
            assert store.save_snapshot(next_one, expected_version=version - 1)
            assert version > 3 or store.snapshot_part(one) == b"body"
        assert (store.snapshot_part(one), store.snapshot_part(other)) == (None, b"")
        assert store.snapshot() == StoredSnapshot(version=49, etag="e", packed=b"2")
