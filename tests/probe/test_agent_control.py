"""The real agent and the real control plane: enrol, plan, fill, turn up, outage, withdrawal."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from headrace.appliance.testing import body_of, file_of
from headrace.appliance.testing_peers import FakeSource, serving
from headrace.base.ids import RenditionId, SiteId, TitleId
from headrace.catalog.model import CatalogFile, FileSuffix, PublishedFile, Rendition, Title, TrackKind, content_path
from headrace.control.secret_text import SecretKind, new_secret
from headrace.fleet.model import HealthState, Site
from headrace.wire.client import ControlClient, open_client
from headrace.wire.codec import encode
from headrace.wire.errors import NotFoundError, UnreachableError
from headrace.wire.operator import ApplianceView, JoinToken, JoinTokenRequest, TitleRegistration, TitleView

COMMAND = [sys.executable, "-c", "from headrace.cli.main import main; main()"]
BODIES = {1: body_of(1, 400_000), 2: body_of(2, 700)}
FILES = {1: file_of(1, BODIES[1]), 2: file_of(2, BODIES[2], suffix=FileSuffix.M3U8)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def a_title() -> Title:
    rendition = RenditionId("v240")
    return Title(
        title_id=TitleId("film"),
        name="A film",
        duration_s=4.0,
        renditions=(
            Rendition(
                rendition_id=rendition,
                kind=TrackKind.VIDEO,
                group="video",
                file=FILES[1].sha256,
                playlist=FILES[2].sha256,
                codecs="avc1.64001f",
                bandwidth_bps=800_000,
                average_bandwidth_bps=800_000,
            ),
        ),
        files=tuple(
            PublishedFile(sha256=one.sha256, size_bytes=one.size_bytes, suffix=one.suffix, rendition_id=rendition)
            for one in FILES.values()
        ),
    )


@asynccontextmanager
async def running(log: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(*COMMAND, *words, stdout=errors, stderr=errors)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            await process.wait()


async def until(ask: Callable[[], Awaitable[bool]], what: str, limit_s: float = 30.0) -> None:
    try:
        async with asyncio.timeout(limit_s):
            while not await ask():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(what) from None


class Network:
    """One control node and one appliance."""

    def __init__(self, folder: Path, origin_url: str) -> None:
        self.folder, self.log = folder, folder / "log"
        self.control_url = f"http://127.0.0.1:{free_port()}"
        self.content = f"127.0.0.1:{free_port()}"
        self.admin = new_secret(SecretKind.OPERATOR).text
        (folder / "admin").write_text(self.admin)
        (folder / "control.toml").write_text(
            f'[listen]\nport = {self.control_url.rpartition(":")[2]}\n[store]\nurl = "sqlite:///{folder}/db"\n'
            f'[urls]\norigin = "{origin_url}"\n[auth]\nadmin_token_file = "{folder}/admin"\n'
            f"[fleet]\nreport_interval_s = 0.3\n"
        )
        (folder / "agent.toml").write_text(
            f'[appliance]\nid = "a1"\ncontent_url = "http://{self.content}"\nstate = "{folder}/state"\n'
            f'[control]\nurls = ["{self.control_url}"]\njoin_token_file = "{folder}/join"\nretry_most_s = 0.5\n'
            f'[store]\nfolders = ["{folder}/d0"]\nreserve_bytes = 0\n[metrics]\nlisten = ""\n'
            f'[fill]\ndelete_grace_s = 0.0\n[nginx]\nlisten = ["{self.content}"]\nworkers = 1\nstop_timeout_s = 1.0\n'
        )

    async def prepare(self, client: ControlClient) -> None:
        site = Site(site_id=SiteId("s1"), prefixes=("127.0.0.0/8",))
        await client.raw("PUT", "/v1/sites/s1", content=encode(site))
        request = JoinTokenRequest(site_id=SiteId("s1"))
        token = await client.call("POST", "/v1/join-tokens", body=request, answer=JoinToken)
        (self.folder / "join").write_text(token.token)
        registration = TitleRegistration(title=a_title(), expected_version=0)
        await client.call("PUT", "/v1/titles/film", body=registration, answer=TitleView)

    async def is_up(self, client: ControlClient) -> bool:
        try:
            await client.raw("GET", "/healthz")
        except UnreachableError:
            return False
        return True

    async def view(self, client: ControlClient) -> ApplianceView:
        return await client.call("GET", "/v1/appliances/a1", answer=ApplianceView)

    async def get(self, file: CatalogFile) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as http:
            return await http.get(f"http://{self.content}{content_path(file.sha256, file.suffix)}")


async def test_an_appliance_lives_through_the_life_of_a_title(tmp_path: Path) -> None:
    origin = FakeSource()
    for number, file in FILES.items():
        origin.put(file, BODIES[number])
    async with serving(origin.handle) as origin_url:
        network = Network(tmp_path, origin_url)
        control = ("control", "--config", str(tmp_path / "control.toml"))
        agent = ("agent", "--config", str(tmp_path / "agent.toml"))
        async with (
            open_client((network.control_url,), network.admin) as client,
            running(network.log, *control) as node,
        ):
            await until(lambda: network.is_up(client), "control is up")
            await network.prepare(client)
            async with running(network.log, *agent):
                await until(lambda: _is_healthy(network, client), "healthy with all files")
                assert (await network.get(FILES[1])).content == BODIES[1]
                node.kill()
                await node.wait()
                await asyncio.sleep(0.5)
                assert (await network.get(FILES[2])).content == BODIES[2]
                async with running(network.log, *control):
                    await until(lambda: network.is_up(client), "control is back")
                    await client.raw("DELETE", "/v1/titles/film")
                    await until(lambda: _is_gone(network), "withdrawn")
                    view = await network.view(client)
                    assert view.report.fill.pending_files == 0


async def _is_healthy(network: Network, client: ControlClient) -> bool:
    try:
        view = await network.view(client)
    except NotFoundError:
        return False
    return view.health.state is HealthState.HEALTHY and view.holdings_count == len(FILES)


async def _is_gone(network: Network) -> bool:
    answers = [await network.get(file) for file in FILES.values()]
    return all(answer.status_code in (302, 404) for answer in answers)
