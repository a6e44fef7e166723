"""The snapshot on disk, shared by all workers of a machine: one file, written whole, and a lock that says who pulls."""

import os
from dataclasses import dataclass
from pathlib import Path

from headrace.playback.adapters.history import PartFolder
from headrace.playback.errors import SnapshotError
from headrace.wire.files import lock_file, write_atomic

FILE_NAME = "snapshot.bin"
LOCK_NAME = "pull.lock"
PARTS_NAME = "parts"
HISTORY_NAME = "history"

Signature = tuple[int, int, int]
"""Inode, size and time of change: differs whenever the file was replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSnapshot:
    """The file's bytes and which version of the file they are."""

    data: bytes
    signature: Signature


class SnapshotFile:
    """The snapshot's file in its folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self.parts = PartFolder(folder / PARTS_NAME)

    def signature(self) -> Signature | None:
        """Which file lies there; None for none."""
        try:
            return _signature(os.stat(self.path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SnapshotError(f"cannot look at {self.path}: {error}") from None

    def read(self) -> StoredSnapshot | None:
        """The file, whole; None when there is none yet."""
        try:
            with self.path.open("rb") as file:
                return StoredSnapshot(data=file.read(), signature=_signature(os.fstat(file.fileno())))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SnapshotError(f"cannot read {self.path}: {error}") from None

    def write(self, data: bytes) -> Signature:
        """Replace the file, durably and at once; only the holder of the lock writes."""
        try:
            write_atomic(self.path, data, mode=0o600)
            return _signature(os.stat(self.path))
        except OSError as error:
            raise SnapshotError(f"cannot write {self.path}: {error}") from None


class PullLock:
    """Held by the one worker that pulls; the kernel gives it up when that worker dies."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME
        self._descriptor = -1

    def is_held(self) -> bool:
        """True when this worker has the lock, or gets it now."""
        if self._descriptor >= 0:
            return True
        try:
            self._descriptor = lock_file(self._path)
        except BlockingIOError:
            return False
        except OSError as error:
            raise SnapshotError(f"cannot open {self._path}: {error}") from None
        return True

    def release(self) -> None:
        """Let another worker pull."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _signature(status: os.stat_result) -> Signature:
    return (status.st_ino, status.st_size, status.st_mtime_ns)
