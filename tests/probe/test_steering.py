"""The steering service in its real processes: without control plane, with a broken file, under exchange and attack."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from headrace.fleet.model import HealthState
from headrace.steering.model import SteeringSnapshot
from headrace.steering.testing import HEALTHY, make_appliance, make_site, make_snapshot, make_title, numbers_of
from headrace.wire.snapshot import pack_sections, write_table

HEADRACE = str(Path(sys.executable).with_name("headrace"))
WAIT_S = 15.0


class SnapshotServer:
    """GET /v1/snapshot with ETag and 304, as the control plane answers it."""

    def __init__(self) -> None:
        self.body = b""
        self.status = 200
        self.tokens: list[str] = []
        self.not_modified = 0
        self.parts: dict[str, bytes] = {}
        self.parts_asked: list[str] = []
        self._server: ThreadingHTTPServer | None = None
        self.port = free_port()

    def give(self, snapshot: SteeringSnapshot, *, has_parts: bool = False) -> None:
        """Hand out a snapshot, as one file or with everything but head and loads as parts."""
        sections = pack_sections(snapshot)
        self.parts = {one.digest: bytes(one.body) for one in sections}
        self.body = write_table(sections, is_inside=lambda one: not has_parts or one.name in ("head", "live"))

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.tokens.append(request.headers.get("authorization", ""))
        body, status = self.body, self.status
        digest = request.path.removeprefix("/v1/snapshot/parts/")
        if digest != request.path:
            self.parts_asked.append(digest)
            body, status = self.parts.get(digest, b""), 200 if digest in self.parts else 404
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if status == 200 and request.headers.get("if-none-match") == tag:
            self.not_modified += 1
            body, status = b"", 304
        request.send_response(status)
        request.send_header("etag", tag)
        request.send_header("content-length", str(len(body)))
        request.send_header("connection", "close")
        request.close_connection = True
        request.end_headers()
        request.wfile.write(body)


class SteeringNode:
    """One steering node on a free port; its state folder outlives its processes."""

    def __init__(self, folder: Path, control_port: int, *, workers: int = 1, extra: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.state = folder / "state"
        self._log_path = folder / "steer.log"
        self._config = folder / "steer.toml"
        (folder / "token").write_text("read-token\n")
        self._config.write_text(
            f"""
[listen]
port = {self.port}
workers = {workers}
[control]
urls = ["http://127.0.0.1:{control_port}"]
token_file = "{folder / "token"}"
poll_interval_s = 0.1
retry_most_s = 0.3
timeout_s = 2.0
[snapshot]
folder = "{self.state}"
{extra}
"""
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> "SteeringNode":
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [HEADRACE, "steer", "--config", str(self._config), *arguments],
                stderr=log,
                stdout=log,
            )
        self.wait(lambda: self.get("/nonsense").status_code == 404)
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; gives the exit code. Workers of a killed parent end by themselves."""
        assert self._process is not None
        self._process.send_signal(how)
        code = self._process.wait(WAIT_S)
        self._process = None
        self.wait(lambda: not self.is_listening())
        return code

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def workers(self) -> list[int]:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def kill_worker(self) -> None:
        os.kill(self.workers()[0], signal.SIGKILL)

    def get(self, path: str, **options: object) -> httpx.Response:
        return httpx.get(self.url + path, timeout=5.0, trust_env=False, **options)  # type: ignore[arg-type]

    def version(self) -> int:
        answer = self.get("/healthz")
        return int(answer.json()["snapshot_version"]) if answer.status_code == 200 else 0

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def is_listening(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def wait(self, is_so: object) -> None:
        """Wait until `is_so()`; the log is shown when it takes too long."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            try:
                if is_so():  # type: ignore[operator]
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not within {WAIT_S} s; log:\n{self.log()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


TITLES = [make_title("film"), make_title("other", subtitles=("fr",))]
HELD = numbers_of(TITLES)
SITES = [make_site("here", "127.0.0.0/8"), make_site("there", "0.0.0.0/0")]
FLEET = [
    make_appliance("a", "here", HELD, content_url="http://127.0.1.1:8080"),
    make_appliance("b", "here", HELD, content_url="http://127.0.1.2:8080"),
    make_appliance("c", "there", HELD, content_url="http://127.0.1.3:8080"),
]
SNAPSHOT = make_snapshot(SITES, FLEET, TITLES, version=5, built_at_s=time.time() - 60)
MASTER = "/v1/titles/film/master.m3u8"


def at(version: int, **changes: object) -> SteeringSnapshot:
    return replace(SNAPSHOT, version=version, **changes)


@pytest.fixture
def control() -> Iterator[SnapshotServer]:
    server = SnapshotServer()
    server.give(SNAPSHOT)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def node(tmp_path: Path, control: SnapshotServer) -> Iterator[SteeringNode]:
    one = SteeringNode(tmp_path, control.port)
    yield one
    one.close()


def test_from_the_first_pull_to_a_dead_appliance(node: SteeringNode, control: SnapshotServer) -> None:
    control.status = 503
    node.start()
    assert node.get("/healthz").status_code == 503
    assert node.get(MASTER).headers["retry-after"] == "60"
    control.status = 200
    node.wait(lambda: node.version() == 5)
    assert control.tokens[-1] == "Bearer read-token"
    playlist = node.get(MASTER)
    assert playlist.status_code == 200
    assert playlist.headers["headrace-snapshot"].startswith("version=5; age=")
    node.wait(lambda: control.not_modified > 1)

    query = playlist.text.partition("hls/film?")[2].partition('"')[0]
    before = node.get(f"/v1/steering/hls/film?{query}").json()
    assert set(before["PATHWAY-PRIORITY"]) == {"a", "b", "c", "_origin"}
    dead = replace(FLEET[0], health=replace(HEALTHY, state=HealthState.LOST))
    new = make_appliance("new", "here", HELD, content_url="http://127.0.1.9:8081")
    control.give(at(6, appliances=(dead, *FLEET[1:], new)))
    node.wait(lambda: node.version() == 6)
    after = node.get(f"/v1/steering/hls/film?{query}").json()
    assert set(after["PATHWAY-PRIORITY"]) == {"new", "b", "c", "_origin"}
    assert [one["ID"] for one in after["PATHWAY-CLONES"]] == ["new"]
    control.give(at(7, titles=SNAPSHOT.titles[1:]))
    node.wait(lambda: node.get(f"/v1/steering/hls/film?{query}").status_code == 410)
    metrics = node.get("/metrics").text
    assert 'headrace_steering_answers_total{kind="hls-steering",reason="withdrawn",status="410"}' in metrics
    assert 'headrace_steering_pulls_total{result="unchanged"}' in metrics


def test_a_restart_without_control_plane_answers_from_disk(node: SteeringNode, control: SnapshotServer) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)
    control.stop()
    node.wait(lambda: "snapshot_pull_failed" in node.log())
    assert node.get(MASTER).status_code == 200
    assert node.stop() == 0
    node.start()
    assert node.get("/healthz").status_code == 200
    playlist = node.get(MASTER)
    assert "http://127.0.1.1:8080/f/" in playlist.text
    assert int(playlist.headers["headrace-snapshot"].partition("age=")[2]) > 0
    control.give(at(6))
    control.start()
    node.wait(lambda: node.version() == 6)


def test_a_broken_file_is_refused_and_mended_by_the_next_pull(node: SteeringNode, control: SnapshotServer) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)
    file = node.state / "snapshot.bin"
    good = file.read_bytes()
    for damage in (good[:-7], b"", b"not a snapshot", good[:60] + b"\0" + good[61:]):
        file.write_bytes(damage)
        node.wait(lambda: node.log().count("snapshot_file_broken") >= 1)
        assert node.version() == 5
    node.stop()
    control.stop()
    node.start()
    assert node.get("/healthz").status_code == 503
    assert node.get(MASTER).status_code == 503
    control.start()
    node.wait(lambda: node.version() == 5)
    assert file.read_bytes() == good
    assert 'loads_total{result="broken"}' in node.get("/metrics").text


def test_broken_answers_of_the_control_plane_change_nothing(node: SteeringNode, control: SnapshotServer) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)
    control.body = control.body[:-3] + b"xyz"
    node.wait(lambda: 'pulls_total{result="broken"}' in node.get("/metrics").text)
    control.status = 401
    node.wait(lambda: 'pulls_total{result="refused"}' in node.get("/metrics").text)
    assert node.version() == 5
    assert node.get(MASTER).status_code == 200
    assert "read-token" not in node.log()


def test_an_older_snapshot_or_another_store_waits_for_the_operator(node: SteeringNode, control: SnapshotServer) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)
    control.give(at(4))
    node.wait(lambda: "reason=older" in node.log())
    control.give(at(90, control_id="rebuilt"))
    node.wait(lambda: "reason=other-store" in node.log())
    assert node.version() == 5
    control.give(at(1, control_id="rebuilt"))
    node.stop()
    node.start()
    node.wait(lambda: node.log().count("reason=other-store") >= 2)
    assert node.version() == 5
    node.stop()
    node.start("--accept-older")
    node.wait(lambda: node.version() == 1)
    control.give(at(2, control_id="rebuilt"))
    node.wait(lambda: node.version() == 2)
    control.give(at(1, control_id="rebuilt"))
    node.wait(lambda: "reason=older held_version=2" in node.log())


def test_no_answer_fails_while_snapshots_are_exchanged(tmp_path: Path, control: SnapshotServer) -> None:
    node = SteeringNode(tmp_path, control.port, workers=2).start()
    try:
        node.wait(lambda: all(node.version() == 5 for _ in range(20)))  # Each request meets either worker.
        failures: list[object] = []
        versions: set[str] = set()
        is_over = threading.Event()

        def load() -> None:
            with httpx.Client(base_url=node.url, timeout=5.0, trust_env=False) as client:
                while not is_over.is_set():
                    for path in (MASTER, "/v1/titles/other/manifest.mpd", "/v1/steering/hls/film?p=a.b"):
                        answer = client.get(path)
                        versions.add(answer.headers.get("headrace-snapshot", "").partition(";")[0])
                        if answer.status_code != 200:
                            failures.append((path, answer.status_code, answer.text))

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        for version in range(6, 16):
            control.give(at(version, appliances=tuple(FLEET[: 1 + version % 3])))
            node.wait(lambda version=version: node.version() == version)
        is_over.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(versions) > 3
    finally:
        node.close()


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


def test_explain_by_a_node_and_from_its_file_agree(node: SteeringNode) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)

    def explain(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [HEADRACE, "steer", "explain", "--client", "127.0.0.1", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    asked = explain("--title", "film", "--steer", node.url, "--json")
    read = explain("--title", "film", "--snapshot", str(node.state / "snapshot.bin"), "--json")
    assert asked.returncode == read.returncode == 0, asked.stderr + read.stderr
    assert json.loads(asked.stdout)["appliances"] == json.loads(read.stdout)["appliances"]
    table = explain("--title", "film", "--steer", node.url)
    assert "chosen" in table.stdout
    assert "no-route" not in table.stdout
    unknown = explain("--title", "nope", "--steer", node.url)
    assert (unknown.returncode, "unknown-title" in unknown.stderr) == (44, True)
    nobody = explain("--title", "film", "--steer", "http://127.0.0.1:1")
    assert nobody.returncode == 44


def test_large_sections_are_fetched_once_and_kept(node: SteeringNode, control: SnapshotServer) -> None:
    control.give(SNAPSHOT, has_parts=True)
    node.start()
    node.wait(lambda: node.version() == 5)
    assert node.get(MASTER).status_code == 200
    asked = len(control.parts_asked)
    assert asked == len(set(control.parts_asked)) > 0
    busier = tuple(replace(one, tx_bps=1e9) for one in SNAPSHOT.appliances)
    control.give(replace(SNAPSHOT, version=6, appliances=busier), has_parts=True)
    node.wait(lambda: node.version() == 6)
    assert len(control.parts_asked) == asked, "only loads changed"
    node.stop()
    control.stop()
    node.start()
    node.wait(lambda: node.version() == 6)
    assert node.get(MASTER).status_code == 200
    part = next(iter((node.state / "parts").iterdir()))
    node.stop()
    part.write_bytes(b"changed")
    node.start()
    node.wait(lambda: "snapshot_file_broken" in node.log())
    assert node.get(MASTER).status_code == 503


def test_a_part_that_was_changed_on_the_way_changes_nothing(node: SteeringNode, control: SnapshotServer) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)
    control.give(replace(SNAPSHOT, version=6), has_parts=True)
    control.parts = dict.fromkeys(control.parts, b"nonsense")
    node.wait(lambda: "snapshot_pull_failed" in node.log())
    assert node.version() == 5
    control.give(replace(SNAPSHOT, version=7), has_parts=True)
    node.wait(lambda: node.version() == 7)


def test_a_past_answer_is_explained_and_sessions_are_replayed(tmp_path: Path, control: SnapshotServer) -> None:
    log = tmp_path / "sessions.log"
    node = SteeringNode(tmp_path, control.port, extra=f'[log]\nfile = "{log}"')
    try:
        node.start()
        node.wait(lambda: node.version() == 5)
        for _ in range(5):
            assert node.get(MASTER).status_code == 200
        between_s = time.time()
        time.sleep(0.05)
        lost = replace(HEALTHY, state=HealthState.LOST)
        dead = tuple(replace(one, health=lost) for one in SNAPSHOT.appliances)
        control.give(replace(SNAPSHOT, version=6, appliances=dead))
        node.wait(lambda: node.version() == 6)

        def steer(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [HEADRACE, "steer", *arguments], capture_output=True, text=True, timeout=20, check=False
            )

        explain = ("explain", "--client", "127.0.0.1", "--title", "film", "--steer", node.url, "--json")
        now = json.loads(steer(*explain).stdout)
        then = json.loads(steer(*explain, "--at", f"{between_s:.3f}").stdout)
        assert {row["reason"] for row in now["appliances"]} == {"lost"}
        assert (then["snapshot_version"], then["appliances"][0]["reason"]) == (5, "chosen")
        never = steer(*explain, "--at", "2001-01-01T00:00")
        assert (never.returncode, "not-kept" in never.stderr) == (44, True)
        assert steer(*explain, "--at", "soon").returncode == 2
        node.wait(lambda: log.exists() and len(log.read_text().splitlines()) == 5)
        replayed = steer("replay", str(log), "--snapshot", str(node.state / "snapshot.bin"), "--json")
        found = json.loads(replayed.stdout)
        assert (found["sessions"], found["moved_ratio"], found["tiers_after"]) == (5, 1.0, {"origin": 1.0})
        table = steer("replay", str(log), "--snapshot", str(node.state / "snapshot.bin"))
        assert "100.0% would have begun" in table.stdout
    finally:
        node.close()
