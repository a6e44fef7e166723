"""Routers for tests of BGP: real BIRD and FRR, and a peer that sends what it likes; each test in a network of its own.

The test's thread moves into a new network namespace with loopback alone, and back at its end: all processes that it
starts live there, may use any address and port 179, and meet nothing of the machine.
"""

import asyncio
import contextlib
import ctypes
import os
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.appliance.bgp.reports import RouteReports
from headrace.appliance.bgp.settings import BgpPeer, BgpSettings
from headrace.appliance.bgp.speaker import BgpSpeaker, Patience
from headrace.appliance.bgp.testing import FakeRouteControl
from headrace.appliance.testing_peers import serving
from headrace.base.clock import SystemClock
from headrace.base.ids import ApplianceId
from headrace.base.rng import make_rng
from headrace.base.tasks import Tasks
from headrace.routes.model import SessionState
from headrace.wire.client import ControlClient, open_client
from headrace.wire.codec import decode
from headrace.wire.routes import RoutesAnswer, RoutesRequest, TableAnswer, TableRequest

OURS, BIRD, FRR, BAD = "10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4"
OURS6, BIRD6 = "fd09::1", "fd09::2"
LOCAL_AS, BIRD_AS, FRR_AS, BAD_AS = 64512, 64500, 64501, 64502
_CLONE_NEWNET = 0x40000000
_FRR = "/usr/lib/frr/bgpd"


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """A network of its own for this thread and all that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        assert libc.unshare(_CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        addresses = [f"addr add {each}/32 dev lo" for each in (OURS, BIRD, FRR, BAD)]
        addresses += [f"addr add {each}/128 dev lo nodad" for each in (OURS6, BIRD6)]
        lines = "\n".join(["link set lo up", *addresses])
        subprocess.run(["ip", "-batch", "-"], input=lines.encode(), check=True, timeout=10)
        yield
    finally:
        assert libc.setns(before, _CLONE_NEWNET) == 0
        os.close(before)


def bird_route(prefix: str, *, path: Iterable[int] = (), med: int | None = None, communities: str = "") -> str:
    """A static route with what BIRD shall say of it; `path` is behind BIRD's own AS."""
    said = [f"bgp_path.prepend({number});" for number in reversed(list(path))]
    said += [] if med is None else [f"bgp_med = {med};"]
    said += [communities] if communities else []
    return f"route {prefix} unreachable {{ {' '.join(said)} }};" if said else f"route {prefix} unreachable;"


class Bird:
    """One BIRD with a session for each family."""

    def __init__(self, folder: Path) -> None:
        """Its files go there."""
        self._folder = folder
        self.v4: list[str] = []
        self.v6: list[str] = []
        self.options = ""
        self.port = 179
        self.is_passive = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Bird"]:
        """BIRD for the block."""
        self._write()
        command = ["bird", "-f", "-c", str(self._folder / "bird.conf"), "-s", str(self._folder / "bird.ctl")]
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            yield self
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait_for(process.wait(), 10)

    async def change(self, *, v4: list[str] | None = None, v6: list[str] | None = None) -> None:
        """Announce these instead."""
        self.v4 = self.v4 if v4 is None else v4
        self.v6 = self.v6 if v6 is None else v6
        self._write()
        assert "Reconfigur" in await self.tell("configure")

    async def tell(self, *command: str) -> str:
        """One command of birdc."""
        process = await asyncio.create_subprocess_exec(
            *("birdc", "-s", str(self._folder / "bird.ctl"), *command), stdout=asyncio.subprocess.PIPE
        )
        return (await asyncio.wait_for(process.communicate(), 10))[0].decode()

    def _write(self) -> None:
        passive = "passive on;" if self.is_passive else ""
        text = [
            f'log "{self._folder}/bird.log" all;',
            f"router id {BIRD};",
            "protocol device {}",
        ]
        for number, peer, own, routes in (("4", OURS, BIRD, self.v4), ("6", OURS6, BIRD6, self.v6)):
            name = f"ipv{number}"
            # What BIRD says of a route leaves by a filter: a MED set before would be taken off to other networks.
            text += [f"protocol static s{number} {{ {name}; {' '.join(_plain(each) for each in routes)} }}"]
            text += [
                f"filter out{number} {{ if source != RTS_STATIC then reject; "
                f"{' '.join(_said(each) for each in routes)} accept; }}"
            ]
            text += [
                f"protocol bgp b{number} {{ local {own} port {self.port} as {BIRD_AS}; neighbor {peer} port 179 "
                f"as {LOCAL_AS}; multihop; strict bind on; connect retry time 1; connect delay time 1; "
                f"error wait time 1,2; {passive} {self.options} "
                f"{name} {{ import all; export filter out{number}; next hop self; }}; }}"
            ]
        (self._folder / "bird.conf").write_text("\n".join(text))


def _plain(route: str) -> str:
    return route.partition(" unreachable")[0] + " unreachable;"


def _said(route: str) -> str:
    """The part of a route that is said at the session's filter."""
    head, _, said = route.partition(" unreachable")
    if "{" not in said:
        return ""
    return f"if net = {head.removeprefix('route ')} then {said.strip().rstrip(';')}"


class Frr:
    """One bgpd of FRR, without the rest of it. It connects to us."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def running(self, *prefixes: str) -> AsyncIterator["Frr"]:
        """bgpd for the block, which announces `prefixes`."""
        conf = self._folder / "bgpd.conf"
        conf.write_text(
            f"router bgp {FRR_AS}\n bgp router-id {FRR}\n no bgp ebgp-requires-policy\n no bgp network import-check\n"
            f" neighbor {OURS} remote-as {LOCAL_AS}\n neighbor {OURS} update-source {FRR}\n"
            f" neighbor {OURS} ebgp-multihop 4\n neighbor {OURS} timers 3 9\n neighbor {OURS} timers connect 1\n"
            + "".join(f" network {prefix}\n" for prefix in prefixes)
        )
        command = [_FRR, "-f", str(conf), "-S", "-Z", "-n", "-l", FRR, "-P", "0", "-i", str(self._folder / "bgpd.pid")]
        command += ["--vty_socket", str(self._folder), "--log", f"file:{self._folder}/bgpd.log"]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            yield self
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait_for(process.wait(), 10)

    async def tell(self, *lines: str) -> None:
        """Configure."""
        words = [word for line in ("configure terminal", f"router bgp {FRR_AS}", *lines) for word in ("-c", line)]
        process = await asyncio.create_subprocess_exec(
            *("vtysh", "--vty_socket", str(self._folder), *words),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert await asyncio.wait_for(process.wait(), 10) == 0


class Link:
    """The calls of an agent's control link, without its credential."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client

    async def routes(self, request: RoutesRequest) -> RoutesAnswer:
        return await self._client.call("POST", "/v1/agent/routes", body=request, answer=RoutesAnswer)

    async def route_table(self, request: TableRequest) -> TableAnswer:
        return await self._client.call("POST", "/v1/agent/routes/table", body=request, answer=TableAnswer)

    async def route_chunks(self, body: bytes) -> None:
        raw = await self._client.raw("POST", "/v1/agent/routes/chunks", content=body)
        assert decode(type(None), raw.body or b"null") is None


class Appliance:
    """Speaker and reports of one appliance, and the control plane that they report to."""

    def __init__(self, folder: Path, *peers: BgpPeer) -> None:
        self.folder = folder / "bgp"
        self.settings = BgpSettings(
            local_as=LOCAL_AS,
            router_id=OURS,
            hold_time_s=9,
            announce=(),
            warn_ratio=0.8,
            over_limit_retry_s=900.0,
            learn_most_s=60.0,
            keep_s=30.0,
            peers=peers,
        )
        self.control = FakeRouteControl()
        self.patience = Patience()
        self.speaker: BgpSpeaker
        self.reports: RouteReports

    def configure(self, **changes: Any) -> None:
        """For the next agent."""
        self.settings = replace(self.settings, **changes)

    @asynccontextmanager
    async def agent(self, *, is_killed: bool = False, url: str = "", token: str = "") -> AsyncIterator[None]:
        """An agent's part; its speaker outlives it when it is killed. Reports go to `url`, else to `control`."""
        clock, rng = SystemClock(), make_rng(1)
        self.speaker = BgpSpeaker(self.folder, self.settings, clock=clock, rng=rng, patience=self.patience)
        async with AsyncExitStack() as stack:
            url = url or await stack.enter_async_context(serving(self.control.handle))
            client = await stack.enter_async_context(open_client((url,), token or "none", timeout_s=5.0))
            self.reports = RouteReports(
                ApplianceId("a1"), self.speaker, Link(client), retry_most_s=0.5, clock=clock, rng=rng
            )
            try:
                async with Tasks() as tasks:
                    tasks.spawn("speaker", self.speaker.run())
                    tasks.spawn("reports", self.reports.run(os.urandom(8).hex()))
                    yield
            finally:
                if not is_killed:
                    await self.speaker.stop()

    async def until(self, condition: Callable[[], bool], what: str, limit_s: float = 20.0) -> None:
        """Wait for the control plane to see something."""
        try:
            async with asyncio.timeout(limit_s):
                while not condition():
                    await SystemClock().sleep(0.05)
        except TimeoutError:
            seen = [table.session for table in self.control.requests[-1].sessions] if self.control.requests else []
            log = self.folder / "speaker.log"
            text = log.read_text()[-2000:] if log.exists() else ""
            raise AssertionError(f"not in {limit_s:g} s: {what}; seen {seen}\n{text}") from None

    def state(self, peer: str) -> SessionState | None:
        """What the control plane was told last."""
        session = self.control.session(peer)
        return session.state if session else None


def peer(address: str, number: int = BIRD_AS, **more: Any) -> BgpPeer:
    """The settings of a session with one of the routers."""
    local = OURS6 if ":" in address else OURS
    return BgpPeer(address=address, peer_as=number, local_address=local, **more)


def open_message(number: int, hold_s: int = 90) -> bytes:
    """An OPEN of a peer with four-octet AS numbers, of IPv4 unicast (RFC 4271, 4.2; RFC 6793; RFC 4760)."""
    capabilities = b"\x01\x04\x00\x01\x00\x01" + b"\x41\x04" + struct.pack(">I", number)
    options = b"\x02" + bytes([len(capabilities)]) + capabilities
    body = struct.pack(">BHH4sB", 4, number & 0xFFFF, hold_s, bytes([10, 9, 0, 4]), len(options)) + options
    return message(1, body)


def message(kind: int, body: bytes = b"") -> bytes:
    """Any message with a good header."""
    return b"\xff" * 16 + struct.pack(">HB", 19 + len(body), kind) + body
