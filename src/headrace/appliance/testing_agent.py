"""One real agent in this process, with a control plane and two sources on sockets that misbehave on demand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from headrace.appliance.agent import Agent
from headrace.appliance.assembly import open_agent, open_ledger
from headrace.appliance.bgp.speaker import BgpSpeaker
from headrace.appliance.config import read_config
from headrace.appliance.testing import body_of, file_of
from headrace.appliance.testing_peers import FakeControl, FakeSource, serving
from headrace.base.clock import Clock, SystemClock
from headrace.base.ids import Sha256
from headrace.base.rng import make_rng
from headrace.base.tasks import Tasks
from headrace.catalog.model import CatalogFile, content_path
from headrace.fleet.model import LoadReport, NginxReport

BODIES = [body_of(number, 200_000 + number) for number in range(6)]
FILES = [file_of(number + 1, body, title=f"film{number // 3}") for number, body in enumerate(BODIES)]


class StillWeb:
    """Stands in for nginx where only fills matter."""

    def __init__(self) -> None:
        self.redirect_url = ""
        self.played: set[Sha256] = set()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def point(self, *, origin_url: str, redirect_url: str) -> None:
        self.redirect_url = redirect_url

    async def stop(self) -> None:
        pass

    def report(self) -> NginxReport:
        return NginxReport(is_running=True)

    def load(self) -> LoadReport:
        return LoadReport()

    def missed(self) -> set[Sha256]:
        return set()

    def served(self) -> set[Sha256]:
        return self.played


class Bed:
    """One agent with its control plane and two sources."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.control, self.peer, self.origin = FakeControl(), FakeSource(), FakeSource()
        self.web = StillWeb()
        self.urls: list[str] = []
        """Of control plane, peer and origin."""
        self.clock: Clock = SystemClock()
        self.agent: Agent
        (folder / "join").write_text("join-1\n")
        for file, body in zip(FILES, BODIES, strict=True):
            self.peer.put(file, body)
            self.origin.put(file, body)

    def want(self, files: list[CatalogFile], *, rate_bps: int = 0) -> None:
        self.control.want(files, sources=self.urls[1:2], origin_url=self.urls[2], rate_bps=rate_bps)

    @asynccontextmanager
    async def running(self, *, fill: str = "", store: str = "") -> AsyncIterator[Agent]:
        text = f"""
            [appliance]
            id = "a1"
            content_url = "http://127.0.0.1:1"
            state = "{self.folder}/state"
            [control]
            urls = ["{self.urls[0]}"]
            join_token_file = "{self.folder}/join"
            retry_most_s = 0.3
            [nginx]
            listen = ["127.0.0.1:1"]
            [store]
            folders = ["{self.folder}/d0", "{self.folder}/d1"]
            reserve_bytes = 0
            check_interval_s = 0.1
            retry_interval_s = 0.2
            {store}
            [fill]
            range_bytes = 65536
            turn_interval_s = 0.05
            source_retry_s = 0.1
            source_retry_most_s = 0.4
            delete_grace_s = 0.2
            {fill}
        """
        config = read_config(text, source="test")
        config.state.mkdir(exist_ok=True)
        with open_ledger(config.state) as ledger:
            async with (
                open_agent(
                    config,
                    ledger=ledger,
                    web=self.web,
                    load=self.web,
                    heard=BgpSpeaker(config.state / "bgp", config.bgp, clock=self.clock, rng=make_rng(1)),
                    clock=self.clock,
                    rng=make_rng(1),
                ) as self.agent,
                Tasks() as tasks,
            ):
                tasks.spawn("agent", self.agent.run())
                yield self.agent

    async def until(self, condition: Callable[[], bool], what: str, limit_s: float = 8.0) -> None:
        try:
            async with asyncio.timeout(limit_s):
                while not condition():  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{what}: {self.agent.status()}") from None

    def served(self, file: CatalogFile) -> bytes | None:
        path = self.folder / "state" / "serve" / content_path(file.sha256, file.suffix)[1:]
        return path.read_bytes() if path.exists() else None

    def is_whole(self, files: list[CatalogFile]) -> bool:
        bodies = {file.sha256: body for file, body in zip(FILES, BODIES, strict=True)}
        return all(self.served(file) == bodies[file.sha256] for file in files)


@asynccontextmanager
async def open_bed(folder: Path) -> AsyncIterator[Bed]:
    """A bed whose control plane and sources listen; its agent runs when it is told to."""
    bed = Bed(folder)
    async with AsyncExitStack() as stack:
        for handler in (bed.control.handle, bed.peer.handle, bed.origin.handle):
            bed.urls.append(await stack.enter_async_context(serving(handler)))
        yield bed
