"""Linux from Debian's source: built whole once (`scripts/probe` begins at once), then by what a patch touches."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.lab.assembly import LabSetup, open_lab
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.workshop.testing_linux import CORPUS, WAIT_S, Kernel, KernelShop

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(WAIT_S)]

NEEDED = (
    "UML_NET_VECTOR", "HOSTFS", "NULL_CHAN", "BLK_DEV_UBD", "EXT4_FS", "NET_SCH_NETEM", "NET_SCH_FQ", "TLS",
    "TCP_CONG_BBR", "INET_TCP_DIAG", "SLUB_DEBUG", "MAGIC_SYSRQ", "PANIC_ON_OOPS", "DETECT_HUNG_TASK", "KALLSYMS",
    "IPV6",
)  # fmt: skip


def test_the_kernel_has_what_the_lab_needs(kernels: KernelShop, base_kernel: Kernel) -> None:
    said = subprocess.check_output([base_kernel.program, "--showconfig"], text=True, timeout=10)
    assert not [name for name in NEEDED if f"\nCONFIG_{name}=y\n" not in said]
    assert "\n# CONFIG_MODULES is not set\n" in said


def test_a_patch_costs_what_it_touches(kernels: KernelShop, base_kernel: Kernel) -> None:
    changed = kernels.kernel_with(CORPUS / "fault-page-border.patch")
    assert changed.program.read_bytes() != base_kernel.program.read_bytes()
    again = kernels.kernel_with(CORPUS / "fault-page-border.patch")
    assert (again.was_stored, again.program) == (True, changed.program)
    comment = kernels.kernel_with(CORPUS / "harmless-comment.patch")
    assert comment.program.read_bytes() == base_kernel.program.read_bytes(), "a comment changes no byte"


@pytest.mark.parametrize("patch", sorted(CORPUS.glob("fault-*.patch")), ids=lambda patch: patch.stem)
def test_faults_of_the_corpus_fit_the_source(kernels: KernelShop, patch: Path) -> None:
    with kernels.patched(patch) as source:
        assert source.tree() != kernels.source().tree()
    assert "SPDX-License-Identifier: GPL-2.0" in patch.read_text()


@pytest.mark.root
async def test_it_boots_and_serves(base_kernel: Kernel, tmp_path: Path) -> None:
    setup = LabSetup(machine=MachineSpec(kind=MachineKind.UML, kernel=base_kernel.program))
    async with open_lab(setup, tmp_path / "lab", SystemClock()) as lab:
        report = await run_load(lab, plan_for(lab, seconds=1.5))
    assert report.is_right, report


@pytest.mark.root
async def test_a_fault_of_pages_is_seen(kernels: KernelShop, tmp_path: Path) -> None:
    kernel = await asyncio.to_thread(kernels.kernel_with, CORPUS / "fault-page-border.patch")
    setup = LabSetup(machine=MachineSpec(kind=MachineKind.UML, kernel=kernel.program))
    async with open_lab(setup, tmp_path / "lab", SystemClock()) as lab:
        report = await run_load(lab, plan_for(lab, seconds=0.5, players={}, is_sweeping=True))
    assert report.wrong > 0
