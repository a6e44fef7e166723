"""Steering nodes as real processes, and the control plane's snapshots that they pull: for tests."""

import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from headrace.base.clock import SystemClock
from headrace.steering.model import SteeringSnapshot
from headrace.steering.testing import make_appliance, make_site, make_snapshot, make_title, numbers_of
from headrace.wire.snapshot import pack_sections, write_table

_CLOCK = SystemClock()
HEADRACE = str(Path(sys.executable).with_name("headrace"))
WAIT_S = 30.0

TITLES = [make_title("film"), make_title("other", subtitles=("fr",))]
HELD = numbers_of(TITLES)
SITES = [make_site("here", "127.0.0.0/8"), make_site("there", "0.0.0.0/0")]
FLEET = [
    make_appliance("a", "here", HELD, content_url="http://127.0.1.1:8080"),
    make_appliance("b", "here", HELD, content_url="http://127.0.1.2:8080"),
    make_appliance("c", "there", HELD, content_url="http://127.0.1.3:8080"),
]
SNAPSHOT = make_snapshot(SITES, FLEET, TITLES, version=5, built_at_s=_CLOCK.now_s() - 60)
MASTER = "/v1/titles/film/master.m3u8"


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

    def __init__(self, folder: Path, control_port: int, *, workers: int = 1, extra: str = "", listen: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.verify: ssl.SSLContext | bool = True
        self.state = folder / "state"
        self._log_path = folder / "steer.log"
        self._config = folder / "steer.toml"
        (folder / "token").write_text("read-token\n")
        self._config.write_text(
            f"""
[listen]
port = {self.port}
workers = {workers}
{listen}
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

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=5.0, trust_env=False, verify=self.verify, **options)

    def version(self) -> int:
        answer = self.get("/healthz")
        return int(answer.json()["snapshot_version"]) if answer.status_code == 200 else 0

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def is_listening(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def wait(self, is_so: Callable[[], object]) -> None:
        """Wait until `is_so()`; the log is shown when it takes too long."""
        end = _CLOCK.monotonic_s() + WAIT_S
        while _CLOCK.monotonic_s() < end:
            try:
                if is_so():
                    return
            except httpx.HTTPError:
                pass
            _CLOCK.block(0.05)
        raise AssertionError(f"not within {WAIT_S} s; log:\n{self.log()}")


def free_port() -> int:
    """A port that nobody holds now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def at(version: int, **changes: Any) -> SteeringSnapshot:
    """The snapshot, later."""
    return replace(SNAPSHOT, version=version, **changes)
