"""The log files of nginx's folder as they are shipped: what there is, pieces of it, and what is remembered on disk."""

import hashlib
import os
import re
from datetime import UTC, datetime
from pathlib import Path

from headrace.appliance.pieces import LogFile, Piece, Shipped
from headrace.telemetry.access_log import MOST_LINE_BYTES
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic

_NAMES = re.compile(r"access-\d{13}\.log|access\.log")
_TIME = re.compile(rb"(\d{1,10})\.(\d{3})\t")
_MOST_MEMORY_BYTES = 1 << 20


def find_logs(folder: Path, *, now_s: float) -> list[LogFile]:
    """The log files that have a first line, oldest first."""
    names = sorted(path.name for path in folder.iterdir() if _NAMES.fullmatch(path.name))
    # 'access.log' sorts after 'access-...log': the one that is written to comes last.
    found = (_look_at(folder / name, now_s=now_s) for name in names)
    return [log for log in found if log is not None]


def copy_piece(folder: Path, piece: Piece, target: Path) -> int:
    """Copy a piece up to the end of its last whole line; how many bytes that is, 0 when the log is gone or shorter.

    A piece that was decided ends with a line; it must be there whole, or it is not the same piece.
    """
    for path in folder.iterdir():
        if not _NAMES.fullmatch(path.name):
            continue
        with path.open("rb") as log:
            known = _identify(log.read(MOST_LINE_BYTES))
            if known is None or known[0] != piece.log:
                continue
            log.seek(piece.first)
            data = log.read(piece.end - piece.first)
        whole = len(data) if len(data) == piece.end - piece.first and data.endswith(b"\n") else data.rfind(b"\n") + 1
        target.write_bytes(memoryview(data)[:whole])
        return whole
    return 0


def read_memory(path: Path) -> Shipped | None:
    """What was remembered; None when there is nothing that can be read."""
    try:
        with path.open("rb") as file:
            return decode(Shipped, file.read(_MOST_MEMORY_BYTES))
    except (OSError, MalformedError):
        return None


def write_memory(path: Path, shipped: Shipped) -> None:
    """Remember, over power cuts too."""
    write_atomic(path, encode(shipped), mode=0o600)


def _look_at(path: Path, *, now_s: float) -> LogFile | None:
    try:
        with path.open("rb") as file:
            known = _identify(file.read(MOST_LINE_BYTES))
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    if known is None:
        return None
    return LogFile(
        name=path.name,
        log=known[0],
        day=known[1],
        size_bytes=status.st_size,
        idle_s=max(0.0, now_s - status.st_mtime),
        is_current=path.name == "access.log",
    )


def _identify(start: bytes) -> tuple[str, str] | None:
    """What a log is known by, and its day; None while its first line is not written."""
    line, line_break, _ = start.partition(b"\n")
    if not line_break and len(start) < MOST_LINE_BYTES:
        return None
    time = _TIME.match(line)
    # A file whose first line is broken is still shipped; its digest tells it from others.
    milliseconds = int(time[1] + time[2]) if time else 0
    day = datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d")
    return f"{milliseconds:013d}-{hashlib.sha256(line).hexdigest()[:16]}", day
