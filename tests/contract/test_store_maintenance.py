"""Maintenance windows in the store, on SQLite and on PostgreSQL: the same promises on both."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from headrace.base.ids import ApplianceId
from headrace.control.adapters.store import SqlStore
from headrace.control.testing import A_REASON
from headrace.fleet.maintenance import MaintenanceWindow, WindowState

NOW_S = 1_800_000_000.0
NOTED = {"event": A_REASON, "now_s": NOW_S}
WINDOW = MaintenanceWindow(
    window_id="",
    appliance_id=ApplianceId("a1"),
    starts_s=NOW_S + 3600,
    ends_s=NOW_S + 7200,
    drain_ahead_s=600,
    reason="new disk",
    zone="Europe/Amsterdam",
)


def test_a_window_comes_back_as_it_was_planned_under_an_id_of_its_own(store: SqlStore) -> None:
    before = store.versions()
    first = store.add_window(WINDOW, expected=store.windows_version(), **NOTED)
    second = store.add_window(WINDOW, expected=store.windows_version(), **NOTED)
    assert first is not None
    assert second is not None
    assert [one.window for one in store.windows()] == [
        replace(WINDOW, window_id="w1"),
        replace(WINDOW, window_id="w2"),
    ]
    assert store.windows() == (first, second)
    assert [one.subject for one in store.events()] == ["maintenance/w1", "maintenance/w2"]
    assert store.versions().fleet == before.fleet + 2  # steering's readers look again


def test_who_checked_against_other_windows_than_there_are_loses(store: SqlStore) -> None:
    seen = store.windows_version()
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: store.add_window(WINDOW, expected=seen, **NOTED), range(4)))
    assert len([one for one in made if one is not None]) == 1
    assert len(store.windows()) == 1
    assert len(store.events()) == 1


def test_moves_are_compare_and_set(store: SqlStore) -> None:
    store.add_window(WINDOW, expected=0, **NOTED)
    one = store.windows()[0]
    draining = replace(one.window, state=WindowState.DRAINING, members=(ApplianceId("a1"),))
    seen = store.windows_version()
    assert store.save_window(draining, expected_version=one.version, **NOTED)
    assert not store.save_window(one.window, expected_version=one.version, **NOTED)
    assert store.windows()[0].window == draining
    assert len(store.events()) == 2
    assert store.add_window(WINDOW, expected=seen, **NOTED) is None


def test_ended_windows_are_kept_for_a_while_and_their_ids_are_not_given_again(store: SqlStore) -> None:
    store.add_window(WINDOW, expected=0, **NOTED)
    one = store.windows()[0]
    done = replace(one.window, state=WindowState.DONE)
    assert store.save_window(done, expected_version=one.version, event=None, now_s=NOW_S)
    assert store.windows() == ()
    assert [kept.window for kept in store.windows(with_ended=True)] == [done]
    assert store.drop_windows(ended_before_s=done.ends_s) == 0
    assert store.drop_windows(ended_before_s=done.ends_s + 1) == 1
    assert store.windows(with_ended=True) == ()
    again = store.add_window(WINDOW, expected=store.windows_version(), **NOTED)
    assert again is not None
    assert again.window.window_id != "w1"
