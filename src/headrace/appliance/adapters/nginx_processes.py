"""Which processes are the nginx of one run folder, read from /proc. Never starts or ends anything.

A process is ours when it runs in our run folder (nginx is started there and nobody else works there) and calls itself
nginx. That holds for workers whose master is dead, after a restart of the agent, and when pid files lie.
"""

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxProcess:
    """One process of nginx. Pid and start time together name it for ever."""

    pid: int
    parent: int
    started_ticks: int
    """Clock ticks after the machine's start."""
    is_master: bool
    is_leaving: bool
    """A worker that takes no new connections and finishes those it has."""
    is_stopped: bool
    """Halted by a signal or a debugger; it serves nobody until continued."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process has used since it started."""

    cpu_s: float
    written_bytes: int | None
    """Through any descriptor, sendfile included; None when the kernel does not tell us."""


def find_processes(run_folder: Path) -> tuple[NginxProcess, ...]:
    """All nginx processes that work in `run_folder`, masters first."""
    folder = os.path.realpath(run_folder)
    found = (look_at(int(entry), folder) for entry in os.listdir(_PROC) if entry.isdigit())
    return tuple(sorted((process for process in found if process), key=lambda process: not process.is_master))


def find_family(master: int) -> tuple[int, ...]:
    """Pids of a master and its workers."""
    try:
        text = (_PROC / str(master) / "task" / str(master) / "children").read_text()
        return (master, *(int(word) for word in text.split()))
    except OSError:
        return (master, *(int(pid) for pid in os.listdir(_PROC) if pid.isdigit() and _parent(pid) == master))


def look_at(pid: int, folder: str) -> NginxProcess | None:
    """The process `pid` if it is an nginx of `folder` and lives (a zombie does not)."""
    try:
        if os.readlink(_PROC / str(pid) / "cwd") != folder:
            return None
        title = (_PROC / str(pid) / "cmdline").read_bytes()
        after_name = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if not title.startswith(b"nginx: ") or after_name[0] in "ZX":
        return None
    return NginxProcess(
        pid=pid,
        parent=int(after_name[1]),
        started_ticks=int(after_name[19]),
        is_master=title.startswith(b"nginx: master"),
        is_leaving=b"shutting down" in title,
        is_stopped=after_name[0] in "Tt",
    )


def _parent(pid: str) -> int | None:
    try:
        return int((_PROC / pid / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def read_usage(pid: int) -> Usage | None:
    """CPU time and bytes written of a process; None when it is gone."""
    try:
        after_name = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    cpu_s = (int(after_name[11]) + int(after_name[12])) / _TICKS_PER_S
    try:
        lines = (_PROC / str(pid) / "io").read_text().splitlines()
        written = next(int(line.split()[1]) for line in lines if line.startswith("wchar"))
    except (OSError, StopIteration, ValueError):
        return Usage(cpu_s=cpu_s, written_bytes=None)
    return Usage(cpu_s=cpu_s, written_bytes=written)
