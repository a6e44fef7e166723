"""Requests to answers, without a web server: players, redirects, addresses."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.fleet.model import AdminState, HealthState
from headrace.playback.testing_node import FILE, FLEET, HELD, SNAPSHOT, TITLES, Node, order_of
from headrace.steering.approach import Location
from headrace.steering.testing import HEALTHY, make_appliance, make_site, make_snapshot, numbers_of


def test_master(node: Node) -> None:
    reply = node.ask("/v1/titles/film/master.m3u8")
    assert (reply.status, reply.header("content-type")) == (200, "application/vnd.apple.mpegurl")
    assert set(order_of(reply.body)[:2]) == {"a", "b"}
    assert order_of(reply.body)[2:] == ["c", "_origin"]
    assert reply.header("headrace-snapshot") == "version=3; age=4"
    assert reply.header("cache-control") == "no-store"
    assert reply.header("access-control-allow-origin") == "*"
    assert b'SERVER-URI="../../steering/hls/film?p=' in reply.body


def test_the_mpd_points_to_this_node_by_an_absolute_url(node: Node, tmp_path: Path) -> None:
    reply = node.ask("/v1/titles/film/manifest.mpd")
    assert b">http://steer.example:8500/v1/steering/dash/film?p=" in reply.body
    hostile = node.ask("/v1/titles/film/manifest.mpd", header_lines=(("host", 'x"><script>'),))
    assert b"script" not in hostile.body
    fixed = Node(tmp_path, "[answers]\npublic_url = 'https://steer.example/'").install()
    assert b">https://steer.example/v1/steering/dash/film?p=" in fixed.ask("/v1/titles/film/manifest.mpd").body


def test_steering_manifest_of_a_running_session(node: Node) -> None:
    playlist = node.ask("/v1/titles/film/master.m3u8")
    query = playlist.body.decode().partition("hls/film?")[2].partition('"')[0]
    current = order_of(playlist.body)[0]
    fast = node.ask("/v1/steering/hls/film", f"{query}&_HLS_pathway={current}&_HLS_throughput=20000000")
    assert json.loads(fast.body)["PATHWAY-PRIORITY"] == order_of(playlist.body)
    slow = node.ask("/v1/steering/hls/film", f"{query}&_HLS_pathway={current}&_HLS_throughput=20000")
    assert json.loads(slow.body)["PATHWAY-PRIORITY"][-2:] == [current, "_origin"]
    kept = [
        node.answer("/v1/steering/hls/film", f"{query}&_HLS_pathway={current}&_HLS_throughput={bps}")
        for bps in (20_000_000, 20_000_001)
    ]
    assert kept[0] is kept[1]
    assert kept[0].body == fast.body


def test_a_dead_appliance_leaves_and_a_new_one_joins_a_running_session(node: Node) -> None:
    playlist = node.ask("/v1/titles/film/master.m3u8")
    query = playlist.body.decode().partition("hls/film?")[2].partition('"')[0]
    dead = replace(FLEET[0], health=replace(HEALTHY, state=HealthState.LOST))
    new = make_appliance("new", "near", HELD)
    node.install(replace(SNAPSHOT, version=4, appliances=(dead, *FLEET[1:], new)))
    reply = node.ask("/v1/steering/hls/film", query)
    manifest = json.loads(reply.body)
    assert "a" not in manifest["PATHWAY-PRIORITY"]
    assert "new" in manifest["PATHWAY-PRIORITY"]
    assert [one["ID"] for one in manifest["PATHWAY-CLONES"]] == ["new"]
    assert reply.header("headrace-snapshot").startswith("version=4;")


def test_a_draining_appliance_goes_last_for_running_sessions_and_is_not_in_new_ones(node: Node) -> None:
    playlist = node.ask("/v1/titles/film/master.m3u8")
    query = playlist.body.decode().partition("hls/film?")[2].partition('"')[0]
    draining = replace(FLEET[0], admin_state=AdminState.DRAINING)
    node.install(replace(SNAPSHOT, version=4, appliances=(draining, *FLEET[1:])))
    assert json.loads(node.ask("/v1/steering/hls/film", query).body)["PATHWAY-PRIORITY"] == [
        "b",
        "c",
        "a",
        "_origin",
    ]
    assert order_of(node.ask("/v1/titles/film/master.m3u8").body) == ["b", "c", "_origin"]


def test_players_that_take_gzip_get_the_same_playlist_smaller(node: Node) -> None:
    for path in ("/v1/titles/film/master.m3u8", "/v1/titles/film/manifest.mpd"):
        plain = node.ask(path)
        lines = (("host", "steer.example:8500"), ("accept-encoding", "gzip, deflate, br"))
        packed = node.ask(path, header_lines=lines)
        assert (packed.header("content-encoding"), packed.header("vary")) == ("gzip", "accept-encoding")
        assert gzip.decompress(packed.body) == plain.body
        assert len(packed.body) < len(plain.body) / 2
        assert plain.header("content-encoding") == ""


def test_a_withdrawn_title_is_gone_for_sessions_and_unknown_to_others(node: Node) -> None:
    assert node.ask("/v1/steering/dash/gone", "p=a.b&v=12345678").status == 410
    assert node.ask("/v1/steering/dash/gone").status == 404
    assert node.ask("/v1/titles/gone/master.m3u8").status == 404


def test_no_holder_means_the_origin_alone_and_nothing_at_all_503(node: Node) -> None:
    empty = tuple(replace(one, holdings=numbers_of([])) for one in FLEET)
    node.install(replace(SNAPSHOT, appliances=empty))
    assert order_of(node.ask("/v1/titles/film/master.m3u8").body) == ["_origin"]
    node.install(replace(SNAPSHOT, appliances=empty, origin_url=""))
    for path in ("/v1/titles/film/master.m3u8", "/v1/titles/film/manifest.mpd", "/v1/steering/hls/film", FILE):
        reply = node.ask(path)
        assert (reply.status, reply.header("retry-after")) == (503, "60")
        assert json.loads(reply.body)["code"] == "no-pathway"


def test_a_redirect_goes_on_to_the_next_holder_and_ends_at_the_origin(node: Node) -> None:
    seen: list[str] = []
    query = ""
    for _ in range(10):
        reply = node.ask(FILE, query)
        assert reply.status == 302
        location = reply.header("location")
        seen.append(location.partition("//")[2].partition(".")[0])
        if seen[-1] == "origin":
            break
        query = f"not={seen[-1]}"
    assert location == f"http://origin.example{FILE}"
    assert sorted(seen) == ["a", "b", "c", "origin"]
    assert seen[2:] == ["c", "origin"]


def test_a_redirect_never_goes_back(node: Node) -> None:
    for source in ("a", "b", "c"):
        assert f"//{source}." not in node.ask(FILE, f"not={source}").header("location")
    assert "origin" in node.ask(FILE, "not=a&not=b&not=c").header("location")
    unknown = f"/f/00/{'0' * 64}.mp4"
    assert node.ask(unknown).status == 404


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("not=a&CMCD=bl%3D1%2Csid%3D%22x%22", "?CMCD=bl%3D1%2Csid%3D%22x%22"),
        ("CMCD=bl%3D1&not=a", "?CMCD=bl%3D1"),
        ("not=a&other=1", ""),
        ("not=a&CMCD=a\r\nb", ""),
        ("not=a&CMCD=\u00e9", ""),
        ("not=a&xCMCD=1", ""),
    ],
)
def test_a_redirect_keeps_what_the_player_says_of_itself(node: Node, query: str, kept: str) -> None:
    location = node.ask(FILE, query).header("location")
    assert location.partition(FILE)[2] == kept


def test_no_snapshot_yet(tmp_path: Path) -> None:
    node = Node(tmp_path)
    for path in ("/healthz", "/v1/titles/film/master.m3u8", "/v1/steering/hls/film", FILE):
        reply = node.ask(path)
        assert (reply.status, reply.header("retry-after")) == (503, "60")
    assert node.ask("/nonsense").status == 404


def test_other_methods(node: Node) -> None:
    head = node.ask("/v1/titles/film/master.m3u8", method="HEAD")
    body = node.ask("/v1/titles/film/master.m3u8").body
    assert (head.status, head.body, head.header("content-length")) == (200, b"", str(len(body)))
    preflight = node.ask("/v1/steering/hls/film", method="OPTIONS")
    assert (preflight.status, preflight.header("access-control-allow-origin")) == (204, "*")
    assert node.ask("/v1/steering/hls/film", method="POST").status == 405


def test_addresses_from_proxies_only_when_trusted(tmp_path: Path) -> None:
    lines = (("host", "x"), ("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "192.0.2.5"))
    plain = Node(tmp_path).install()
    trusting = Node(tmp_path, "[clients]\ntrusted_proxies = ['198.51.100.0/24']").install()
    path = "/v1/titles/film/master.m3u8"
    asked = {"client": "198.51.100.1", "header_lines": lines}
    assert order_of(plain.ask(path, **asked).body) == ["c", "_origin"]
    assert set(order_of(trusting.ask(path, **asked).body)[:2]) == {"a", "b"}
    asked["client"] = "198.18.0.1"
    assert order_of(trusting.ask(path, **asked).body) == ["c", "_origin"]
    asked = {"client": "::ffff:198.51.100.1", "header_lines": (("x-forwarded-for", "bogus"),)}
    assert trusting.ask(path, **asked).status == 200


def test_forwarded_and_its_scheme(tmp_path: Path) -> None:
    node = Node(tmp_path, "[clients]\ntrusted_proxies = ['198.51.100.1']\naddress_header = 'forwarded'").install()
    lines = (("forwarded", "for=192.0.2.9;proto=https"), ("x-forwarded-proto", "https"), ("host", "s.example"))
    reply = node.ask("/v1/titles/film/manifest.mpd", client="198.51.100.1", header_lines=lines)
    assert b">https://s.example/v1/" in reply.body
    assert reply.body.index(b'serviceLocation="a"') < reply.body.index(b'serviceLocation="c"')


def test_a_known_place_ranks_by_distance(tmp_path: Path) -> None:
    sites = [
        make_site("paris", "0.0.0.0/0", latitude_deg=48.9, longitude_deg=2.4),
        make_site("tokyo", "0.0.0.0/0", latitude_deg=35.7, longitude_deg=139.7),
    ]
    fleet = [make_appliance("p", "paris", HELD), make_appliance("t", "tokyo", HELD)]
    places = {"192.0.2.1": Location(latitude_deg=34.7, longitude_deg=135.5)}
    node = Node(tmp_path).install(make_snapshot(sites, fleet, TITLES), locate=places.get)
    path = "/v1/titles/film/master.m3u8"
    assert order_of(node.ask(path).body) == ["t", "p", "_origin"]
    assert node.answer(path) is node.answer(path)
