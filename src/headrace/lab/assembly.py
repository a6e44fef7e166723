"""Put a lab together: cell, links, road and machine. The door for all who need one; everything ends with the block.

async with open_lab(LabSetup(machine=MachineSpec(kind=MachineKind.PROCESS)), folder, clock) as lab:
    report = await run_load(lab, LoadPlan(seconds=5))
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.base.clock import Clock
from headrace.base.tasks import Tasks
from headrace.lab.adapters import links
from headrace.lab.adapters.cell import Door, open_cell
from headrace.lab.content import KnownFile, standard_content
from headrace.lab.errors import NotPossibleHereError
from headrace.lab.machines import road as road_machine
from headrace.lab.machines.guest import Guest
from headrace.lab.machines.guest_server import TAP
from headrace.lab.machines.place import Place
from headrace.lab.machines.process import start_process_machine
from headrace.lab.machines.qemu import start_qemu_machine
from headrace.lab.machines.uml import start_uml_machine
from headrace.lab.ports import Machine, MachineKind, MachineSpec
from headrace.lab.profiles import LAN, Profile
from headrace.lab.serving import CLIENT_ADDRESS, MACHINE_ADDRESS

CLIENT, ROAD, MACHINE = "client", "road", "machine"
_VETH = ("c0", "m0")
_GATEWAY = "10.77.0.254"
"""Of a guest behind a road: the cell's own end of its interface, which forwards to the road."""
_CLIENT_BEHIND_ROAD, _MACHINE_BEHIND_ROAD = "10.77.1.2", "10.77.2.2"
_CLIENTS_NETWORK = "10.77.1.0/24"
_TUN = Path("/dev/net/tun")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSetup:
    """What to put together."""

    machine: MachineSpec
    profile: Profile = LAN
    road_kernel: Path | None = None
    """For a profile that impairs; None: Debian's linux.uml, else the machine's own kernel."""
    content: tuple[KnownFile, ...] = field(default_factory=standard_content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A lab that runs."""

    setup: LabSetup
    folder: Path
    machine: Machine
    road: Guest | None
    doors: dict[str, Door]
    """By space: `client`, `machine`, `road`."""

    def at_client(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` where the client is."""
        return self.doors[CLIENT].enter(argv)


@contextlib.asynccontextmanager
async def open_lab(setup: LabSetup, folder: Path, clock: Clock) -> AsyncIterator[Lab]:
    """Start everything in `folder` (made, emptied first) and end it after the block.

    Raises:
        NotPossibleHereError: a permission, a program, a kernel or a device is missing; says which and the mend.
        MachineError: the machine or the road did not start.
    """
    await asyncio.to_thread(_empty, folder)
    has_road = not setup.profile.is_plain
    check_possible(setup)
    async with contextlib.AsyncExitStack() as stack:
        cell = await open_cell([CLIENT, MACHINE] + [ROAD] * has_road)
        stack.push_async_callback(cell.close)
        tasks = await stack.enter_async_context(Tasks())

        def place(space: str, name: str) -> Place:
            return Place(cell=cell, space=space, folder=folder / name, tasks=tasks, clock=clock)

        road = await _open_road(setup, place(ROAD, "road")) if has_road else None
        if road:
            stack.push_async_callback(road.stop)
        space = CLIENT if setup.machine.kind.has_kernel and not has_road else MACHINE
        machine = await _START[setup.machine.kind](setup, place(space, "machine"))
        stack.push_async_callback(machine.stop)
        yield Lab(setup=setup, folder=folder, machine=machine, road=road, doors=cell.doors)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("machine", "road"):
        (folder / name).mkdir(parents=True)


def check_possible(setup: LabSetup) -> None:
    """Look whether this machine has what a lab of this kind needs, without starting it.

    Raises:
        NotPossibleHereError: a kernel or a device is missing; says which and the mend.
    """
    has_road = not setup.profile.is_plain
    kind = setup.machine.kind
    if kind not in _START:
        there = ", ".join(_START)
        raise NotPossibleHereError(f"machines of kind {kind} are not there yet: choose from {there}")
    if has_road:
        road_machine.find_road_kernel(setup.road_kernel, _own_road_kernel(setup))
    if not (has_road or kind.has_kernel):
        return
    if not _TUN.exists():
        raise NotPossibleHereError(f"there is no {_TUN}, which guests need: load the module tun (modprobe tun)")
    if not os.access(_TUN, os.R_OK | os.W_OK):
        raise NotPossibleHereError(f"{_TUN}, which guests need, is not for this user: run as root, or chmod 666 {_TUN}")


def _own_road_kernel(setup: LabSetup) -> Path | None:
    return setup.machine.kernel if setup.machine.kind is MachineKind.UML else None


async def _open_road(setup: LabSetup, place: Place) -> Guest:
    """The road, with its ends moved to client and machine."""
    cell = place.cell
    for tap in (road_machine.CLIENT_TAP, road_machine.MACHINE_TAP):
        await links.make_tap(cell, place.space, tap)
    kernel = road_machine.find_road_kernel(setup.road_kernel, _own_road_kernel(setup))
    road = await road_machine.start_road(kernel, place, setup.profile, beyond=_MACHINE_BEHIND_ROAD)
    try:
        for tap, space in ((road_machine.CLIENT_TAP, CLIENT), (road_machine.MACHINE_TAP, MACHINE)):
            await links.move(cell, tap, place.space, space, is_bundling=False)
        await links.address(
            *(cell, CLIENT, road_machine.CLIENT_TAP, _CLIENT_BEHIND_ROAD),
            gateway=road_machine.CLIENT_SIDE,
            beyond=road_machine.MACHINES_NETWORK,
        )
        await links.address(
            *(cell, MACHINE, road_machine.MACHINE_TAP, _MACHINE_BEHIND_ROAD),
            gateway=road_machine.MACHINE_SIDE,
            beyond=_CLIENTS_NETWORK,
        )
    except BaseException:
        await road.stop()
        raise
    return road


async def _start_process(setup: LabSetup, place: Place) -> Machine:
    cell = place.cell
    if setup.profile.is_plain:
        client_end, machine_end = _VETH
        await links.join_by_veth(cell, (CLIENT, client_end), (MACHINE, machine_end))
        await links.address(cell, MACHINE, machine_end, MACHINE_ADDRESS)
        await links.address(cell, CLIENT, client_end, CLIENT_ADDRESS)
    else:
        await links.ip(cell, MACHINE, f"addr add {MACHINE_ADDRESS}/32 dev lo")
    return await start_process_machine(setup.machine, place, setup.content)


async def _guest_gateway(place: Place) -> str:
    """Make a guest's interface; the address of its other end. Without a road that is the client's own, with one the
    machine's space forwards to it."""
    own = CLIENT_ADDRESS if place.space == CLIENT else _GATEWAY
    await links.make_tap(place.cell, place.space, TAP)
    await links.address(place.cell, place.space, TAP, own)
    if place.space == MACHINE:
        await links.forward(place.cell, MACHINE)
    return own


async def _start_uml(setup: LabSetup, place: Place) -> Machine:
    return await start_uml_machine(setup.machine, place, setup.content, gateway=await _guest_gateway(place))


async def _start_qemu(setup: LabSetup, place: Place) -> Machine:
    return await start_qemu_machine(setup.machine, place, setup.content, gateway=await _guest_gateway(place))


_START = {MachineKind.PROCESS: _start_process, MachineKind.UML: _start_uml, MachineKind.QEMU: _start_qemu}
"""The kinds of machine there are; a new one is a file in machines/ and a line here."""
