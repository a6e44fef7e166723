"""Ticks that kernel, nginx and a client spend on one request, counted and not timed: the gate for changes of a kernel.

QEMU runs one thread with an instruction clock (`-icount shift=0`): the guest's counter (rdtsc) goes on by one with each
instruction, and by the time skipped where nothing was to be done, so that a stall shows too. Everything lies in the
guest's memory, the requests go over its loopback, and nothing from outside reaches it: a run repeats to a few ticks
(docs/lab.md). Needs neither root nor namespaces. These are instructions: caches stay invisible.

The client is a small C program, compiled here when it is used: in Python or a shell it would cost many times what is
measured, and a program for the guest cannot be shipped as text otherwise.
"""

import asyncio
import ipaddress
import re
import shutil
from asyncio.subprocess import STDOUT
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from headrace.lab.adapters.cell import run_command
from headrace.lab.adapters.programs import find_program, read_bytes
from headrace.lab.content import KnownFile
from headrace.lab.errors import LabError, MachineError
from headrace.lab.instructions import Shape
from headrace.lab.machines.guest import guest_image, reason_in, write_root
from headrace.lab.machines.guest_server import START_NGINX, add_content, add_server
from headrace.lab.machines.qemu import QEMU, base_command
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.serving import MACHINE_ADDRESS, PORT
from headrace.origin.adapters.children import child

_MEMORY_MIB = 256
_RUN_TIMEOUT_S = 600.0
"""About 15 s on a quiet machine."""
_COMPILE_TIMEOUT_S = 60.0
_APPEND = (
    "quiet loglevel=3 mitigations=off nokaslr norandmaps random.trust_bootloader=off random.trust_cpu=off "
    "cryptomgr.notests"
)
"""All that chance would decide is fixed, and what guards against a processor's faults is left out."""
_SETTLE_S = 30
"""Of the guest's time, which is skipped where nothing runs: what a kernel still does in the background after its start
(7.2 checks signatures for a second, three times what the requests cost) must be over."""
_ICOUNT = ("-icount", "shift=0,sleep=off", "-rtc", "clock=vm,base=2026-01-01")
_SAID = re.compile(r"headrace ticks (\S+) (\d+)")

SHAPES = (
    (Shape(metric="ticks.1k", file=KnownFile(size_bytes=1024, seed="ticks-1k")), 500),
    (Shape(metric="ticks.1k", file=KnownFile(size_bytes=1024, seed="ticks-1k")), 500),
    (Shape(metric="ticks.100k", file=KnownFile(size_bytes=4 << 20, seed="ticks"), span="100000-199999"), 500),
    (Shape(metric="ticks.4m", file=KnownFile(size_bytes=4 << 20, seed="ticks")), 50),
)
"""What is asked, in this order, and how often. Of several passes of one metric the smallest counts: 1 KB goes first,
and its first pass meets what a fresh kernel still has to do."""

METRICS = frozenset(shape.metric for shape, _ in SHAPES)


async def count_ticks(
    kernel: Path, nginx: Path | None, folder: Path, shapes: Sequence[tuple[Shape, int]] = SHAPES
) -> dict[str, float]:
    """Ticks per request by metric. `folder` is made, emptied first.

    Args:
        kernel: a bzImage for x86-64; loads no modules, so that it must hold TCP and an initial RAM disk itself.
        nginx: the program; None for the one that comes with Headrace.

    Raises:
        NotPossibleHereError: QEMU, a C compiler, busybox or nginx is missing, or `kernel` is no kernel image.
        MachineError: the kernel did not boot, or nginx did not start in it or did not answer; quotes the console.
    """
    await asyncio.to_thread(_empty, folder)
    image = await guest_image(QEMU, kernel, None, (), _setup(shapes))
    await add_server(image, MachineSpec(kind=MachineKind.QEMU, nginx=nginx), has_tls=False)
    await asyncio.to_thread(add_content, image, [shape.file for shape, _ in shapes])
    image.file("/lab/ticks-client", await _compiled(folder), mode=0o755)
    for number, (shape, _) in enumerate(shapes):
        image.file(f"/lab/requests/{number}", _request(shape))
    initrd = folder / "initrd"
    await asyncio.to_thread(write_root, initrd, image, QEMU, memory_mib=_MEMORY_MIB)
    argv = [*base_command(kernel, initrd, _MEMORY_MIB, _APPEND), *_ICOUNT]
    return read_ticks(await _run(argv, folder / "console.log"), shapes)


def read_ticks(console: str, shapes: Sequence[tuple[Shape, int]] = SHAPES) -> dict[str, float]:
    """Ticks per request by metric, from what the guest said.

    Raises:
        MachineError: it did not come to the end; with the line that says why.
    """
    totals = [(name, int(total)) for name, total in _SAID.findall(console)]
    if [name for name, _ in totals] != [shape.metric for shape, _ in shapes]:
        raise MachineError(f"the kernel counted no ticks to the end{reason_in(console.splitlines())}")
    found: dict[str, float] = {}
    for (name, total), (_, count) in zip(totals, shapes, strict=True):
        found[name] = min(found.get(name, float("inf")), total / count)
    return found


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


async def _run(argv: Sequence[str], console: Path) -> str:
    """Run a guest to its end; what its console said. It ends with this process at the latest."""
    with console.open("wb") as log:
        async with child(argv[0], tuple(argv[1:]), out=log.fileno(), err=STDOUT) as process:
            try:
                await asyncio.wait_for(process.wait(), _RUN_TIMEOUT_S)
            except TimeoutError:
                said = reason_in(await asyncio.to_thread(_lines, console))
                raise MachineError(f"the kernel hangs: no end of the count in {_RUN_TIMEOUT_S:g} s{said}") from None
    return "\n".join(await asyncio.to_thread(_lines, console))


def _lines(console: Path) -> list[str]:
    return console.read_text(encoding="utf-8", errors="replace").splitlines()


def _setup(shapes: Sequence[tuple[Shape, int]]) -> str:
    """Run by the first process: everything, then the end. A restart ends QEMU, and needs nothing of the kernel."""
    lines = [f"ip addr add {MACHINE_ADDRESS}/32 dev lo", START_NGINX, f"sleep {_SETTLE_S}"]
    lines += [
        f"/lab/ticks-client {shape.metric} {count} </lab/requests/{number}"
        for number, (shape, count) in enumerate(shapes)
    ]
    steps = "\n".join(f'{line} || {{ echo "headrace: `{line}` ended with $?"; reboot -f; }}' for line in lines)
    return f"{steps.replace('`', '')}\nreboot -f\n"


def _request(shape: Shape) -> bytes:
    wanted = f"Range: bytes={shape.span}\r\n" if shape.span else ""
    return f"GET {shape.file.path} HTTP/1.1\r\nHost: lab\r\nUser-Agent: headrace-lab\r\n{wanted}\r\n".encode()


async def _compiled(folder: Path) -> bytes:
    compiler = find_program("gcc", "cc", "clang", mend="ticks are counted by a small C program: apt-get install gcc")
    source, program = folder / "ticks_client.c", folder / "ticks-client"
    source.write_bytes(resources.files("headrace.lab").joinpath("ticks_client.c").read_bytes())
    argv = [
        str(compiler),
        "-O1",
        "-static",
        "-nostdlib",
        "-ffreestanding",
        "-fno-stack-protector",
        "-fno-pie",
        "-no-pie",
    ]
    argv += [f"-DADDRESS={int(ipaddress.ip_address(MACHINE_ADDRESS))}u", f"-DPORT={PORT}"]
    ran = await run_command([*argv, "-o", str(program), str(source)], timeout_s=_COMPILE_TIMEOUT_S)
    if ran.exit_code:
        raise LabError(f"{compiler} cannot compile the client that counts ticks: {ran.output.strip()[:400]}")
    return await asyncio.to_thread(read_bytes, program)
