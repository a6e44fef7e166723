"""The real `headrace agent` with real nginx ships what it served, killed in between; what was asked is counted."""

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import httpx

from headrace.appliance.testing import body_of, file_of
from headrace.appliance.testing_peers import FakeControl, FakeSource, serving
from headrace.base.clock import SystemClock
from headrace.base.ids import ApplianceId, SiteId, TitleId
from headrace.catalog.model import PublishedFile, Title, content_path
from headrace.metering.adapters.duckdb_engine import DuckDbEngine
from headrace.metering.count import Meter
from headrace.metering.folder import hold_totals
from headrace.metering.model import MeterLimits
from headrace.metering.surroundings import keep_surroundings
from headrace.metering.totals import open_totals
from headrace.wire.batch_store import open_batch_store

BODIES = [body_of(number, 200_000) for number in range(2)]
FILES = [file_of(number + 1, body, title="film") for number, body in enumerate(BODIES)]
COMMAND = [sys.executable, "-c", "from headrace.cli.main import main; main()", "agent"]
PATIENCE_S = 60.0


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def configure(folder: Path, control_url: str) -> str:
    address = free_address()
    (folder / "join").write_text("join-1")
    (folder / "agent.toml").write_text(
        f'[appliance]\nid = "a1"\ncontent_url = "http://{address}"\nstate = "{folder}/state"\n'
        f'[control]\nurls = ["{control_url}"]\njoin_token_file = "{folder}/join"\nretry_most_s = 0.3\n'
        f'[metrics]\nlisten = ""\n[nginx]\nlisten = ["{address}"]\nworkers = 1\nstop_timeout_s = 1.0\n'
        f'[store]\nfolders = ["{folder}/disk"]\nreserve_bytes = 0\n'
        f'[ship]\nurl = "{folder}/batches"\nbatch_s = 0.5\nbatch_bytes = 2_000\n'
    )
    return f"http://{address}"


async def start(folder: Path) -> asyncio.subprocess.Process:
    with (folder / "agent.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(*COMMAND, "--config", str(folder / "agent.toml"), stderr=log)


async def play(http: httpx.AsyncClient, url: str, requests: int) -> int:
    """Ask for ranges as a player does; bytes that were given."""
    given = 0
    for number in range(requests):
        file = FILES[number % 2]
        headers = {"range": f"bytes={number * 100}-{number * 100 + 4_999}", "cmcd-session": 'sid="a-session"'}
        answer = await http.get(url + content_path(file.sha256, file.suffix), headers=headers)
        assert answer.status_code == 206
        given += len(answer.content)
    return given


def count(folder: Path) -> tuple[int, int]:
    """Requests that count so far, and bytes served."""
    published = tuple(
        PublishedFile(sha256=one.sha256, size_bytes=one.size_bytes, suffix=one.suffix, rendition_id=one.rendition_id)
        for one in FILES
    )
    title = Title(title_id=TitleId("film"), name="", duration_s=1.0, renditions=(), files=published)
    totals = folder / "totals"
    with hold_totals(totals) as held:
        known = keep_surroundings(totals, [title], {ApplianceId("a1"): SiteId("north")})
        engine = DuckDbEngine(totals / "scratch", memory_bytes=256 << 20, threads=1)
        clock = SystemClock()
        Meter(open_batch_store(str(folder / "batches")), held, engine, MeterLimits(), clock=clock).count(known)
        with open_totals(totals) as opened:
            found = opened.demand(engine, first_s=0, end_s=clock.now_s() + 3_600)
        engine.close()
    return int(found.requests.sum()), int(found.bytes_served.sum())


async def test_what_nginx_serves_becomes_demand_over_a_kill(tmp_path: Path) -> None:
    control, origin = FakeControl(), FakeSource()
    for file, body in zip(FILES, BODIES, strict=True):
        origin.put(file, body)
    async with (
        serving(control.handle) as control_url,
        serving(origin.handle) as origin_url,
        httpx.AsyncClient(timeout=10, trust_env=False) as http,
    ):
        control.want(FILES, sources=[], origin_url=origin_url)
        url = configure(tmp_path, control_url)
        agent = await start(tmp_path)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not await holds_all(http, url):
                    await asyncio.sleep(0.2)
            given = await play(http, url, 20)
            await asyncio.sleep(1.5)  # perhaps it ships just now
            agent.kill()
            await agent.wait()
            given += await play(http, url, 30)
            agent = await start(tmp_path)
            async with asyncio.timeout(PATIENCE_S):
                # The two asks of `holds_all` that were answered are HEAD requests: no demand.
                while (counted := await asyncio.to_thread(count, tmp_path))[0] < 50:
                    await asyncio.sleep(0.5)
            assert counted == (50, given)
        finally:
            with suppress(ProcessLookupError):
                agent.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_S):
                await agent.wait()
            pid_file = tmp_path / "state/nginx/nginx.pid"
            if pid_file.exists():
                # Only a test that failed leaves a server behind.
                with suppress(ProcessLookupError):
                    os.kill(int(pid_file.read_text()), signal.SIGTERM)


async def holds_all(http: httpx.AsyncClient, url: str) -> bool:
    try:
        answers = [await http.head(url + content_path(file.sha256, file.suffix)) for file in FILES]
    except httpx.HTTPError:
        return False
    return all(answer.status_code == 200 for answer in answers)
