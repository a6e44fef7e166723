"""The real `headrace agent` with real nginx, killed and stopped; the control plane and the origin live in the test."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from headrace.appliance.adapters.disk import Disk
from headrace.appliance.testing import body_of, file_of
from headrace.appliance.testing_peers import FakeControl, FakeSource, serving
from headrace.base.rng import make_rng
from headrace.catalog.model import CatalogFile, content_path
from headrace.fleet.model import FillState

BODIES = [body_of(number, 1_500_000 if number % 2 else 3_000) for number in range(8)]
FILES = [file_of(number + 1, body, title=f"film{number // 4}") for number, body in enumerate(BODIES)]
COMMAND = [sys.executable, "-c", "from headrace.cli.main import main; main()", "agent"]


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Bed:
    """An appliance as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state"
        self.control, self.origin = FakeControl(), FakeSource()
        self.disks = [folder / "d0", folder / "d1"]
        self.config = folder / "agent.toml"
        self.url = self.metrics = ""
        self.http = httpx.AsyncClient(timeout=5, trust_env=False)
        (folder / "join").write_text("join-1")
        for file, body in zip(FILES, BODIES, strict=True):
            self.origin.put(file, body)

    def configure(self, control_url: str) -> None:
        address, self.metrics = free_address(), free_address()
        self.url = f"http://{address}"
        folders = ", ".join(f'"{disk}"' for disk in self.disks)
        self.config.write_text(
            f'[appliance]\nid = "a1"\ncontent_url = "{self.url}"\nstate = "{self.state}"\n'
            f'[control]\nurls = ["{control_url}"]\njoin_token_file = "{self.folder}/join"\nretry_most_s = 0.3\n'
            f'[metrics]\nlisten = "{self.metrics}"\n'
            f'[nginx]\nlisten = ["{address}"]\nworkers = 1\nstop_timeout_s = 1.0\n'
            f"[fill]\nrange_bytes = 262144\nturn_interval_s = 0.05\nsource_retry_s = 0.1\nsource_retry_most_s = 0.3\n"
            f"[store]\nfolders = [{folders}]\nreserve_bytes = 0\ncheck_interval_s = 0.2\nretry_interval_s = 0.3\n"
        )

    @asynccontextmanager
    async def process(self, *, ends_with: signal.Signals = signal.SIGTERM) -> AsyncIterator[asyncio.subprocess.Process]:
        log = (self.folder / "agent.log").open("ab")
        process = await asyncio.create_subprocess_exec(*COMMAND, "--config", str(self.config), stderr=log)
        log.close()
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(ends_with)
            async with asyncio.timeout(10):
                await process.wait()

    async def get(self, file: CatalogFile) -> httpx.Response:
        return await self.http.get(self.url + content_path(file.sha256, file.suffix))

    async def until(self, condition: Callable[[], bool], what: str, limit_s: float = 15.0) -> None:
        try:
            async with asyncio.timeout(limit_s):
                while not condition():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            log = (self.folder / "agent.log").read_text()
            raise AssertionError(f"{what}\n{self.control.last}\n{log[-3000:]}") from None

    def half_visible(self) -> list[Path]:
        """Files that can be served although they are not what their name says."""
        bodies = {file.sha256: body for file, body in zip(FILES, BODIES, strict=True)}
        objects = [path for disk in self.disks for path in (disk / "objects").glob("??/*")]
        links = [path for path in (self.state / "serve" / "f").glob("??/*") if path.exists()]
        return [path for path in objects + links if path.read_bytes() != bodies[path.name.partition(".")[0]]]


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    bed = Bed(tmp_path)
    async with AsyncExitStack() as stack:
        control_url = await stack.enter_async_context(serving(bed.control.handle))
        origin_url = await stack.enter_async_context(serving(bed.origin.handle))
        await stack.enter_async_context(bed.http)
        bed.configure(control_url)
        bed.control.want(FILES, sources=[], origin_url=origin_url)
        yield bed
    pid_file = bed.state / "nginx" / "nginx.pid"
    if pid_file.exists():
        # Only a test that failed leaves a server behind.
        with suppress(ProcessLookupError):
            os.kill(int(pid_file.read_text()), signal.SIGTERM)


async def test_serves_what_it_filled_and_stops_cleanly(bed: Bed) -> None:
    async with bed.process() as process:
        await bed.until(bed.control.has_all, "filled")
        for file, body in zip(FILES, BODIES, strict=True):
            answer = await bed.get(file)
            assert answer.status_code == 200
            assert answer.content == body
        stranger = await bed.get(file_of(99, b"not held"))
        assert stranger.status_code == 302
        await bed.until(
            lambda: bed.control.last is not None and bed.control.last.report.load.requests_per_s > 0, "load"
        )
        metrics = (await bed.http.get(f"http://{bed.metrics}/metrics")).text
        assert f"headrace_appliance_holdings_files {len(FILES)}.0" in metrics
        second = await asyncio.create_subprocess_exec(
            *COMMAND, "--config", str(bed.config), stderr=asyncio.subprocess.PIPE
        )
        _, said = await second.communicate()
        assert second.returncode == 31
        assert b"another agent" in said
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    async with httpx.AsyncClient(timeout=5, trust_env=False) as newcomer:  # a kept connection ends in other words
        with pytest.raises(httpx.ConnectError):
            await newcomer.get(bed.url)
    assert "Traceback" not in (bed.folder / "agent.log").read_text()


@pytest.mark.parametrize("seed", range(2))
async def test_killed_at_random_points_of_a_fill_it_converges(bed: Bed, seed: int) -> None:
    rng = make_rng(seed)
    assert bed.control.desired
    bed.control.want(FILES, sources=[], origin_url=bed.control.desired.origin_url, rate_bps=30_000_000)
    for _ in range(3):
        async with bed.process(ends_with=signal.SIGKILL):
            asked = len(bed.origin.asked) + rng.randrange(1, 8)
            await bed.until(lambda at=asked: len(bed.origin.asked) >= at or bed.control.has_all(), "began")
            await asyncio.sleep(rng.uniform(0, 0.15))
        assert bed.half_visible() == []
    async with bed.process():
        await bed.until(bed.control.has_all, "converged")
        assert (await bed.get(FILES[1])).content == BODIES[1]
    assert bed.half_visible() == []
    assert len(list((bed.state / "serve" / "f").glob("??/*"))) == len(FILES)
    assert not [part for disk in bed.disks for part in (disk / "partial").iterdir()]


async def test_nginx_outlives_a_killed_agent_and_is_taken_over(bed: Bed) -> None:
    async with bed.process(ends_with=signal.SIGKILL):
        await bed.until(bed.control.has_all, "filled")
    assert (await bed.get(FILES[1])).content == BODIES[1], "nginx serves without its agent"
    pid = (bed.state / "nginx" / "nginx.pid").read_text()
    bed.control.last = None
    async with bed.process():
        await bed.until(lambda: bed.control.last is not None, "back")
        assert (bed.state / "nginx" / "nginx.pid").read_text() == pid
        assert (await bed.get(FILES[1])).content == BODIES[1]


@pytest.mark.parametrize("loss", ["file", "cut-file", "link"])
async def test_a_missed_file_that_is_held_is_looked_for_at_once(bed: Bed, loss: str) -> None:
    file, body = FILES[1], BODIES[1]
    async with bed.process():
        await bed.until(bed.control.has_all, "filled")
        link = bed.state / "serve" / content_path(file.sha256, file.suffix)[1:]
        before = len(bed.origin.asked)
        (link if loss == "link" else link.resolve()).unlink()
        if loss == "cut-file":
            link.resolve().write_bytes(body[:1000])
            link.unlink()
        lost_s = asyncio.get_running_loop().time()
        for _ in range(5):
            assert (await bed.get(file)).status_code == 302
        served_s = await _until_served(bed, file, body) - lost_s
    said = (bed.folder / "agent.log").read_text()
    if loss == "link":
        assert len(bed.origin.asked) == before, "the bytes were there"
        assert "file_missing" not in said
    else:
        assert len(bed.origin.asked) > before
        assert said.count("file_missing") == 1
    assert served_s < 5


async def test_files_that_were_never_held_and_names_that_are_none_prompt_nothing(bed: Bed) -> None:
    async with bed.process():
        await bed.until(bed.control.has_all, "filled")
        strangers = [content_path(file_of(number, b"%d" % number).sha256, FILES[0].suffix) for number in range(90, 99)]
        for path in [*strangers, f"/f/ab/{'xyz%00%ff' * 8}.mp4", "/f/../../etc/passwd", "/f/ab/short.mp4"]:
            assert (await bed.http.get(bed.url + path)).status_code in (302, 400, 404)
        await asyncio.sleep(2.5)
        assert (await bed.get(FILES[1])).content == BODIES[1]
    said = (bed.folder / "agent.log").read_text()
    assert "withdrawn" not in said
    assert "turn_failed" not in said


async def test_without_control_plane_it_starts_and_serves(bed: Bed) -> None:
    async with bed.process():
        await bed.until(bed.control.has_all, "filled")
    text = bed.config.read_text()
    bed.config.write_text(text.replace(text.split('urls = ["')[1].split('"')[0], "http://127.0.0.1:9"))
    async with bed.process():
        async with asyncio.timeout(10):
            while True:
                try:
                    answer = await bed.get(FILES[1])
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.02)
        assert answer.content == BODIES[1]


async def test_a_second_appliance_fills_from_the_first(bed: Bed, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Bed(tmp_path / "other")
    extra_body = body_of(50, 5_000)
    extra = file_of(50, extra_body)
    bed.origin.put(extra, extra_body)
    assert bed.control.desired
    async with serving(other.control.handle) as control_url, other.http:
        other.configure(control_url)
        other.control.want([*FILES, extra], sources=[bed.url], origin_url=bed.control.desired.origin_url)
        async with bed.process():
            await bed.until(bed.control.has_all, "the first is filled")
            bed.origin.asked.clear()
            async with other.process():
                await other.until(other.control.has_all, "the second is filled")
    assert {asked.path for asked in bed.origin.asked} == {content_path(extra.sha256, extra.suffix)}


@pytest.mark.root
async def test_a_full_disk_stops_the_fill_and_not_the_serving(bed: Bed) -> None:
    disk = bed.folder / "small"
    disk.mkdir()
    await _run("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk))
    try:
        bed.disks = [disk]
        control_url = bed.config.read_text().split('urls = ["')[1].split('"')[0]
        bed.configure(control_url)
        async with bed.process():
            await bed.until(lambda: _fill_state(bed) is FillState.DISK_FULL, "full")
            assert bed.control.last
            assert "spare" in bed.control.last.report.fill.error or "room" in bed.control.last.report.fill.error
            assert (await bed.get(FILES[0])).content == BODIES[0]
            assert bed.control.last.report.disks[0].is_ok
            await _run("mount", "-o", "remount,size=20m", str(disk))
            await bed.until(bed.control.has_all, "goes on when there is room")
        assert bed.half_visible() == []
        assert Disk(disk).find_parts() == {}
    finally:
        await _run("umount", str(disk))


async def test_errors_of_the_operator_are_one_line(bed: Bed) -> None:
    cases = {
        'id = "A_1"': "appliance id",
        'id = ""': "appliance id",
        'id = "a1"\nname = "x"': "unknown key 'appliance.name'",
    }
    text = bed.config.read_text()
    for wrong, expected in cases.items():
        bed.config.write_text(text.replace('id = "a1"', wrong))
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "--config", str(bed.config), "--check", stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        assert process.returncode == 2
        assert expected in said.decode()
        assert "Traceback" not in said.decode()


async def _until_served(bed: Bed, file: CatalogFile, body: bytes) -> float:
    """When the file is served again, on the loop's clock."""
    async with asyncio.timeout(15):
        while (answer := await bed.get(file)).status_code != 200:
            await asyncio.sleep(0.1)
    assert answer.content == body
    return asyncio.get_running_loop().time()


async def _checked(bed: Bed) -> tuple[int, str]:
    """Exit code and words of `headrace agent --check`."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--config", str(bed.config), "--check", stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_check_says_what_would_not_work(bed: Bed) -> None:
    assert await _checked(bed) == (0, "")
    assert not bed.state.exists(), "a check leaves nothing behind"
    bed.state.write_text("no folder")
    code, said = await _checked(bed)
    assert (code, "state folder" in said) == (33, True)
    bed.state.unlink()
    (bed.folder / "join").unlink()
    code, said = await _checked(bed)
    assert (code, "no join token" in said, "appliance token" in said) == (32, True, True)
    (bed.folder / "join").write_text("join-1")
    host, port = bed.url.removeprefix("http://").split(":")
    with socket.create_server((host, int(port)), reuse_port=True):
        code, said = await _checked(bed)
    assert (code, f"{host}:{port} is in use by" in said) == (2, True)


async def test_check_beside_the_running_agent_is_content(bed: Bed) -> None:
    async with bed.process():
        await bed.until(bed.control.has_all, "filled")
        (bed.folder / "join").unlink()
        assert await _checked(bed) == (0, "")


async def test_a_refused_join_token_is_one_clear_message(bed: Bed) -> None:
    (bed.folder / "join").write_text("wrong")
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--config", str(bed.config), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    lines = said.decode().splitlines()
    assert process.returncode == 32
    assert sum("join token" in line for line in lines) == 1
    assert "refused the join token" in lines[-1]
    assert not [line for line in lines if "task_failed" in line or "Traceback" in line]


@pytest.mark.root
@pytest.mark.parametrize("worker", ["", "nobody"])
async def test_the_state_folder_is_closed_to_others_and_not_to_workers(worker: str) -> None:
    with tempfile.TemporaryDirectory(prefix="headrace-test-") as name:
        os.chmod(name, 0o711)
        bed = Bed(Path(name))
        async with serving(bed.control.handle) as control_url, serving(bed.origin.handle) as origin_url, bed.http:
            bed.configure(control_url)
            bed.config.write_text(bed.config.read_text().replace("workers = 1\n", f'workers = 1\nuser = "{worker}"\n'))
            bed.control.want(FILES, sources=[], origin_url=origin_url)
            async with bed.process():
                await bed.until(bed.control.has_all, "filled")
                assert (await bed.get(FILES[1])).content == BODIES[1]
                path = bed.url + content_path(FILES[1].sha256, FILES[1].suffix)
                tag = {"If-Match": f'"{FILES[1].sha256}"'}
                assert (await bed.http.get(path, headers=tag)).content == BODIES[1], "through own.sock"
                assert await _reachable("daemon", bed.state) == []
                mode = 0o710 if worker else 0o700
                assert [one.stat().st_mode & 0o777 for one in (bed.state, bed.state / "nginx")] == [mode, mode]
                open_files = [one.name for one in bed.state.iterdir() if one.is_file() and one.stat().st_mode & 0o077]
                assert open_files == []


async def _reachable(user: str, state: Path) -> list[str]:
    """What of the agent's own files another user can open or connect to."""
    code = 'for path; do if test -r "$path" || test -w "$path"; then echo "$path"; fi; done'
    paths = [state, state / "ledger.db", state / "credential.json", *(state / "nginx").iterdir()]
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", code, "sh", *map(str, paths)),
        user=user,
        group=user,
        extra_groups=[],
        cwd="/",
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode().split()


def _fill_state(bed: Bed) -> FillState | None:
    return bed.control.last.report.fill.state if bed.control.last else None


async def _run(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(*words, env={**os.environ})
    async with asyncio.timeout(10):
        assert await process.wait() == 0
