"""Short soaks on real builds: what a connection, a transfer cut short and a reload keep is seen in one run."""

from collections.abc import Set
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.lab.content import KnownFile
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.qualify.measures import measurable, run_level
from headrace.lab.qualify.stand import Side, Stand, Subject
from headrace.release.config import parse_release_config
from headrace.release.model import CheckId, Level
from headrace.workshop.adapters.tarball import unpack
from headrace.workshop.testing_nginx import Shop, fetch_nginx

REPO = Path(__file__).parents[2]
CHECKS = {one.check_id: one for one in parse_release_config().definitions if one.level is Level.SOAK}
CONTENT = (KnownFile(size_bytes=1000, seed="soak-small"), KnownFile(size_bytes=4 << 20, seed="soak-large"))
UML = MachineSpec(kind=MachineKind.UML, kernel=Path("/usr/bin/linux.uml"))
pytestmark = pytest.mark.timeout(400)  # the first run on a machine compiles nginx


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(fetch_nginx(REPO / "scripts"), tmp_path_factory.mktemp("nginx"))


def stand_of(folder: Path, machine: MachineSpec, *, time_scale: float) -> Stand:
    one = Subject(name="one", machine=machine)
    return Stand(
        baseline=one,
        candidate=one,
        folder=folder,
        clock=SystemClock(),
        content=CONTENT,
        time_scale=time_scale,
    )


async def kept(
    folder: Path, machine: MachineSpec, among: Set[CheckId], *, expected: Set[CheckId], time_scale: float
) -> set[CheckId]:
    """Checks that see growth in each of two runs: a heap that is late to its largest size grows in one, on a busy
    machine in two; so what is not expected is asked a third time."""
    seen = set(among)
    for name in ("first", "second", "third"):
        if not seen or (name == "third" and seen <= expected):
            break
        seen &= await beyond(stand_of(folder / name, machine, time_scale=time_scale))
    return seen


async def beyond(stand: Stand) -> set[CheckId]:
    """Checks of level 3 whose margin a single run is beyond, if a build that keeps nothing has no growth at all."""
    found = (await run_level(stand, Side.CANDIDATE, Level.SOAK, 1)).values
    own = {name: one for name, one in CHECKS.items() if measurable(one, stand)}
    assert {one.metric.name for one in own.values()} <= found.keys()
    return {name for name, one in own.items() if found[one.metric.name] > one.margin.value}


@pytest.mark.parametrize(
    ("patch", "seen"),
    [
        ("", set()),
        ("fault-leak-connection", {"soak.process-memory"}),
        ("fault-leak-abort", {"soak.process-memory"}),
        ("fault-fd-reload", {"soak.descriptors-reload"}),
    ],
)
async def test_one_run_shows_what_is_kept(source: Path, tmp_path: Path, patch: str, seen: set[str]) -> None:
    shop = Shop()
    outcome = shop.build_patched(source, REPO / f"corpus/nginx/{patch}.patch") if patch else shop.build_folder(source)
    machine = MachineSpec(kind=MachineKind.PROCESS, nginx=shop.program(outcome))
    assert await kept(tmp_path, machine, CHECKS.keys(), expected=seen, time_scale=0.4) == seen


@pytest.mark.root
async def test_a_kernel_that_keeps_nothing_shows_no_growth_though_sockets_wait(tmp_path: Path) -> None:
    # So few connections that three pages, nginx's own or of slab, would be beyond a margin in bytes.
    of_kernel = {name for name, one in CHECKS.items() if "slab" in name or ".sock" in one.metric.name}
    assert CheckId("soak.slab-tcp") in of_kernel
    assert not await kept(tmp_path, UML, of_kernel, expected=set(), time_scale=0.2)
