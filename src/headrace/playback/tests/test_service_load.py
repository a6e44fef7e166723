"""Load as the service counts it: bursts, sessions that are sent elsewhere, clients that lie."""

import json
from dataclasses import replace
from pathlib import Path

from headrace.playback.testing_node import FLEET, MASTER, SNAPSHOT, Node, order_of


def test_a_burst_between_two_snapshots_is_shared_out(tmp_path: Path) -> None:
    """10,000 sessions in a second: the first appliance of a title is not overrun, and the answers stay the same for
    each client while nothing changes."""
    node = Node(tmp_path, "[listen]\nworkers = 2\n[load]\nsession_bps = 1_000_000.0").install()
    begun: dict[str, float] = {}
    for number in range(10_000):
        body = node.ask(MASTER, client=f"192.0.2.{number % 250}").body
        first = order_of(body)[0]
        begun[first] = begun.get(first, 0.0) + 2 * 1e6  # the other worker gives out as much
    assert set(begun) == {"a", "b", "c"}
    for name in ("a", "b"):
        assert 0.7 <= begun[name] / 10e9 <= 0.92
    path, clients = "/v1/steering/hls/film", [f"192.0.2.{no}" for no in range(60)]
    assert len({node.ask(path, client=one).body for one in clients}) > 1
    assert [node.ask(path, client=one).body for one in clients] == [node.ask(path, client=one).body for one in clients]


def test_a_session_that_is_sent_elsewhere_counts_there_at_once_and_once(tmp_path: Path) -> None:
    node = Node(tmp_path).install()
    playlist = node.ask(MASTER).body
    first, second, *_ = order_of(playlist)
    query = playlist.decode().partition("hls/film?")[2].partition('"')[0]
    node.install(replace(SNAPSHOT, version=4, appliances=tuple(one for one in FLEET if one.appliance_id != first)))
    path, throughput = "/v1/steering/hls/film", "_HLS_throughput=20000000"
    assert node.ledger.pending_bps(second) == 0
    moved = node.ask(path, f"{query}&_HLS_pathway={first}&{throughput}")
    assert json.loads(moved.body)["PATHWAY-PRIORITY"][0] == second
    given_bps = node.ledger.pending_bps(second)
    assert given_bps > 0
    node.ask(path, f"{query}&_HLS_pathway={second}&{throughput}")
    assert node.ledger.pending_bps(second) == given_bps, "it is there now"


def test_one_client_cannot_fill_an_appliance_with_words(tmp_path: Path) -> None:
    node = Node(tmp_path, "[load]\nsessions_per_client = 10").install()
    for _ in range(2000):
        node.ask(MASTER)
    assert node.ledger.levels == {}
    assert 0 < node.ledger.pending_bps(order_of(node.ask(MASTER).body)[0]) < 1e9


def test_a_lying_throughput_changes_no_answer_of_others(node: Node) -> None:
    query = node.ask(MASTER).body.decode().partition("hls/film?")[2].partition('"')[0]
    path = "/v1/steering/hls/film"
    honest = node.ask(path, f"{query}&_HLS_pathway=a&_HLS_throughput=20000000", client="192.0.2.9")
    for lie in ("0", "1", "-1", "9" * 14, "1e400", "nan", "inf"):
        node.ask(path, f"{query}&_HLS_pathway=a&_HLS_throughput={lie}", client="192.0.2.66")
    again = node.ask(path, f"{query}&_HLS_pathway=a&_HLS_throughput=20000000", client="192.0.2.9")
    assert again.body == honest.body
    assert node.ledger.levels == {}


def test_what_hls_js_says_before_it_has_measured_moves_no_session(node: Node) -> None:
    playlist = node.ask(MASTER).body
    first, second, *_ = order_of(playlist)
    query = playlist.decode().partition("hls/film?")[2].partition('"')[0] + f"&_HLS_pathway={first}&_HLS_throughput="
    heads = {}
    for bps in (499_999, 500_000, 500_001):
        answer = node.ask("/v1/steering/hls/film", f"{query}{bps}")
        heads[bps] = json.loads(answer.body)["PATHWAY-PRIORITY"][0]
    assert heads == {499_999: second, 500_000: first, 500_001: second}


def test_shedding_moves_some_clients_and_overload_some_sessions(tmp_path: Path) -> None:
    node = Node(tmp_path, "[load]\nsession_bps = 1.0").install()
    nearly = (replace(FLEET[0], tx_bps=8.25e9), replace(FLEET[1], tx_bps=8.25e9), FLEET[2])
    node.install(replace(SNAPSHOT, version=4, appliances=nearly))
    firsts = [order_of(node.ask(MASTER, client=f"192.0.2.{no}").body)[0] for no in range(250)]
    assert set(firsts) == {"a", "b", "c"}
    assert 0.1 < firsts.count("c") / 250 < 0.4
    over = (replace(FLEET[0], tx_bps=11e9), *FLEET[1:])
    node.install(replace(SNAPSHOT, version=5, appliances=over))
    query = "p=a.b.c._origin&v=00000000&_HLS_pathway=a&_HLS_throughput=20000000"
    firsts = []
    for no in range(250):
        reply = node.ask("/v1/steering/hls/film", query, client=f"192.0.2.{no}")
        firsts.append(json.loads(reply.body)["PATHWAY-PRIORITY"][0])
    assert 0.1 < 1 - firsts.count("a") / 250 < 0.5
    node.install(replace(SNAPSHOT, version=6))
    back = node.ask("/v1/steering/hls/film", query)
    assert json.loads(back.body)["PATHWAY-PRIORITY"][0] in ("a", "b")


def test_sessions_are_counted_by_tier_and_logged(tmp_path: Path) -> None:
    node = Node(tmp_path / "tally", f"[log]\nfile = '{tmp_path}/sessions.log'").install()
    node.ask(MASTER)
    node.ask(MASTER, method="HEAD")
    node.ask("/v1/titles/film/manifest.mpd", client="2001:db8::1")
    node.service.leave_counters()
    lines = (tmp_path / "sessions.log").read_text().splitlines()
    assert [line.split()[1:3] for line in lines] == [["192.0.2.1", "film"], ["2001:db8::1", "film"]]
    text = node.ask("/metrics", client="127.0.0.1").body.decode()
    assert 'headrace_steering_sessions_total{tier="embedded"} 2.0' in text
    assert 'headrace_steering_appliances{reason="able"} 3.0' in text
    assert "headrace_steering_snapshot_client_classes 4.0" in text
