"""Routes through a real control process: messages as agents send them, the snapshot, reports, the commands."""

import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.base.ids import ApplianceId
from headrace.cli.main import main
from headrace.routes.chunks import join_chunks
from headrace.routes.model import Heard, Prefix, Session, SessionState, parse_prefix
from headrace.routes.testing_tables import heard, make_routes, make_session, pack_table
from headrace.wire.codec import encode
from headrace.wire.routes import ChunkRef, RoutesRequest, SessionTable, TableRequest
from headrace.wire.snapshot import unpack_snapshot

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
NAMES = [f"10.{n}.0.0/16" for n in range(20)]


@dataclass
class Speaker:
    """An agent, as far as routes go."""

    http: httpx.Client
    name: ApplianceId
    headers: dict[str, str]
    sequence: int = 0
    sent: list[str] = field(default_factory=list)

    def post(self, path: str, body: bytes, *, is_ok: bool = True) -> httpx.Response:
        answer = self.http.post(f"/v1/agent/routes{path}", content=body, headers=self.headers)
        assert answer.is_success or not is_ok, answer.text
        return answer

    def sessions(self, *told: tuple[Session, str], boot_id: str = "b1", sequence: int | None = None) -> list[str]:
        """Message 1; the tables that control does not know."""
        if sequence is None:
            self.sequence = sequence = self.sequence + 1
        tables = tuple(SessionTable(session=session, table_digest=digest) for session, digest in told)
        asked = RoutesRequest(appliance_id=self.name, boot_id=boot_id, sequence=sequence, sessions=tables)
        answer = self.post("", encode(asked)).json()
        assert answer["sequence"] == sequence
        return list(answer["unknown_tables"])

    def table(self, routes: dict[Prefix, Heard], **fields: Any) -> list[str]:
        """Messages 2 and 3; what control missed."""
        digest, places, chunks = pack_table(routes, **fields)
        refs = tuple(ChunkRef(number=place.number, digest=place.digest) for place in places)
        asked = TableRequest(appliance_id=self.name, table_digest=digest, chunks=refs)
        missing = list(self.post("/table", encode(asked)).json()["unknown_chunks"])
        if missing:
            self.post("/chunks", join_chunks(chunks[one] for one in missing))
        return missing

    def tell(self, routes: dict[Prefix, Heard], **session: Any) -> None:
        """All of it, as an agent goes about it."""
        digest = pack_table(routes)[0] if routes else ""
        told = (make_session(prefixes=len(routes), **session), digest)
        if self.sessions(told):
            self.table(routes)
            assert self.sessions(told) == []


@dataclass
class Control:
    """A control process and an admin of it."""

    http: httpx.Client
    url: str
    folder: Path

    def get(self, path: str, **params: Any) -> Any:
        answer = self.http.get(f"/v1/routes/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def enrol(self, name: str, site: str) -> Speaker:
        self.http.put(f"/v1/sites/{site}", json={"site_id": site}).raise_for_status()
        join = self.http.post("/v1/join-tokens", json={"site_id": site}).json()
        body = {"appliance_id": name, "content_url": "http://192.0.2.10", "capacity_bps": 10**9}
        headers = {"authorization": f"Bearer {join['token']}"}
        answer = self.http.post("/v1/enrol", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        secret = answer.json()["credential"]
        headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
        return Speaker(self.http, ApplianceId(name), headers)

    def heard(self) -> dict[str, int]:
        """Prefixes that count, by appliance."""
        rows = self.get("sessions")["rows"]
        return {row["appliance_id"]: row["counted"] for row in rows}

    def until(self, what: Callable[[], bool], within_s: float = 8) -> float:
        """How long it took."""
        started_s = time.monotonic()
        while not what():
            assert time.monotonic() < started_s + within_s
            time.sleep(0.05)
        return time.monotonic() - started_s

    def cli(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[str, str]:
        options = ["--control", self.url, "--token-file", str(self.folder / "admin.token")]
        monkeypatch.setattr(sys, "argv", ["headrace", "routes", *words, *options])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        assert not code, said.err
        return said.out, said.err


@contextmanager
def running(folder: Path) -> Iterator[Control]:
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
        ends_s = time.monotonic() + 60
        while not (found := re.search(r"listening host=\S+ port=(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < ends_s
            time.sleep(0.1)
        url = f"http://127.0.0.1:{found[1]}"
        token = (folder / "admin.token").read_text().strip()
        with httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=20, trust_env=False
        ) as http:
            yield Control(http, url, folder)
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with running(tmp_path_factory.mktemp("net") / "n") as made:
        yield made


def test_from_an_agents_messages_to_the_snapshot(control: Control) -> None:
    a1, a2, b1 = (control.enrol(name, f"s{1 + (name[0] == 'b')}") for name in ("a1", "a2", "b1"))
    a1.tell(make_routes(NAMES, 64496, 64497))
    a2.tell(make_routes(NAMES, 64496, 64497))
    b1.tell(make_routes(NAMES[:5], 64496))
    control.until(lambda: control.heard() == {"a1": 20, "a2": 20, "b1": 5})

    def snapshot() -> Any:
        answer = control.http.get("/v1/snapshot")
        return answer.status_code == 200 and unpack_snapshot(answer.content)

    control.until(lambda: bool(snapshot()))
    before = control.http.get("/v1/snapshot").headers["etag"]
    a1.tell({**make_routes(NAMES, 64496, 64497), parse_prefix(NAMES[0]): heard(64496, med=7)})
    took_s = control.until(lambda: control.http.get("/v1/snapshot").headers["etag"] != before)
    assert took_s < 4
    events = [one for one in control.http.get("/v1/events").json() if one["kind"] == "route-session.added"]
    assert {one["subject"] for one in events} == {"appliance/a1", "appliance/a2", "appliance/b1"}


def test_lost_repeated_and_late_messages(control: Control) -> None:
    one = control.enrol("m1", "s3")
    routes = make_routes(NAMES[:7])
    digest = pack_table(routes)[0]
    up = (make_session(), digest)
    assert one.sessions(up) == [digest]
    one.table(routes)
    assert one.table(routes) == []  # repeated
    assert one.sessions(up) == []
    control.until(lambda: control.heard().get("m1") == 7)
    down = (make_session(state=SessionState.DOWN), "")
    assert one.sessions(down, sequence=1) == []  # late: nothing changes, and it has its answer
    assert one.sessions(down, sequence=one.sequence) == []  # repeated number
    time.sleep(0.6)
    assert control.heard()["m1"] == 7
    assert one.sessions(up, boot_id="b2", sequence=1) == []
    assert one.sessions(down, boot_id="b1", sequence=99) == []  # of a boot that has ended
    time.sleep(0.6)
    assert control.heard()["m1"] == 7
    one.sessions(down, boot_id="b2", sequence=2)
    control.until(lambda: [row["standing"] for row in rows_of(control, "m1")] == ["held"], 3)
    assert control.heard()["m1"] == 7
    control.until(lambda: [row["standing"] for row in rows_of(control, "m1")] == ["withdrawn"], 5)
    assert control.heard()["m1"] == 0


def rows_of(control: Control, name: str) -> Any:
    return control.get("sessions", appliance=name)["rows"]


def test_bad_messages_are_refused_and_change_nothing(control: Control) -> None:
    one = control.enrol("x1", "s4")
    other = RoutesRequest(appliance_id=ApplianceId("a1"), boot_id="b", sequence=1, sessions=())
    assert one.post("", encode(other), is_ok=False).status_code == 403
    refused = one.post(
        "", encode(RoutesRequest(appliance_id=one.name, boot_id="b", sequence=0, sessions=())), is_ok=False
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    twice = (SessionTable(session=make_session(), table_digest=""),) * 2
    asked = RoutesRequest(appliance_id=one.name, boot_id="b", sequence=1, sessions=twice)
    assert "the same id" in one.post("", encode(asked), is_ok=False).text
    wrong = SessionTable(session=make_session(peer="no address"), table_digest="")
    asked = RoutesRequest(appliance_id=one.name, boot_id="b", sequence=1, sessions=(wrong,))
    assert "no address" in one.post("", encode(asked), is_ok=False).text
    _, places, chunks = pack_table(make_routes(["172.16.0.0/16"]))
    refs = tuple(ChunkRef(number=place.number, digest=place.digest) for place in places)
    lie = TableRequest(appliance_id=one.name, table_digest="00" * 32, chunks=refs)
    assert "does not fit" in one.post("/table", encode(lie), is_ok=False).text
    junk = b"HRC1junk"
    name = hashlib.sha256(junk).hexdigest()
    line = hashlib.sha256(f"{5} {name}\n".encode()).hexdigest()
    named = TableRequest(appliance_id=one.name, table_digest=line, chunks=(ChunkRef(number=5, digest=name),))
    one.post("/table", encode(named))
    assert one.post("/chunks", join_chunks([junk]), is_ok=False).status_code == 422
    assert one.post("/chunks", join_chunks(chunks.values())[:-1], is_ok=False).status_code == 422
    assert one.post("/chunks", join_chunks(chunks.values())).status_code == 204  # of no table of its own: not kept
    assert one.post("/chunks", bytes(9 << 20), is_ok=False).status_code == 413
    assert control.http.post("/v1/agent/routes", content=b"{}").status_code == 403  # an operator is no appliance
    headers = {"authorization": one.headers["authorization"]}
    assert control.http.get("/v1/routes/sessions", headers=headers).status_code == 403
    assert control.http.get("/v1/routes/prefixes?prefix=nonsense").status_code == 422


def test_reports_and_commands(
    control: Control, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: str) -> tuple[str, str]:
        return control.cli(capsys, monkeypatch, *words)

    started_s = time.time()
    c1, c2 = control.enrol("c1", "s1"), control.enrol("c2", "s1")
    c1.tell(
        {**make_routes([*NAMES, "0.0.0.0/0"], 64496, 64497, communities=("64496:1",)), **make_routes(["77.0.0.0/8"])}
    )
    c2.tell(make_routes(NAMES[:18], 64496, 64498))
    control.until(lambda: {"c1", "c2"} <= control.heard().keys())
    table, _ = run("sessions", "--site", "s1")
    assert "c1" in table
    assert "established" in table
    one = json.loads(run("prefixes", "--appliance", "c1", "--prefix", "10.3.0.0/16", "--json")[0])
    assert [(row["prefix"], row["as_path"], row["communities"], row["reason"]) for row in one["rows"]] == [
        ("0.0.0.0/0", "64496 64497", "64496:1", "default-route"),
        ("10.3.0.0/16", "64496 64497", "64496:1", None),
    ]
    filtered = list(csv.DictReader(io.StringIO(run("filtered", "--appliance", "c1", "--csv")[0])))
    assert [(row["prefix"], row["reason"]) for row in filtered] == [("0.0.0.0/0", "default-route")]
    out, err = run("filtered", "--appliance", "c1")
    assert "default-route" in out
    assert "1 default-route" in err
    leaks = json.loads(run("leaks", "--site", "s1", "--json")[0])
    found = {(row["prefix"], row["appliance_id"], row["reason"]) for row in leaks["rows"]}
    assert ("77.0.0.0/8", "c1", "outside-scope") in found
    uneven = json.loads(run("imbalance", "--site", "s1", "--json")[0])
    missing = {row["appliance_id"]: row["missing"] for row in uneven["rows"] if row["family"] == "ipv4"}
    assert missing["c2"] == 3
    assert "c2" in run("imbalance", "--site", "s1")[0]
    single = json.loads(run("single", "--json")[0])
    assert {"77.0.0.0/8"} <= {row["prefix"] for row in single["rows"]}
    page = control.get("prefixes", appliance="c1", limit=5, offset=3)
    assert (page["total"], len(page["rows"])) == (22, 5)
    c1.tell({**make_routes(NAMES[1:], 64496, 64497, communities=("64496:1",)), **make_routes(["78.0.0.0/8"])})

    def changes() -> Any:
        rows = control.get("changes", since=started_s, appliance="c1", limit=100)["rows"]
        return {(row["prefix"], row["kind"]) for row in rows}

    control.until(lambda: ("78.0.0.0/8", "announced") in changes())
    out, err = run("changes", "--since", "1h", "--appliance", "c1")
    assert "announced" in out
    assert "change" in err


def test_metrics(control: Control) -> None:
    lines = control.http.get("/metrics").text.splitlines()
    assert any(line.startswith('headrace_control_route_sessions{state="established"') for line in lines)
    assert any(line.startswith('headrace_control_routes_filtered{reason="default-route"}') for line in lines)
    assert 'headrace_control_rpki_data{state="off"} 1' in lines
