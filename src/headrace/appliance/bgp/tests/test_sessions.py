"""Sessions from one message to the next: learning again, limits, settings that change, tables from disk."""

from dataclasses import replace

import pytest

from headrace.appliance.bgp.messages import Announced, Down, EndOfRib, Notified, Up, Withdrawn
from headrace.appliance.bgp.sessions import EndSession, Sessions, SpeakTo
from headrace.appliance.bgp.settings import BgpPeer, BgpSettings
from headrace.routes.model import AddressFamily, Attributes, RouteError, RouteOrigin, SessionState, parse_prefix

P, Q = "192.0.2.1", "2001:db8::1"
V4 = AddressFamily.IPV4
SAID = Attributes(as_path=(64500,), origin=RouteOrigin.IGP, next_hop=P)
SETTINGS = BgpSettings(
    local_as=64512,
    router_id="192.0.2.2",
    hold_time_s=90,
    announce=(),
    warn_ratio=0.5,
    over_limit_retry_s=60.0,
    learn_most_s=600.0,
    keep_s=300.0,
    peers=(
        BgpPeer(address=P, peer_as=64500, local_address="192.0.2.2", most_prefixes=4),
        BgpPeer(address=Q, peer_as=64500, local_address="2001:db8::2"),
    ),
)


def announced(*numbers: int, said: Attributes = SAID) -> Announced:
    prefixes = [parse_prefix(f"10.{number}.0.0/16") for number in numbers]
    return Announced(peer=P, family=V4, prefixes=prefixes, attributes=said)


def name(sessions: Sessions) -> None:
    """What the collector does each second."""
    for session_id, table in sessions.tables_to_pack():
        list(table.pack())
        sessions.use_packed(session_id, table.packed())


def looked(sessions: Sessions, peer: str = P):
    name(sessions)
    return next(table for table in sessions.report() if table.session.peer_address == peer)


def fed(*steps, settings: BgpSettings = SETTINGS) -> tuple[Sessions, list]:
    sessions, commands = Sessions(settings, now_s=0.0), []
    for now_s, happened in steps:
        commands += sessions.take(happened, now_s=now_s)
    return sessions, commands


UP, END, DOWN = Up(peer=P), EndOfRib(peer=P, family=V4), Down(peer=P, reason="hold timer")


def test_a_first_table_is_named_once_it_is_learned():
    sessions, commands = fed((1, UP), (2, announced(1, 2)))
    assert (looked(sessions).table_digest, looked(sessions).session.prefixes) == ("", 2)
    assert looked(sessions).session.state is SessionState.ESTABLISHED
    sessions.take(END, now_s=3)
    assert looked(sessions).table_digest
    assert (commands, looked(sessions).session.since_s, looked(sessions).session.updates) == ([], 1, 1)


@pytest.mark.parametrize(("now_s", "is_named"), [(4.9, False), (5.0, True)])
def test_a_peer_without_end_of_rib_is_learned_when_it_is_quiet(now_s: float, is_named: bool):
    sessions, _ = fed((1, UP), (2, announced(1)))
    sessions.tick(now_s=now_s)
    assert bool(looked(sessions).table_digest) is is_named


def test_a_lost_session_keeps_its_table_until_the_next_has_learned():
    sessions, _ = fed((1, UP), (2, announced(1, 2)), (3, END))
    before = looked(sessions).table_digest
    sessions.take(DOWN, now_s=10)
    session = looked(sessions).session
    assert (session.state, session.since_s, session.drops, session.detail) == (SessionState.DOWN, 10, 1, "hold timer")
    assert looked(sessions).table_digest == before
    for now_s, happened in ((20, UP), (21, announced(1))):
        sessions.take(happened, now_s=now_s)
        assert looked(sessions).table_digest == before
    sessions.tick(now_s=50)
    assert looked(sessions).table_digest == before
    sessions.take(END, now_s=50.5)
    assert looked(sessions).table_digest not in (before, "")
    assert looked(sessions).session.prefixes == 1


def test_a_session_lost_while_it_learned_begins_again():
    sessions, _ = fed((1, UP), (2, announced(1, 2)), (3, END), (4, DOWN), (5, UP), (6, announced(1)), (7, DOWN))
    assert looked(sessions).session.prefixes == 2
    for now_s, happened in ((8, UP), (9, announced(2)), (10, END)):
        sessions.take(happened, now_s=now_s)
    assert looked(sessions).session.prefixes == 1


def test_old_routes_end_after_the_longest_time_even_when_the_peer_says_nothing():
    sessions, _ = fed((1, UP), (2, announced(1)), (3, END), (4, DOWN), (5, UP))
    sessions.tick(now_s=600)
    assert looked(sessions).session.prefixes == 1
    sessions.tick(now_s=605)
    assert (looked(sessions).session.prefixes, looked(sessions).table_digest) == (0, "")


def test_the_peers_own_words_are_kept():
    said = Notified(peer=P, code=6, subcode=2, text="maintenance until 5")
    sessions, _ = fed((1, UP), (2, said), (2, DOWN))
    assert looked(sessions).session.detail == "the peer ended it: administrative shutdown (6/2) maintenance until 5"
    sessions.take(UP, now_s=3)
    assert "ended" not in looked(sessions).session.detail


def test_a_session_near_its_limit_says_so_and_one_over_it_is_closed():
    sessions, commands = fed((1, UP), (1, END), (2, announced(1, 2)))
    assert "near its limit: more than 50% of 4 prefixes" in looked(sessions).session.detail
    assert commands == []
    assert sessions.take(announced(3, 4, 5), now_s=3) == [EndSession(peer=P, subcode=1)]
    over = looked(sessions)
    assert (over.session.state, over.table_digest, over.session.prefixes) == (SessionState.OVER_LIMIT, "", 0)
    assert sessions.take(announced(6), now_s=3.1) == []
    assert sessions.take(DOWN, now_s=3.2) == [SpeakTo(left_out=frozenset({P}))]
    assert sessions.tick(now_s=62.9) == []
    assert sessions.tick(now_s=63) == [SpeakTo(left_out=frozenset())]
    assert looked(sessions).session.state is SessionState.CONNECTING


def test_a_closed_session_whose_end_is_not_said_is_left_out_after_a_moment_and_opened_by_an_operator():
    sessions, _ = fed((1, UP), (2, announced(1, 2, 3, 4, 5)))
    assert sessions.tick(now_s=4) == []
    assert sessions.tick(now_s=5.5) == [SpeakTo(left_out=frozenset({P}))]
    assert sessions.retry(now_s=6) == [SpeakTo(left_out=frozenset())]
    assert sessions.retry(now_s=6) == []


def test_routes_of_before_do_not_count_against_the_limit():
    sessions, commands = fed((1, UP), (2, announced(1, 2, 3, 4)), (3, END), (4, DOWN), (5, UP), (6, announced(5, 6)))
    assert commands == []
    assert looked(sessions).session.prefixes == 6
    assert sessions.take(announced(7, 8, 9), now_s=7) == [EndSession(peer=P, subcode=1)]


def test_other_settings_leave_sessions_alone_whose_peer_stays():
    sessions, _ = fed((1, UP), (2, announced(1)), (3, END))
    digest = looked(sessions).table_digest
    fewer = replace(SETTINGS, peers=(replace(SETTINGS.peers[0], most_prefixes=9),))
    assert sessions.configure(fewer, now_s=9) == [SpeakTo(left_out=frozenset())]
    assert [table.session.most_prefixes for table in sessions.report()] == [9]
    assert (looked(sessions).table_digest, looked(sessions).session.since_s) == (digest, 1)
    off = replace(SETTINGS, peers=(replace(SETTINGS.peers[0], enabled=False),))
    sessions.configure(off, now_s=10)
    sessions.take(UP, now_s=11)
    assert (looked(sessions).session.state, looked(sessions).table_digest) == (SessionState.DISABLED, "")


def test_a_table_from_disk_is_one_of_a_session_that_is_down():
    sessions, _ = fed((1, UP), (2, announced(1, 2)), (3, END))
    before = looked(sessions)
    packed = sessions.packed_tables()[before.session.session_id]
    chunks = [*packed.chunks.values(), *packed.times.chunks.values()]
    anew = Sessions(SETTINGS, now_s=100.0)
    anew.restore(before.session.session_id, chunks, since_s=50.0)
    anew.restore("198.51.100.1/ipv4", chunks, since_s=50.0)
    assert (looked(anew).table_digest, looked(anew).times_digest) == packed.names
    assert (looked(anew).session.state, looked(anew).session.since_s) == (SessionState.DOWN, 50)
    with pytest.raises(RouteError):
        anew.restore(f"{Q}/ipv6", chunks, since_s=50.0)
    assert looked(anew, Q).table_digest == ""


def test_routes_that_cannot_be_are_withdrawn():
    sessions, _ = fed((1, UP), (2, announced(1, 2)))
    with pytest.raises(RouteError):
        sessions.take(announced(1, said=replace(SAID, next_hop="null")), now_s=3)
    sessions.take(Withdrawn(peer=P, family=AddressFamily.IPV6, prefixes=[parse_prefix("10.2.0.0/16")]), now_s=4)
    sessions.take(Up(peer="198.51.100.9"), now_s=4)
    assert looked(sessions).session.prefixes == 1


def test_each_change_that_shows_makes_a_version():
    sessions = Sessions(SETTINGS, now_s=0.0)
    seen = [sessions.version]
    for now_s, happened in ((1, UP), (2, announced(1)), (3, END), (4, DOWN)):
        sessions.take(happened, now_s=now_s)
        name(sessions)
        seen.append(sessions.version)
    assert seen[0] < seen[1] == seen[2] < seen[3] < seen[4]
    sessions.take(DOWN, now_s=5)
    assert sessions.version == seen[4]
