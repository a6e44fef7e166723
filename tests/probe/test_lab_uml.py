"""User-Mode Linux in the lab, with Debian's kernel: serves, impairs as the profile says, and its end is understood."""

import asyncio
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.lab.adapters.cell import run_command
from headrace.lab.assembly import Lab, LabSetup, open_lab
from headrace.lab.load.model import Behaviour
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.load.volume import Protocol, run_volume
from headrace.lab.machines.road import set_profile
from headrace.lab.ports import MachineKind, MachineSpec, MachineState
from headrace.lab.profiles import Direction, Profile

pytestmark = pytest.mark.root

CLOCK = SystemClock()
KERNEL = Path("/usr/bin/linux.uml")
UML = MachineSpec(kind=MachineKind.UML, kernel=KERNEL)


async def until_not_running(lab: Lab, limit_s: float) -> None:
    deadline_s = CLOCK.monotonic_s() + limit_s
    while lab.machine.condition().state is MachineState.RUNNING and CLOCK.monotonic_s() < deadline_s:
        await asyncio.sleep(0.05)


async def test_serves_and_a_panic_is_told(tmp_path: Path) -> None:
    async with open_lab(LabSetup(machine=UML), tmp_path / "lab", CLOCK) as lab:
        report = await run_load(lab, plan_for(lab, seconds=1.5))
        assert report.is_right, report
        counters = await lab.machine.read_counters()
        assert counters["mem.slab.TCP"] > 0
        assert counters["mem.mem_total_bytes"] > 100 << 20
        assert counters["tcp.out_segs"] > 100
        assert counters["proc.count"] >= 2
        assert counters["cpu.seconds"] > 0.1
        ran = await lab.machine.run(["sh", "-c", "uname -r; echo 'two  words'; exit 3"])
        assert ran.exit_code == 3
        assert ran.output.endswith("\ntwo  words\n")
        await lab.machine.run(["sh", "-c", "(sleep 0.3; echo c > /proc/sysrq-trigger) &"])
        await until_not_running(lab, 5.0)
        condition = lab.machine.condition()
        assert condition.state is MachineState.ENDED
        assert "Kernel panic" in condition.reason
        assert any("sysrq" in line.lower() for line in lab.machine.console())


async def test_a_silent_guest_is_hung(tmp_path: Path) -> None:
    async with open_lab(LabSetup(machine=UML), tmp_path / "lab", CLOCK) as lab:
        await run_command(["kill", "-STOP", *(str(pid) for pid in below(lab.machine.pids[0]))])
        await until_not_running(lab, 8.0)
        condition = lab.machine.condition()
        assert condition.state is MachineState.HUNG
        assert "no sign of life" in condition.reason


def below(root: int) -> list[int]:
    """A process's children, theirs, and so on."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


async def ping(lab: Lab, count: int, interval_s: float) -> tuple[float, float]:
    """Share lost, mean round trip in seconds."""
    words = ["busybox", "ping", "-q", "-c", str(count), "-i", str(interval_s), "-W", "2", lab.machine.address]
    output = (await run_command(lab.at_client(words))).output
    lost = float(output.split("% packet loss")[0].split()[-1]) / 100
    return lost, float(output.split("= ")[1].split("/")[1]) / 1000


async def test_a_profile_does_what_it_says(tmp_path: Path) -> None:
    slow = Direction(rate_bps=20e6, delay_s=0.025, queue_s=0.1)
    profile = Profile(name="test", down=slow, up=Direction(delay_s=0.025))
    setup = LabSetup(machine=MachineSpec(kind=MachineKind.PROCESS), profile=profile)
    async with open_lab(setup, tmp_path / "lab", CLOCK) as lab:
        lost, round_trip_s = await ping(lab, 10, 0.1)
        assert lost == 0
        assert 0.049 < round_trip_s < 0.080
        path = max(setup.content, key=lambda file: file.size_bytes).path
        volume = await run_volume(lab, (path,), seconds=4.0, connections=4, protocol=Protocol.HTTP1)
        assert 10e6 < volume.throughput_bps < 21e6
        assert lab.road is not None
        await set_profile(lab.road, Profile(down=Direction(loss_ratio=0.3)))
        lost, _ = await ping(lab, 100, 0.01)
        assert 0.12 < lost < 0.5
        report = await run_load(lab, plan_for(lab, seconds=1.0, players={Behaviour.SHORT: 2}))
        assert report.wrong == 0
        assert (await lab.machine.read_counters())["tcp.retrans_segs"] > 0


async def test_a_guest_behind_a_road(tmp_path: Path) -> None:
    profile = Profile(name="test", down=Direction(delay_s=0.02), up=Direction(delay_s=0.01))
    async with open_lab(LabSetup(machine=UML, profile=profile), tmp_path / "lab", CLOCK) as lab:
        lost, round_trip_s = await ping(lab, 5, 0.1)
        assert lost == 0
        assert 0.029 < round_trip_s < 0.080
        report = await run_load(lab, plan_for(lab, seconds=1.5, is_tls=True, players={Behaviour.BORDERS: 2}))
        assert report.is_right, report
