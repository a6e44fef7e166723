"""Kernels with known faults go through the checks of the lab: one fault per level is caught, the plain kernel passes.

The kernels are built from Debian's source beside the other tests (`scripts/probe`).
"""

import asyncio
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.lab.content import KnownFile
from headrace.lab.load.model import Behaviour
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.profiles import read_profiles
from headrace.lab.qualify.expectations import expectations, meet
from headrace.lab.qualify.measures import run_level
from headrace.lab.qualify.network_costs import retransmitted_ratio
from headrace.lab.qualify.stand import Side, Stand, Subject
from headrace.release.config import parse_release_config
from headrace.release.model import CheckResult, Level, Verdict
from headrace.workshop.testing_linux import CORPUS, WAIT_S, Kernel, KernelShop

pytestmark = [pytest.mark.kernel, pytest.mark.root, pytest.mark.timeout(WAIT_S)]

CONTENT = tuple(KnownFile(size_bytes=size, seed=f"k{size}") for size in (1000, 100_000, (4 << 20) + 4097))
MARGINS = {one.metric.name: one.margin.value for one in parse_release_config().definitions}


def stand_of(folder: Path, baseline: Kernel, candidate: Kernel, *, time_scale: float = 0.5) -> Stand:
    def subject(kernel: Kernel) -> Subject:
        return Subject(name="kernel", machine=MachineSpec(kind=MachineKind.UML, kernel=kernel.program))

    return Stand(
        baseline=subject(baseline),
        candidate=subject(candidate),
        folder=folder / "machines",
        clock=SystemClock(),
        content=CONTENT,
        time_scale=time_scale,
    )


async def with_fault(kernels: KernelShop, name: str) -> Kernel:
    return await asyncio.to_thread(kernels.kernel_with, CORPUS / f"{name}.patch")


async def look(stand: Stand, name: str) -> CheckResult:
    return await meet(next(one for one in expectations(stand) if one.check_id == name), stand)


async def test_level_1_catches_wrong_bytes_at_a_border(
    kernels: KernelShop, base_kernel: Kernel, tmp_path: Path
) -> None:
    faulty = await with_fault(kernels, "fault-page-border")
    found = await look(stand_of(tmp_path, base_kernel, faulty), "function.bytes")
    assert found.verdict is Verdict.FAIL, found.evidence
    plain = await look(stand_of(tmp_path, base_kernel, base_kernel), "function.bytes")
    assert plain.verdict is Verdict.PASS, plain.evidence


async def test_level_2_catches_a_race_of_console_writers(
    kernels: KernelShop, base_kernel: Kernel, tmp_path: Path
) -> None:
    plain = await look(stand_of(tmp_path, base_kernel, base_kernel), "impairment.console")
    assert plain.verdict is Verdict.PASS, plain.evidence
    faulty = await with_fault(kernels, "fault-console-writers")
    found = await look(stand_of(tmp_path, base_kernel, faulty, time_scale=1.0), "impairment.console")
    assert found.verdict is Verdict.FAIL, found.evidence


async def test_level_3_catches_what_each_connection_leaves(
    kernels: KernelShop, base_kernel: Kernel, tmp_path: Path
) -> None:
    metric = "growth.mem.slab_tcp_objects"
    faulty = await with_fault(kernels, "fault-leak-connection")
    stand = stand_of(tmp_path, base_kernel, faulty, time_scale=0.2)
    runs = {side: (await run_level(stand, side, Level.SOAK, 1)).values[metric] for side in Side}
    assert abs(runs[Side.BASELINE]) < MARGINS[metric] < runs[Side.CANDIDATE], runs


async def test_level_4_catches_segments_sent_again_though_none_was_lost(
    kernels: KernelShop, base_kernel: Kernel, tmp_path: Path
) -> None:
    network, shares = read_profiles()["reordering"], {}
    faulty = await with_fault(kernels, "fault-retrans-reorder")
    stand = stand_of(tmp_path, base_kernel, faulty)
    for side in Side:
        async with stand.lab(side, network) as lab:
            before = await lab.machine.read_counters()
            report = await run_load(lab, plan_for(lab, seconds=4.0, players={Behaviour.SEGMENTS: 4}))
            assert report.is_right, report
            shares[side] = retransmitted_ratio(before, await lab.machine.read_counters())
    assert shares[Side.CANDIDATE] > shares[Side.BASELINE] + MARGINS["retransmitted_ratio.reordering"], shares
