"""Runs the commands of a recipe: output to a log, bounded in time and size, ended with all their children.

A command's process group is ended when the call is left; when this process is killed, its first child is ended with it
(`setpriv` of util-linux) and the others at their next line of output. Until then the inherited lock keeps others out.
"""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from headrace.base.clock import Clock
from headrace.workshop.errors import WorkshopError

MOST_LOG_BYTES = 256 << 20
_LONGEST_LINE = 64 << 10
_TICK_S = 0.5


class OverrunError(WorkshopError):
    """A command ran for too long or said too much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """How commands are run: where, with what environment and log, until when."""

    folder: Path
    environment: Mapping[str, str]
    log: Path
    lock: int
    """Descriptor of the lock that children hold on."""
    nice: int
    deadline_s: float
    """On the monotonic clock."""
    clock: Clock
    on_line: Callable[[str], None]
    """Called with each line of output, and with '' from time to time; may raise to stop the command."""

    def run(self, command: Sequence[str]) -> int:
        """Run one command to its end and give its exit code (negative for a signal, 127 when there is no program).

        Raises:
            OverrunError: it ran past the deadline, or the log got too large.
            OSError: the log cannot be written.
        """
        with self.log.open("ab", buffering=0) as log:
            log.write(b"$ " + " ".join(command).encode() + b"\n")
            log.flush()
            try:
                process = self._started(command)
            except OSError as error:
                log.write(f"{command[0]}: {error}\n".encode())
                return 127
            try:
                self._follow(process, log)
                return process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                raise OverrunError(f"{command[0]} closed its output and did not end") from None
            finally:
                _end(process)

    def _started(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with_parent = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        return subprocess.Popen(
            [*with_parent, "nice", "-n", str(self.nice), *command],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(self.lock,),
        )

    def _follow(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        assert process.stdout is not None
        output = process.stdout
        os.set_blocking(output.fileno(), False)
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while True:
                is_ready = bool(selector.select(_TICK_S))
                if self.clock.monotonic_s() > self.deadline_s:
                    raise OverrunError("the time limit is over")
                chunk = output.read(1 << 16) if is_ready else None
                if chunk == b"":
                    break
                self._take(chunk, log)
                *lines, rest = (rest + (chunk or b"")).split(b"\n")
                rest = rest[-_LONGEST_LINE:]
                for line in lines or [b""]:
                    self.on_line(line.decode("utf-8", errors="replace"))
        log.flush()

    def _take(self, chunk: bytes | None, log: IO[bytes]) -> None:
        if not chunk:
            return
        log.write(chunk)
        if log.tell() > MOST_LOG_BYTES:
            raise OverrunError(f"the log is over {MOST_LOG_BYTES >> 20} MiB")


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def capture(command: Sequence[str], *, environment: Mapping[str, str], timeout_s: float) -> tuple[int, str]:
    """Exit code and output of a short command; (127, reason) when it cannot be run or does not end."""
    try:
        done = subprocess.run(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, done.stdout.decode("utf-8", errors="replace")
