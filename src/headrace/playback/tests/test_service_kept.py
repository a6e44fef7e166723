"""Answers that are kept: made once, bounded, and never other than what a fresh node would answer."""

from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.fleet.model import AdminState, HealthState
from headrace.playback.answers import KEEPING_BYTES, _size_kept
from headrace.playback.testing_node import FLEET, HELD, SNAPSHOT, Node, order_of
from headrace.steering.testing import HEALTHY, make_appliance, numbers_of


def test_an_answer_is_made_once_for_a_place(node: Node) -> None:
    first = node.answer("/v1/titles/film/master.m3u8")
    second = node.answer("/v1/titles/film/master.m3u8", client="192.0.2.77")
    elsewhere = node.ask("/v1/titles/film/master.m3u8", client="198.51.100.1")
    assert first is second
    assert order_of(elsewhere.body) == ["c", "_origin"]


def test_clients_of_both_families_who_are_ranked_alike_share_their_answers(node: Node) -> None:
    path = "/v1/titles/film/master.m3u8"
    assert node.answer(path, client="2001:db8::1") is node.answer(path, client="198.51.100.1")


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    node = Node(tmp_path, "[answers]\nmost_kept_bytes = 8_000").install()
    bodies = []
    for port in range(20):
        lines = (("host", f"h{port}.example"),)
        bodies.append(node.ask("/v1/titles/film/manifest.mpd", header_lines=lines).body)
        assert node.service.answers is not None
        assert node.service.answers.kept_bytes <= 8_000 + 2 * (KEEPING_BYTES + len(bodies[-1]))  # one a generation
    assert len(set(bodies)) == 20


def test_answers_outlive_a_snapshot_that_decides_the_same(node: Node) -> None:
    path = "/v1/titles/film/master.m3u8"
    near, wide = node.answer(path), node.answer(path, client="198.51.100.1")
    busier = tuple(replace(one, tx_bps=one.capacity_bps * 0.5) for one in FLEET)
    node.install(replace(SNAPSHOT, version=4, appliances=busier))
    assert node.answer(path) is near
    assert node.ask(path).header("headrace-snapshot").startswith("version=4;")
    full = (replace(busier[0], tx_bps=busier[0].capacity_bps * 0.95), *busier[1:])
    node.install(replace(SNAPSHOT, version=5, appliances=full))
    assert order_of(node.ask(path).body) == ["b", "c", "_origin"]
    assert node.answer(path, client="198.51.100.1") is wide
    node.install(replace(SNAPSHOT, version=6, appliances=(*full, make_appliance("d", "wide", HELD))))
    assert "d" in order_of(node.ask(path, client="198.51.100.1").body)


CHANGES = st.sampled_from(
    [
        {"tx_bps": 9.5e9},
        {"tx_bps": 1e9},
        {"admin_state": AdminState.DRAINING},
        {"admin_state": AdminState.DISABLED},
        {"health": replace(HEALTHY, state=HealthState.LOST)},
        {"holdings": numbers_of([])},
        {"content_url": "http://moved.example"},
        {"capacity_bps": 1_000_000_000},
        {},
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(steps=st.lists(st.tuples(st.integers(0, 2), CHANGES), max_size=6))
def test_what_is_taken_over_is_what_a_fresh_node_would_answer(tmp_path: Path, steps: list) -> None:
    node, snapshot = Node(tmp_path).install(), SNAPSHOT
    asks = [
        ("/v1/titles/film/master.m3u8", ""),
        ("/v1/titles/other/manifest.mpd", ""),
        ("/v1/steering/hls/film", "p=a.b&v=00000000&_HLS_pathway=a&_HLS_throughput=9000000"),
    ]
    for number, changes in steps:
        fleet = list(snapshot.appliances)
        fleet[number] = replace(fleet[number], **changes)
        snapshot = replace(snapshot, version=snapshot.version + 1, appliances=tuple(fleet))
        node.install(snapshot)
        fresh = Node(tmp_path).install(snapshot)
        for client in ("192.0.2.1:1", "198.51.100.1:1", "[2001:db8::1]:1"):
            for path, query in asks:
                kept = node.ask(path, query, client=client)
                new = fresh.ask(path, query, client=client)
                assert (kept.status, kept.body) == (new.status, new.body)


LEVELS = st.dictionaries(st.sampled_from("abc"), st.integers(-32, 63))
CLIENTS = st.tuples(st.sampled_from(["192.0.2", "198.51.100"]), st.integers(1, 40)).map("{0[0]}.{0[1]}:1".format)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(turns=st.lists(st.tuples(LEVELS, st.lists(CLIENTS, min_size=1, max_size=4)), max_size=4))
def test_what_is_kept_is_right_for_every_client_while_levels_move(tmp_path: Path, turns: list) -> None:
    node = Node(tmp_path, "[load]\nsession_bps = 1.0").install()
    kept = node.service.answers
    assert kept is not None
    for levels, clients in turns:
        fresh = Node(tmp_path).install()
        for client in clients:
            for current in "abc":
                steering = ("/v1/steering/hls/film", f"p=a.b&v=00000000&_HLS_pathway={current}&_HLS_throughput=9000000")
                for path, query in (("/v1/titles/film/master.m3u8", ""), steering):
                    node.ledger.levels, fresh.ledger.levels = dict(levels), dict(levels)  # each answer counts in them
                    one = node.ask(path, query, client=client)
                    fresh.forget()
                    assert one.body == fresh.ask(path, query, client=client).body
    counted = (kept.young_bytes, kept.old_bytes)
    trees = [tree for place in kept._distinct.values() for tree in place.answers.values()]
    assert counted == (sum(map(_size_kept, trees)), 0)
    again = node.install(replace(SNAPSHOT, version=SNAPSHOT.version + 1)).service.answers
    assert again is not None
    assert (again.young_bytes, again.old_bytes) == counted
