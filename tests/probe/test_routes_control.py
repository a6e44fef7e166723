"""Routes through a real control process: messages as agents send them, the snapshot, reports, the commands."""

import csv
import hashlib
import io
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.base.ids import ApplianceId
from headrace.cli import console
from headrace.cli.main import main
from headrace.control.testing_speakers import RunningControl, running_control
from headrace.routes.chunks import join_chunks
from headrace.routes.model import SessionState, parse_prefix
from headrace.routes.testing_tables import heard, make_routes, make_session, pack_table
from headrace.wire.codec import encode
from headrace.wire.routes import ChunkRef, RoutesRequest, SessionTable, TableRequest
from headrace.wire.snapshot import unpack_snapshot

NAMES = [f"10.{n}.0.0/16" for n in range(20)]


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControl]:
    with running_control(tmp_path_factory.mktemp("net") / "n") as made:
        yield made


def test_from_an_agents_messages_to_the_snapshot(control: RunningControl) -> None:
    a1, a2, b1 = (control.enrol(name, f"s{1 + (name[0] == 'b')}") for name in ("a1", "a2", "b1"))
    a1.tell(make_routes(NAMES, 64496, 64497))
    a2.tell(make_routes(NAMES, 64496, 64497))
    b1.tell(make_routes(NAMES[:5], 64496))
    control.until(lambda: control.heard() == {"a1": 20, "a2": 20, "b1": 5})

    def part(digest: str) -> bytes:
        return control.http.get(f"/v1/snapshot/parts/{digest}").content

    def snapshot() -> Any:
        answer = control.http.get("/v1/snapshot")
        return answer.status_code == 200 and unpack_snapshot(answer.content, find=part)

    def grouped() -> set[tuple[str, ...]]:
        now = snapshot()
        return {one.appliances for one in now.hearings} if now else set()

    control.until(lambda: grouped() == {("a1", "a2"), ("b1",)})
    before = control.http.get("/v1/snapshot").headers["etag"]
    a1.tell({**make_routes(NAMES, 64496, 64497), parse_prefix(NAMES[0]): heard(64496, med=7)})
    took_s = control.until(lambda: control.http.get("/v1/snapshot").headers["etag"] != before)
    assert took_s < 4
    events = [one for one in control.http.get("/v1/events").json() if one["kind"] == "route-session.added"]
    assert {one["subject"] for one in events} == {"appliance/a1", "appliance/a2", "appliance/b1"}


def test_members_that_hear_the_same_send_it_once_and_each_its_own_times(control: RunningControl) -> None:
    w1, w2 = (control.enrol(name, "s9") for name in ("w1", "w2"))
    early, late = (make_routes(NAMES, 64496, 64777, learned_s=1_800_000_000.0 + at_s) for at_s in (0, 77))
    w1.tell(early)
    assert w2.sessions((make_session(), pack_table(late)[0])) == [], "the table is known of the other one"
    w2.tell(late)

    def learned(name: str) -> set[float]:
        return {row["learned_s"] for row in control.get("prefixes", appliance=name)["rows"]}

    control.until(lambda: (learned("w1"), learned("w2")) == ({1_800_000_000.0}, {1_800_000_077.0}))
    changes = control.get("changes", since=0, appliance="w2")["rows"]
    assert {(row["kind"], row["learned_s"]) for row in changes} == {("announced", 1_800_000_077.0)}


def test_lost_repeated_and_late_messages(control: RunningControl) -> None:
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


def rows_of(control: RunningControl, name: str) -> Any:
    return control.get("sessions", appliance=name)["rows"]


def test_bad_messages_are_refused_and_change_nothing(control: RunningControl) -> None:
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


def run_cli(
    control: RunningControl, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[str, str]:
    options = ["--control", control.url, "--token-file", str(control.folder / "admin.token")]
    monkeypatch.setattr(sys, "argv", ["headrace", "routes", *words, *options])
    monkeypatch.setattr(console.out, "_width", 200)  # COLUMNS is read once a process, by whoever is first
    capsys.readouterr()
    code: Any = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr()
    assert not code, said.err
    return said.out, said.err


def test_reports_and_commands(
    control: RunningControl, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: str) -> tuple[str, str]:
        return run_cli(control, capsys, monkeypatch, *words)

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


def test_metrics(control: RunningControl) -> None:
    lines = control.http.get("/metrics").text.splitlines()
    assert any(line.startswith('headrace_control_route_sessions{state="established"') for line in lines)
    assert any(line.startswith('headrace_control_routes_filtered{reason="default-route"}') for line in lines)
    assert 'headrace_control_rpki_data{state="off"} 1' in lines
