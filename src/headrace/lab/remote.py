"""Reach labs that a keeper owns: start, ask, end. For programs without an event loop, as the command line is."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from headrace.base.clock import Clock
from headrace.lab.adapters.process_trees import start_ticks
from headrace.lab.adapters.records import LabRecord, LabState, list_records, read_record, sweep
from headrace.lab.assembly import LabSetup
from headrace.lab.errors import LabError, MachineError, NoSuchLabError
from headrace.lab.keeper import Answer, Request, short_path
from headrace.wire.codec import decode, encode

_UP_TIMEOUT_S = 240.0
_DOWN_TIMEOUT_S = 15.0
_STEP_S = 0.05
_SILENCE_S = 60.0
"""A keeper tells something each second while it works."""


class LabRefusedError(LabError):
    """The lab did not come up."""

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


def start_keeper(labs: Path, name: str, setup: LabSetup, clock: Clock) -> LabRecord:
    """Start a lab that goes on after this process, and wait until it runs. Labs of dead owners are swept first.

    Raises:
        LabError: one of that name runs, or it did not come up; says why.
    """
    sweep(labs)
    folder = labs / name
    if any(record.name == name for record in list_records(labs)):
        raise LabError(f"a lab {name!r} is running already: choose another --name, or end it with `headrace lab down`")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    with (folder / "keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "headrace.lab.keeper", name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    assert keeper.stdin is not None
    with contextlib.suppress(BrokenPipeError), keeper.stdin:
        keeper.stdin.write(encode(setup))
    try:
        return _until_running(keeper, folder, clock)
    except BaseException:
        keeper.kill()
        keeper.wait()
        shutil.rmtree(folder, ignore_errors=True)
        raise


def ask(labs: Path, record: LabRecord, request: Request) -> Iterator[Answer]:
    """Send a request; its answers as they come.

    Raises:
        NoSuchLabError: the keeper has gone.
        LabError: it refuses or fails.
    """
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(_SILENCE_S + request.seconds)
        try:
            link.connect(short_path(labs / record.name))
            link.sendall(encode(request) + b"\n")
            with link.makefile("rb") as lines:
                for line in lines:
                    answer = decode(Answer, line)
                    if answer.error:
                        raise LabRefusedError(answer.error, answer.exit_code)
                    yield answer
                    if answer.is_last:
                        return
        except OSError as error:
            raise NoSuchLabError(f"the lab {record.name!r} does not answer: {error}") from None
    raise NoSuchLabError(f"the lab {record.name!r} ended while it was asked")


def end_lab(labs: Path, record: LabRecord, clock: Clock) -> None:
    """End a lab and remove its folder. One whose owner is dead is only removed.

    Raises:
        LabError: the owner does not end.
    """
    if record.is_owned:
        os.kill(record.owner_pid, signal.SIGTERM)
        deadline_s = clock.monotonic_s() + _DOWN_TIMEOUT_S
        while start_ticks(record.owner_pid) == record.owner_ticks:
            if clock.monotonic_s() > deadline_s:
                os.kill(record.owner_pid, signal.SIGKILL)  # all that runs in the lab ends with its owner
                break
            clock.block(_STEP_S)
    shutil.rmtree(labs / record.name, ignore_errors=True)


def _until_running(keeper: "subprocess.Popen[bytes]", folder: Path, clock: Clock) -> LabRecord:
    deadline_s = clock.monotonic_s() + _UP_TIMEOUT_S
    while clock.monotonic_s() < deadline_s:
        record = read_record(folder)
        if record and record.state is LabState.RUNNING:
            return record
        if record and record.state is LabState.REFUSED:
            raise LabRefusedError(record.reason, record.exit_code)
        if keeper.poll() is not None:
            said = (folder / "keeper.log").read_text(errors="replace").strip()
            raise MachineError(f"the lab's keeper ended: {said[-400:]}")
        clock.block(_STEP_S)
    raise MachineError(f"the lab was not up in {_UP_TIMEOUT_S:g} s")
