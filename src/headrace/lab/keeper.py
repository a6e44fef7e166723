"""The owner of a lab that outlives the command which started it: opens the lab, answers requests, ends it.

Started by `start_keeper`; takes a LabSetup as JSON on its input. Requests come through a Unix socket in the lab's
folder, one JSON line each (`Request`); answers are JSON lines, the last one with `is_last`. It ends on `stop`, on
SIGTERM, and when its machine could not be started, which the record then says.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from headrace.base.clock import Clock, SystemClock
from headrace.base.errors import HeadraceError
from headrace.base.tasks import Tasks
from headrace.lab.adapters.records import LabRecord, LabState, own_record, write_record
from headrace.lab.assembly import Lab, LabSetup, open_lab
from headrace.lab.load.model import Behaviour, LoadReport
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.measuring import changes, record, take_sample
from headrace.lab.ports import Condition, Ran
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError

SOCKET = "keeper.sock"
_MOST_LINE_BYTES = 1 << 20
_MOST_LINES = 2000
"""Of a console: from the start of a kernel on, where it says which terminal is for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One wish; fields that it does not need are left out."""

    do: str
    """run, load, look or stop."""
    argv: tuple[str, ...] = ()
    seconds: float = 5.0
    is_tls: bool = False
    is_sweeping: bool = False
    players: dict[Behaviour, int] | None = None
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One line of answer."""

    is_last: bool = True
    error: str = ""
    exit_code: int = 0
    """Of the error."""
    ran: Ran | None = None
    report: LoadReport | None = None
    counters: dict[str, float] = field(default_factory=dict)
    """After a load: what changed over it, as `measuring.changes` says; on `look`: as they are."""
    condition: Condition | None = None
    console: tuple[str, ...] = ()


class Keeper:
    """Answers requests for one lab."""

    def __init__(self, lab: Lab, clock: Clock) -> None:
        self._lab = lab
        self._clock = clock
        self.is_over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            line = await asyncio.wait_for(reader.readline(), 5.0)
            async for answer in self._answers(decode(Request, line)):
                writer.write(encode(answer) + b"\n")
                await writer.drain()
        except (MalformedError, TimeoutError, ValueError) as error:
            writer.write(encode(Answer(error=f"not a request: {error}", exit_code=1)) + b"\n")
        except OSError:
            pass  # who asked has gone
        finally:
            with contextlib.suppress(OSError):
                writer.close()
                await writer.wait_closed()

    async def _answers(self, request: Request) -> AsyncIterator[Answer]:
        machine = self._lab.machine
        try:
            if request.do == "run":
                yield Answer(ran=await machine.run(request.argv, timeout_s=request.seconds))
            elif request.do == "load":
                async for answer in self._load(request):
                    yield answer
            elif request.do == "look":
                condition = machine.condition()
                yield Answer(condition=condition, console=tuple(machine.console()[-_MOST_LINES:]))
            elif request.do == "stop":
                yield Answer()
                self.is_over.set()
            else:
                yield Answer(error=f"no such request: {request.do!r}", exit_code=1)
        except HeadraceError as error:
            yield Answer(error=str(error), exit_code=error.exit_code)

    async def _load(self, request: Request) -> AsyncIterator[Answer]:
        """Progress about each second, then the result; samples go to the folder's samples.jsonl."""
        machine = self._lab.machine
        plan = plan_for(
            self._lab,
            seconds=request.seconds,
            players=request.players,
            is_tls=request.is_tls,
            is_sweeping=request.is_sweeping,
            seed=request.seed,
        )
        so_far: asyncio.Queue[LoadReport] = asyncio.Queue()
        before = await take_sample(machine, self._clock)
        async with Tasks() as tasks:
            tasks.spawn("samples", record(machine, self._lab.folder / "samples.jsonl", self._clock))
            load = tasks.spawn("load", run_load(self._lab, plan, on_progress=so_far.put_nowait))
            while not load.done():
                with contextlib.suppress(TimeoutError):
                    yield Answer(is_last=False, report=await asyncio.wait_for(so_far.get(), 0.2))
            report = load.result()
        condition = machine.condition()
        try:
            after = await take_sample(machine, self._clock)
            counters = changes(before.counters, after.counters)
        except HeadraceError:  # the machine ended under the load: that is a result
            counters = {}
        yield Answer(report=report, counters=counters, condition=condition, console=tuple(machine.console()[-20:]))


async def keep(setup: LabSetup, name: str, folder: Path) -> int:
    """Open the lab, answer until it is over; the exit code."""
    clock = SystemClock()
    write_record(folder, own_record(name, LabState.STARTING))
    try:
        async with open_lab(setup, folder / "lab", clock) as lab:
            keeper = Keeper(lab, clock)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, keeper.is_over.set)
            server = await asyncio.start_unix_server(keeper.serve, short_path(folder), limit=_MOST_LINE_BYTES)
            async with server:
                write_record(folder, _running(lab, name, clock))
                await keeper.is_over.wait()
        return 0
    except HeadraceError as error:
        refused = own_record(name, LabState.REFUSED, reason=str(error), exit_code=error.exit_code)
        write_record(folder, refused)
        return error.exit_code


def short_path(folder: Path) -> str:
    """The socket by a path that fits into the kernel's 107 bytes, however deep the folder is."""
    return f"/proc/self/fd/{os.open(folder, os.O_PATH | os.O_DIRECTORY)}/{SOCKET}"


def _running(lab: Lab, name: str, clock: Clock) -> LabRecord:
    files = sorted(lab.setup.content, key=lambda file: -file.size_bytes)
    return own_record(
        name,
        LabState.RUNNING,
        kind=str(lab.setup.machine.kind),
        profile=lab.setup.profile.name,
        address=lab.machine.address,
        port=lab.machine.port,
        tls_port=lab.machine.tls_port,
        paths=tuple(file.path for file in files),
        doors=lab.doors,
        started_s=clock.now_s(),
    )


def main() -> int:
    setup = decode(LabSetup, sys.stdin.buffer.read())
    return asyncio.run(keep(setup, sys.argv[1], Path(sys.argv[2])))


if __name__ == "__main__":
    sys.exit(main())
