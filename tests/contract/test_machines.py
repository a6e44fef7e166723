"""Every kind of machine of the lab keeps the port's word: it serves what it was given, tells what it counts, runs
commands, and its end is seen."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.lab.assembly import Lab, LabSetup, open_lab
from headrace.lab.errors import LabError
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.ports import MachineKind, MachineSpec, MachineState

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

CLOCK = SystemClock()
KINDS = (MachineKind.PROCESS, MachineKind.UML, MachineKind.QEMU)


@pytest.fixture
def spec_of(request: pytest.FixtureRequest) -> Callable[[MachineKind], MachineSpec]:
    """A machine of a kind, with Debian's kernel for it."""

    def make(kind: MachineKind) -> MachineSpec:
        if kind is MachineKind.UML:
            return MachineSpec(kind=kind, kernel=Path("/usr/bin/linux.uml"))
        if kind is MachineKind.QEMU:
            image, modules = request.getfixturevalue("debian_kernel")
            return MachineSpec(kind=kind, kernel=image, modules=modules)
        return MachineSpec(kind=kind)

    return make


async def until_ended(lab: Lab, limit_s: float) -> None:
    deadline_s = CLOCK.monotonic_s() + limit_s
    while lab.machine.condition().state is MachineState.RUNNING and CLOCK.monotonic_s() < deadline_s:
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
async def test_serves_counts_runs_and_its_end_is_seen(
    kind: MachineKind, spec_of: Callable[[MachineKind], MachineSpec], tmp_path: Path
) -> None:
    async with open_lab(LabSetup(machine=spec_of(kind)), tmp_path / "lab", CLOCK) as lab:
        machine = lab.machine
        before = await machine.read_counters()
        report = await run_load(lab, plan_for(lab, seconds=2.0))
        assert (report.wrong, report.failed) == (0, 0), report
        assert report.requests > 0
        after = await machine.read_counters()
        for name in ("tcp.out_segs", "tcp.passive_opens", "cpu.seconds"):
            assert after[name] > before[name], name
        assert after["fd.count"] > 5
        assert after["proc.count"] >= 2
        assert ("mem.slab.TCP" in after) == ("mem.mem_total_bytes" in after) == kind.has_kernel
        assert machine.pids

        ran = await machine.run(["sh", "-c", "echo 'two  words'; echo wrong >&2; exit 3"])
        assert (ran.exit_code, ran.output) == (3, "two  words\nwrong\n")
        assert machine.condition().state is MachineState.RUNNING

        await machine.stop()
        await machine.stop()
        assert machine.condition().state is MachineState.ENDED
        assert machine.condition().reason


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.has_kernel])
async def test_a_panic_is_told(
    kind: MachineKind, spec_of: Callable[[MachineKind], MachineSpec], tmp_path: Path
) -> None:
    async with open_lab(LabSetup(machine=spec_of(kind), content=()), tmp_path / "lab", CLOCK) as lab:
        await lab.machine.run(["sh", "-c", "(sleep 0.3; echo c > /proc/sysrq-trigger) &"])
        await until_ended(lab, 20.0)
        condition = lab.machine.condition()
        assert condition.state is MachineState.ENDED
        assert "Kernel panic" in condition.reason
        assert any("sysrq" in line.lower() for line in lab.machine.console())
        with pytest.raises(LabError, match="Kernel panic"):
            await lab.machine.run(["true"])
