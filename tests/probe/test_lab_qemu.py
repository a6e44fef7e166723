"""QEMU in the lab, with Debian's kernel: what is wrong is named, and ticks are the same each time."""

import gzip
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.lab.assembly import LabSetup, open_lab
from headrace.lab.content import KnownFile
from headrace.lab.errors import LabError, MachineError, NotPossibleHereError
from headrace.lab.instructions import Shape
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.profiles import Direction, Profile
from headrace.lab.ticks import count_ticks

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

CLOCK = SystemClock()
FEW = ((Shape(metric="ticks.1k", file=KnownFile(size_bytes=1024, seed="few")), 100),)


async def refused(spec: MachineSpec, folder: Path) -> LabError:
    with pytest.raises(LabError) as caught:
        async with open_lab(LabSetup(machine=spec), folder / "lab", CLOCK):
            pass
    return caught.value


async def test_what_is_wrong_is_named(debian_kernel: tuple[Path, Path], tmp_path: Path) -> None:
    image, _ = debian_kernel
    dead = tmp_path / "dead"
    dead.write_bytes(image.read_bytes()[: 1 << 15] + bytes(1 << 20))
    text = tmp_path / "text"
    text.write_bytes(gzip.compress(b"no kernel"))
    cases = [
        (MachineSpec(kind=MachineKind.QEMU), NotPossibleHereError, "needs a kernel"),
        (MachineSpec(kind=MachineKind.QEMU, kernel=text), NotPossibleHereError, "no kernel image"),
        (MachineSpec(kind=MachineKind.QEMU, kernel=tmp_path / "none"), NotPossibleHereError, "cannot read"),
        (MachineSpec(kind=MachineKind.QEMU, kernel=image, modules=tmp_path), NotPossibleHereError, "holds no modules"),
        (MachineSpec(kind=MachineKind.QEMU, kernel=image, memory_mib=48), NotPossibleHereError, "too little"),
        (MachineSpec(kind=MachineKind.QEMU, kernel=dead), MachineError, "did not boot"),
    ]
    for spec, kind, words in cases:
        error = await refused(spec, tmp_path)
        assert isinstance(error, kind), error
        assert words in str(error)


async def test_behind_a_road(debian_kernel: tuple[Path, Path], tmp_path: Path) -> None:
    image, modules = debian_kernel
    profile = Profile(name="test", down=Direction(delay_s=0.02), up=Direction(delay_s=0.01))
    spec = MachineSpec(kind=MachineKind.QEMU, kernel=image, modules=modules)
    async with open_lab(LabSetup(machine=spec, profile=profile), tmp_path / "lab", CLOCK) as lab:
        report = await run_load(lab, plan_for(lab, seconds=2.0))
        assert (report.wrong, report.failed) == (0, 0), report
        assert report.requests > 0
        assert report.ttfb_ms["p50"] > 29
        loaded = (await lab.machine.run(["cat", "/proc/modules"])).output
        assert {"virtio_net", "tls", "tcp_bbr", "sch_netem"} <= {line.split()[0] for line in loaded.splitlines()}


async def test_ticks_are_the_same_each_time(debian_kernel: tuple[Path, Path], tmp_path: Path) -> None:
    image, _ = debian_kernel
    first, second = [await count_ticks(image, None, tmp_path / "ticks", FEW) for _ in range(2)]
    assert 30_000 < first["ticks.1k"] < 200_000
    assert abs(second["ticks.1k"] / first["ticks.1k"] - 1) < 0.002


async def test_ticks_of_what_does_not_serve(debian_kernel: tuple[Path, Path], tmp_path: Path) -> None:
    image, _ = debian_kernel
    with pytest.raises(NotPossibleHereError, match="not a build of nginx"):
        await count_ticks(image, Path("/bin/true"), tmp_path / "ticks", FEW)
    with pytest.raises(NotPossibleHereError, match="no kernel image"):
        await count_ticks(Path("/bin/true"), None, tmp_path / "ticks", FEW)
