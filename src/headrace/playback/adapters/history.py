"""Snapshots that were in force, kept for a day or up to a bound in bytes, so that a past answer can be explained.

Beside the file in force lie `parts/` (large sections under their digest, shared by all snapshots that name them) and
`history/` (the tables, named by the millisecond at which they came into force). Only the worker that pulls writes.
"""

import mmap
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from headrace.playback.errors import SnapshotError
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic
from headrace.wire.snapshot import read_table

_DIGEST = re.compile(r"[0-9a-f]{64}")


class PartFolder:
    """Large sections by digest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, digest: str) -> bool:
        """Whether a section is there."""
        return (self._folder / digest).exists()

    def find(self, digest: str) -> memoryview:
        """A section, mapped into memory: workers of one machine share it.

        Raises:
            MalformedError: it is not there or cannot be read.
        """
        try:
            if not _DIGEST.fullmatch(digest):
                raise MalformedError(f"steering snapshot: {digest[:80]!r} is no digest")
            with (self._folder / digest).open("rb") as file:
                if not os.fstat(file.fileno()).st_size:
                    return memoryview(b"")
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except OSError as error:
            raise MalformedError(f"steering snapshot: part {digest} cannot be read: {error}") from None

    def put(self, digest: str, body: bytes) -> None:
        """Keep a section, durably."""
        try:
            write_atomic(self._folder / digest, body, mode=0o600)
        except OSError as error:
            raise SnapshotError(f"cannot write {self._folder / digest}: {error}") from None

    def keep_only(self, digests: set[str]) -> None:
        """Remove all others; a failure costs room only."""
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.name not in digests and _DIGEST.fullmatch(entry.name):
                        Path(entry.path).unlink(missing_ok=True)
        except OSError:
            return


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    path: Path
    size_bytes: int
    parts: dict[str, int]
    """Size by digest."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Books:
    rows: dict[int, _Kept] = field(default_factory=dict)
    """By millisecond, in ascending order."""
    uses: Counter[str] = field(default_factory=Counter)
    total_bytes: int = 0


class History:
    """Snapshots that were in force."""

    def __init__(self, folder: Path, parts: PartFolder, *, most_age_s: float, most_bytes: int) -> None:
        self._folder = folder
        self._parts = parts
        self._most_age_s = most_age_s
        self._most_bytes = most_bytes
        self._books: _Books | None = None

    def add(self, data: bytes, *, now_s: float) -> None:
        """Keep what came into force now; forget what is too old or too much. A failure costs the past only."""
        books = self._read_books()
        at_ms = int(now_s * 1000)
        while at_ms in books.rows:
            at_ms += 1
        try:
            if self._most_age_s and self._most_bytes:
                write_atomic(self._folder / f"{at_ms}.bin", data, mode=0o600)
                self._enter(books, at_ms, self._folder / f"{at_ms}.bin", data)
        except (OSError, MalformedError):
            pass
        oldest_ms = int((now_s - self._most_age_s) * 1000)
        while books.rows and (next(iter(books.rows)) < oldest_ms or books.total_bytes > self._most_bytes):
            self._drop(books, next(iter(books.rows)))
        in_force = {ref.digest for ref in read_table(data) if not ref.is_inside}
        self._parts.keep_only(in_force | set(books.uses))

    def at(self, at_s: float) -> bytes | None:
        """The table that was in force at a moment; None when none is kept from then or before."""
        found = -1
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    stem = entry.name.removesuffix(".bin")
                    if stem.isdecimal() and found < int(stem) <= at_s * 1000:
                        found = int(stem)
            return (self._folder / f"{found}.bin").read_bytes() if found >= 0 else None
        except OSError:
            return None

    def _read_books(self) -> _Books:
        if self._books is None:
            self._books = _Books()
            for path in sorted(self._folder.glob("*.bin"), key=lambda one: one.name.zfill(24)):
                try:
                    self._enter(self._books, int(path.stem), path, path.read_bytes())
                except (OSError, ValueError, MalformedError):
                    path.unlink(missing_ok=True)
        return self._books

    @staticmethod
    def _enter(books: _Books, at_ms: int, path: Path, data: bytes) -> None:
        parts = {ref.digest: ref.size_bytes for ref in read_table(data) if not ref.is_inside}
        books.rows[at_ms] = _Kept(path=path, size_bytes=len(data), parts=parts)
        books.total_bytes += len(data) + sum(size for digest, size in parts.items() if not books.uses[digest])
        books.uses.update(parts.keys())

    @staticmethod
    def _drop(books: _Books, at_ms: int) -> None:
        kept = books.rows.pop(at_ms)
        kept.path.unlink(missing_ok=True)
        books.total_bytes -= kept.size_bytes
        for digest, size in kept.parts.items():
            books.uses[digest] -= 1
            if not books.uses[digest]:
                del books.uses[digest]
                books.total_bytes -= size
