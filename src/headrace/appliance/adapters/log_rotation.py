"""Keep nginx's logs within bounds: rename, have them opened anew, delete the oldest.

Nothing is remembered but file names, so a killed agent's successor goes on where it was. While no agent runs, the log
grows; the first turn of the next one puts it in order.
"""

import contextlib
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headrace.base.logs import event

_log = logging.getLogger(__name__)
_ROTATED = re.compile(r"access-(\d{13})\.log")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """Bounds of the access log."""

    rotate_bytes: int = 64 << 20
    """A file this large is closed and a new one begun."""
    rotate_s: float = 3_600.0
    """A file this old, too: at most an hour of a log waits in an open file."""
    keep_bytes: int = 1 << 30
    """All closed files together."""
    keep_s: float = 7 * 86_400.0


class LogRotation:
    """Looks after access.log and error.log in one folder."""

    def __init__(self, folder: Path, reopen: Callable[[], None], limits: LogLimits | None = None) -> None:
        """`reopen` has the server open its logs anew; it may do nothing when there is none."""
        self._folder = folder
        self._reopen = reopen
        self._limits = limits or LogLimits()
        self._begun_s: float | None = None

    def turn(self, *, now_s: float) -> None:
        """Rotate and delete as far as it is time. Errors of the disk are logged; the next turn tries again."""
        try:
            if self._begun_s is None:
                # 1. A predecessor may have been killed between renaming and telling nginx.
                self._begun_s = now_s
                self._reopen()
            self._rotate(now_s)
            self._delete_old(now_s)
        except OSError as error:
            event(_log, "log_rotation_failed", level=logging.ERROR, error=str(error))

    def rotated(self) -> list[Path]:
        """The closed files, oldest first."""
        return sorted(path for path in self._folder.iterdir() if _ROTATED.fullmatch(path.name))

    def _rotate(self, now_s: float) -> None:
        assert self._begun_s is not None
        current, errors = self._folder / "access.log", self._folder / "error.log"
        size = _size(current)
        is_due = size >= self._limits.rotate_bytes or (size and now_s - self._begun_s >= self._limits.rotate_s)
        has_errors = _size(errors) > self._limits.rotate_bytes // 4
        if has_errors:
            os.replace(errors, errors.with_name("error.log.1"))
        if is_due:
            number = round(now_s * 1000)
            while (target := self._folder / f"access-{number:013d}.log").exists():
                number += 1
            os.rename(current, target)
            self._begun_s = now_s
            event(_log, "log_rotated", bytes=size, file=target.name)
        if is_due or has_errors:
            self._reopen()

    def _delete_old(self, now_s: float) -> None:
        """The newest closed file always stays: nginx and readers may still be at it."""
        total = 0
        for number, path in enumerate(reversed(self.rotated())):
            total += _size(path)
            match = _ROTATED.fullmatch(path.name)
            is_old = match is not None and now_s - int(match[1]) / 1000 > self._limits.keep_s
            if number and (total > self._limits.keep_bytes or is_old):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
