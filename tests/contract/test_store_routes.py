"""Heard routes in the store, on SQLite and on PostgreSQL: the same promises on both."""

import threading

import pytest
from sqlalchemy import func, select

from headrace.base.ids import ApplianceId
from headrace.control.adapters.route_tables import route_chunks, route_lists
from headrace.control.adapters.store import SqlStore
from headrace.control.model import Enrolment, JoinRow, TokenKind, TokenRow
from headrace.control.ports import Store
from headrace.control.routes import (
    MOST_TABLE_BYTES,
    MOST_UNFINISHED,
    RouteSettings,
    StoredSpeaker,
    check_chunk_room,
    take_message,
)
from headrace.control.testing import A_REASON, make_appliance, make_site
from headrace.routes.columns import count_routes
from headrace.routes.effective import ChunkPlace
from headrace.routes.model import Heard, Prefix, RouteError, SessionState
from headrace.routes.retention import NO_TABLE, TableRef
from headrace.routes.testing_tables import make_routes, make_session, pack_table, pack_table_times
from headrace.wire.routes import RoutesRequest, SessionTable

NOW_S = 1_800_000_000.0
A1, A2 = ApplianceId("a1"), ApplianceId("a2")
SETTINGS = RouteSettings()
ROUTES = make_routes(["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"])


@pytest.fixture
def both(store: SqlStore) -> SqlStore:
    """With two appliances."""
    noted = {"event": A_REASON, "now_s": NOW_S}
    store.put_site(make_site(), **noted)
    for name in (A1, A2):
        from_join(store, name)
    return store


def from_join(store: Store, name: ApplianceId) -> None:
    noted = {"event": A_REASON, "now_s": NOW_S}
    site = make_site().site_id
    join = JoinRow(join_id=name, secret_sha256="cd" * 32, site_id=site, appliance_id=None, expires_at_s=NOW_S + 60)
    store.add_join_token(join, **noted)
    token = TokenRow(
        token_id=f"t-{name}",
        kind=TokenKind.APPLIANCE,
        name=name,
        secret_sha256="ab" * 32,
        created_at_s=NOW_S,
        appliance_id=name,
    )
    assert store.enrol(name, make_appliance(name), token, **noted) is Enrolment.DONE


def upload(store: Store, routes: dict[Prefix, Heard], by: ApplianceId = A1, now_s: float = NOW_S) -> str:
    """As an agent does: the list, then what is missing of it."""
    send(store, pack_table(routes), by, now_s)
    return pack_table(routes)[0]


def upload_times(store: Store, routes: dict[Prefix, Heard], by: ApplianceId = A1, now_s: float = NOW_S) -> str:
    """The same of their times."""
    send(store, pack_table_times(routes), by, now_s)
    return pack_table_times(routes)[0]


def send(
    store: Store,
    packed: tuple[str, tuple[ChunkPlace, ...], dict[str, bytes]],
    by: ApplianceId = A1,
    now_s: float = NOW_S,
) -> tuple[str, ...]:
    """A list, then what is missing of it, which is given back."""
    digest, places, chunks = packed
    missing = store.put_list(digest, places, by=by, now_s=now_s)
    assert missing is not None
    counts = dict(zip(missing, count_routes(chunks[one] for one in missing), strict=True))
    assert store.put_chunks({one: (chunks[one], counts[one]) for one in missing}, by=by, now_s=now_s) == len(missing)
    return missing


def tell(
    store: Store,
    digest: str,
    *,
    by: ApplianceId = A1,
    sequence: int = 1,
    state: SessionState = SessionState.ESTABLISHED,
    now_s: float = NOW_S,
    times: str = "",
) -> bool:
    before = store.speaker(by)
    assert before is not None
    told = SessionTable(session=make_session(state=state), table_digest=digest, times_digest=times)
    asked = RoutesRequest(appliance_id=by, boot_id="boot-1", sequence=sequence, sessions=(told,))
    taken = take_message(before, asked, store.whole_lists([digest, times]), SETTINGS, now_s=now_s)
    return store.save_speaker(
        taken,
        expected_boot_id=before.boot_id,
        expected_sequence=before.sequence,
        history_step_s=SETTINGS.history_step_s,
        now_s=now_s,
    )


def count(store: SqlStore, table: object) -> int:
    with store._database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())  # type: ignore[arg-type]


def test_a_table_counts_once_all_its_chunks_are_there(both: SqlStore) -> None:
    digest, places, chunks = pack_table(ROUTES)
    names = sorted(chunks)
    assert both.put_list(digest, places, by=A1, now_s=NOW_S) == tuple(place.digest for place in places)
    assert both.whole_lists([digest, ""]) == {}
    assert both.put_chunks({names[0]: (chunks[names[0]], 1)}, by=A1, now_s=NOW_S) == 1
    assert both.route_list(digest) is None
    assert set(both.put_list(digest, places, by=A1, now_s=NOW_S) or ()) == set(names[1:])
    assert both.wanted_chunks(names, by=A1) == tuple(names[1:])
    both.put_chunks({name: (chunks[name], 1) for name in names[1:]}, by=A1, now_s=NOW_S)
    assert both.whole_lists([digest]) == {digest: len(ROUTES)}
    assert both.route_list(digest) == places
    more = upload(both, make_routes(["10.0.0.0/8"]))
    assert both.route_lists([digest, "ff" * 32, more]).keys() == {digest, more}
    assert both.route_lists([digest])[digest] == places
    assert both.chunks([*names, "ff" * 32]) == chunks


def test_equal_chunks_are_stored_once_and_not_asked_for_again(both: SqlStore) -> None:
    upload(both, ROUTES)
    digest, places, chunks = pack_table(ROUTES)
    assert both.put_list(digest, places, by=A2, now_s=NOW_S) == ()
    other, more, fresh = pack_table({**ROUTES, **make_routes(["10.0.0.0/8"])})
    assert both.put_list(other, more, by=A2, now_s=NOW_S) == tuple(sorted(set(fresh) - set(chunks)))
    assert count(both, route_chunks) == len(chunks)


def test_the_same_table_heard_at_other_times_is_sent_and_stored_once(both: SqlStore) -> None:
    names = [f"10.{n}.0.0/16" for n in range(40)]
    early, late = (make_routes(names, learned_s=at_s) for at_s in (NOW_S - 900, NOW_S - 5))
    assert len(send(both, pack_table(early))) == len(pack_table(early)[2]) > 30
    assert send(both, pack_table(late), A2) == ()
    assert count(both, route_chunks) == len(pack_table(early)[2])
    assert count(both, route_lists) == 1
    times = [upload_times(both, early), upload_times(both, late, A2)]
    assert times[0] != times[1]
    for name, mine in zip((A1, A2), times, strict=True):
        assert tell(both, pack_table(early)[0], by=name, times=mine)
    tables = [one.sessions[0].told.table for one in both.speakers([A1, A2])]
    assert [one.digest for one in tables] == [pack_table(early)[0]] * 2
    assert [one.times for one in tables] == times
    assert count(both, route_chunks) == len(pack_table(early)[2]) + 2


def test_times_live_as_long_as_the_table_they_are_of(both: SqlStore) -> None:
    other = {**ROUTES, **make_routes(["10.0.0.0/8"])}
    first, second = upload_times(both, ROUTES), upload_times(both, other)
    tell(both, upload(both, ROUTES), times=first)
    tell(both, "", sequence=2, state=SessionState.DOWN, now_s=NOW_S + 10)
    both.sweep_routes(unused_since_s=NOW_S + 9000, history_since_s=NOW_S + 9000)
    assert both.whole_lists([first, second]) == {first: 3}, "of the table that is kept"
    tell(both, upload(both, other), sequence=3, times=upload_times(both, other), now_s=NOW_S + 20)
    tell(both, upload(both, other), sequence=4, times=second, now_s=NOW_S + 90)
    both.sweep_routes(unused_since_s=NOW_S + 9000, history_since_s=NOW_S + 9000)
    assert both.whole_lists([first, second]) == {second: 4}


def test_chunks_of_no_table_of_the_sender_are_not_taken(both: SqlStore) -> None:
    digest, places, chunks = pack_table(ROUTES)
    both.put_list(digest, places, by=A1, now_s=NOW_S)
    packed = {name: (body, 1) for name, body in chunks.items()}
    assert both.put_chunks(packed, by=A2, now_s=NOW_S) == 0
    assert both.wanted_chunks(list(packed), by=A2) == ()
    assert count(both, route_chunks) == 0
    assert both.put_list("00" * 32, places, by=ApplianceId("nobody"), now_s=NOW_S) is None


def test_tables_that_are_too_large_and_too_many_are_bounded(both: SqlStore) -> None:
    digest, places, chunks = pack_table(ROUTES)
    both.put_list(digest, places, by=A1, now_s=NOW_S)
    first = sorted(chunks)[0]
    with pytest.raises(RouteError, match="over the limit"):
        check_chunk_room(MOST_TABLE_BYTES + 1)
    for number in range(MOST_UNFINISHED + 3):
        name = f"{number:064x}"
        both.put_list(name, (ChunkPlace(number=1, digest=name),), by=A1, now_s=NOW_S + 1 + number)
    assert both.put_chunks({first: (chunks[first], 1)}, by=A1, now_s=NOW_S) == 0  # its list had to give way
    newest = f"{MOST_UNFINISHED + 2:064x}"
    assert both.put_chunks({newest: (b"x", 1)}, by=A1, now_s=NOW_S) == 1


def test_what_an_appliance_says_comes_back(both: SqlStore) -> None:
    digest = upload(both, ROUTES)
    version = both.routes_version()
    assert both.speaker(A1) == StoredSpeaker(appliance_id=A1)
    assert both.speaker(ApplianceId("nobody")) is None
    assert tell(both, digest)
    stored = both.speaker(A1)
    assert stored is not None
    assert (stored.boot_id, stored.sequence, stored.heard_at_s) == ("boot-1", 1, NOW_S)
    assert stored.sessions[0].session == make_session()
    assert stored.sessions[0].told.table == TableRef(digest=digest, routes=len(ROUTES))
    assert both.routes_version() > version
    assert both.speaker_versions() == {A1: stored.version}
    assert both.speakers([A1, A2]) == (stored,)
    events = both.events()
    assert (events[-1].kind, events[-1].subject, events[-1].reason) == (
        "route-session.added",
        "appliance/a1",
        "established",
    )


def test_a_message_that_changes_nothing_moves_no_version(both: SqlStore) -> None:
    digest = upload(both, ROUTES)
    tell(both, digest)
    version, events = both.routes_version(), both.versions().events
    assert tell(both, digest, sequence=2, now_s=NOW_S + 1)
    assert both.routes_version() == version
    assert both.versions().events == events
    stored = both.speaker(A1)
    assert stored is not None
    assert (stored.sequence, stored.heard_at_s) == (2, NOW_S + 1)


def test_a_session_that_is_not_named_is_forgotten_and_one_of_a_gone_appliance_too(both: SqlStore) -> None:
    tell(both, upload(both, ROUTES))
    before = both.speaker(A1)
    assert before is not None
    asked = RoutesRequest(appliance_id=A1, boot_id="boot-1", sequence=2, sessions=())
    taken = take_message(before, asked, {}, SETTINGS, now_s=NOW_S)
    both.save_speaker(taken, expected_boot_id="boot-1", expected_sequence=1, history_step_s=1, now_s=NOW_S)
    after = both.speaker(A1)
    assert after is not None
    assert after.sessions == ()
    assert both.events()[-1].kind == "route-session.removed"
    both.remove_appliance(A1, event=A_REASON, now_s=NOW_S)
    assert both.speaker(A1) is None
    assert both.speaker_versions() == {}


def test_two_nodes_that_take_the_same_message_write_it_once(both: SqlStore, other: SqlStore) -> None:
    digest = upload(both, ROUTES)
    results: list[bool] = []
    for sequence in (1, 2):
        before = both.speaker(A1)
        assert before is not None
        told = SessionTable(session=make_session(drops=sequence), table_digest=digest)
        asked = RoutesRequest(appliance_id=A1, boot_id="boot-1", sequence=sequence, sessions=(told,))
        taken = take_message(before, asked, {digest: 3}, SETTINGS, now_s=NOW_S)
        barrier = threading.Barrier(2)

        def save(node: SqlStore, taken=taken, before=before, barrier=barrier) -> None:  # type: ignore[no-untyped-def]
            barrier.wait(10)
            done = node.save_speaker(
                taken,
                expected_boot_id=before.boot_id,
                expected_sequence=before.sequence,
                history_step_s=1,
                now_s=NOW_S,
            )
            results.append(done)

        threads = [threading.Thread(target=save, args=(node,)) for node in (both, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(results[-2:]) == [False, True]
    assert [one.kind for one in both.events()].count("route-session.added") == 1


def test_two_nodes_finish_one_table_together(both: SqlStore, other: SqlStore) -> None:
    digest, places, chunks = pack_table(make_routes([f"10.{n}.0.0/16" for n in range(40)]))
    both.put_list(digest, places, by=A1, now_s=NOW_S)
    other.put_list(digest, places, by=A2, now_s=NOW_S)
    names = sorted(chunks)
    work = ((both, A1, names[::2]), (other, A2, names[1::2]))

    def send(node: SqlStore, by: ApplianceId, mine: list[str]) -> None:
        for name in mine:
            node.put_chunks({name: (chunks[name], 1)}, by=by, now_s=NOW_S)

    threads = [threading.Thread(target=send, args=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert both.route_list(digest) == places


def test_sweeping_drops_what_nobody_refers_to(both: SqlStore) -> None:
    first = upload(both, ROUTES)
    tell(both, first)
    second = upload(both, {**ROUTES, **make_routes(["10.0.0.0/8"])}, now_s=NOW_S + 700)
    tell(both, second, sequence=2, now_s=NOW_S + 700)
    loose = upload(both, make_routes(["10.9.0.0/16"]), by=A2, now_s=NOW_S + 700)
    early = both.sweep_routes(unused_since_s=NOW_S + 600, history_since_s=NOW_S - 100)
    assert (early.tables, early.chunks) == (0, 0)
    later = both.sweep_routes(unused_since_s=NOW_S + 900, history_since_s=NOW_S - 100)
    assert (later.tables, later.chunks) == (1, 1)
    assert both.whole_lists([first, second, loose]) == {first: 3, second: 4}
    gone = both.sweep_routes(unused_since_s=NOW_S + 2000, history_since_s=NOW_S + 1000)
    assert gone.tables == 1  # the first one left the history
    assert both.whole_lists([first, second]) == {second: 4}
    assert set(both.chunks([place.digest for place in both.route_list(second) or ()]))
    assert count(both, route_lists) == 1


def test_a_kept_table_is_not_swept(both: SqlStore) -> None:
    digest = upload(both, ROUTES)
    tell(both, digest)
    tell(both, "", sequence=2, state=SessionState.DOWN, now_s=NOW_S + 10)
    both.sweep_routes(unused_since_s=NOW_S + 9000, history_since_s=NOW_S + 9000)
    stored = both.speaker(A1)
    assert stored is not None
    assert (stored.sessions[0].told.table, stored.sessions[0].told.kept.digest) == (NO_TABLE, digest)
    assert both.route_list(digest) is not None


def test_history_says_which_table_was_in_force(both: SqlStore) -> None:
    tables = [upload(both, make_routes([f"10.{n}.0.0/16"])) for n in range(4)]
    for sequence, (digest, at_s) in enumerate(zip(tables, (0, 100, 700, 1400), strict=True), start=1):
        tell(both, digest, sequence=sequence, now_s=NOW_S + at_s)

    def at(moment_s: float) -> list[str]:
        return [past.table_digest for past in both.past_tables(at_s=NOW_S + moment_s)]

    assert at(-1) == []
    assert at(50) == [tables[0]]
    assert at(650) == [tables[0]]  # the one of second 100 came too soon after it to be kept
    assert at(1000) == [tables[2]]
    assert at(9999) == [tables[3]]
    both.sweep_routes(unused_since_s=0, history_since_s=NOW_S + 1000)
    assert (at(650), at(1000)) == ([], [tables[2]])


def test_a_missing_chunk_makes_a_table_unknown_again(both: SqlStore) -> None:
    digest = upload(both, ROUTES)
    _, places, chunks = pack_table(ROUTES)
    with both._database.writing() as connection:
        connection.execute(route_chunks.delete().where(route_chunks.c.digest == places[0].digest))
    assert both.put_list(digest, places, by=A1, now_s=NOW_S) == (places[0].digest,)
    assert both.whole_lists([digest]) == {}
    both.put_chunks({places[0].digest: (chunks[places[0].digest], 1)}, by=A1, now_s=NOW_S)
    assert both.route_list(digest) == places


def test_points_of_damping_come_back_and_go_with_their_appliance(both: SqlStore, other: SqlStore) -> None:
    first, second, third = (A1, "192.0.2.1/ipv4"), (A1, "2001:db8::1/ipv6"), (A2, "192.0.2.1/ipv4")
    both.save_flaps({first: b"1", second: b"2", third: b"3"})
    assert other.flaps() == {first: b"1", second: b"2", third: b"3"}
    other.save_flaps({first: b"9", third: b"3", (ApplianceId("nobody"), "x"): b"4"})
    assert both.flaps() == {first: b"9", third: b"3"}
    both.remove_appliance(A1, event=A_REASON, now_s=NOW_S)
    assert both.flaps() == {third: b"3"}
    both.save_flaps({})
    assert both.flaps() == {}
