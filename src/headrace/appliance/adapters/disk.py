"""One folder of the store, on one disk: blocking file work that the store runs in the threads of that disk.

    headrace-disk.json          which disk this is; an empty mount point of an absent disk has none
    objects/ab/<sha256>.<mp4>   whole, verified files, and nothing else
    partial/<sha256>.part       begun files; what is there is hashed again before a transfer goes on

A file gets into objects/ by one rename, after its digest fitted and its bytes were synced.
"""

import errno
import hashlib
import json
import mmap
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from headrace.appliance.errors import DiskError, DiskFullError
from headrace.base.ids import Sha256
from headrace.catalog.model import FileSuffix
from headrace.wire.files import fsync_folder, write_atomic

MARKER = "headrace-disk.json"
_PROBE = ".headrace-probe"
_READ_BYTES = 1 << 20
_SYNC_EVERY_BYTES = 64 << 20
"""Dirty bytes of one file are bounded, so that the sync at its end does not stall the disk for viewers."""
_SUFFIXES = frozenset(suffix.value for suffix in FileSuffix)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRoomNow:
    """What statvfs says, for a user without root's reserve."""

    total_bytes: int
    free_bytes: int
    filesystem: str = ""
    """The device's number; folders with the same one share the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFile:
    """A file found in objects/."""

    sha256: Sha256
    suffix: FileSuffix
    size_bytes: int


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the operating system into DiskFullError or DiskError that name the folder."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"{folder}: no room left") from error
        raise DiskError(f"{folder}: {error.strerror or error}") from error


class Part:
    """A file on its way: bytes appended in order, hashed as they come."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self.resumed_bytes = 0
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self._synced_bytes = 0
        self._busy = threading.Lock()
        self._is_done_with = False
        self._take_up(size_bytes)

    def append(self, body: bytes | bytearray) -> None:
        """Write and hash `body`; a full disk leaves the part as it was before."""
        with self._busy:
            self._append(body)
        if self._is_done_with:
            self.close()

    def close(self) -> None:
        """Leave the part where it is; a later Part goes on from it. Never under the hands of a thread that writes."""
        self._is_done_with = True
        if self._busy.acquire(blocking=False):
            try:
                if self._descriptor >= 0:
                    os.close(self._descriptor)
                self._descriptor = -1
            finally:
                self._busy.release()

    def hexdigest(self) -> str:
        """SHA-256 of all bytes so far."""
        return self._hash.hexdigest()

    def sync(self) -> None:
        """Bytes and length are on the disk when this returns."""
        os.ftruncate(self._descriptor, self.size_bytes)
        os.fsync(self._descriptor)

    def _append(self, body: bytes | bytearray) -> None:
        view = memoryview(body)
        written = 0
        while written < len(view):
            written += os.pwrite(self._descriptor, view[written:], self.size_bytes + written)
        self._hash.update(view)
        self.size_bytes += len(view)
        if self.size_bytes - self._synced_bytes >= _SYNC_EVERY_BYTES:
            os.fdatasync(self._descriptor)
            self._synced_bytes = self.size_bytes

    def _take_up(self, size_bytes: int) -> None:
        present = os.fstat(self._descriptor).st_size
        if present > size_bytes:
            os.ftruncate(self._descriptor, 0)
            return
        while body := os.pread(self._descriptor, _READ_BYTES, self.size_bytes):
            self._hash.update(body)
            self.size_bytes += len(body)
        self.resumed_bytes = self._synced_bytes = self.size_bytes


class Disk:
    """A folder that holds files; every method blocks, and raises DiskError or DiskFullError only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = folder / "objects"
        self.partial = folder / "partial"

    def read_marker(self) -> str | None:
        """The id of the disk that is there; None when the folder carries no marker."""
        try:
            with disk_errors(self.folder):
                marker = json.loads((self.folder / MARKER).read_bytes())
                return str(marker["disk_id"])
        except DiskError as error:
            if isinstance(error.__cause__, FileNotFoundError) and self.folder.is_dir():
                return None
            raise
        except (ValueError, KeyError, TypeError):
            raise DiskError(f"{self.folder}: {MARKER} is damaged; remove it to use the folder as a new disk") from None

    def is_mount(self) -> bool:
        """Whether the folder is a mount point of its own."""
        return os.path.ismount(self.folder)

    def set_up(self, appliance_id: str) -> str:
        """Make the folder a disk of the store; its new id."""
        disk_id = secrets.token_hex(8)
        with disk_errors(self.folder):
            self._make_folders()
            body = json.dumps({"disk_id": disk_id, "appliance_id": appliance_id})
            write_atomic(self.folder / MARKER, body.encode() + b"\n")
        return disk_id

    def check(self, disk_id: str) -> DiskRoomNow:
        """Prove that this very disk is there, can be read and can be written; how much room it has.

        A full disk passes: it can still serve.
        """
        if self.read_marker() != disk_id:
            raise DiskError(f"{self.folder}: disk {disk_id} is not here; is it mounted?")
        with disk_errors(self.folder):
            self._make_folders()
            probe = self.folder / _PROBE
            try:
                write_atomic(probe, b"headrace\n")
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
            return self.room()

    def room(self) -> DiskRoomNow:
        """Room as of now, without proving anything else."""
        with disk_errors(self.folder):
            told, device = os.statvfs(self.folder), os.stat(self.folder).st_dev
        return DiskRoomNow(
            total_bytes=told.f_blocks * told.f_frsize, free_bytes=told.f_bavail * told.f_frsize, filesystem=str(device)
        )

    def find_objects(self, disk_id: str) -> dict[Sha256, ObjectFile]:
        """All files in objects/, with sizes; strangers are left out. This disk was there during the walk."""
        found: dict[Sha256, ObjectFile] = {}
        with disk_errors(self.folder):
            for first in os.scandir(self.objects):
                for entry in os.scandir(first.path) if len(first.name) == 2 else ():
                    name, _, suffix = entry.name.partition(".")
                    if len(name) != 64 or name[:2] != first.name or suffix not in _SUFFIXES:
                        continue
                    with suppress(FileNotFoundError):
                        found[Sha256(name)] = ObjectFile(
                            sha256=Sha256(name),
                            suffix=FileSuffix(suffix),
                            size_bytes=entry.stat(follow_symlinks=False).st_size,
                        )
        # Without this, a disk that went away meanwhile would look like one that lost all its files.
        self.check(disk_id)
        return found

    def find_parts(self) -> dict[Sha256, int]:
        """Begun files and how many bytes of each are there."""
        with disk_errors(self.folder):
            entries = [entry for entry in os.scandir(self.partial) if entry.name.endswith(".part")]
            return {Sha256(entry.name.removesuffix(".part")): entry.stat().st_size for entry in entries}

    def open_part(self, name: Sha256, size_bytes: int) -> Part:
        """Begin a file, or take up what is there of it (all of it is read and hashed again)."""
        with disk_errors(self.folder):
            return Part(self._part_path(name), size_bytes)

    def append(self, part: Part, body: bytes | bytearray) -> None:
        """Add bytes to a part."""
        with disk_errors(self.folder):
            part.append(body)

    def publish(self, part: Part, name: Sha256, suffix: FileSuffix) -> bool:
        """Make a whole part a file of the store; False, and the part is gone, when its digest is another."""
        with disk_errors(self.folder):
            if part.hexdigest() != name:
                part.close()
                part.path.unlink(missing_ok=True)
                return False
            part.sync()
            part.close()
            target = self.object_path(name, suffix)
            os.rename(part.path, target)
            fsync_folder(target.parent)
            return True

    def delete(self, name: Sha256, suffix: FileSuffix) -> None:
        """Remove a file of the store; one that is not there is fine."""
        with disk_errors(self.folder):
            self.object_path(name, suffix).unlink(missing_ok=True)

    def delete_part(self, name: Sha256) -> None:
        """Throw away what was begun."""
        with disk_errors(self.folder):
            self._part_path(name).unlink(missing_ok=True)

    def object_path(self, name: Sha256, suffix: FileSuffix) -> Path:
        """Where a whole file lies."""
        return self.objects / name[:2] / f"{name}.{suffix}"

    def size_of(self, name: Sha256, suffix: FileSuffix) -> int | None:
        """Bytes of a whole file; None when it is not there."""
        with disk_errors(self.folder), suppress(FileNotFoundError):
            return self.object_path(name, suffix).stat().st_size
        return None

    def verify(self, name: Sha256, suffix: FileSuffix, pace: Callable[[int], None]) -> bool:
        """Read a file from the disk itself and compare its digest.

        `pace(bytes)` is called after each read; it may wait, or raise to stop. It reads past the page
        cache (O_DIRECT) where the file system can: the disk is what is in doubt, and viewers' pages stay.

        Raises:
            DiskError: the file is not there or cannot be read.
        """
        with disk_errors(self.folder):
            path = self.object_path(name, suffix)
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _digest(descriptor, pace) == name
            finally:
                os.close(descriptor)

    def _make_folders(self) -> None:
        if self.partial.is_dir() and (self.objects / "ff").is_dir():
            return
        self.partial.mkdir(exist_ok=True)
        self.objects.mkdir(exist_ok=True)
        for number in range(256):
            (self.objects / f"{number:02x}").mkdir(exist_ok=True)

    def _part_path(self, name: Sha256) -> Path:
        return self.partial / f"{name}.part"


def _digest(descriptor: int, pace: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with mmap.mmap(-1, _READ_BYTES) as buffer, memoryview(buffer) as view:
        while size_bytes := os.readv(descriptor, [buffer]):
            digest.update(view[:size_bytes])
            pace(size_bytes)
            if size_bytes % mmap.PAGESIZE:
                break
    return digest.hexdigest()
