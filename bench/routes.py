"""What a full table of BGP costs an appliance: time until it is learned, memory of each process, bytes sent; and what
many small tables cost a control node that starts.

    .venv/bin/python bench/routes.py [--prefixes 1000000] [--changes 20] [--quick] [--json]
    .venv/bin/python bench/routes.py --start 2000x150,100x5000

One peer sends a table shaped like the Internet's: about six prefixes to an UPDATE, each with its own path and
communities. The speaker and the reports are those of `headrace agent`; the peer and a control plane that keeps digests
alone run in processes of their own. Needs root (a network namespace). Raw samples: bench/results/routes.json.
"""

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import os
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from headrace.appliance.bgp.testing_routers import (
    BAD,
    BAD_AS,
    OURS,
    Appliance,
    message,
    open_message,
    own_network,
    peer,
)
from headrace.appliance.testing_peers import Asked, Told, serving
from headrace.base.clock import SystemClock
from headrace.base.ids import ApplianceId
from headrace.base.rng import Rng, make_rng
from headrace.control.adapters.store import SqlStore, open_store
from headrace.control.adapters.vrp_file import VrpFile
from headrace.control.loops.routing import Routing
from headrace.control.loops.testing import enrol
from headrace.control.routes import RouteSettings, StoredSpeaker, take_message
from headrace.routes.chunks import split_chunks
from headrace.routes.columns import count_routes
from headrace.routes.effective import ChunkPlace
from headrace.routes.model import AddressFamily, Attributes, RouteOrigin
from headrace.routes.table import Table
from headrace.routes.testing_tables import make_session
from headrace.wire.codec import decode, encode
from headrace.wire.routes import MOST_BODY_BYTES, RoutesAnswer, RoutesRequest, SessionTable, TableAnswer, TableRequest
from rig.machine import machine_facts
from rig.summary import spread

GOAL_MIB = 400
"""Of the process that holds the table."""
GOAL_CHANGE_S = 5.0
LIMIT_S = 900.0
"""For each step; on a quiet machine the longest takes two minutes."""
RESULTS = Path(__file__).with_name("results") / "routes.json"
FIRST = 0x01000000
"""1.0.0.0; the table is of /24 from there."""


# ---- the peer


def updates(count: int, rng: Rng) -> Iterator[bytes]:
    """A table as UPDATE messages."""
    numbers = [rng.randrange(1, 400_000) for _ in range(80_000)]
    done = 0
    while done < count:
        path = (BAD_AS, *(rng.choice(numbers) for _ in range(rng.randrange(1, 6))))
        size = min(rng.randrange(1, 12), count - done)
        communities = b"".join(struct.pack(">HH", rng.randrange(1, 65_000), rng.randrange(1000)) for _ in range(4))
        yield update(range(done, done + size), path, communities)
        done += size


def update(prefixes: range, path: tuple[int, ...], communities: bytes) -> bytes:
    """One UPDATE (RFC 4271, 4.3) with four-octet AS numbers."""
    attributes = b"\x40\x01\x01\x00"
    segment = struct.pack(f">BB{len(path)}I", 2, len(path), *path)
    attributes += struct.pack(">BBB", 0x40, 2, len(segment)) + segment
    attributes += b"\x40\x03\x04" + bytes([10, 9, 0, 4])
    attributes += struct.pack(">BBB", 0xC0, 8, len(communities)) + communities
    routes = b"".join(b"\x18" + struct.pack(">I", FIRST + (number << 8))[:3] for number in prefixes)
    return message(2, struct.pack(">HH", 0, len(attributes)) + attributes + routes)


def be_peer(count: int, orders: Connection) -> None:
    """Send a table, then a change at each order; answers each with when it was sent."""
    asyncio.run(_be_peer(count, orders))


async def _be_peer(count: int, orders: Connection) -> None:
    rng = make_rng(1)
    table = list(updates(count, rng))
    while True:
        try:
            reader, writer = await asyncio.open_connection(OURS, 179, local_addr=(BAD, 0))
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0.2)
    drain = asyncio.create_task(_drain(reader))
    writer.write(open_message(BAD_AS) + message(4))
    await asyncio.sleep(1)
    orders.send(time.time())
    for number, each in enumerate(table):
        writer.write(each)
        if number % 500 == 0:
            writer.write(message(4))
            await writer.drain()
    writer.write(message(2, bytes(4)))
    await writer.drain()
    orders.send(time.time())
    while True:
        for _ in range(10):
            if await asyncio.to_thread(orders.poll, 0.1):
                break
        else:
            writer.write(message(4))
            continue
        number = orders.recv()
        if number is None:
            break
        writer.write(update(range(number, number + 1), (BAD_AS, 7, number + 1), struct.pack(">HH", 1, 1)))
        await writer.drain()
        orders.send(time.time())
    drain.cancel()
    writer.close()


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


# ---- the control plane


class Digests:
    """A control plane that keeps digests alone."""

    def __init__(self, events: Connection) -> None:
        self._events = events
        self._tables: dict[str, dict[int, str]] = {}
        self._chunks: set[str] = set()
        self._sent = self._bytes = 0
        self._whole = ""

    async def handle(self, asked: Asked) -> Told:
        self._bytes += len(asked.body)
        if asked.path == "/v1/agent/routes":
            return self._sessions(decode(RoutesRequest, asked.body))
        if asked.path == "/v1/agent/routes/table":
            table = decode(TableRequest, asked.body)
            refs = dict(self._tables.get(table.base_digest, {}))
            for number in table.gone:
                refs.pop(number, None)
            refs |= {ref.number: ref.digest for ref in table.chunks}
            self._tables[table.table_digest] = refs
            return Told(body=encode(TableAnswer(unknown_chunks=tuple(set(refs.values()) - self._chunks))))
        for chunk in split_chunks(asked.body, most_bytes=MOST_BODY_BYTES):
            self._sent += 1
            self._chunks.add(hashlib.sha256(chunk).hexdigest())
        return Told(status=204)

    def _sessions(self, request: RoutesRequest) -> Told:
        digests = [digest for one in request.sessions for digest in (one.table_digest, one.times_digest) if digest]
        unknown = [each for each in digests if not set(self._tables.get(each, {0: ""}).values()) <= self._chunks]
        if digests and not unknown and digests[0] != self._whole:
            self._whole = digests[0]
            self._tables = {digest: self._tables[digest] for digest in digests}
            self._events.send((time.time(), request.sessions[0].session.prefixes, self._sent, self._bytes))
        return Told(body=encode(RoutesAnswer(sequence=request.sequence, unknown_tables=tuple(unknown), interval_s=1.0)))


def be_agent(folder: Path, orders: Connection) -> None:
    """Speaker and reports, as an agent runs them."""
    asyncio.run(_be_agent(folder, orders))


async def _be_agent(folder: Path, orders: Connection) -> None:
    appliance = Appliance(folder, peer(BAD, BAD_AS, passive=True))
    appliance.configure(learn_most_s=3600.0, hold_time_s=90)
    url = orders.recv()
    async with appliance.agent(url=url):
        await asyncio.to_thread(orders.recv)


# ---- measuring


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run."""

    prefixes: int
    sending_s: float
    """Until the peer had given away its last byte."""
    learned_s: float
    """From the first UPDATE until the control plane had the whole table."""
    chunks: int
    sent_bytes: int
    change_s: list[float]
    """From an UPDATE of one prefix until the control plane had it."""
    change_bytes: float
    exabgp_mib: float
    """Most resident memory of each process."""
    collector_mib: float
    agent_mib: float
    kept_bytes: int


def measure(prefixes: int, changes: int) -> Figures:
    """In a network namespace of its own."""
    with own_network(), tempfile.TemporaryDirectory() as name:
        return asyncio.run(_measure(Path(name), prefixes, changes))


async def _measure(folder: Path, prefixes: int, changes: int) -> Figures:
    spawn = multiprocessing.get_context("fork")
    (agent, agent_end), (sender, sender_end), (events, events_end) = (spawn.Pipe() for _ in range(3))
    works = [
        spawn.Process(target=be_agent, args=(folder, agent_end)),
        spawn.Process(target=be_peer, args=(prefixes, sender_end)),
    ]
    for work in works:
        work.start()
    async with serving(Digests(events_end).handle) as url:
        agent.send(url)
        try:
            began_s, sent_s = [await _next(sender) for _ in range(2)]
            learned_s, count, chunks, sent_bytes = await _next(events)
            while count < prefixes:
                learned_s, count, chunks, sent_bytes = await _next(events)
            before, took = sent_bytes, []
            for number in range(changes):
                sender.send(number * 7919 % prefixes)
                at_s = await _next(sender)
                heard_s, _, _, sent_bytes = await _next(events)
                took.append(heard_s - at_s)
            pid = int((folder / "bgp" / "speaker.pid").read_text().split()[0])
            found = Figures(
                prefixes=prefixes,
                sending_s=sent_s - began_s,
                learned_s=learned_s - began_s,
                chunks=chunks,
                sent_bytes=before,
                change_s=took,
                change_bytes=(sent_bytes - before) / max(1, changes),
                exabgp_mib=most_mib(pid),
                collector_mib=max(map(most_mib, children(pid))),
                agent_mib=most_mib(works[0].pid or 0),
                kept_bytes=sum(path.stat().st_size for path in (folder / "bgp").glob("*.table")),
            )
        finally:
            sender.send(None)
            agent.send(None)
            for work in works:
                await asyncio.to_thread(work.join, 60)
    return found


async def _next(pipe: Connection):
    async with asyncio.timeout(LIMIT_S):
        while not await asyncio.to_thread(pipe.poll, 1.0):
            pass
    return pipe.recv()


def children(pid: int) -> list[int]:
    """Of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def most_mib(pid: int) -> float:
    """Most resident memory that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


# ---- a control node that starts


def fill(store: SqlStore, tables: int, prefixes: int) -> None:
    """As many appliances, each with a table of its own; 8 routes have a path in common."""
    rng = make_rng(1)
    for number in range(tables):
        name = ApplianceId(f"a{number}")
        enrol(store, name, "http://192.0.2.10", site=f"s{number}")
        table = Table(AddressFamily.IPV4)
        while len(table) < prefixes:
            path = (BAD_AS, rng.randrange(1, 400_000), rng.randrange(1, 400_000))
            said = Attributes(as_path=path, origin=RouteOrigin.IGP, next_hop="192.0.2.1")
            first = rng.randrange(FIRST, FIRST << 7)
            some = [struct.pack(">IB", (first + (near << 8)) & 0xFFFFFF00, 24) for near in range(8)]
            table.announce(some[: prefixes - len(table)], said, now_s=1)
        for _ in table.pack():
            pass
        packed = table.packed()
        places = tuple(ChunkPlace(number=at, digest=digest) for at, digest in sorted(packed.digests.items()))
        store.put_list(packed.digest, places, by=name, now_s=1.0)
        counts = count_routes(packed.chunks.values())
        chunks = {digest: (body, count) for (digest, body), count in zip(packed.chunks.items(), counts, strict=True)}
        store.put_chunks(chunks, by=name, now_s=1.0)
        told = SessionTable(session=make_session(), table_digest=packed.digest)
        asked = RoutesRequest(appliance_id=name, boot_id="b", sequence=1, sessions=(told,))
        before, whole = StoredSpeaker(appliance_id=name), {packed.digest: prefixes}
        taken = take_message(before, asked, whole, RouteSettings(), now_s=2.0)
        store.save_speaker(taken, expected_boot_id="", expected_sequence=0, history_step_s=1.0, now_s=2.0)


def start(text: str) -> None:
    """Print how long a node takes to read so many tables of so many prefixes from SQLite."""
    for pair in text.split(","):
        tables, prefixes = map(int, pair.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(f"sqlite:///{folder}/store.db")
            fill(store, tables, prefixes)
            routing = Routing(store, RouteSettings(), SystemClock(), VrpFile(None, RouteSettings().rpki))
            began_s = time.perf_counter()
            routing.turn()
            took_s = time.perf_counter() - began_s
            print(f"{tables} tables of {prefixes}: {took_s:.2f} s, {1000 * took_s / tables:.2f} ms a table")
            store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefixes", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="a small table: to see that it works; keeps no samples")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--start", metavar="TABLESxPREFIXES,...", help="only what a starting control node takes")
    arguments = parser.parse_args()
    if arguments.start:
        start(arguments.start)
        return
    prefixes, changes = (20_000, 5) if arguments.quick else (arguments.prefixes, arguments.changes)
    if os.geteuid() != 0:
        print("bench/routes.py makes a network namespace: run it as root", file=sys.stderr)
        sys.exit(2)
    found = measure(prefixes, changes)
    change = spread(found.change_s)
    kept = {"machine": machine_facts(), "load_average": os.getloadavg(), "figures": asdict(found)}
    if not arguments.quick:
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    if arguments.json:
        print(json.dumps(kept))
    else:
        print(f"{found.prefixes} prefixes from one peer")
        print(f"sent in      {found.sending_s:8.1f} s; at the control plane after {found.learned_s:.1f} s")
        kept_mb = found.kept_bytes / 1e6
        print(f"reported as  {found.chunks:8} chunks, {found.sent_bytes / 1e6:.1f} MB; {kept_mb:.1f} MB on disk")
        print(
            f"one change   {change.median:8.2f} s median, {max(found.change_s):.2f} s at most; "
            f"{found.change_bytes / 1e3:.0f} kB"
        )
        print(
            f"most memory  {found.exabgp_mib:8.0f} MiB ExaBGP, {found.collector_mib:.0f} MiB collector, "
            f"{found.agent_mib:.0f} MiB agent's part"
        )
    sys.exit(0 if found.collector_mib < GOAL_MIB and max(found.change_s) < GOAL_CHANGE_S else 1)


if __name__ == "__main__":
    main()
