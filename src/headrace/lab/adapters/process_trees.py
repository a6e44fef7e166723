"""CPU time of process trees of this machine, and whether a process still is the one that was meant."""

import contextlib
import os
import signal
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_seconds(roots: tuple[int, ...]) -> float:
    """User and system time of the processes and all below them, their ended children included."""
    table = _table()
    return sum(int(word) for pid in _tree(table, roots) for word in table[pid][11:15]) / _TICKS_PER_S


def kill_tree(root: int) -> None:
    """Kill a process and all below it; those in sessions of their own too, which its group does not hold."""
    for pid in _tree(_table(), (root,)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def start_ticks(pid: int) -> int:
    """When a process began, in ticks after the machine's start; 0 when it is not there or dead."""
    words = _stat(pid)
    return int(words[19]) if words and words[0] != "Z" else 0


def _table() -> dict[int, list[str]]:
    return {int(name): words for name in os.listdir(_PROC) if name.isdigit() and (words := _stat(int(name)))}


def _tree(table: dict[int, list[str]], roots: tuple[int, ...]) -> list[int]:
    found = [pid for pid in roots if pid in table]
    for pid in found:  # grows while it is walked: children after their parents
        found += [child for child, words in table.items() if int(words[1]) == pid and child not in found]
    return found


def _stat(pid: int) -> list[str] | None:
    """Words of /proc/PID/stat from the state on."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
