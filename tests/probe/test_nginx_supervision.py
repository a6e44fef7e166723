"""A real nginx is killed, frozen, orphaned and misconfigured; it serves again, and says what happened."""

import asyncio
import ctypes
import dataclasses
import hashlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from headrace.appliance.testing import body_of
from headrace.appliance.testing_nginx import QUICK, NginxRig
from headrace.base.tasks import Tasks

BODY = body_of(15, 4 << 20)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[NginxRig]:
    async with NginxRig(tmp_path) as rig:
        rig.put(BODY)
        yield rig


def path() -> str:
    name = hashlib.sha256(BODY).hexdigest()
    return f"/f/{name[:2]}/{name}.mp4"


WAIT_FOR_ANY = 0x40000000
"""__WALL of waitpid(2): also children that only a debugger has."""


def halt(pid: int) -> None:
    """Stop a process as a debugger does: no signal wakes it, only SIGKILL ends it (PTRACE_SEIZE, PTRACE_INTERRUPT)."""
    libc = ctypes.CDLL(None, use_errno=True)
    for request in (0x4206, 0x4207):
        assert libc.ptrace(request, pid, None, None) == 0, os.strerror(ctypes.get_errno())


def reap(pids: set[int]) -> None:
    """Let go of killed processes that we halted."""
    for pid in pids:
        os.waitpid(pid, WAIT_FOR_ANY)


def leave_traces(run: Path) -> None:
    """What a machine that lost power has on disk, with the pid in use by somebody else."""
    run.mkdir(exist_ok=True)
    (run / "nginx.pid").write_text(f"{os.getpid()}\n")
    (run / "own.sock").touch()
    (run / "loaded").write_text(f"{os.getpid()} 1 0123456789abcdef\n")


async def answers(rig: NginxRig) -> bool:
    """Whether a new connection gets its bytes."""
    try:
        reader, writer = await asyncio.open_connection(rig.host, rig.port)
        writer.write(f"GET {path()} HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\nConnection: close\r\n\r\n".encode())
        text = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return text.endswith(b"\r\n\r\n" + BODY[:10])
    except OSError:
        return False


async def download_slowly(rig: NginxRig, started: asyncio.Event, release: asyncio.Event) -> bytes:
    """Take a little, wait, take the rest: longer than whatever happens meanwhile."""
    reader, writer = await asyncio.open_connection(rig.host, rig.port, limit=1 << 16)
    writer.write(f"GET {path()} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    body = (await reader.readuntil(b"\r\n\r\n"))[:0] + await reader.read(1000)
    started.set()
    await release.wait()
    body += await reader.read()
    writer.close()
    return body


async def ask_without_end(rig: NginxRig, counts: dict[str, int], *, keepalive: bool) -> None:
    """Short requests; each that does not give its bytes is counted."""
    limits = httpx.Limits(max_keepalive_connections=1 if keepalive else 0)
    async with httpx.AsyncClient(base_url=rig.url, limits=limits, timeout=5) as client:
        while True:
            try:
                answer = await client.get(path(), headers={"Range": "bytes=0-999"})
                is_good = answer.content == BODY[:1000]
            except httpx.HTTPError:
                is_good = False
            counts["good" if is_good else "bad"] += 1


async def test_reload_drops_nothing(rig: NginxRig) -> None:
    counts = {"good": 0, "bad": 0}
    release = asyncio.Event()
    async with Tasks() as tasks:
        for number in range(4):
            tasks.spawn(f"ask-{number}", ask_without_end(rig, counts, keepalive=number % 2 == 0))
        downloads = []
        for number in range(8):
            started = asyncio.Event()
            downloads.append(tasks.spawn(f"slow-{number}", download_slowly(rig, started, release)))
            await started.wait()
            await rig.supervisor.point(origin_url="", redirect_url=f"http://steer.test/{number}")
            assert rig.supervisor.report().error == ""
            await asyncio.sleep(0.1)
        release.set()
        for download in downloads:
            assert await asyncio.wait_for(download, 20) == BODY
    assert counts["bad"] == 0
    assert counts["good"] > 50
    assert rig.supervisor.report().restarts == 0


async def test_refused_configuration_changes_nothing(rig: NginxRig) -> None:
    before = rig.supervisor.report()
    pid = rig.master()
    await rig.supervisor.apply(dataclasses.replace(rig.settings, worker_user="nobody-there"))
    assert "nobody-there" in rig.supervisor.report().error
    assert rig.supervisor.report().config_digest == before.config_digest
    assert rig.master() == pid
    assert await answers(rig)
    await rig.supervisor.apply(rig.settings)
    assert rig.supervisor.report() == before


@pytest.mark.parametrize("redirect_url", ['http://x/"; }', "http://x/$uri", "ftp://x", "http://x/\n", "http://"])
async def test_urls_cannot_write_configuration(rig: NginxRig, redirect_url: str) -> None:
    await rig.supervisor.point(origin_url="", redirect_url=redirect_url)
    assert rig.supervisor.report().error
    assert await answers(rig)


async def test_new_address_taken_by_another_is_refused_and_retried(rig: NginxRig) -> None:
    with socket.create_server((rig.host, 0)) as other:
        address = f"{rig.host}:{other.getsockname()[1]}"
        await rig.supervisor.apply(dataclasses.replace(rig.settings, listen=(*rig.settings.listen, address)))
        assert address in rig.supervisor.report().error
        assert await answers(rig)
    await rig.until(lambda: rig.supervisor.report().error == "")
    rig.port = int(address.rpartition(":")[2])
    assert await answers(rig)


@pytest.mark.parametrize("sharing", [False, True])
async def test_address_in_use_at_the_start_names_who_has_it(tmp_path: Path, sharing: bool) -> None:
    rig = NginxRig(tmp_path)
    other = socket.socket()
    if sharing:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    other.bind((rig.host, rig.port))
    other.listen()
    async with rig:
        report = rig.supervisor.report()
        assert not report.is_running
        assert f"(pid {os.getpid()})" in report.error
        other.close()
        await rig.until(lambda: rig.supervisor.report().is_running)
        assert rig.supervisor.report().error == ""


async def test_missing_program_is_said(tmp_path: Path) -> None:
    rig = NginxRig(tmp_path)
    supervisor = rig.make_supervisor(binary="/nowhere/nginx")
    await supervisor.apply(rig.settings)
    assert "/nowhere/nginx" in supervisor.report().error
    assert not supervisor.report().is_running


async def test_killed_master_is_replaced_and_running_transfers_go_on(rig: NginxRig) -> None:
    started, release = asyncio.Event(), asyncio.Event()
    async with Tasks() as tasks:
        download = tasks.spawn("slow", download_slowly(rig, started, release))
        await started.wait()
        old = rig.pids()
        os.kill(rig.master(), signal.SIGKILL)
        await rig.until(lambda: rig.supervisor.report().restarts == 1 and rig.supervisor.report().is_running)
        assert await answers(rig)
        release.set()
        assert await asyncio.wait_for(download, 20) == BODY
    await rig.until(lambda: not old & rig.pids())
    assert rig.supervisor.report().error == ""


async def test_everything_killed_is_started_again(rig: NginxRig) -> None:
    for restarts in (1, 2):
        rig.kill()
        await rig.until(lambda wanted=restarts: rig.supervisor.report().restarts == wanted)
        await rig.until(lambda: rig.supervisor.report().is_running)
        assert await answers(rig)


async def test_killed_worker_is_replaced_by_the_master(rig: NginxRig) -> None:
    master = rig.master()
    workers = rig.pids() - {master}
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    await rig.until(lambda: len(rig.pids() - workers) >= 3)
    assert await answers(rig)
    assert rig.master() == master


async def test_orphaned_workers_that_are_frozen_give_up_the_address(rig: NginxRig) -> None:
    master = rig.master()
    workers = rig.pids() - {master}
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    os.kill(master, signal.SIGKILL)
    await rig.until(lambda: rig.supervisor.report().is_running and rig.pids() and not workers & rig.pids())
    for _ in range(8):
        assert await answers(rig)


async def test_frozen_server_is_woken(rig: NginxRig) -> None:
    pids = rig.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    assert await answers(rig)
    assert rig.pids() == pids


@pytest.mark.root
async def test_hung_server_is_killed_and_replaced(rig: NginxRig) -> None:
    old = rig.pids()
    for pid in old:
        halt(pid)
    await rig.until(lambda: rig.supervisor.report().restarts == 1 and rig.supervisor.report().is_running)
    reap(old)
    assert await answers(rig)


async def test_server_with_more_clients_than_it_takes_is_left_in_peace(rig: NginxRig) -> None:
    few = dataclasses.replace(rig.settings, workers=1, worker_connections=16)
    await rig.supervisor.apply(few)
    master = rig.master()
    idle = [await asyncio.open_connection(rig.host, rig.port) for _ in range(40)]
    busy, release = asyncio.Event(), asyncio.Event()
    release.set()
    await asyncio.sleep(QUICK.hung_after_s + 1.0)
    assert rig.master() == master
    for _, writer in idle:
        writer.close()
    assert await asyncio.wait_for(download_slowly(rig, busy, release), 10) == BODY


async def test_successor_takes_over_and_sees_to_what_changed(rig: NginxRig) -> None:
    await rig.until(lambda: len(rig.pids()) == 1 + rig.settings.workers)  # a start is over with its first worker
    pids = rig.pids()
    successor = rig.make_supervisor()
    await successor.apply(rig.settings)
    assert rig.pids() == pids
    assert successor.report().is_running
    assert successor.report().restarts == 0
    await successor.point(origin_url="", redirect_url="http://elsewhere.test")
    assert rig.master() in pids
    await rig.until(lambda: rig.pids() & pids == {rig.master()})  # an old worker may still take a connection
    async with httpx.AsyncClient(base_url=rig.url) as client:
        missing = await client.get(f"/f/ab/{'ab' * 32}.mp4")
    assert missing.headers["location"].startswith("http://elsewhere.test/")


async def test_stale_pid_file_is_not_believed(tmp_path: Path) -> None:
    rig = NginxRig(tmp_path)
    rig.put(BODY)
    leave_traces(Path(rig.settings.run_folder))
    async with rig:
        assert await answers(rig)


async def test_address_that_a_dying_process_still_holds_is_waited_for(tmp_path: Path) -> None:
    rig = NginxRig(tmp_path)
    rig.put(BODY)
    with socket.socket() as held:
        held.bind((rig.host, rig.port))
        held.listen()
        asyncio.get_running_loop().call_later(0.5, held.close)
        async with rig:
            assert rig.supervisor.report().error == ""
            assert await answers(rig)


async def test_address_of_somebody_else_is_refused_with_its_owner(tmp_path: Path) -> None:
    rig = NginxRig(tmp_path)
    with socket.socket() as held:
        held.bind((rig.host, rig.port))
        held.listen()
        async with rig:
            assert f"{rig.host}:{rig.port} is in use by" in rig.supervisor.report().error
            assert f"(pid {os.getpid()})" in rig.supervisor.report().error
            assert not rig.pids()


async def test_crash_between_swap_and_reload_is_seen_by_the_successor(rig: NginxRig) -> None:
    conf = Path(rig.settings.run_folder) / "nginx.conf"
    conf.write_text(conf.read_text() + "# newer than what runs\n")
    (conf.parent / "loaded").unlink()
    successor = rig.make_supervisor()
    await successor.apply(rig.settings)
    assert successor.report().error == ""
    assert "# newer" not in conf.read_text()


async def test_last_good_configuration_serves_when_the_wanted_one_cannot_start(tmp_path: Path) -> None:
    rig = NginxRig(tmp_path)
    rig.put(BODY)
    await rig.supervisor.apply(rig.settings)
    rig.kill()
    successor = rig.make_supervisor()
    await successor.apply(dataclasses.replace(rig.settings, worker_user="nobody-there"))
    assert successor.report().is_running
    assert "nobody-there" in successor.report().error
    assert await answers(rig)
    rig.kill()


async def test_stop_lets_transfers_finish_and_then_nothing_is_left(rig: NginxRig) -> None:
    started, release = asyncio.Event(), asyncio.Event()
    async with Tasks() as tasks:
        download = tasks.spawn("slow", download_slowly(rig, started, release))
        await started.wait()
        stopping = tasks.spawn("stop", rig.supervisor.stop())
        await asyncio.sleep(0.3)
        assert not await answers(rig)
        release.set()
        assert await asyncio.wait_for(download, 10) == BODY
        await asyncio.wait_for(stopping, 10)
    assert rig.pids() == set()
    assert not rig.supervisor.report().is_running
