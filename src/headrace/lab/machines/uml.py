"""The `uml` machine: a candidate kernel as a User-Mode Linux guest that runs a candidate nginx."""

import asyncio
from collections.abc import Sequence

from headrace.lab.adapters.certificates import make_certificate
from headrace.lab.adapters.nginx_program import find_nginx, read_build
from headrace.lab.adapters.process_trees import cpu_seconds
from headrace.lab.adapters.programs import add_program
from headrace.lab.content import KnownFile
from headrace.lab.counters import WHOLE_MACHINE, collect_command, parse_counters
from headrace.lab.errors import MachineError, NotPossibleHereError
from headrace.lab.machines.guest import Guest, GuestSpec, boot, guest_image
from headrace.lab.machines.place import Place
from headrace.lab.ports import Condition, MachineSpec, Ran
from headrace.lab.root_image import RootImage
from headrace.lab.serving import MACHINE_ADDRESS, PORT, TLS_PORT, ServingFolders, lab_nginx_conf

TAP = "m0"
_MODULES = ("tcp_bbr", "sch_fq", "sch_netem", "aes_ti", "gcm", "ghash_generic", "ctr", "tls")
_FOLDERS = ServingFolders(content="/www", run="/run/nginx", certificate="/lab/certificate.pem", key="/lab/key.pem")
_NGINX = "/sbin/nginx -p /run/nginx/ -c /lab/nginx.conf -e /run/nginx/error.log"
_COLLECT = collect_command(files=WHOLE_MACHINE, errors=f"{_FOLDERS.run}/error.log")


class UmlMachine:
    """Made by `start_uml_machine`."""

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


async def start_uml_machine(
    spec: MachineSpec, place: Place, content: tuple[KnownFile, ...], *, gateway: str
) -> UmlMachine:
    """Boot the kernel behind the interface TAP of its space and start nginx in it.

    Raises:
        NotPossibleHereError: no such kernel or nginx, or too little is installed here.
        MachineError: the kernel did not boot, or nginx did not start in it.
    """
    if spec.kernel is None:
        raise NotPossibleHereError("a uml machine needs a kernel: --kernel PATH (Debian's user-mode-linux: linux.uml)")
    image = await guest_image(spec.kernel, spec.modules, _MODULES, _setup(gateway))
    await _add_server(image, spec)
    await asyncio.to_thread(_add_content, image, content)
    guest_spec = GuestSpec(name="machine", kernel=spec.kernel, taps=(TAP,), memory_mib=spec.memory_mib, image=image)
    machine = UmlMachine(await boot(guest_spec, place))
    try:
        ran = await machine.run(["sh", "-c", f"mkdir -p {_FOLDERS.run} && {_NGINX}"])
        if ran.exit_code:
            raise MachineError(f"nginx did not start in the guest: {ran.output.strip()[:600]}")
    except BaseException:
        await machine.stop()
        raise
    return machine


def _setup(gateway: str) -> str:
    lines = [f"ip addr add {MACHINE_ADDRESS}/24 dev vec0", "ip link set vec0 up", f"ip route add default via {gateway}"]
    return " &&\n".join(lines) + "\n"


async def _add_server(image: RootImage, spec: MachineSpec) -> None:
    program = find_nginx(spec.nginx)
    await add_program(image, program, "/sbin/nginx")
    conf = lab_nginx_conf(_FOLDERS, await read_build(program), workers=spec.workers)
    image.file("/lab/nginx.conf", conf.encode())
    image.file("/lab/collect", _COLLECT.encode())
    certificate, key = make_certificate(MACHINE_ADDRESS)
    image.file(_FOLDERS.certificate, certificate)
    image.file(_FOLDERS.key, key)


def _add_content(image: RootImage, content: tuple[KnownFile, ...]) -> None:
    for file in content:
        image.file(f"{_FOLDERS.content}{file.path}", file.body)
