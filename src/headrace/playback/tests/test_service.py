"""Requests to answers, without a web server: players, redirects, operators, and hostile input."""

import gzip
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.base.clock import ManualClock
from headrace.fleet.model import AdminState, HealthState
from headrace.playback.adapters.tally import TallyFolder
from headrace.playback.answers import Answers
from headrace.playback.bodies import Bodies
from headrace.playback.counters import Counters
from headrace.playback.service import PlaybackService
from headrace.playback.testing import FakeReply, FakeScope, make_config
from headrace.steering.approach import Location
from headrace.steering.compile import compile_snapshot
from headrace.steering.model import SteeringSnapshot
from headrace.steering.testing import HEALTHY, make_appliance, make_site, make_snapshot, make_title, numbers_of

TITLES = [make_title("film"), make_title("other")]
HELD = numbers_of(TITLES)
SITES = [make_site("near", "192.0.2.0/24"), make_site("wide", "0.0.0.0/0", "::/0")]
FLEET = [make_appliance("a", "near", HELD), make_appliance("b", "near", HELD), make_appliance("c", "wide", HELD)]
SNAPSHOT = make_snapshot(SITES, FLEET, TITLES, version=3)
SHA = TITLES[0].files[0].sha256
FILE = f"/f/{SHA[:2]}/{SHA}.mp4"


class Node:
    """A service with a snapshot, asked without a network."""

    def __init__(self, tmp: Path, extra: str = "", token: str = "") -> None:
        self.config = make_config(extra)
        self.clock = ManualClock(SNAPSHOT.built_at_s + 4)
        self.counters = Counters()
        self.bodies = Bodies(self.config.answers.most_kept_bytes)
        self.ledger = self.config.new_ledger()
        self.service = PlaybackService(self.config, self.clock, self.counters, TallyFolder(tmp), token)

    def install(self, snapshot: SteeringSnapshot = SNAPSHOT, *, locate: object = None) -> "Node":
        last = self.service.answers
        compiled = compile_snapshot(snapshot, last.compiled if last else None)
        self.ledger.report(compiled.appliances, loads_at_s=compiled.loads_at_s, now_s=self.clock.now_s())
        self.service.install(Answers(compiled, self.config, locate, self.bodies, self.ledger, last))
        return self

    def forget(self) -> None:
        """Lose what is finished."""
        assert self.service.answers is not None
        compiled = self.service.answers.compiled
        self.service.install(Answers(compiled, self.config, None, self.bodies, self.ledger))

    async def ask(self, path: str, query: str = "", **changes: object) -> FakeReply:
        reply = FakeReply()
        await self.service.handle(FakeScope(path=path, query_string=query, **changes), reply)
        return reply


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path).install()


def order_of(playlist: bytes) -> list[str]:
    lines = [line for line in playlist.decode().splitlines() if line.startswith("#EXT-X-STREAM-INF")]
    return list(dict.fromkeys(line.partition('PATHWAY-ID="')[2].partition('"')[0] for line in lines))


async def test_master(node: Node) -> None:
    reply = await node.ask("/v1/titles/film/master.m3u8")
    assert (reply.status, reply.header("content-type")) == (200, "application/vnd.apple.mpegurl")
    assert set(order_of(reply.body)[:2]) == {"a", "b"}
    assert order_of(reply.body)[2:] == ["c", "_origin"]
    assert reply.header("headrace-snapshot") == "version=3; age=4"
    assert reply.header("cache-control") == "no-store"
    assert reply.header("access-control-allow-origin") == "*"
    assert b'SERVER-URI="../../steering/hls/film?p=' in reply.body


async def test_an_answer_is_made_once_for_a_place(node: Node) -> None:
    first = await node.ask("/v1/titles/film/master.m3u8")
    second = await node.ask("/v1/titles/film/master.m3u8", client="192.0.2.77:1")
    elsewhere = await node.ask("/v1/titles/film/master.m3u8", client="198.51.100.1:1")
    assert first.body is second.body
    assert order_of(elsewhere.body) == ["c", "_origin"]


async def test_the_mpd_points_to_this_node_by_an_absolute_url(node: Node, tmp_path: Path) -> None:
    reply = await node.ask("/v1/titles/film/manifest.mpd")
    assert b">http://steer.example:8500/v1/steering/dash/film?p=" in reply.body
    hostile = await node.ask("/v1/titles/film/manifest.mpd", header_lines=(("host", 'x"><script>'),))
    assert b"script" not in hostile.body
    fixed = Node(tmp_path, "[answers]\npublic_url = 'https://steer.example/'").install()
    assert b">https://steer.example/v1/steering/dash/film?p=" in (await fixed.ask("/v1/titles/film/manifest.mpd")).body


async def test_steering_manifest_of_a_running_session(node: Node) -> None:
    playlist = await node.ask("/v1/titles/film/master.m3u8")
    query = playlist.body.decode().partition("hls/film?")[2].partition('"')[0]
    current = order_of(playlist.body)[0]
    fast = await node.ask("/v1/steering/hls/film", f"{query}&_HLS_pathway={current}&_HLS_throughput=20000000")
    assert json.loads(fast.body)["PATHWAY-PRIORITY"] == order_of(playlist.body)
    slow = await node.ask("/v1/steering/hls/film", f"{query}&_HLS_pathway={current}&_HLS_throughput=20000")
    assert json.loads(slow.body)["PATHWAY-PRIORITY"][-2:] == [current, "_origin"]
    again = await node.ask("/v1/steering/hls/film", f"{query}&_HLS_pathway={current}&_HLS_throughput=20000001")
    assert again.body is fast.body


async def test_a_dead_appliance_leaves_and_a_new_one_joins_a_running_session(node: Node) -> None:
    playlist = await node.ask("/v1/titles/film/master.m3u8")
    query = playlist.body.decode().partition("hls/film?")[2].partition('"')[0]
    dead = replace(FLEET[0], health=replace(HEALTHY, state=HealthState.LOST))
    new = make_appliance("new", "near", HELD)
    node.install(replace(SNAPSHOT, version=4, appliances=(dead, *FLEET[1:], new)))
    reply = await node.ask("/v1/steering/hls/film", query)
    manifest = json.loads(reply.body)
    assert "a" not in manifest["PATHWAY-PRIORITY"]
    assert "new" in manifest["PATHWAY-PRIORITY"]
    assert [one["ID"] for one in manifest["PATHWAY-CLONES"]] == ["new"]
    assert reply.header("headrace-snapshot").startswith("version=4;")


async def test_a_draining_appliance_goes_last_for_running_sessions_and_is_not_in_new_ones(node: Node) -> None:
    playlist = await node.ask("/v1/titles/film/master.m3u8")
    query = playlist.body.decode().partition("hls/film?")[2].partition('"')[0]
    draining = replace(FLEET[0], admin_state=AdminState.DRAINING)
    node.install(replace(SNAPSHOT, version=4, appliances=(draining, *FLEET[1:])))
    assert json.loads((await node.ask("/v1/steering/hls/film", query)).body)["PATHWAY-PRIORITY"] == [
        "b",
        "c",
        "a",
        "_origin",
    ]
    assert order_of((await node.ask("/v1/titles/film/master.m3u8")).body) == ["b", "c", "_origin"]


async def test_players_that_take_gzip_get_the_same_playlist_smaller(node: Node) -> None:
    for path in ("/v1/titles/film/master.m3u8", "/v1/titles/film/manifest.mpd"):
        plain = await node.ask(path)
        lines = (("host", "steer.example:8500"), ("accept-encoding", "gzip, deflate, br"))
        packed = await node.ask(path, header_lines=lines)
        assert (packed.header("content-encoding"), packed.header("vary")) == ("gzip", "accept-encoding")
        assert gzip.decompress(packed.body) == plain.body
        assert len(packed.body) < len(plain.body) / 2
        assert plain.header("content-encoding") == ""


async def test_a_withdrawn_title_is_gone_for_sessions_and_unknown_to_others(node: Node) -> None:
    assert (await node.ask("/v1/steering/dash/gone", "p=a.b&v=12345678")).status == 410
    assert (await node.ask("/v1/steering/dash/gone")).status == 404
    assert (await node.ask("/v1/titles/gone/master.m3u8")).status == 404


async def test_no_holder_means_the_origin_alone_and_nothing_at_all_503(node: Node) -> None:
    empty = tuple(replace(one, holdings=numbers_of([])) for one in FLEET)
    node.install(replace(SNAPSHOT, appliances=empty))
    assert order_of((await node.ask("/v1/titles/film/master.m3u8")).body) == ["_origin"]
    node.install(replace(SNAPSHOT, appliances=empty, origin_url=""))
    for path in ("/v1/titles/film/master.m3u8", "/v1/titles/film/manifest.mpd", "/v1/steering/hls/film", FILE):
        reply = await node.ask(path)
        assert (reply.status, reply.header("retry-after")) == (503, "60")
        assert json.loads(reply.body)["code"] == "no-pathway"


async def test_a_redirect_goes_on_to_the_next_holder_and_ends_at_the_origin(node: Node) -> None:
    seen: list[str] = []
    query = ""
    for _ in range(10):
        reply = await node.ask(FILE, query)
        assert reply.status == 302
        location = reply.header("location")
        seen.append(location.partition("//")[2].partition(".")[0])
        if seen[-1] == "origin":
            break
        query = f"not={seen[-1]}"
    assert location == f"http://origin.example{FILE}"
    assert sorted(seen) == ["a", "b", "c", "origin"]
    assert seen[2:] == ["c", "origin"]


async def test_a_redirect_never_goes_back(node: Node) -> None:
    for source in ("a", "b", "c"):
        assert f"//{source}." not in (await node.ask(FILE, f"not={source}")).header("location")
    assert "origin" in (await node.ask(FILE, "not=a&not=b&not=c")).header("location")
    unknown = f"/f/00/{'0' * 64}.mp4"
    assert (await node.ask(unknown)).status == 404


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
async def test_a_redirect_keeps_what_the_player_says_of_itself(node: Node, query: str, kept: str) -> None:
    location = (await node.ask(FILE, query)).header("location")
    assert location.partition(FILE)[2] == kept


async def test_no_snapshot_yet(tmp_path: Path) -> None:
    node = Node(tmp_path)
    for path in ("/healthz", "/v1/titles/film/master.m3u8", "/v1/steering/hls/film", FILE):
        reply = await node.ask(path)
        assert (reply.status, reply.header("retry-after")) == (503, "60")
    assert (await node.ask("/nonsense")).status == 404


async def test_other_methods(node: Node) -> None:
    head = await node.ask("/v1/titles/film/master.m3u8", method="HEAD")
    body = (await node.ask("/v1/titles/film/master.m3u8")).body
    assert (head.status, head.body, head.header("content-length")) == (200, b"", str(len(body)))
    preflight = await node.ask("/v1/steering/hls/film", method="OPTIONS")
    assert (preflight.status, preflight.header("access-control-allow-origin")) == (204, "*")
    assert (await node.ask("/v1/steering/hls/film", method="POST")).status == 405


async def test_addresses_from_proxies_only_when_trusted(tmp_path: Path) -> None:
    lines = (("host", "x"), ("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "192.0.2.5"))
    plain = Node(tmp_path).install()
    trusting = Node(tmp_path, "[clients]\ntrusted_proxies = ['198.51.100.0/24']").install()
    path = "/v1/titles/film/master.m3u8"
    asked = {"client": "198.51.100.1:9", "header_lines": lines}
    assert order_of((await plain.ask(path, **asked)).body) == ["c", "_origin"]
    assert set(order_of((await trusting.ask(path, **asked)).body)[:2]) == {"a", "b"}
    asked["client"] = "198.18.0.1:9"
    assert order_of((await trusting.ask(path, **asked)).body) == ["c", "_origin"]
    asked = {"client": "[::ffff:198.51.100.1]:9", "header_lines": (("x-forwarded-for", "bogus"),)}
    assert (await trusting.ask(path, **asked)).status == 200


async def test_forwarded_and_its_scheme(tmp_path: Path) -> None:
    node = Node(tmp_path, "[clients]\ntrusted_proxies = ['198.51.100.1']\naddress_header = 'forwarded'").install()
    lines = (("forwarded", "for=192.0.2.9;proto=https"), ("x-forwarded-proto", "https"), ("host", "s.example"))
    reply = await node.ask("/v1/titles/film/manifest.mpd", client="198.51.100.1:9", header_lines=lines)
    assert b">https://s.example/v1/" in reply.body
    assert reply.body.index(b'serviceLocation="a"') < reply.body.index(b'serviceLocation="c"')


async def test_a_known_place_ranks_by_distance(tmp_path: Path) -> None:
    sites = [
        make_site("paris", "0.0.0.0/0", latitude_deg=48.9, longitude_deg=2.4),
        make_site("tokyo", "0.0.0.0/0", latitude_deg=35.7, longitude_deg=139.7),
    ]
    fleet = [make_appliance("p", "paris", HELD), make_appliance("t", "tokyo", HELD)]
    places = {"192.0.2.1": Location(latitude_deg=34.7, longitude_deg=135.5)}
    node = Node(tmp_path).install(make_snapshot(sites, fleet, TITLES), locate=places.get)
    path = "/v1/titles/film/master.m3u8"
    assert order_of((await node.ask(path)).body) == ["t", "p", "_origin"]
    assert (await node.ask(path)).body is (await node.ask(path)).body


async def test_explain_is_for_this_machine_or_for_a_token(tmp_path: Path, node: Node) -> None:
    query = "client=192.0.2.1&title=film"
    assert (await node.ask("/v1/explain", query)).status == 403
    reply = await node.ask("/v1/explain", query, client="127.0.0.1:9")
    assert [row["appliance_id"] for row in json.loads(reply.body)["appliances"] if row["rank"]][2:] == ["c"]
    proxied = (("x-forwarded-for", "127.0.0.1"),)
    assert (await node.ask("/v1/explain", query, client="127.0.0.1:9", header_lines=proxied)).status == 403
    guarded = Node(tmp_path, token="secret").install()
    assert (await guarded.ask("/v1/explain", query, client="127.0.0.1:9")).status == 401
    right = (("authorization", "Bearer secret"),)
    assert (await guarded.ask("/v1/explain", query, header_lines=right)).status == 200
    wrong = (("authorization", "Bearer s\u00e9cret"),)
    assert (await guarded.ask("/metrics", header_lines=wrong)).status == 401


@pytest.mark.parametrize(
    ("query", "status"),
    [("client=nonsense&title=film", 400), ("client=192.0.2.1&title=gone", 404), ("", 404), ("&" * 99, 400)],
)
async def test_explain_refuses_clearly(node: Node, query: str, status: int) -> None:
    assert (await node.ask("/v1/explain", query, client="[::1]:9")).status == status


async def test_metrics_count_answers(node: Node) -> None:
    await node.ask("/v1/titles/film/master.m3u8")
    await node.ask("/v1/titles/film/master.m3u8")
    text = (await node.ask("/metrics", client="127.0.0.1:9")).body.decode()
    assert 'headrace_steering_answers_total{kind="master",reason="pathways",status="200"} 2.0' in text
    assert "headrace_steering_snapshot_age_seconds 4.0" in text


async def test_too_many_and_overload(tmp_path: Path) -> None:
    node = Node(tmp_path, "[limits]\nper_client_per_10s = 2\nretry_after_s = 7").install()
    path = "/v1/steering/hls/film"
    assert [(await node.ask(path)).status for _ in range(3)] == [200, 200, 429]
    reply = await node.ask(path)
    assert (reply.header("retry-after"), json.loads(reply.body)["code"]) == ("7", "too-many-requests")
    assert (await node.ask(path, client="192.0.2.200:1")).status == 200
    assert (await node.ask("/v1/titles/film/master.m3u8")).status == 200
    node.clock.advance(10)
    node.service.new_second()
    assert (await node.ask(path)).status == 200
    node.service.is_overloaded = True
    assert (await node.ask(path, client="192.0.2.201:1")).status == 429
    assert (await node.ask("/v1/titles/film/master.m3u8")).status == 200


async def test_too_long(node: Node) -> None:
    for path, query in ((f"/v1/titles/{'x' * 65_000}/master.m3u8", ""), ("/v1/steering/hls/film", "p=" + "a" * 9000)):
        reply = await node.ask(path, query)
        assert (reply.status, json.loads(reply.body)["code"]) == (414, "uri-too-long")


async def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    node = Node(tmp_path, "[answers]\nmost_kept_bytes = 8_000").install()
    bodies = []
    for port in range(20):
        lines = (("host", f"h{port}.example"),)
        bodies.append((await node.ask("/v1/titles/film/manifest.mpd", header_lines=lines)).body)
        assert node.service.answers is not None
        assert node.service.answers.kept_bytes <= 8_000 + len(bodies[-1])
    assert len(set(bodies)) == 20


async def test_age_goes_on_without_new_snapshots(node: Node) -> None:
    node.clock.advance(3600)
    node.service.new_second()
    reply = await node.ask("/v1/titles/film/master.m3u8")
    assert reply.header("headrace-snapshot") == "version=3; age=3604"
    assert json.loads((await node.ask("/healthz")).body) == {
        "status": "ok",
        "snapshot_version": 3,
        "snapshot_age_s": 3604.0,
    }


async def test_answers_outlive_a_snapshot_that_decides_the_same(node: Node) -> None:
    path = "/v1/titles/film/master.m3u8"
    near, wide = await node.ask(path), await node.ask(path, client="198.51.100.1:1")
    busier = tuple(replace(one, tx_bps=one.capacity_bps * 0.5) for one in FLEET)
    node.install(replace(SNAPSHOT, version=4, appliances=busier))
    again = await node.ask(path)
    assert again.body is near.body
    assert again.header("headrace-snapshot").startswith("version=4;")
    full = (replace(busier[0], tx_bps=busier[0].capacity_bps * 0.95), *busier[1:])
    node.install(replace(SNAPSHOT, version=5, appliances=full))
    assert order_of((await node.ask(path)).body) == ["b", "c", "_origin"]
    assert (await node.ask(path, client="198.51.100.1:1")).body is wide.body
    node.install(replace(SNAPSHOT, version=6, appliances=(*full, make_appliance("d", "wide", HELD))))
    assert "d" in order_of((await node.ask(path, client="198.51.100.1:1")).body)


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


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(steps=st.lists(st.tuples(st.integers(0, 2), CHANGES), max_size=6))
async def test_what_is_taken_over_is_what_a_fresh_node_would_answer(tmp_path: Path, steps: list) -> None:
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
                kept = await node.ask(path, query, client=client)
                new = await fresh.ask(path, query, client=client)
                assert (kept.status, kept.body) == (new.status, new.body)


LEVELS = st.dictionaries(st.sampled_from("abc"), st.integers(-32, 63))
CLIENTS = st.tuples(st.sampled_from(["192.0.2", "198.51.100"]), st.integers(1, 40)).map("{0[0]}.{0[1]}:1".format)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(turns=st.lists(st.tuples(LEVELS, st.lists(CLIENTS, min_size=1, max_size=4)), max_size=4))
async def test_what_is_kept_is_right_for_every_client_while_levels_move(tmp_path: Path, turns: list) -> None:
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
                    one = await node.ask(path, query, client=client)
                    fresh.forget()
                    assert one.body == (await fresh.ask(path, query, client=client)).body
    counted = (kept.young_bytes, kept.old_bytes)
    again = node.install(replace(SNAPSHOT, version=SNAPSHOT.version + 1)).service.answers
    assert again is not None
    assert (again.young_bytes, again.old_bytes) == counted


PATHS = st.sampled_from(
    ["/v1/titles/film/master.m3u8", "/v1/titles/film/manifest.mpd", "/v1/steering/hls/film", "/v1/steering/dash/film"]
)
QUERIES = st.builds("p={}&v={}&_HLS_pathway={}&_HLS_throughput={}".format, *[st.text(max_size=9)] * 4)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    path=PATHS | st.sampled_from([FILE, "/v1/explain"]) | st.text(max_size=80),
    query=st.text(max_size=120) | QUERIES,
    host=st.text(max_size=40),
    forwarded=st.text(max_size=60),
)
async def test_no_request_is_answered_with_500(
    tmp_path: Path, path: str, query: str, host: str, forwarded: str
) -> None:
    node = Node(tmp_path, "[clients]\ntrusted_proxies = ['127.0.0.1']").install()
    lines = (("host", host), ("x-forwarded-for", forwarded))
    reply = await node.ask(path, query, client="127.0.0.1:1", header_lines=lines)
    assert reply.status in (200, 302, 400, 403, 404, 410)
    assert all("\n" not in value and "\r" not in value for _, value in reply.headers)


MASTER = "/v1/titles/film/master.m3u8"


async def test_a_burst_between_two_snapshots_is_shared_out(tmp_path: Path) -> None:
    """10,000 sessions in a second: the first appliance of a title is not overrun, and the answers stay the same for
    each client while nothing changes."""
    node = Node(tmp_path, "[listen]\nworkers = 2\n[load]\nsession_bps = 1_000_000.0").install()
    begun: dict[str, float] = {}
    for number in range(10_000):
        body = (await node.ask(MASTER, client=f"192.0.2.{number % 250}:1")).body
        first = order_of(body)[0]
        begun[first] = begun.get(first, 0.0) + 2 * 1e6  # the other worker gives out as much
    assert set(begun) == {"a", "b", "c"}
    for name in ("a", "b"):
        assert 0.7 <= begun[name] / 10e9 <= 0.92
    path, clients = "/v1/steering/hls/film", [f"192.0.2.{no}:1" for no in range(60)]
    assert len({(await node.ask(path, client=one)).body for one in clients}) > 1
    assert [(await node.ask(path, client=one)).body for one in clients] == [
        (await node.ask(path, client=one)).body for one in clients
    ]


async def test_a_session_that_is_sent_elsewhere_counts_there_at_once_and_once(tmp_path: Path) -> None:
    node = Node(tmp_path).install()
    playlist = (await node.ask(MASTER)).body
    first, second, *_ = order_of(playlist)
    query = playlist.decode().partition("hls/film?")[2].partition('"')[0]
    node.install(replace(SNAPSHOT, version=4, appliances=tuple(one for one in FLEET if one.appliance_id != first)))
    path, throughput = "/v1/steering/hls/film", "_HLS_throughput=20000000"
    assert node.ledger.pending_bps(second) == 0
    moved = await node.ask(path, f"{query}&_HLS_pathway={first}&{throughput}")
    assert json.loads(moved.body)["PATHWAY-PRIORITY"][0] == second
    given_bps = node.ledger.pending_bps(second)
    assert given_bps > 0
    await node.ask(path, f"{query}&_HLS_pathway={second}&{throughput}")
    assert node.ledger.pending_bps(second) == given_bps, "it is there now"


async def test_one_client_cannot_fill_an_appliance_with_words(tmp_path: Path) -> None:
    node = Node(tmp_path, "[load]\nsessions_per_client = 10").install()
    for _ in range(2000):
        await node.ask(MASTER)
    assert node.ledger.levels == {}
    assert 0 < node.ledger.pending_bps(order_of((await node.ask(MASTER)).body)[0]) < 1e9


async def test_a_lying_throughput_changes_no_answer_of_others(node: Node) -> None:
    query = (await node.ask(MASTER)).body.decode().partition("hls/film?")[2].partition('"')[0]
    path = "/v1/steering/hls/film"
    honest = await node.ask(path, f"{query}&_HLS_pathway=a&_HLS_throughput=20000000", client="192.0.2.9:1")
    for lie in ("0", "1", "-1", "9" * 14, "1e400", "nan", "inf"):
        await node.ask(path, f"{query}&_HLS_pathway=a&_HLS_throughput={lie}", client="192.0.2.66:1")
    again = await node.ask(path, f"{query}&_HLS_pathway=a&_HLS_throughput=20000000", client="192.0.2.9:1")
    assert again.body == honest.body
    assert node.ledger.levels == {}


async def test_shedding_moves_some_clients_and_overload_some_sessions(tmp_path: Path) -> None:
    node = Node(tmp_path, "[load]\nsession_bps = 1.0").install()
    nearly = (replace(FLEET[0], tx_bps=8.25e9), replace(FLEET[1], tx_bps=8.25e9), FLEET[2])
    node.install(replace(SNAPSHOT, version=4, appliances=nearly))
    firsts = [order_of((await node.ask(MASTER, client=f"192.0.2.{no}:1")).body)[0] for no in range(250)]
    assert set(firsts) == {"a", "b", "c"}
    assert 0.1 < firsts.count("c") / 250 < 0.4
    over = (replace(FLEET[0], tx_bps=11e9), *FLEET[1:])
    node.install(replace(SNAPSHOT, version=5, appliances=over))
    query = "p=a.b.c._origin&v=00000000&_HLS_pathway=a&_HLS_throughput=20000000"
    firsts = []
    for no in range(250):
        reply = await node.ask("/v1/steering/hls/film", query, client=f"192.0.2.{no}:1")
        firsts.append(json.loads(reply.body)["PATHWAY-PRIORITY"][0])
    assert 0.1 < 1 - firsts.count("a") / 250 < 0.5
    node.install(replace(SNAPSHOT, version=6))
    back = await node.ask("/v1/steering/hls/film", query)
    assert json.loads(back.body)["PATHWAY-PRIORITY"][0] in ("a", "b")


async def test_explain_at_a_past_moment(node: Node) -> None:
    past = compile_snapshot(replace(SNAPSHOT, version=2, appliances=FLEET[2:]))
    node.service.past = {1_700_000_000.0: past}.get
    query, here = "client=192.0.2.1&title=film&at=", {"client": "127.0.0.1:9"}
    found = json.loads((await node.ask("/v1/explain", query + "1700000000", **here)).body)
    assert (found["snapshot_version"], [row["appliance_id"] for row in found["appliances"]]) == (2, ["c"])
    assert (await node.ask("/v1/explain", query + "1600000000", **here)).status == 404
    for bad in ("nan", "-1", "yesterday", "1e99"):
        assert (await node.ask("/v1/explain", query + bad, **here)).status in (400, 404)
    row = json.loads((await node.ask("/v1/explain", "client=192.0.2.1&title=film", **here)).body)["appliances"][0]
    assert (row["prefix"], row["path_length"], row["med"]) == ("192.0.2.0/24", 0, 0)


async def test_sessions_are_counted_by_tier_and_logged(tmp_path: Path) -> None:
    node = Node(tmp_path / "tally", f"[log]\nfile = '{tmp_path}/sessions.log'").install()
    await node.ask(MASTER)
    await node.ask(MASTER, method="HEAD")
    await node.ask("/v1/titles/film/manifest.mpd", client="[2001:db8::1]:9")
    node.service.leave_counters()
    lines = (tmp_path / "sessions.log").read_text().splitlines()
    assert [line.split()[1:3] for line in lines] == [["192.0.2.1", "film"], ["2001:db8::1", "film"]]
    text = (await node.ask("/metrics", client="127.0.0.1:9")).body.decode()
    assert 'headrace_steering_sessions_total{tier="embedded"} 2.0' in text
    assert 'headrace_steering_appliances{reason="able"} 3.0' in text
    assert "headrace_steering_snapshot_client_classes 3.0" in text


HOSTILE_FORWARDED = [
    "for=192.0.2.5",
    'for="[2001:db8::5]:80"',
    "for=" + "a" * 60_000,
    "for=192.0.2.5," * 5000,
    'for="' + "\\" * 30_000,
    'for="' + '\\"' * 30_000,
    "for=;" * 20_000,
    "for=unknown, for=_hidden, for=\x00",
    "for=\udcff\udcfe",
    'for="192.0.2.5',
    "=" * 60_000,
    "for=[::1, for=]",
]


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for"])
@pytest.mark.parametrize("value", HOSTILE_FORWARDED)
async def test_hostile_forwarding_headers_cost_little_and_change_nothing(
    tmp_path: Path, header: str, value: str
) -> None:
    extra = f"[clients]\ntrusted_proxies = ['127.0.0.1']\naddress_header = '{header}'"
    node = Node(tmp_path, extra).install()
    lines = (("host", "x"), (header, value))
    started_s = time.process_time()
    reply = await node.ask(MASTER, client="127.0.0.1:1", header_lines=lines)
    assert reply.status == 200
    assert time.process_time() - started_s < 1
    stranger = await node.ask(MASTER, client="198.51.100.1:1", header_lines=lines)
    assert order_of(stranger.body) == ["c", "_origin"], "not from a proxy: not believed"


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/v1/titles/" + "x" * 65_536 + "/master.m3u8", "", 414),
        (MASTER, "x" * 65_536, 414),
        ("/v1/steering/hls/film", "p=" + "a." * 30_000, 414),
        ("/v1/steering/hls/film", "p=" + ".".join("a" * 2 for _ in range(99)), 400),
        ("/v1/steering/hls/film", "p=a&_HLS_pathway=%ff%fe", 400),
        ("/v1/steering/hls/film", "p=\udcff", 400),
        ("/v1/steering/dash/film", "_DASH_pathway=a&_DASH_throughput=many", 400),
        ("/v1/titles/\udcff\udcfe/master.m3u8", "", 400),
        ("/v1/titles/..%2f..%2fetc/master.m3u8", "", 400),
        ("/v1/titles/film\x00/master.m3u8", "", 400),
        ("/v1/titles/" + "x" * 129 + "/manifest.mpd", "", 400),
        ("/v1/titles/nobody-made-this/manifest.mpd", "", 404),
        (f"/f/00/{'0' * 64}.mp4", "", 404),
        ("/f/zz/../../etc/passwd", "", 404),
    ],
)
async def test_bad_input_is_refused_clearly_and_touches_no_state(
    node: Node, path: str, query: str, status: int
) -> None:
    answers = node.service.answers
    assert answers is not None
    before = (answers.kept_bytes, dict(node.ledger.levels), dict(node.counters.tiers))
    reply = await node.ask(path, query)
    assert reply.status == status
    problem = json.loads(reply.body)
    assert problem["code"]
    assert problem["detail"]
    assert len(reply.body) < 1000
    assert (answers.kept_bytes, dict(node.ledger.levels), dict(node.counters.tiers)) == before
