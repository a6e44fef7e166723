"""Control nodes as real processes: TLS with the private CA, stopping, kill -9, two nodes on one PostgreSQL, the CLI."""

import asyncio
import json
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from alembic.script import ScriptDirectory

from headrace.base.clock import SystemClock
from headrace.base.ids import title_id
from headrace.cli.main import main
from headrace.control.adapters.migrate import look, schema_config
from headrace.control.adapters.store import open_store
from headrace.control.errors import StoreError
from headrace.control.testing import make_title, running_postgres
from headrace.playback.adapters.disk import PullLock, SnapshotFile
from headrace.playback.adapters.history import History
from headrace.playback.counters import Counters
from headrace.playback.keeper import Keeper
from headrace.wire.client import open_client
from headrace.wire.codec import encode
from headrace.wire.operator import TitleRegistration
from headrace.wire.snapshot import unpack_snapshot

NEWEST = ScriptDirectory.from_config(schema_config()).get_current_head()
HEADRACE = [sys.executable, "-c", "from headrace.cli.main import main; main()"]


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Cli:
    """Runs commands in this process: a start of Python costs a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str, token: str = "") -> Done:
        self._monkeypatch.setattr(sys, "argv", ["headrace", *arguments])
        self._monkeypatch.setenv("HEADRACE_TOKEN", token)
        self._capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = self._capsys.readouterr()
        return Done(code, said.out, said.err)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@dataclass
class Node:
    """A running control node."""

    process: "subprocess.Popen[bytes]"
    url: str
    folder: Path
    log: Path

    @property
    def options(self) -> list[str]:
        ca = self.folder / "ca.pem"
        return ["--control", self.url, "--token-file", str(self.folder / "admin.token"), "--ca", str(ca)]

    def client(self, timeout_s: float = 20) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        headers = {"authorization": f"Bearer {(self.folder / 'admin.token').read_text().strip()}"}
        return httpx.Client(verify=context, base_url=self.url, headers=headers, timeout=timeout_s, trust_env=False)


@contextmanager
def running(
    folder: Path, *, name: str = "node", store: str = "sqlite:///headrace.db", tls: bool = True
) -> Iterator[Node]:
    """A control node on a free port, until the block ends."""
    config = folder / f"{name}.toml"
    keys = 'tls_certificate = "control.pem"\ntls_key = "control.key"\n'
    config.write_text(f'[listen]\nhost = "127.0.0.1"\nport = 0\n{keys}[store]\nurl = "{store}"\n')
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen([*HEADRACE, "control", "--config", str(config)], stderr=file, stdout=file)
    try:
        port = _port(process, log)
        yield Node(process, f"https://127.0.0.1:{port}", folder, log)
    finally:
        process.kill()
        process.wait(10)


def _port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    ends_s = time.monotonic() + 60
    while time.monotonic() < ends_s:
        found = re.search(r"listening host=\S+ port=(\d+)", log.read_text())
        if found:
            return int(found[1])
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def register(client: httpx.Client, name: str, *, salt: int = 0) -> httpx.Response:
    body = encode(TitleRegistration(title=make_title(name, renditions=3, salt=salt), expected_version=0))
    return client.put(f"/v1/titles/{title_id(name)}", content=body, headers={"content-type": "application/json"})


def events_of(stream: httpx.Response) -> Iterator[tuple[str, Any]]:
    kind = ""
    for line in stream.iter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def test_init_tls_cli_and_a_stop_with_open_streams(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "net"
    assert cli("init", str(folder), "--host", "127.0.0.1").code == 0
    for name in ("ca.key", "control.key", "admin.token", "steering.token"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    again = cli("init", str(folder))
    assert (again.code, "--force" in again.err) == (2, True)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    with running(folder) as node:
        with pytest.raises(httpx.ConnectError):
            httpx.get(node.url + "/healthz", trust_env=False)
        use_cli(node, cli)
        with node.client() as client, client.stream("GET", "/v1/stream") as stream:
            messages = events_of(stream)
            kind, fleet = next(messages)
            assert (kind, fleet["sites"][0]["site_id"]) == ("fleet", "ams1")
            with node.client() as other:
                assert register(other, "film").status_code == 200
            seen = []
            for kind, value in messages:
                seen.append(value["kind"] if kind == "event" else value["title_count"])
                if {"title.published", 1} <= set(seen):
                    break
            started_s = time.monotonic()
            node.process.send_signal(signal.SIGTERM)
            assert [kind for kind, _ in messages if kind != "fleet"] == []
        assert node.process.wait(10) == 0
        assert time.monotonic() - started_s < 6
        text = node.log.read_text()
        assert "stopped node=" in text
        assert "Traceback" not in text
        for secret in ("admin.token", "steering.token"):
            assert (folder / secret).read_text().strip() not in text


def use_cli(node: Node, cli: Cli) -> None:
    assert cli("site", "add", "ams1", "--prefix", "192.0.2.0/24", *node.options).code == 0
    assert cli("appliance", "token", "--site", "ams1", *node.options).out.startswith("hrj_")
    status = cli("status", *node.options)
    assert (status.code, "Sites without appliances: ams1" in status.out) == (0, True)
    as_json = json.loads(cli("status", "--json", *node.options).out)
    assert [site["prefixes"] for site in as_json["sites"]] == [["192.0.2.0/24"]]
    wrong = cli("status", "--control", node.url, "--ca", str(node.folder / "ca.pem"), token="hro_wrong")
    assert (wrong.code, "Traceback" in wrong.err) == (24, False)
    assert cli("appliance", "show", "none", *node.options).code == 25
    assert cli("status", "--control", "http://127.0.0.1:1", token="x").code == 22


def test_faults_at_start_are_named(tmp_path: Path, cli: Cli) -> None:
    missing = cli("control", "--config", str(tmp_path / "none.toml"))
    assert (missing.code, "headrace init" in missing.err) == (2, True)
    assert cli("init", str(tmp_path / "net"), "--host", "127.0.0.1").code == 0
    config = tmp_path / "net" / "control.toml"
    assert cli("control", "--config", str(config), "--check").code == 0
    (tmp_path / "net" / "control.key").write_text("no key")
    config.write_text(config.read_text().replace("port = 8400", "port = 0"))
    command = [*HEADRACE, "control", "--config", str(config)]
    migrated = subprocess.run([*command, "--migrate-only"], capture_output=True, text=True, timeout=60, check=True)
    assert f"{NEWEST}, was empty" in migrated.stderr
    broken = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (broken.returncode, "control.key" in broken.stderr, "Traceback" in broken.stderr) == (29, True, False)


def test_check_finds_what_a_start_would_run_into_and_changes_nothing(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "net"
    assert cli("init", str(folder), "--host", "127.0.0.1").code == 0
    config, names = folder / "control.toml", {file.name for file in folder.iterdir()}

    def check() -> Done:
        return cli("control", "--config", str(config), "--check")

    good = check()
    assert (good.code, "headrace.db is not there yet" in good.err, "TLS: certificate" in good.err) == (0, True, True)
    key = (folder / "control.key").read_bytes()
    for name, body, fault in (
        ("control.key", None, "cannot read"),
        ("control.key", b"no key", "holds no private key"),
        ("control.key", (folder / "ca.key").read_bytes(), "is not the key of the certificate"),
        ("control.pem", b"no certificate", "holds no certificate"),
        ("admin.token", b"hro_short", "holds no operator's token"),
    ):
        file = folder / name
        kept = file.read_bytes()
        file.unlink() if body is None else file.write_bytes(body)
        said = check()
        assert (said.code, fault in said.err, "can be used" in said.err.splitlines()[-1]) == (
            27 if name == "admin.token" else 29,
            True,
            False,
        )
        assert key not in said.err.encode()
        file.write_bytes(kept)
    text = config.read_text()
    for url, fault in (
        ("sqlite:///control.pem/x.db", "is a file, not a folder"),
        ("sqlite:///control.pem", "file is not a database"),
        ("postgresql+psycopg://postgres@127.0.0.1:1/x", "check store.url and that the database runs"),
        ("mysql://x", "is not supported"),
    ):
        config.write_text(text.replace("sqlite:///headrace.db", url))
        said = check()
        assert (said.code, fault in said.err, "Traceback" in said.err) == (28, True, False), said.err
    config.write_text(text)
    assert {file.name for file in folder.iterdir()} == names
    assert cli("control", "--config", str(config), "--migrate-only").code == 0
    assert f"schema {NEWEST}, up to date" in check().err


def test_check_on_postgresql(tmp_path: Path) -> None:
    with running_postgres() as server:
        url = server.new_database()
        assert look(url).revision is None
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as admin:
            admin.execute("CREATE ROLE guest LOGIN")
        with pytest.raises(StoreError, match="may not make tables"):
            look(url.replace("postgres@", "guest@"))
        open_store(url).close()
        assert look(url).revision == look(url).newest


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, cli: Cli) -> None:
    assert cli("init", str(tmp_path), "--host", "127.0.0.1").code == 0
    acknowledged: list[str] = []
    with running(tmp_path) as node:
        with node.client() as client:
            assert client.get("/healthz").status_code == 200
        killed = threading.Event()

        def write(part: int) -> None:
            with node.client() as client:
                for number in range(10_000):
                    try:
                        if register(client, f"t{part}-{number}").status_code == 200:
                            acknowledged.append(f"t{part}-{number}")
                    except httpx.HTTPError:
                        break
            killed.set()

        writers = [threading.Thread(target=write, args=(part,)) for part in range(3)]
        for writer in writers:
            writer.start()
        while len(acknowledged) < 25 and not killed.is_set():
            time.sleep(0.01)
        node.process.send_signal(signal.SIGKILL)
        for writer in writers:
            writer.join(30)
    assert len(acknowledged) >= 25
    with running(tmp_path, name="second") as node, node.client() as client:
        titles = {one["title"]["title_id"]: one for one in client.get("/v1/titles?limit=10000").json()}
        assert set(acknowledged) <= set(titles)
        assert all(len(one["title"]["files"]) == 6 for one in titles.values())
        published = [
            one["subject"] for one in client.get("/v1/events?limit=1000").json() if one["kind"] == "title.published"
        ]
        assert sorted(published) == sorted(f"title/{name}" for name in titles)


class Writers:
    """Three clients that register titles until the block ends, and what they were answered."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(part,)) for part in range(3)]
        self.acknowledged: list[str] = []
        self.refusals: list[httpx.Response] = []

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(30)

    def wait_for(self, more: int) -> None:
        """Until so many more titles are acknowledged."""
        wanted = len(self.acknowledged) + more
        wait_until(lambda: len(self.acknowledged) >= wanted, self._node)

    def _write(self, part: int) -> None:
        with self._node.client() as client:
            for number in range(10_000):
                if self._is_over.wait(0.05):
                    return
                answer = register(client, f"t{part}-{number}")
                if answer.status_code == 200:
                    self.acknowledged.append(f"t{part}-{number}")
                else:
                    self.refusals.append(answer)


def wait_until(is_so: Callable[[], bool], node: Node) -> None:
    ends_s = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < ends_s, node.log.read_text()
        time.sleep(0.05)


AWAY = (503, "store-unavailable", "2")


def refusal_of(answer: httpx.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.json()["code"], answer.headers["retry-after"]


def test_a_postgresql_that_crashes_and_comes_back(tmp_path: Path, cli: Cli) -> None:
    """Refusals are clear, the log says it once, the node recovers by itself and nothing acknowledged is lost."""
    assert cli("init", str(tmp_path), "--host", "127.0.0.1").code == 0
    with ExitStack() as stack:
        server = stack.enter_context(running_postgres())
        node = stack.enter_context(running(tmp_path, store=server.new_database()))
        client, other = (stack.enter_context(node.client()) for _ in range(2))
        messages = events_of(stack.enter_context(other.stream("GET", "/v1/stream")))
        assert next(messages)[0] == "fleet"
        with Writers(node) as writers:
            for outage in (1, 2):
                writers.wait_for(10)
                server.stop()
                time.sleep(2)
                assert refusal_of(client.get("/v1/fleet")) == AWAY
                assert client.get("/healthz").status_code == 503
                server.start()
                writers.wait_for(10)
                wait_until(lambda outage=outage: node.log.read_text().count("store_back") == outage, node)  # type: ignore[misc]
        assert {refusal_of(answer) for answer in writers.refusals} == {AWAY}
        assert client.get("/healthz").status_code == 200
        titles = {one["title"]["title_id"] for one in client.get("/v1/titles?limit=10000").json()}
        assert set(writers.acknowledged) <= titles
        followed: set[str] = set()
        while not {f"title/{name}" for name in titles} <= followed:
            followed |= {value["subject"] for kind, value in [next(messages)] if kind == "event"}
        wait_until(lambda: titles == _steered(client), node)
        text = node.log.read_text()
        assert (text.count("store_away"), text.count("store_back"), text.count("Traceback")) == (2, 2, 0)
        assert [line for line in text.splitlines() if " ERROR " in line and "store_away" not in line] == []


def _steered(client: httpx.Client) -> set[str]:
    def find(digest: str) -> bytes:
        return client.get(f"/v1/snapshot/parts/{digest}").content

    return {one.title_id for one in unpack_snapshot(client.get("/v1/snapshot").content, find=find).titles}


def test_two_nodes_on_one_postgresql(tmp_path: Path, cli: Cli) -> None:
    assert cli("init", str(tmp_path), "--host", "127.0.0.1").code == 0
    with ExitStack() as stack:
        server = stack.enter_context(running_postgres())
        url = server.new_database()
        nodes = [stack.enter_context(running(tmp_path, name=f"node{i}", store=url)) for i in (1, 2)]
        first, second = (stack.enter_context(node.client()) for node in nodes)
        stream = stack.enter_context(second.stream("GET", "/v1/stream"))
        messages = events_of(stream)
        assert next(messages)[0] == "fleet"
        third = stack.enter_context(nodes[1].client())
        answers = asyncio.run(_register_on_both(first, third))
        for a, b in answers:
            assert sorted((a.status_code, b.status_code)) == [200, 409]
        seen: list[int] = []
        for kind, value in messages:
            if kind == "event" and value["kind"] == "title.published":
                seen.append(value["event_id"])
            if len(seen) == 10:
                break
        assert seen == sorted(set(seen))
        assert {len(one["title"]["files"]) for one in third.get("/v1/titles").json()} == {6}
        numbers = _file_numbers(url)
        assert sorted(numbers) == list(range(1, 61))
        deciding = [
            float(re.findall(r"^headrace_control_is_deciding (\S+)", one.get("/metrics").text, re.M)[0])
            for one in (first, third)
        ]
        assert sum(deciding) == 1


async def _register_on_both(first: httpx.Client, second: httpx.Client) -> list[tuple[httpx.Response, httpx.Response]]:
    answers = []
    for number in range(10):
        both = await asyncio.gather(
            asyncio.to_thread(register, first, f"t{number}", salt=1),
            asyncio.to_thread(register, second, f"t{number}", salt=2),
        )
        answers.append((both[0], both[1]))
    return answers


def test_steering_does_not_follow_a_rebuilt_control_plane_by_itself(
    tmp_path: Path, cli: Cli, caplog: pytest.LogCaptureFixture
) -> None:
    """Both have the same version and content: only the store's name tells them apart."""
    folder = tmp_path / "net"
    assert cli("init", str(folder), "--host", "127.0.0.1").code == 0
    state = tmp_path / "steering"
    lock = PullLock(state)
    keeper = _keeper(state, lock)
    with running(folder) as node:
        assert _pulls(node, keeper, 2) == ["follow", "unchanged"]
    assert keeper.held is not None
    held = keeper.held
    for file in folder.glob("headrace.db*"):
        file.unlink()
    with running(folder, name="rebuilt") as node:
        assert _pulls(node, keeper, 2) == ["other-store", "other-store"]
        assert keeper.held is held
        refusals = [one.message for one in caplog.records if one.message.startswith("snapshot_refused")]
        assert len(refusals) == 1
        assert f"reason=other-store held_version={held.version}" in refusals[0]
        assert f"held_store={held.control_id} pulled_store=" in refusals[0]
        assert "--accept-older" in refusals[0]
        told = _keeper(state, lock, is_older_accepted=True)
        told.load()
        assert told.held is not None
        assert told.held.control_id == held.control_id
        assert _pulls(node, told, 2) == ["follow", "unchanged"]
        assert told.held.control_id not in {"", held.control_id}
    lock.release()


def _keeper(state: Path, lock: PullLock, *, is_older_accepted: bool = False) -> Keeper:
    file = SnapshotFile(state)
    return Keeper(
        file,
        History(state / "history", file.parts, most_age_s=3600, most_bytes=10**9),
        lock,
        Counters(),
        lambda _compiled: None,
        SystemClock(),
        is_older_accepted=is_older_accepted,
    )


def _pulls(node: Node, keeper: Keeper, count: int) -> list[str]:
    """What comes of the first pulls once the node has a snapshot."""
    with node.client() as client:
        ends_s = time.monotonic() + 20
        while client.get("/v1/snapshot").status_code != 200:
            assert time.monotonic() < ends_s, node.log.read_text()
            time.sleep(0.05)

    async def pull() -> list[str]:
        token = (node.folder / "steering.token").read_text().strip()
        async with open_client((node.url,), token, ca_file=node.folder / "ca.pem") as client:
            return [await keeper.pull(client) for _ in range(count)]

    return asyncio.run(pull())


def _file_numbers(url: str) -> list[int]:
    store = open_store(url)
    try:
        return [number for title in store.titles() for number in title.file_nos]
    finally:
        store.close()


def test_maintenance_from_the_command_line(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "control"
    assert cli("init", str(folder), "--host", "127.0.0.1").code == 0
    with running(folder) as node:
        assert cli("site", "add", "ams1", "--region", "nl", *node.options).code == 0
        plan = ("maintenance", "plan", "--site", "ams1", "--reason", "power", *node.options)
        day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 3 * 86_400))
        for words, said in (
            (("--start", f"{day}T02:00", "--for", "3h"), "has no time zone: add Z"),
            (("--start", f"{day}T02:00Z"), "what has no end is disabled instead"),
            (("--start", f"{day}T02:00Z", "--end", f"{day}T01:00Z"), "check both, and the zone"),
            (("--start", "2020-01-01T02:00Z", "--for", "3h"), "in the past"),
            (("--start", f"{day}T02:00Z", "--for", "31d"), "at most 30d 00h"),
        ):
            refused = cli(*plan, *words)
            assert refused.code != 0
            assert said in " ".join(refused.err.split())
        made = cli(*plan, "--start", f"{day} 02:00", "--for", "3h", "--zone", "Europe/Amsterdam")
        assert (made.code, made.err.startswith("w1: site ams1 from")) == (0, True), made.err
        assert f"{day} 02:00 CE" in made.err
        again = cli(*plan, "--start", f"{day} 03:00", "--for", "3h", "--zone", "Europe/Amsterdam")
        assert "is in maintenance window w1" in " ".join(again.err.split())
        listed = json.loads(cli("maintenance", "list", "--json", *node.options).out)
        assert [(one["window_id"], one["state"], one["site_id"]) for one in listed] == [("w1", "planned", "ams1")]
        shown = cli("maintenance", "show", "w1", *node.options)
        assert "planned by" in shown.out
        assert "operator:" in shown.out
        assert cli("maintenance", "cancel", "w1", "--reason", "later", *node.options).code == 0
        assert cli("maintenance", "cancel", "w1", *node.options).code != 0
        assert json.loads(cli("maintenance", "list", "--json", *node.options).out) == []
        assert cli("maintenance", "show", "../titles", *node.options).code != 0
