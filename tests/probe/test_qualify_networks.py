"""Networks, consoles and memory of qualify on real parts: a good machine passes, a panic is a finding, a road forgets.

Debian's User-Mode Linux is the kernel and the road.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.lab.assembly import Lab
from headrace.lab.content import KnownFile
from headrace.lab.machines.road import set_profile
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.profiles import Direction, Profile, read_profiles
from headrace.lab.qualify.expectations import expectations, meet
from headrace.lab.qualify.findings import Finding, expect, observe
from headrace.lab.qualify.network_costs import NETWORK_COSTS, measure_network_costs
from headrace.lab.qualify.stand import Side, Stand, Subject
from headrace.release.model import CheckResult, FaultKind, Reason, Verdict

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

PROFILES = read_profiles()
PROCESS = MachineSpec(kind=MachineKind.PROCESS)
UML = MachineSpec(kind=MachineKind.UML, kernel=Path("/usr/bin/linux.uml"))
CONTENT = tuple(KnownFile(size_bytes=size, seed=f"q{size}") for size in (4097, 100_000, (4 << 20) + 4097))


def make_stand(folder: Path, machine: MachineSpec, *networks: str) -> Stand:
    subject = Subject(name="x", machine=machine)
    return Stand(
        baseline=subject,
        candidate=subject,
        folder=folder / "machines",
        clock=SystemClock(),
        content=CONTENT,
        profiles={name: PROFILES[name] for name in networks},
        time_scale=0.5,
    )


async def look(stand: Stand, name: str) -> CheckResult:
    return await meet(next(one for one in expectations(stand) if one.check_id == name), stand)


async def test_a_good_machine_passes_on_a_network(tmp_path: Path) -> None:
    result = await look(make_stand(tmp_path, PROCESS, "lossy"), "impairment.network.lossy")
    assert result.verdict is Verdict.PASS, result.evidence


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("function.bytes-reread", "the page cache dropped"),
        ("impairment.console", "lines on the console"),
        ("impairment.memory", "MiB of memory"),
    ],
)
async def test_a_good_kernel_passes(tmp_path: Path, name: str, said: str) -> None:
    result = await look(make_stand(tmp_path, UML), name)
    assert result.verdict is Verdict.PASS, result.evidence
    assert said in " ".join(result.evidence)


async def test_tls_in_the_kernel_is_told_by_the_kernel(tmp_path: Path) -> None:
    result = await look(make_stand(tmp_path, UML), "function.bytes-kernel-tls")
    assert result.verdict is Verdict.PASS, result.evidence
    assert "encrypted by the kernel (TlsTxSw" in " ".join(result.evidence)


async def test_tls_that_the_kernel_did_not_do_does_not_pass(tmp_path: Path) -> None:
    """Without its module the kernel cannot, and nginx encrypts without a word: the bytes are right all the same."""
    (tmp_path / "modules/kernel").mkdir(parents=True)
    result = await look(make_stand(tmp_path, replace(UML, modules=tmp_path / "modules")), "function.bytes-kernel-tls")
    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, Reason.NOT_RUN)
    assert "TlsTxSw 0" in result.summary


async def test_a_panic_is_a_fault_and_no_error_of_the_lab(tmp_path: Path) -> None:
    async def panics(lab: Lab) -> Finding:
        await lab.machine.run(["sh", "-c", "echo c > /proc/sysrq-trigger"])
        return Finding()

    stand = make_stand(tmp_path, UML)
    result = await meet(expect("impairment.mine", "lives", lambda stand: observe(stand, panics)), stand)
    assert (result.verdict, result.reason) == (Verdict.FAIL, Reason.CONSOLE_FAULT)
    assert FaultKind.PANIC in {fault.kind for fault in result.faults}
    assert any("the machine ended" in line for line in result.evidence)


async def test_costs_on_networks_and_a_road_that_forgets(tmp_path: Path) -> None:
    stand = make_stand(tmp_path, PROCESS)
    bounded = Profile(down=Direction(rate_bps=1e6, delay_s=0.001), up=Direction(reorder_ratio=0.1, delay_s=0.001))
    async with stand.lab(Side.BASELINE, bounded) as lab:
        assert lab.road is not None
        await set_profile(lab.road, Profile(down=Direction(delay_s=0.002), up=Direction(delay_s=0.002)))
        shown = (await lab.road.run(["/lab/bin/tc", "qdisc", "show"])).output
        assert "delay 2ms" in shown
        assert "rate" not in shown
        assert "reorder" not in shown
        costs = (await measure_network_costs(stand, {Side.BASELINE: lab}, 1))[Side.BASELINE]
    assert costs.keys() == NETWORK_COSTS
    assert all(0 <= costs[name] < 0.5 for name in costs if "_ratio" in name), costs
    assert 0.01 < costs["finish_p90_s.lossy"] <= costs["finish_p99_s.lossy"]
