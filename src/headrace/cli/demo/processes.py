"""Named child processes of the demo, each with its log file. Nothing survives the demo's end."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from headrace.base.clock import Clock
from headrace.base.errors import HeadraceError


class DemoError(HeadraceError):
    """The demo could not be brought up."""

    exit_code = 50


class Processes:
    """Starts, stops and kills named commands; `logs` gets one file a name."""

    def __init__(self, logs: Path, clock: Clock) -> None:
        self._logs = logs
        self._clock = clock
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: list[str], *, env: dict[str, str] | None = None) -> None:
        """Start `command` in a process group of its own; its output goes to `<logs>/<name>.log`."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._children[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )

    def is_running(self, name: str) -> bool:
        """Whether the command is still there."""
        child = self._children.get(name)
        return child is not None and child.poll() is None

    def kill(self, name: str) -> None:
        """SIGKILL to the whole group of a command: what a power cut is to it."""
        child = self._children.get(name)
        if child is not None and child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait(timeout=10)

    def stop(self, names: list[str] | None = None, *, within_s: float = 15.0) -> None:
        """SIGTERM to all (or `names`), then SIGKILL to what is left after `within_s`."""
        chosen = [self._children[name] for name in (names or list(self._children)) if name in self._children]
        for child in chosen:
            if child.poll() is None:
                child.terminate()
        ends_s = self._clock.monotonic_s() + within_s
        for child in chosen:
            try:
                child.wait(timeout=max(0.1, ends_s - self._clock.monotonic_s()))
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait(timeout=10)

    def tail(self, name: str, lines: int = 12) -> str:
        """The end of a command's log, for an error message."""
        path = self._logs / f"{name}.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def wait_until(self, what: str, is_so: Callable[[], bool], *, names: tuple[str, ...], within_s: float) -> float:
        """Wait until `is_so`, watching that the commands `names` live; gives back the seconds it took.

        Raises:
            DemoError: one of them ended, or the time is up; the message holds the end of its log.
        """
        began_s = self._clock.monotonic_s()
        while not is_so():
            for name in names:
                if not self.is_running(name):
                    raise DemoError(f"{name} ended while we waited for {what}; its log ends with:\n{self.tail(name)}")
            if self._clock.monotonic_s() - began_s > within_s:
                logs = "\n".join(f"--- {name}\n{self.tail(name)}" for name in names)
                raise DemoError(f"{what}: not within {within_s:.0f} s; the logs end with:\n{logs}")
            self._clock.block(0.1)
        return self._clock.monotonic_s() - began_s
