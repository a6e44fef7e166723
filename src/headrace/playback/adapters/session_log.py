"""The log of sessions given out: one line each, for `headrace steer replay`. Off unless a file is set.

    <UTC epoch seconds> <client address> <title id> <appliance id, or - for the origin> <bits per second>

All workers append to one file, whole lines at a time. Past its bound it becomes `<file>.1`, in place of the one before.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from headrace.playback.adapters.geo import open_locator
from headrace.playback.answers import Locator
from headrace.playback.clients import packed_address
from headrace.playback.errors import PlaybackError
from headrace.steering.replay import LoggedSession

MOST_LINES_HELD = 100_000
"""Between two writes; more are dropped and counted."""


class SessionLog:
    """Appends sessions to a file, a second's worth at a time."""

    def __init__(self, file: str, *, most_bytes: int) -> None:
        self.dropped = 0
        self._path = Path(file) if file else None
        self._most_bytes = most_bytes
        self._lines: list[str] = []

    def add(self, at_s: float, client: str, title_id: str, appliance_id: str, session_bps: float) -> None:
        """Note a session; written later."""
        if self._path is None:
            return
        if len(self._lines) >= MOST_LINES_HELD:
            self.dropped += 1
            return
        self._lines.append(f"{at_s:.3f} {client} {title_id} {appliance_id or '-'} {session_bps:.0f}\n")

    def write(self) -> None:
        """Append what was noted; blocks shortly. A full disk costs the lines, never an answer."""
        lines, self._lines = self._lines, []
        if self._path is None or not lines:
            return
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, "".join(lines).encode())
                size = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            if size > self._most_bytes:
                os.replace(self._path, self._path.with_name(self._path.name + ".1"))
        except OSError:
            self.dropped += len(lines)


def read_sessions(path: Path, location_database: str, bad: list[int]) -> Iterator[LoggedSession]:
    """The sessions of a log, with where their clients are.

    Args:
        bad: gets the numbers of lines that are none; they are left out.

    Raises:
        PlaybackError: the file or the geo-IP database cannot be read.
    """
    locate = open_locator(location_database)
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            for number, line in enumerate(file, start=1):
                session = _session(line, locate)
                if session is None:
                    bad.append(number)
                else:
                    yield session
    except OSError as error:
        raise PlaybackError(f"cannot read the log {path}: {error}") from None


def _session(line: str, locate: Locator | None) -> LoggedSession | None:
    parts = line.split()
    packed = packed_address(parts[1]) if len(parts) == 5 else None
    if packed is None:
        return None
    try:
        at_s, session_bps = float(parts[0]), float(parts[4])
    except ValueError:
        return None
    if not (0 <= at_s < 1e11 and 0 <= session_bps < 1e13):
        return None
    return LoggedSession(
        at_s=at_s,
        client=packed,
        title_id=parts[2],
        appliance_id="" if parts[3] == "-" else parts[3],
        session_bps=session_bps,
        location=locate(parts[1]) if locate else None,
    )
