"""A steering node's processes: workers, a killed parent, a taken port, hostile requests over a socket."""

import json
import signal
import socket
import subprocess
from pathlib import Path

from headrace.playback.testing_process import HEADRACE, MASTER, SnapshotServer, SteeringNode, at


def test_workers_share_one_poller_and_one_file(tmp_path: Path, control: SnapshotServer) -> None:
    node = SteeringNode(tmp_path, control.port, workers=3).start()
    try:
        node.wait(lambda: node.version() == 5)
        node.wait(lambda: all(node.version() == 5 for _ in range(12)))
        # Workers leave their counts about each second, and any of them may be asked.
        node.wait(lambda: 'headrace_steering_pulls_total{result="follow"} 1.0' in node.get("/metrics").text)
        assert len(node.workers()) == 3
        for _ in range(3):
            before = node.workers()
            node.kill_worker()
            node.wait(lambda before=before: len(set(node.workers()) - set(before)) == 1)
            assert node.get(MASTER).status_code == 200
            break
        control.give(at(6))
        node.wait(lambda: all(node.version() == 6 for _ in range(12)))
    finally:
        node.close()


def test_workers_end_with_a_killed_parent(node: SteeringNode) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)
    node.stop(signal.SIGKILL)
    assert not node.is_listening()
    node.start()
    assert node.version() == 5


def test_hostile_requests(node: SteeringNode) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)
    for path, statuses in (
        ("/v1/titles/nope/master.m3u8", (404,)),
        ("/v1/titles/%2e%2e%2fetc/master.m3u8", (400,)),
        ("/v1/titles/%ff%fe/master.m3u8", (400,)),
        ("/v1/titles/film%00/master.m3u8", (400,)),
        ("/v1/steering/hls/film?p=" + "a." * 40, (400,)),
        ("/v1/steering/hls/film?_HLS_pathway=%ff&_HLS_throughput=1", (400,)),
        ("/v1/steering/dash/film?_DASH_throughput=1&_DASH_pathway=" + "x" * 5000, (400,)),
        ("/v1/titles/" + "x" * 60_000 + "/master.m3u8", (414,)),
        ("/v1/steering/hls/film?" + "x" * 60_000, (414,)),
        ("/f/ab/../../etc/passwd", (404,)),
    ):
        answer = node.get(path)
        assert answer.status_code in statuses, path[:80]
        assert json.loads(answer.text)["code"]
        assert answer.headers["content-type"] == "application/problem+json"
    for raw in (
        b"GET " + b"/" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/titles/\xff\xfe/master.m3u8 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b'GET /v1/titles/film/manifest.mpd HTTP/1.1\r\nHost: a"b<c>\r\nConnection: close\r\n\r\n',
        b"GET " + MASTER.encode() + b" HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: \xff, ,,\r\nConnection: close\r\n\r\n",
        b"\x16\x03\x01\x00\x00",
    ):
        with socket.create_connection(("127.0.0.1", node.port), timeout=5) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            answer_head = connection.recv(4096)
        assert b" 500 " not in answer_head
        assert b"<c>" not in answer_head
    assert node.get(MASTER).status_code == 200
    assert "request_failed" not in node.log()


def test_a_taken_port_is_said_clearly(node: SteeringNode, tmp_path: Path) -> None:
    node.start()
    second = subprocess.run(
        [HEADRACE, "steer", "--config", str(tmp_path / "steer.toml")],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert second.returncode == 42
    assert f"port {node.port}" in second.stderr
    assert "Traceback" not in second.stderr
