"""What messages about routes change."""

from dataclasses import replace
from typing import Any

import pytest

from headrace.base.errors import ConfigError, UsageError
from headrace.base.ids import ApplianceId
from headrace.control.config import read_config
from headrace.control.routes import (
    MOST_SESSIONS,
    RouteSettings,
    StoredSpeaker,
    base_of,
    check_request,
    check_table,
    lay_over,
    pack_places,
    read_places,
    take_message,
    unknown_tables,
)
from headrace.routes.effective import ChunkPlace
from headrace.routes.model import SessionState
from headrace.routes.retention import TableRef
from headrace.routes.testing_tables import make_routes, make_session, pack_table
from headrace.wire.routes import ChunkRef, RoutesRequest, SessionTable, TableRequest

NOW_S = 1_800_000_000.0
A1 = ApplianceId("a1")
T1, T2 = "11" * 32, "22" * 32
UP, DOWN, CONNECTING = SessionState.ESTABLISHED, SessionState.DOWN, SessionState.CONNECTING


def told(digest: str = "", **session: Any) -> SessionTable:
    return SessionTable(session=make_session(**session), table_digest=digest)


def asked(*sessions: SessionTable, **fields: Any) -> RoutesRequest:
    return RoutesRequest(**{"appliance_id": A1, "boot_id": "b1", "sequence": 1, "sessions": sessions, **fields})


def speaker(*messages: RoutesRequest, whole: dict[str, int] | None = None) -> StoredSpeaker:
    now = StoredSpeaker(appliance_id=A1)
    for at, message in enumerate(messages):
        known = {T1: 10, T2: 20} if whole is None else whole
        now = take_message(now, message, known, RouteSettings(), now_s=NOW_S + at).speaker
    return now


def test_a_table_is_in_force_once_it_is_whole() -> None:
    first = speaker(asked(told(T1)))
    assert first.sessions[0].told.table == TableRef(digest=T1, routes=10)
    later = take_message(first, asked(told(T2), sequence=2), {T1: 10}, RouteSettings(), now_s=NOW_S)
    assert later.speaker.sessions[0].told.table.digest == T1
    assert later.new_tables == ()
    assert unknown_tables(asked(told(T2), told("", peer="192.0.2.9")), {T1: 10}) == (T2,)


def test_a_table_over_the_limit_is_not_taken() -> None:
    small = replace(RouteSettings(), most_routes=15)
    taken = take_message(speaker(asked(told(T1))), asked(told(T2), sequence=2), {T2: 20}, small, now_s=NOW_S)
    assert taken.speaker.sessions[0].told.table.digest == T1


def test_a_table_has_its_times_once_they_are_whole_and_is_in_force_without() -> None:
    asks = asked(replace(told(T1), times_digest=T2))
    without = speaker(asks, whole={T1: 10})
    assert without.sessions[0].told.table == TableRef(digest=T1, routes=10)
    assert unknown_tables(asks, {T1: 10}) == (T2,)
    later = take_message(without, replace(asks, sequence=2), {T1: 10, T2: 10}, RouteSettings(), now_s=NOW_S)
    assert later.speaker.sessions[0].told.table == TableRef(digest=T1, routes=10, times=T2)
    assert (later.has_changed, later.new_tables) == (True, ())


def test_events_tell_of_news_and_not_of_each_attempt() -> None:
    states = [UP, DOWN, CONNECTING, DOWN, UP, SessionState.OVER_LIMIT]
    now, kinds = StoredSpeaker(appliance_id=A1), []
    for sequence, state in enumerate(states, start=1):
        taken = take_message(
            now, asked(told(T1, state=state), sequence=sequence), {T1: 1}, RouteSettings(), now_s=NOW_S
        )
        now = taken.speaker
        kinds += [(one.kind.partition(".")[2], one.reason) for one in taken.events]
    gone = take_message(now, asked(sequence=9), {}, RouteSettings(), now_s=NOW_S)
    kinds += [(one.kind.partition(".")[2], one.reason) for one in gone.events]
    assert kinds == [
        ("added", "established"),
        ("changed", "down"),
        ("changed", "established"),
        ("changed", "over-limit"),
        ("removed", "over-limit"),
    ]


def test_what_moves_a_version() -> None:
    before = speaker(asked(told(T1)))
    same = take_message(before, asked(told(T1), sequence=2), {T1: 10}, RouteSettings(), now_s=NOW_S + 1)
    other = take_message(before, asked(told(T2), sequence=2), {T2: 20}, RouteSettings(), now_s=NOW_S + 1)
    assert (same.has_changed, same.new_tables) == (False, ())
    assert (other.has_changed, other.new_tables) == (True, (("192.0.2.1/ipv4", T2),))


def test_past_boots_are_remembered() -> None:
    now = speaker(*(asked(boot_id=f"b{n}") for n in range(12)))
    assert (now.boot_id, now.past_boots[0], len(now.past_boots)) == ("b11", "b10#1", 8)


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        (asked(boot_id=""), "boot_id"),
        (asked(sequence=0), "sequence"),
        (asked(*(told(peer=f"10.0.0.{n}") for n in range(MOST_SESSIONS + 1))), "over the limit"),
        (asked(told(), told()), "the same id"),
        (asked(told("xyz")), "SHA-256"),
        (asked(replace(told(T1), times_digest="xyz")), "SHA-256"),
        (asked(told(session_id="")), "1-100"),
        (asked(told(session_id="a\nb")), "1-100"),
        (asked(told(peer_address="router")), "no address"),
        (asked(told(peer_as=-1)), "out of range"),
        (asked(told(prefixes=2**60)), "out of range"),
        (asked(told(since_s=float("nan"))), "NaN"),
    ],
)
def test_bad_requests_name_what_is_wrong(request_: RoutesRequest, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        check_request(request_)


def test_a_list_of_chunks_must_fit_its_digest() -> None:
    digest, places, _ = pack_table(make_routes([f"10.{n}.0.0/16" for n in range(5)]))
    refs = tuple(ChunkRef(number=place.number, digest=place.digest) for place in places)
    good = TableRequest(appliance_id=A1, table_digest=digest, chunks=refs)
    assert check_table(good) == places
    assert read_places(pack_places(places)) == places
    bad = (
        replace(good, table_digest=T1),
        replace(good, chunks=()),
        replace(good, chunks=refs[::-1]),
        replace(good, chunks=(refs[0], refs[0])),
        replace(good, chunks=(replace(refs[0], digest="zz"),)),
        replace(good, chunks=(replace(refs[0], number=5000),)),
    )
    for one in bad:
        with pytest.raises(UsageError, match=r"chunks|digest"):
            check_table(one)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[routes.hygiene]\nlongest_v4 = 33", "longest_v4"),
        ("[routes.damping]\nreuse_at = 7000.0", "reuse_at"),
        ("[routes.damping]\nlongest_s = 60.0", "longest_s"),
        ("[routes]\nturn_interval_s = 0.0", "intervals"),
        ('[routes.leaks]\nscopes = [{site_id = "a", prefixes = ["10.0.0.1/8"]}]', "is no prefix"),
    ],
)
def test_settings_that_cannot_be_meant(text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        read_config(text, source="test")


def test_scopes_are_read() -> None:
    text = '[routes.leaks]\nscopes = [{site_id = "a", prefixes = ["10.0.0.0/8"], origin_as = [64496]}]'
    assert read_config(text, source="test").routes.leaks.scopes[0].origin_as == (64496,)


def test_a_list_told_against_another_one_is_the_whole_list() -> None:
    base = tuple(ChunkPlace(number=number, digest=f"{number:064x}") for number in (1, 5, 9))
    new = (ChunkRef(number=2, digest="a" * 64), ChunkRef(number=5, digest="b" * 64))
    asked = TableRequest(appliance_id=A1, table_digest="c" * 64, chunks=new, base_digest="d" * 64, gone=(9, 700))
    whole = lay_over(asked, base)
    assert whole is not None
    assert [(ref.number, ref.digest) for ref in whole.chunks] == [(1, f"{1:064x}"), (2, "a" * 64), (5, "b" * 64)]
    assert (whole.base_digest, whole.gone, whole.table_digest) == ("", (), "c" * 64)
    assert lay_over(asked, None) is None
    assert base_of(asked) == "d" * 64
    with pytest.raises(UsageError, match="base_digest"):
        base_of(replace(asked, base_digest="\0" * 64))
    plain = TableRequest(appliance_id=A1, table_digest="c" * 64, chunks=new)
    assert base_of(plain) == ""
    assert lay_over(plain, None) is plain
