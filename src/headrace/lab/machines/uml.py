"""The `uml` machine: a candidate kernel built for ARCH=um, run as a program, with a candidate nginx in it."""

from pathlib import Path

from headrace.lab.adapters.cell import run_command
from headrace.lab.content import KnownFile
from headrace.lab.errors import NotPossibleHereError
from headrace.lab.machines.guest import Emulator, Files, GuestSpec
from headrace.lab.machines.guest_server import GuestServer, start_guest_server
from headrace.lab.machines.place import Place
from headrace.lab.ports import MachineSpec

_MODULES = ("tcp_bbr", "sch_fq", "sch_netem", "aes_ti", "gcm", "ghash_generic", "ctr", "tls")


async def start_uml_machine(
    spec: MachineSpec, place: Place, content: tuple[KnownFile, ...], *, gateway: str
) -> GuestServer:
    """Boot the kernel and start nginx in it; see `start_guest_server`."""
    if spec.kernel is None:
        raise NotPossibleHereError("a uml machine needs a kernel: --kernel PATH (Debian's user-mode-linux: linux.uml)")
    return await start_guest_server(spec, place, content, emulator=USER_MODE, modules=_MODULES, gateway=gateway)


async def kernel_version(kernel: Path) -> str:
    """What a User-Mode Linux executable says of itself.

    Raises:
        NotPossibleHereError: it is not one.
    """
    if not kernel.is_absolute():
        raise NotPossibleHereError(f"the kernel {kernel} is not an absolute path")
    ran = await run_command([str(kernel), "--version"], timeout_s=10.0)
    words = ran.output.split()
    if ran.exit_code or len(words) != 1 or not words[0][0].isdigit():
        raise NotPossibleHereError(f"{kernel} is no User-Mode Linux kernel: build one with ARCH=um")
    return words[0]


def _command(spec: GuestSpec, files: Files) -> list[str]:
    return [
        str(spec.kernel),
        f"mem={spec.memory_mib}M",
        f"initrd={files.initrd}",
        "rdinit=/init",
        "con=null",
        "con0=null,fd:1",
        f"con1=fd:{files.channel},fd:{files.channel}",
        "con2=pts",
        "ssl=null",
        "loglevel=7",  # everything that is not for debugging; `quiet` would hide warnings
        "panic=-1",
        "oops=panic",
        f"uml_dir={files.folder}/uml",
        f"umid={spec.name}",
        *(f"vec{index}:transport=tap,ifname={tap},depth=128" for index, tap in enumerate(spec.taps)),
        *(f"ubd{index}r={disk}" for index, disk in enumerate(spec.disks)),
    ]


USER_MODE = Emulator(
    command=_command,
    version_of=kernel_version,
    device="vec",
    channel="/dev/tty1",
    people="/dev/tty2",
    disk="/dev/ubda",
    modules=Path("/usr/lib/uml/modules"),
)
