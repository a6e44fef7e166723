"""The lab on real parts: namespaces, nginx, players; what is wrong is found, and what ends leaves nothing."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.lab.assembly import LabSetup, open_lab
from headrace.lab.errors import MachineError, NotPossibleHereError
from headrace.lab.load.model import Behaviour
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.load.volume import Protocol, run_volume
from headrace.lab.ports import MachineKind, MachineSpec, MachineState
from headrace.lab.profiles import read_profiles

pytestmark = pytest.mark.root

CLOCK = SystemClock()
PROCESS = LabSetup(machine=MachineSpec(kind=MachineKind.PROCESS))


def running_in(folder: Path) -> list[str]:
    """Command lines of processes that name this folder."""
    found = []
    for name in os.listdir("/proc"):
        try:
            line = Path("/proc", name, "cmdline").read_bytes() if name.isdigit() else b""
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder).encode() in line and int(name) != os.getpid():
            found.append(line.replace(b"\0", b" ").decode())
    return found


async def test_every_byte_is_right_clear_and_over_tls(tmp_path: Path) -> None:
    async with open_lab(PROCESS, tmp_path / "lab", CLOCK) as lab:
        for is_tls in (False, True):
            report = await run_load(lab, plan_for(lab, seconds=1.0, is_tls=is_tls, is_sweeping=not is_tls))
            assert report.is_right, report
            assert report.aborted > 0
            assert report.bytes > 10_000_000
            assert report.ttfb_ms["p50"] <= report.ttfb_ms["max"]
        counters = await lab.machine.read_counters()
        assert counters["tcp.out_segs"] > 1000
        assert counters["cpu.seconds"] > 0
        assert counters["fd.count"] > 5
        assert counters["proc.rss_bytes"] > 1_000_000
        assert lab.machine.condition().state is MachineState.RUNNING


async def test_two_labs_below_a_long_path_do_not_meet(tmp_path: Path) -> None:
    # Too long for the path of a socket: each nginx names its own from its own folder.
    long = tmp_path / ("x" * 120)
    async with open_lab(PROCESS, long / "one", CLOCK) as one, open_lab(PROCESS, long / "two", CLOCK) as two:
        for lab, name in ((one, "one"), (two, "two")):
            assert lab.machine.condition().state is MachineState.RUNNING
            assert (long / name / "machine/run/own.sock").is_socket()


async def test_volume_by_http2_over_tls(tmp_path: Path) -> None:
    async with open_lab(PROCESS, tmp_path / "lab", CLOCK) as lab:
        path = next(file.path for file in PROCESS.content if file.size_bytes == 100_000)
        volume = await run_volume(lab, (path,), seconds=1.0, connections=2, protocol=Protocol.HTTP2_TLS)
        assert volume.failed == 0
        assert volume.bytes >= volume.requests * 100_000 > 0


async def test_one_wrong_byte_is_found(tmp_path: Path) -> None:
    async with open_lab(PROCESS, tmp_path / "lab", CLOCK) as lab:
        file = max(PROCESS.content, key=lambda file: file.size_bytes)
        with (tmp_path / "lab/machine/content" / file.path.lstrip("/")).open("r+b") as served:
            served.seek(2 << 20)
            right = served.read(1)[0]
            served.seek(2 << 20)
            served.write(bytes([right ^ 1]))
        report = await run_load(lab, plan_for(lab, seconds=0.1, players={}, is_sweeping=True))
        assert report.wrong > 0
        assert not report.is_right
        assert {wrong.path for wrong in report.wrongs} == {file.path}
        assert any(f"is {right ^ 1:#04x}, not {right:#04x}" in wrong.what for wrong in report.wrongs)


async def test_a_server_that_dies_is_seen(tmp_path: Path) -> None:
    async with open_lab(PROCESS, tmp_path / "lab", CLOCK) as lab:
        load = asyncio.ensure_future(run_load(lab, plan_for(lab, seconds=2.0, players={Behaviour.SLOW: 2})))
        await asyncio.sleep(1.0)
        await lab.machine.run(
            [
                "sh",
                "-c",
                f"pkill -KILL -P $(cat {tmp_path}/lab/machine/run/nginx.pid); "
                f"kill -KILL $(cat {tmp_path}/lab/machine/run/nginx.pid)",
            ]
        )
        report = await load
        assert report.failed > 0
        assert lab.machine.condition().state is MachineState.ENDED


async def test_two_at_once_do_not_meet(tmp_path: Path) -> None:
    async with (
        open_lab(PROCESS, tmp_path / "one", CLOCK) as one,
        open_lab(PROCESS, tmp_path / "two", CLOCK) as two,
    ):
        plans = [plan_for(lab, seconds=0.5, players={Behaviour.SHORT: 2}) for lab in (one, two)]
        reports = await asyncio.gather(run_load(one, plans[0]), run_load(two, plans[1]))
        assert all(report.is_right for report in reports), reports
        assert (await one.machine.read_counters())["tcp.passive_opens"] >= reports[0].requests > 0


async def test_the_end_of_the_block_is_the_end_of_all(tmp_path: Path) -> None:
    async with open_lab(PROCESS, tmp_path / "lab", CLOCK):
        assert running_in(tmp_path)
    assert running_in(tmp_path) == []


async def test_what_is_missing_is_named(tmp_path: Path) -> None:
    cases = [
        (MachineSpec(kind=MachineKind.PROCESS, nginx=Path("/nowhere/nginx")), NotPossibleHereError, "no nginx at"),
        (MachineSpec(kind=MachineKind.PROCESS, nginx=Path("/bin/true")), NotPossibleHereError, "not a build of nginx"),
        (MachineSpec(kind=MachineKind.UML), NotPossibleHereError, "needs a kernel"),
        (MachineSpec(kind=MachineKind.SSH), NotPossibleHereError, "ssh are not there yet: choose from process"),
        (MachineSpec(kind=MachineKind.UML, kernel=Path("/bin/true")), NotPossibleHereError, "no User-Mode Linux"),
        (MachineSpec(kind=MachineKind.UML, kernel=Path("/nowhere")), NotPossibleHereError, "cannot run"),
    ]
    for spec, kind, text in cases:
        with pytest.raises(kind, match=text):
            async with open_lab(LabSetup(machine=spec), tmp_path / "lab", CLOCK):
                pass
    assert running_in(tmp_path) == []


async def test_a_profile_without_a_kernel_for_the_road(tmp_path: Path) -> None:
    setup = LabSetup(machine=PROCESS.machine, profile=read_profiles()["dsl"], road_kernel=Path("/nowhere"))
    with pytest.raises((NotPossibleHereError, MachineError), match="nowhere"):
        async with open_lab(setup, tmp_path / "lab", CLOCK):
            pass


def headrace(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "headrace.cli.main", "lab", *words],
        env=os.environ | {"HEADRACE_RELEASE_FOLDER": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_line_and_a_keeper_killed(tmp_path: Path) -> None:
    up = headrace(tmp_path, "up", "--json")
    assert up.returncode == 0, up.stderr
    record = json.loads(up.stdout)
    run = headrace(tmp_path, "run", "--seconds", "1", "--player", "segments=2", "--player", "abort=1", "--json")
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["is_right"]
    samples = Path(result["samples"]).read_text().splitlines()
    assert json.loads(samples[0])["counters"]["tcp.out_segs"] >= 0
    assert headrace(tmp_path, "up").returncode == 70
    inside = headrace(tmp_path, "shell", "--", "cat", "/proc/net/dev")
    assert "m0:" in inside.stdout
    assert "c0:" in headrace(tmp_path, "shell", "--client", "--", "cat", "/proc/net/dev").stdout
    assert running_in(tmp_path)

    os.kill(record["owner_pid"], signal.SIGKILL)
    deadline_s = CLOCK.monotonic_s() + 5
    while running_in(tmp_path) and CLOCK.monotonic_s() < deadline_s:
        CLOCK.block(0.05)
    assert running_in(tmp_path) == []
    assert json.loads(headrace(tmp_path, "status", "--json").stdout)[0]["state"] == "gone"
    assert headrace(tmp_path, "run").returncode == 73
    assert headrace(tmp_path, "down", "--all").returncode == 0
    assert list((tmp_path / "labs").iterdir()) == []


def test_bad_words_are_named(tmp_path: Path) -> None:
    for words, text in (
        (("up", "--profile", "moon"), "no network profile 'moon'"),
        (("up", "--nginx", "/nowhere/nginx"), "no such file"),
        (("up", "--name", "../x"), "not allowed"),
        (("run", "--player", "nobody=3"), "no lab is running"),
    ):
        done = headrace(tmp_path, *words)
        assert done.returncode != 0
        assert text in " ".join(done.stderr.split()), done.stderr
        assert "Traceback" not in done.stderr
