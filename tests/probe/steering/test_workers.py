"""A steering node's processes: workers, a killed parent, a taken port, hostile requests over a socket."""

import json
import signal
import socket
import ssl
import subprocess
import threading
import warnings
from pathlib import Path

import pytest

from headrace.appliance.testing_nginx import make_certificate
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


def test_requests_that_came_before_the_end_are_answered(node: SteeringNode) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)
    with socket.create_connection(("127.0.0.1", node.port), timeout=5) as idle, \
            socket.create_connection(("127.0.0.1", node.port), timeout=5) as begun:  # fmt: skip
        begun.sendall(f"GET {MASTER} HTTP/1.1\r\nHost".encode())
        idle.sendall(f"GET {MASTER} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert idle.recv(65_536).startswith(b"HTTP/1.1 200 ")
        ending = threading.Thread(target=node.close)
        ending.start()
        node.wait(lambda: not node.is_listening())
        begun.sendall(b": x\r\n\r\n")
        answer = begun.recv(65_536)
        ending.join(20)
    assert not ending.is_alive()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer


def test_both_families_and_tls(tmp_path: Path, control: SnapshotServer) -> None:
    certificate, key = make_certificate(tmp_path)
    listen = f'host = "::"\ntls_certificate = "{certificate}"\ntls_key = "{key}"'
    node = SteeringNode(tmp_path, control.port, listen=listen)
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    node.url = f"https://127.0.0.1:{node.port}"
    node.verify = context
    node.start()
    try:
        node.wait(lambda: node.version() == 5)
        for host in ("127.0.0.1", "[::1]"):
            node.url = f"https://{host}:{node.port}"
            answer = node.get("/v1/titles/film/manifest.mpd")
            assert answer.status_code == 200
            assert f">{node.url}/v1/steering/dash/film?p=" in answer.text
            assert node.get("/metrics").status_code == 200, "this machine's, in either family"
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", node.port), timeout=5) as plain, pytest.raises(ssl.SSLError):
            old.wrap_socket(plain)
    finally:
        node.close()


def test_tls_files_that_cannot_be_read_are_said_clearly(tmp_path: Path, control: SnapshotServer) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for name in ("bad.pem", "none.pem"):
        listen = f'tls_certificate = "{tmp_path / name}"\ntls_key = "{tmp_path / name}"'
        SteeringNode(tmp_path, control.port, listen=listen)
        command = [HEADRACE, "steer", "--config", str(tmp_path / "steer.toml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 42
        assert str(tmp_path / name) in done.stderr
        assert "Traceback" not in done.stderr


def test_a_worker_that_cannot_start_is_tried_again_with_pauses(node: SteeringNode) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)
    before = node.log().count("worker_ended")
    (node.state.parent / "token").write_text("")
    node.kill_worker()
    node.wait(lambda: node.log().count("worker_ended") >= before + 3)
    (node.state.parent / "token").write_text("read-token\n")
    node.wait(lambda: node.get(MASTER).status_code == 200)


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
