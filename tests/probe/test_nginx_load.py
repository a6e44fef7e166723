"""Counters and rates of a real nginx: every request is counted once, over rotations, reloads and deaths."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.appliance.adapters.log_rotation import LogLimits, LogRotation
from headrace.appliance.adapters.metrics_http import MetricsServer
from headrace.appliance.adapters.server_usage import ServerUsage
from headrace.appliance.adapters.sockets import count_connections, find_listeners, find_owner
from headrace.appliance.log_reader import LoadMeter
from headrace.appliance.metrics import exposition
from headrace.appliance.ports import AgentStatus
from headrace.appliance.testing import body_of
from headrace.appliance.testing_nginx import NginxRig, free_port
from headrace.base.clock import SystemClock
from headrace.base.ids import ApplianceId
from headrace.base.rng import make_rng
from headrace.base.tasks import Tasks
from headrace.fleet.model import ApplianceReport

BODY = body_of(11, 200_000)
LIMITS = LogLimits(rotate_bytes=20_000)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[NginxRig]:
    async with NginxRig(tmp_path) as rig:
        yield rig


def make_meter(rig: NginxRig, limits: LogLimits = LIMITS) -> LoadMeter:
    rotation = LogRotation(Path(rig.settings.run_folder), rig.supervisor.reopen_logs, limits)
    usage = ServerUsage(rig.supervisor.processes, rig.settings.listen)
    return LoadMeter(
        Path(rig.settings.access_log), usage=usage, rotation=rotation, clock=SystemClock(), rng=make_rng(1)
    )


def log_sizes(run: Path) -> list[int]:
    return [file.stat().st_size for file in run.iterdir() if file.name.startswith("access")]


async def test_every_request_is_counted_once_over_rotations_and_reloads(rig: NginxRig) -> None:
    path = rig.put(BODY)
    meter = make_meter(rig)
    asked = 0
    async with Tasks() as tasks, httpx.AsyncClient(base_url=rig.url, timeout=5) as client:
        tasks.spawn("meter", meter.run())
        await asyncio.sleep(0.1)
        for part in range(6):
            for _ in range(150):
                answer = await client.get(path, headers={"Range": "bytes=0-99", "CMCD-Session": f'sid="s{part}"'})
                asked += answer.status_code == 206
            if part in (2, 4):
                await rig.supervisor.point(origin_url="", redirect_url=f"http://steer.test/{part}")
            await asyncio.sleep(0.6)
        await rig.until(lambda: meter.traffic.requests >= asked)
        await asyncio.sleep(1.2)
    assert asked == 900
    assert meter.traffic.requests == asked
    assert meter.traffic.flawed_lines == 0
    assert meter.load().sessions == 6
    sizes = log_sizes(Path(rig.settings.run_folder))
    assert len(sizes) > 2


async def test_rates_connections_and_processor(rig: NginxRig) -> None:
    path = rig.put(BODY)
    meter = make_meter(rig)
    async with Tasks() as tasks, httpx.AsyncClient(base_url=rig.url, timeout=5) as client:
        tasks.spawn("meter", meter.run())
        end_s = time.monotonic() + 2.5
        sent = 0
        while time.monotonic() < end_s:
            sent += len((await client.get(path)).content)
        held = [await asyncio.open_connection(rig.host, rig.port) for _ in range(5)]
        await asyncio.sleep(1.2)
        load = meter.load()
        for _, writer in held:
            writer.close()
    assert load.connections == 6
    assert load.sessions == 1
    assert 0.3 * sent / 2.5 < load.tx_bps / 8 < 2.0 * sent / 2.5
    assert 0.3 * sent / len(BODY) / 2.5 < load.requests_per_s < 2.0 * sent / len(BODY) / 2.5
    assert 0.0 < load.cpu_ratio <= 1.0


async def test_long_transfer_counts_while_it_goes_on(rig: NginxRig) -> None:
    path = rig.put(os.urandom(64 << 20))
    meter = make_meter(rig)
    async with Tasks() as tasks:
        tasks.spawn("meter", meter.run())
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection(rig.host, rig.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        end_s = time.monotonic() + 2.5
        while time.monotonic() < end_s:
            await reader.read(1 << 17)
            await asyncio.sleep(0.05)
        assert meter.traffic.requests == 0, "nothing is logged yet"
        assert meter.load().tx_bps > 1_000_000
        writer.close()


async def test_probes_and_fills_are_nobodys_session(rig: NginxRig) -> None:
    path = rig.put(BODY)
    meter = make_meter(rig)
    async with httpx.AsyncClient(base_url=rig.url) as client:
        await meter.turn()
        for agent in ("headrace-probe/1", "headrace-fill (a2)"):
            await client.get(path, headers={"User-Agent": agent})
        await asyncio.sleep(1.2)
        await meter.turn()
    assert meter.traffic.requests == 2
    assert meter.load().sessions == 0


async def test_rotation_by_a_successor_of_a_killed_agent(rig: NginxRig) -> None:
    """Killed between renaming and telling nginx: nginx writes into the renamed file until somebody tells it."""
    path, log = rig.put(BODY), Path(rig.settings.access_log)
    async with httpx.AsyncClient(base_url=rig.url) as client:
        await client.get(path)
        await rig.until(lambda: log.stat().st_size > 0)
        os.rename(log, log.with_name("access-1800000000000.log"))
        meter = make_meter(rig, LogLimits())
        await meter.turn()
        await rig.until(log.exists)
        await asyncio.sleep(0.5)
        await client.get(path)
        await rig.until(lambda: log.stat().st_size > 0)
        await meter.turn()
    assert meter.traffic.requests == 1


async def test_metrics_over_http(rig: NginxRig) -> None:
    path = rig.put(BODY)
    meter = make_meter(rig)
    status = AgentStatus(appliance_id=ApplianceId("a1"), report=ApplianceReport(nginx=rig.supervisor.report()))
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    server = MetricsServer(address, lambda: exposition(status, meter.traffic), clock=SystemClock())
    async with Tasks() as tasks, httpx.AsyncClient(base_url=f"http://{address}") as client:
        await meter.turn()
        async with httpx.AsyncClient(base_url=rig.url) as viewer:
            await viewer.get(path)
            await viewer.get(f"/f/ab/{'ab' * 32}.mp4")
        await asyncio.sleep(1.2)
        await meter.turn()
        tasks.spawn("metrics", server.run())
        await rig.until(lambda: find_listeners(*server.address))
        answer = await client.get("/metrics")
        assert (await client.get("/healthz")).text == "ok\n"
        assert (await client.get("/other")).status_code == 404
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    counts = {
        (sample.labels["status"], sample.labels["outcome"]): sample.value
        for sample in families["headrace_appliance_requests"].samples
    }
    assert counts == {("200", "hit"): 1.0, ("302", "miss"): 1.0}
    assert families["headrace_appliance_nginx_up"].samples[0].value == 1.0


async def test_taken_metrics_port_is_no_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        async with Tasks() as tasks:
            work = tasks.spawn("metrics", MetricsServer(address, lambda: b"", clock=SystemClock()).run())
            await asyncio.sleep(0.2)
            assert not work.done()


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_sockets_are_found(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        any_host = "::" if family == socket.AF_INET6 else "0.0.0.0"
        assert count_connections([(host, port)]) == 0
        with socket.create_connection((host, port)), socket.create_connection((host, port)):
            assert count_connections([(host, port)]) == 2
            assert count_connections([(any_host, port)]) == 2
        (listener,) = find_listeners(any_host, port)
        assert (listener.address, listener.port) == (host, port)
        assert find_owner(listener.inode) == (os.getpid(), Path("/proc/self/comm").read_text().strip())
        other = "::2" if family == socket.AF_INET6 else "127.0.0.2"
        assert find_listeners(other, port) == ()
