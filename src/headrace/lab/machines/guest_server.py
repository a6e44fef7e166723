"""A guest that serves: a candidate kernel with a candidate nginx in it, whatever runs the kernel."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from headrace.lab.adapters.certificates import make_certificate
from headrace.lab.adapters.disk_image import make_disk
from headrace.lab.adapters.nginx_program import find_nginx, read_build
from headrace.lab.adapters.process_trees import cpu_seconds
from headrace.lab.adapters.programs import add_program
from headrace.lab.content import KnownFile
from headrace.lab.counters import WHOLE_MACHINE, collect_command, parse_counters
from headrace.lab.errors import MachineError, NotPossibleHereError
from headrace.lab.machines.guest import Emulator, Guest, GuestSpec, boot, guest_image
from headrace.lab.machines.place import Place
from headrace.lab.ports import Condition, MachineSpec, Ran
from headrace.lab.root_image import RootImage
from headrace.lab.serving import MACHINE_ADDRESS, PORT, TLS_PORT, ServingFolders, lab_nginx_conf

TAP = "m0"
FOLDERS = ServingFolders(content="/www", run="/run/nginx", certificate="/lab/certificate.pem", key="/lab/key.pem")
START_NGINX = f"mkdir -p {FOLDERS.run} && /sbin/nginx -p {FOLDERS.run}/ -c /lab/nginx.conf -e {FOLDERS.run}/error.log"
"""The command that starts nginx in a guest and ends when it listens."""
_COLLECT = collect_command(files=WHOLE_MACHINE, errors=f"{FOLDERS.run}/error.log")


class GuestServer:
    """Made by `start_guest_server`."""

    address = MACHINE_ADDRESS
    port = PORT
    tls_port = TLS_PORT

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    @property
    def pids(self) -> tuple[int, ...]:
        """The guest's process on this machine."""
        return self._guest.pids

    async def read_counters(self) -> dict[str, float]:
        """Those of the guest, and the CPU seconds of its process."""
        ran = await self._guest.run(["sh", "/lab/collect"], timeout_s=10.0)
        return parse_counters(ran.output) | {"cpu.seconds": cpu_seconds(self.pids)}

    def console(self) -> list[str]:
        """The kernel's console."""
        return self._guest.console()

    def condition(self) -> Condition:
        """Whether the kernel lives."""
        return self._guest.condition()

    async def run(self, argv: Sequence[str], *, timeout_s: float = 30.0) -> Ran:
        """Run a command in the guest."""
        return await self._guest.run(argv, timeout_s=timeout_s)

    async def stop(self) -> None:
        """Cut its power."""
        await self._guest.stop()


async def start_guest_server(
    spec: MachineSpec,
    place: Place,
    content: tuple[KnownFile, ...],
    *,
    emulator: Emulator,
    modules: Sequence[str],
    gateway: str,
) -> GuestServer:
    """Boot the kernel behind the interface TAP of its space and start nginx in it.

    Args:
        modules: those to load where the kernel has them as modules.

    Raises:
        NotPossibleHereError: no such kernel or nginx, or too little is installed here.
        MachineError: the kernel did not boot, or nginx did not start in it.
    """
    assert spec.kernel is not None
    image = await guest_image(emulator, spec.kernel, spec.modules, modules, _setup(emulator.device, gateway))
    await add_server(image, spec)
    disks = (await _make_disk(emulator, place.folder / "disk", content),) if spec.is_content_on_disk else ()
    if not disks:
        await asyncio.to_thread(add_content, image, content)
    guest_spec = GuestSpec(
        name="machine",
        emulator=emulator,
        kernel=spec.kernel,
        taps=(TAP,),
        memory_mib=spec.memory_mib,
        image=image,
        disks=disks,
    )
    machine = GuestServer(await boot(guest_spec, place))
    try:
        if disks:
            await _mount_content(machine, emulator.disk)
        ran = await machine.run(["sh", "-c", START_NGINX])
        if ran.exit_code:
            raise MachineError(f"nginx did not start in the guest: {ran.output.strip()[:600]}")
    except BaseException:
        await machine.stop()
        raise
    return machine


async def add_server(image: RootImage, spec: MachineSpec, *, has_tls: bool = True) -> None:
    """Put nginx, the appliance's configuration and what reads the counters into a root.

    Raises:
        NotPossibleHereError: no such nginx.
    """
    program = find_nginx(spec.nginx)
    await add_program(image, program, "/sbin/nginx")
    conf = lab_nginx_conf(
        FOLDERS, await read_build(program), workers=spec.workers, has_tls=has_tls, has_kernel_tls=spec.has_kernel_tls
    )
    image.file("/lab/nginx.conf", conf.encode())
    image.file("/lab/collect", _COLLECT.encode())
    if has_tls:
        certificate, key = make_certificate(MACHINE_ADDRESS)
        image.file(FOLDERS.certificate, certificate)
        image.file(FOLDERS.key, key)


def add_content(image: RootImage, content: Sequence[KnownFile]) -> None:
    """Put content where nginx serves it from."""
    for file in content:
        image.file(f"{FOLDERS.content}{file.path}", file.body)


async def _make_disk(emulator: Emulator, path: Path, content: tuple[KnownFile, ...]) -> Path:
    if not emulator.disk:
        raise NotPossibleHereError("machines of this kind have no disk: content can lie in memory only")
    await make_disk(path, content)
    return path


async def _mount_content(machine: GuestServer, disk: str) -> None:
    ran = await machine.run(["sh", "-c", f"mkdir -p {FOLDERS.content} && mount -t ext4 -o ro {disk} {FOLDERS.content}"])
    if ran.exit_code:
        raise NotPossibleHereError(f"this kernel cannot read a disk (ubd and ext4): {ran.output.strip()[:300]}")


def _setup(device: str, gateway: str) -> str:
    lines = [
        f"ip addr add {MACHINE_ADDRESS}/24 dev {device}0",
        f"ip link set {device}0 up",
        f"ip route add default via {gateway}",
    ]
    return " &&\n".join(lines) + "\n"
