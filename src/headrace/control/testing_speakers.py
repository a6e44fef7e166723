"""Agents as far as routes go, and a control process that they speak to: for tests."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from headrace.base.clock import SystemClock
from headrace.base.ids import ApplianceId
from headrace.routes.chunks import join_chunks
from headrace.routes.effective import ChunkPlace
from headrace.routes.model import Heard, Prefix, Session
from headrace.routes.testing_tables import make_session, pack_table, pack_table_times
from headrace.wire.codec import encode
from headrace.wire.routes import ChunkRef, RoutesRequest, SessionTable, TableRequest

_CLOCK = SystemClock()

HEADRACE = [sys.executable, "-c", "from headrace.cli.main import main; main()"]
CONFIG = """
[listen]
port = 0
[routes]
turn_interval_s = 0.2
[routes.hygiene]
takes_bogons = true
[routes.retention]
grace_s = 2.0
relearn_s = 1.0
[routes.leaks]
scopes = [{site_id = "s1", prefixes = ["10.0.0.0/8"]}]
"""


@dataclass
class RouteSpeaker:
    """An agent, as far as routes go."""

    http: httpx.Client
    name: ApplianceId
    headers: dict[str, str]
    sequence: int = 0

    def post(self, path: str, body: bytes, *, is_ok: bool = True) -> httpx.Response:
        answer = self.http.post(f"/v1/agent/routes{path}", content=body, headers=self.headers)
        assert answer.is_success or not is_ok, answer.text
        return answer

    def sessions(
        self, *told: tuple[Session, str] | tuple[Session, str, str], boot_id: str = "b1", sequence: int | None = None
    ) -> list[str]:
        """Message 1, of each session the names of its table and times; those that control does not know."""
        if sequence is None:
            self.sequence = sequence = self.sequence + 1
        tables = tuple(
            SessionTable(session=one[0], table_digest=one[1], times_digest=one[2] if len(one) == 3 else "")
            for one in told
        )
        asked = RoutesRequest(appliance_id=self.name, boot_id=boot_id, sequence=sequence, sessions=tables)
        answer = self.post("", encode(asked)).json()
        assert answer["sequence"] == sequence
        return list(answer["unknown_tables"])

    def table(self, routes: dict[Prefix, Heard], **fields: Any) -> list[str]:
        """Messages 2 and 3; what control missed."""
        return self._send(*pack_table(routes, **fields))

    def _send(self, digest: str, places: tuple[ChunkPlace, ...], chunks: dict[str, bytes]) -> list[str]:
        refs = tuple(ChunkRef(number=place.number, digest=place.digest) for place in places)
        asked = TableRequest(appliance_id=self.name, table_digest=digest, chunks=refs)
        missing = list(self.post("/table", encode(asked)).json()["unknown_chunks"])
        if missing:
            self.post("/chunks", join_chunks(chunks[one] for one in missing))
        return missing

    def times(self, routes: dict[Prefix, Heard]) -> list[str]:
        """The same of their times."""
        return self._send(*pack_table_times(routes))

    def tell(self, routes: dict[Prefix, Heard], **session: Any) -> None:
        """All of it, as an agent goes about it."""
        digest, times = (pack_table(routes)[0], pack_table_times(routes)[0]) if routes else ("", "")
        told = (make_session(prefixes=len(routes), **session), digest, times)
        if self.sessions(told):
            self.table(routes)
            self.times(routes)
            assert self.sessions(told) == []


@dataclass
class RunningControl:
    """A control process and an admin of it."""

    http: httpx.Client
    url: str
    folder: Path
    token: str

    def get(self, path: str, **params: Any) -> Any:
        answer = self.http.get(f"/v1/routes/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def enrol(self, name: str, site: str) -> RouteSpeaker:
        self.http.put(f"/v1/sites/{site}", json={"site_id": site}).raise_for_status()
        join = self.http.post("/v1/join-tokens", json={"site_id": site}).json()
        body = {"appliance_id": name, "content_url": "http://192.0.2.10", "capacity_bps": 10**9}
        headers = {"authorization": f"Bearer {join['token']}"}
        answer = self.http.post("/v1/enrol", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        secret = answer.json()["credential"]
        headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
        return RouteSpeaker(self.http, ApplianceId(name), headers)

    def heard(self) -> dict[str, int]:
        """Prefixes that count, by appliance."""
        rows = self.get("sessions")["rows"]
        return {row["appliance_id"]: row["counted"] for row in rows}

    def until(self, what: Callable[[], bool], within_s: float = 8) -> float:
        """How long it took."""
        started_s = _CLOCK.monotonic_s()
        while not what():
            assert _CLOCK.monotonic_s() < started_s + within_s
            _CLOCK.block(0.05)
        return _CLOCK.monotonic_s() - started_s


@contextmanager
def running_control(folder: Path) -> Iterator[RunningControl]:
    """A control process with hasty settings of routes, until the block ends."""
    init = subprocess.run(
        [*HEADRACE, "init", str(folder), "--host", "127.0.0.1"], capture_output=True, timeout=60, check=True
    )
    assert init.returncode == 0
    (folder / "control.toml").write_text(CONFIG)
    log = folder / "log"
    with log.open("wb") as file:
        command = [*HEADRACE, "control", "--config", str(folder / "control.toml")]
        process = subprocess.Popen(command, stderr=file, stdout=file)
    try:
        ends_s = _CLOCK.monotonic_s() + 60
        while not (found := re.search(r"listening host=\S+ port=(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert _CLOCK.monotonic_s() < ends_s
            _CLOCK.block(0.1)
        url = f"http://127.0.0.1:{found[1]}"
        token = (folder / "admin.token").read_text().strip()
        with httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=20, trust_env=False
        ) as http:
            yield RunningControl(http, url, folder, token)
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.kill()
        process.wait(10)
