"""The `qemu` machine: any x86-64 kernel image in software emulation, with a candidate nginx in it.

One thread emulates (`thread=single`): with several, some kernels fail early in their start. Nothing needs KVM. QEMU
ends with code 0 when its kernel panicked too, so that only the console tells why it ended.
"""

import asyncio
from pathlib import Path

from headrace.lab.adapters.programs import find_program, read_head
from headrace.lab.content import KnownFile
from headrace.lab.errors import NotPossibleHereError
from headrace.lab.kernel_image import HEAD_BYTES, image_version
from headrace.lab.machines.guest import Emulator, Files, GuestSpec
from headrace.lab.machines.guest_server import GuestServer, start_guest_server
from headrace.lab.machines.place import Place
from headrace.lab.ports import MachineSpec

NETWORK_MODULES = ("virtio_pci", "virtio_net")
SERVING_MODULES = ("tcp_bbr", "sch_fq", "sch_netem", "gcm", "ghash_generic", "ctr", "aesni_intel", "tls")
"""Kernel TLS does nothing, and says nothing, while its ciphers are not there."""
PLAIN_CPU = "qemu64"
_CPU_WITH_AES = f"{PLAIN_CPU},+ssse3,+sse4.1,+sse4.2,+popcnt,+aes,+pclmulqdq"
"""What kernel TLS and nginx run on real machines; emulated, it is also quicker than ciphers without."""
_PANIC_ENDS = "panic=-1 oops=panic"


async def start_qemu_machine(
    spec: MachineSpec, place: Place, content: tuple[KnownFile, ...], *, gateway: str
) -> GuestServer:
    """Boot the kernel and start nginx in it; see `start_guest_server`."""
    if spec.kernel is None:
        raise NotPossibleHereError("a qemu machine needs a kernel: --kernel PATH (a bzImage for x86-64)")
    find_qemu()
    return await start_guest_server(
        spec, place, content, emulator=QEMU, modules=NETWORK_MODULES + SERVING_MODULES, gateway=gateway
    )


def find_qemu() -> Path:
    """The emulator.

    Raises:
        NotPossibleHereError: it is not installed.
    """
    return find_program("qemu-system-x86_64", mend="apt-get install qemu-system-x86")


async def kernel_version(kernel: Path) -> str:
    """The release that a kernel image says it is.

    Raises:
        NotPossibleHereError: it cannot be read, or is no bzImage.
    """
    version = image_version(await asyncio.to_thread(read_head, kernel, HEAD_BYTES))
    if not version:
        raise NotPossibleHereError(
            f"{kernel} is no kernel image for x86 (bzImage): `make ARCH=x86_64 bzImage`, or a distribution's vmlinuz"
        )
    return version


def base_command(kernel: Path, initrd: Path, memory_mib: int, append: str, *, cpu: str = PLAIN_CPU) -> list[str]:
    """QEMU with one processor, no device that was not asked for, and the console on its output."""
    return [
        str(find_qemu()),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-machine", "q35", "-accel", "tcg,thread=single", "-cpu", cpu, "-smp", "1", "-m", str(memory_mib)),
        *("-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", f"console=ttyS0 rdinit=/init {_PANIC_ENDS} {append}"),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
    ]


def _command(spec: GuestSpec, files: Files) -> list[str]:
    # All but debugging on the console: `quiet` would hide warnings. A busy machine must not change the guest's clock.
    argv = base_command(spec.kernel, files.initrd, spec.memory_mib, "loglevel=7 tsc=nowatchdog", cpu=_CPU_WITH_AES)
    argv += ["-chardev", f"socket,id=channel,fd={files.channel}", "-serial", "chardev:channel"]
    argv += ["-chardev", "pty,id=people", "-serial", "chardev:people"]
    for index, tap in enumerate(spec.taps):
        argv += ["-netdev", f"tap,id=net{index},ifname={tap},script=no,downscript=no"]
        argv += ["-device", f"virtio-net-pci,netdev=net{index},romfile="]
    return argv


QEMU = Emulator(
    command=_command,
    version_of=kernel_version,
    device="eth",
    channel="/dev/ttyS1",
    people="/dev/ttyS2",
    packs_root=True,
    boot_timeout_s=180.0,
    hung_after_s=8.0,
)
