"""Hostile input to the service: refused clearly, cheap, and without a trace."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.playback.testing_node import FILE, MASTER, Node, order_of


def test_too_many_and_overload(tmp_path: Path) -> None:
    node = Node(tmp_path, "[limits]\nper_client_per_10s = 2\nretry_after_s = 7").install()
    path = "/v1/steering/hls/film"
    assert [node.ask(path).status for _ in range(3)] == [200, 200, 429]
    reply = node.ask(path)
    assert (reply.header("retry-after"), json.loads(reply.body)["code"]) == ("7", "too-many-requests")
    assert node.ask(path, client="192.0.2.200").status == 200
    assert node.ask("/v1/titles/film/master.m3u8").status == 200
    node.clock.advance(10)
    node.service.new_second()
    assert node.ask(path).status == 200
    node.service.is_overloaded = True
    assert node.ask(path, client="192.0.2.201").status == 429
    assert node.ask("/v1/titles/film/master.m3u8").status == 200


def test_too_long(node: Node) -> None:
    for path, query in ((f"/v1/titles/{'x' * 65_000}/master.m3u8", ""), ("/v1/steering/hls/film", "p=" + "a" * 9000)):
        reply = node.ask(path, query)
        assert (reply.status, json.loads(reply.body)["code"]) == (414, "uri-too-long")


PATHS = st.sampled_from(
    ["/v1/titles/film/master.m3u8", "/v1/titles/film/manifest.mpd", "/v1/steering/hls/film", "/v1/steering/dash/film"]
)
QUERIES = st.builds("p={}&v={}&_HLS_pathway={}&_HLS_throughput={}".format, *[st.text(max_size=9)] * 4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    path=PATHS | st.sampled_from([FILE, "/v1/explain"]) | st.text(max_size=80),
    query=st.text(max_size=120) | QUERIES,
    host=st.text(max_size=40),
    forwarded=st.text(max_size=60),
)
def test_no_request_is_answered_with_500(tmp_path: Path, path: str, query: str, host: str, forwarded: str) -> None:
    node = Node(tmp_path, "[clients]\ntrusted_proxies = ['127.0.0.1']").install()
    lines = (("host", host), ("x-forwarded-for", forwarded))
    reply = node.ask(path, query, client="127.0.0.1", header_lines=lines)
    assert reply.status in (200, 302, 400, 403, 404, 410)
    assert all("\n" not in value and "\r" not in value for _, value in reply.headers)


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
def test_hostile_forwarding_headers_cost_little_and_change_nothing(tmp_path: Path, header: str, value: str) -> None:
    extra = f"[clients]\ntrusted_proxies = ['127.0.0.1']\naddress_header = '{header}'"
    node = Node(tmp_path, extra).install()
    lines = (("host", "x"), (header, value))
    started_s = time.process_time()
    reply = node.ask(MASTER, client="127.0.0.1", header_lines=lines)
    assert reply.status == 200
    assert time.process_time() - started_s < 1
    stranger = node.ask(MASTER, client="198.51.100.1", header_lines=lines)
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
def test_bad_input_is_refused_clearly_and_touches_no_state(node: Node, path: str, query: str, status: int) -> None:
    answers = node.service.answers
    assert answers is not None
    before = (answers.kept_bytes, dict(node.ledger.levels), dict(node.counters.tiers))
    reply = node.ask(path, query)
    assert reply.status == status
    problem = json.loads(reply.body)
    assert problem["code"]
    assert problem["detail"]
    assert len(reply.body) < 1000
    assert (answers.kept_bytes, dict(node.ledger.levels), dict(node.counters.tiers)) == before
