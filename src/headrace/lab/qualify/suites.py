"""An upstream's own tests as an expectation of level 1: a command, and its exit code as the verdict.

It runs in namespaces of its own, so that its ports and processes meet nobody, and ends with them. All that it
says is kept in a log; the last lines are the evidence.
"""

import asyncio
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from headrace.lab.adapters import links
from headrace.lab.adapters.cell import open_cell
from headrace.lab.errors import LabError, NotPossibleHereError
from headrace.lab.serving import MACHINE_ADDRESS
from headrace.release.model import CheckId

_SPACE = "machine"
_LAST_LINES = 20
_MOST_CHARACTERS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One, with all paths filled in."""

    check_id: CheckId
    about: str
    command: tuple[str, ...]
    """The first word is a program of this machine, by path or name."""
    timeout_s: float
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    """Over that of this process."""
    folder: Path | None = None
    """Where it runs; None: in an empty one."""
    not_run: str = ""
    """Why it cannot be run at all; '' when it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRun:
    """What came of it."""

    problem: str
    """'' when it passed."""
    last: tuple[str, ...]


async def run_suite(suite: Suite, scratch: Path) -> SuiteRun:
    """Run it to its end, or to its time-out, which fails. `scratch` is made, emptied first.

    Raises:
        LabError: the program or the folder is not there, the log cannot be written, or namespaces are not allowed.
    """
    program = shutil.which(suite.command[0], path=suite.environment.get("PATH"))
    folder = suite.folder or scratch
    await asyncio.to_thread(_lay_out, suite.log, scratch)
    if program is None:
        raise NotPossibleHereError(f"{suite.check_id}: there is no program {suite.command[0]!r} on this machine")
    if not await asyncio.to_thread(folder.is_dir):
        raise NotPossibleHereError(f"{suite.check_id}: there is no folder {folder}")
    words = [f"{name}={value}" for name, value in suite.environment.items()]
    argv = ["/usr/bin/env", f"HOME={scratch}", *words, program, *suite.command[1:]]
    exit_code = await _run(argv, folder, suite)
    last = await asyncio.to_thread(_last_lines, suite.log)
    problem = ""
    if exit_code is None:
        problem = f"did not end in {suite.timeout_s:g} s"
    elif exit_code:
        problem = f"ended with code {exit_code}" + (f": {last[-1]}" if last else "")
    return SuiteRun(problem=problem, last=(*last, f"whole log: {suite.log.parent.name}/{suite.log.name}"))


async def _run(argv: list[str], folder: Path, suite: Suite) -> int | None:
    """The exit code; None when it had to be ended."""
    cell = await open_cell([_SPACE])
    try:
        await links.address(cell, _SPACE, "lo", MACHINE_ADDRESS)
        with suite.log.open("wb") as log:
            process = await cell.start(_SPACE, argv, folder=folder, stdout=log.fileno())
        try:
            return await asyncio.wait_for(process.wait(), suite.timeout_s)
        except TimeoutError:
            return None
    finally:
        await cell.close()


def _lay_out(log: Path, scratch: Path) -> None:
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
    except OSError as error:
        raise LabError(f"cannot write {log}: {error.strerror or error}") from None


def _last_lines(log: Path) -> tuple[str, ...]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64 * 1024), os.SEEK_SET)
        lines = file.read().decode(errors="replace").splitlines()
    return tuple(line[:_MOST_CHARACTERS] for line in lines if line.strip())[-_LAST_LINES:]
