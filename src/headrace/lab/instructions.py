"""Instructions that nginx spends in user space on one request, counted and not timed, so that 1 % shows on any machine.

nginx runs as one process under valgrind's callgrind, in a cell of its own, with the appliance's configuration. Two runs
with different numbers of the same request are subtracted: start, first request and end cancel out. Repeats of one
build differ by 0.03 % at most (docs/performance.md). What the kernel does is not seen.
"""

import asyncio
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.base.clock import Clock
from headrace.lab.adapters import links
from headrace.lab.adapters.cell import Cell, open_cell
from headrace.lab.adapters.nginx_program import find_nginx, read_build
from headrace.lab.adapters.programs import find_program
from headrace.lab.content import KnownFile
from headrace.lab.errors import MachineError
from headrace.lab.machines.process import lay_out
from headrace.lab.serving import MACHINE_ADDRESS, PORT, lab_nginx_conf

SPACE = "machine"
FEW, MANY = 100, 600
"""Requests of the two runs; their difference is what is counted."""
_ASKER = Path(__file__).with_name("adapters") / "asker.py"
_START_TIMEOUT_S = 60.0
_ASK_TIMEOUT_S = 300.0
_END_TIMEOUT_S = 30.0
_STEP_S = 0.05
_TOTAL = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One kind of request. `metric` is the name under which `release` knows its count."""

    metric: str
    file: KnownFile
    span: str = ""
    """Bytes of the Range header, as '0-99999'; '' for the whole file."""


SHAPES = (
    Shape(metric="instructions.1k", file=KnownFile(size_bytes=1024, seed="instructions-1k")),
    Shape(
        metric="instructions.100k", file=KnownFile(size_bytes=4 << 20, seed="instructions-range"), span="100000-199999"
    ),
)


async def count_instructions(
    nginx: Path, folder: Path, clock: Clock, shapes: Sequence[Shape] = SHAPES
) -> dict[str, float]:
    """Instructions per request of each shape, by metric. `folder` is made, emptied first. About two seconds a shape.

    Raises:
        NotPossibleHereError: valgrind or nginx is missing, or namespaces are not allowed.
        MachineError: nginx did not start or did not answer; quotes what was said.
    """
    valgrind = find_program("valgrind", mend="apt-get install valgrind")
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    counts: dict[str, float] = {}
    for shape in shapes:
        few, many = [
            await _run(valgrind, nginx, folder / f"{shape.metric}-{requests}", clock, shape, requests)
            for requests in (FEW, MANY)
        ]
        counts[shape.metric] = (many - few) / (MANY - FEW)
    return counts


async def _run(valgrind: Path, nginx: Path, folder: Path, clock: Clock, shape: Shape, requests: int) -> int:
    """Instructions of one whole run."""
    program = find_nginx(nginx)
    folders = await asyncio.to_thread(lay_out, folder, (shape.file,))
    conf, out = folder / "nginx.conf", folder / "callgrind.out"
    conf.write_text(lab_nginx_conf(folders, await read_build(program), workers=1), encoding="utf-8")
    argv = [str(valgrind), "--tool=callgrind", f"--callgrind-out-file={out}", str(program)]
    argv += ["-p", f"{folders.run}/", "-c", str(conf), "-e", f"{folders.run}/error.log"]
    argv += ["-g", "daemon off; master_process off;"]
    cell = await open_cell([SPACE])
    try:
        await links.address(cell, SPACE, "lo", MACHINE_ADDRESS)
        log = folder / "valgrind.log"
        with log.open("wb") as output:
            server = await cell.start(SPACE, argv, folder=folders.run, stdout=output.fileno())
        await _until_started(server, Path(folders.run) / "nginx.pid", log, clock)
        await _ask(cell, shape, requests)
        await _end(cell, server, Path(folders.run) / "nginx.pid")
    finally:
        await cell.close()
    total = _TOTAL.findall(out.read_text(encoding="utf-8")) if out.exists() else []
    if not total:
        raise MachineError(f"callgrind counted nothing: {_tail(log)}")
    return int(total[-1])


async def _until_started(server: asyncio.subprocess.Process, pid: Path, log: Path, clock: Clock) -> None:
    deadline_s = clock.monotonic_s() + _START_TIMEOUT_S
    while not await asyncio.to_thread(pid.exists):
        if server.returncode is not None:
            raise MachineError(f"nginx ended under callgrind: {_tail(log)}")
        if clock.monotonic_s() > deadline_s:
            raise MachineError(f"nginx did not start under callgrind within {_START_TIMEOUT_S:g} s: {_tail(log)}")
        await clock.sleep(_STEP_S)


async def _ask(cell: Cell, shape: Shape, requests: int) -> None:
    argv = [sys.executable, "-I", "-S", str(_ASKER), MACHINE_ADDRESS, str(PORT)]
    argv += [shape.file.path, shape.span, str(requests)]
    ran = await cell.run(SPACE, argv, timeout_s=_ASK_TIMEOUT_S)
    if ran.exit_code:
        raise MachineError(f"{shape.metric}: nginx did not answer as it should: {ran.output.strip()[:400]}")


async def _end(cell: Cell, server: asyncio.subprocess.Process, pid: Path) -> None:
    """End it in order: callgrind writes its counts at the end."""
    await cell.run(SPACE, ["sh", "-c", f"kill -TERM $(cat {pid})"])
    try:
        await asyncio.wait_for(server.wait(), _END_TIMEOUT_S)
    except TimeoutError:
        raise MachineError(f"nginx did not end under callgrind within {_END_TIMEOUT_S:g} s") from None


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-3:])[-600:] or "it said nothing"
