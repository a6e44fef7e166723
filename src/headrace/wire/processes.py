"""Whether a process lives, read from /proc. Starts and ends nothing."""

from pathlib import Path


def started_ticks(pid: int) -> int:
    """Start time of a process that lives, in clock ticks after the machine's start; with the pid it names the process
    for ever. -1 for none: one that has ended and that nobody has asked after since (a zombie) does not live."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return -1 if words[0] in "ZX" else int(words[19])


def is_alive(pid: int) -> bool:
    """Whether a process lives."""
    return started_ticks(pid) >= 0
