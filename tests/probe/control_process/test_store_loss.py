"""What control nodes keep when they or their store die: kill -9, PostgreSQL that crashes, two nodes on one store."""

import asyncio
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx

from headrace.cli.testing import Cli
from headrace.control.adapters.store import open_store
from headrace.control.testing import running_postgres
from headrace.control.testing_process import Node, events_of, register, running
from headrace.wire.snapshot import unpack_snapshot


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


def _file_numbers(url: str) -> list[int]:
    store = open_store(url)
    try:
        return [number for title in store.titles() for number in title.file_nos]
    finally:
        store.close()
