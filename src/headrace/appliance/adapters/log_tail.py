"""Follow an access log through rotations: chunks of whole lines, a bounded amount at a time. Never parses a line.

The file is read from its end at the time of the first look. When another file has taken its name, the old one is read
to its end and watched a little longer, because nginx's workers write into it until they have opened the new one.
"""

import os
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 1 << 20
MOST_BEHIND_BYTES = 256 << 20
"""A reader that is further behind skips: what happens now matters more than every line."""
LINGER_S = 5.0
"""How long a renamed file is still read."""


@dataclass(slots=True)
class _Follower:
    """One open file."""

    descriptor: int
    inode: int
    offset: int
    rest: bytes = b""
    """Start of a line whose end is not written yet."""
    renamed_s: float | None = None


class LogTail:
    """Reads what is appended to `path`. Close it at the end."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self._path = path
        self._files: list[_Follower] = []
        self._is_new = not from_start
        self.skipped_bytes = 0
        """Not read because the reader was too far behind."""
        self.broken_lines = 0
        """Cut off by the end of a file or longer than any line may be."""

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            os.close(file.descriptor)
        self._files.clear()

    def read(self, *, now_s: float) -> bytes:
        """The next whole lines, each with its line break, about a mebibyte at most; b'' when there are none now."""
        self._look(now_s)
        for file in list(self._files):
            lines = self._read(file)
            if lines:
                return lines
            if file.renamed_s is not None and now_s - file.renamed_s > LINGER_S:
                self.broken_lines += bool(file.rest)
                os.close(file.descriptor)
                self._files.remove(file)
        return b""

    def _look(self, now_s: float) -> None:
        """Notice a file that took the name, and one that was cut short."""
        try:
            status = os.stat(self._path)
        except OSError:
            self._is_new = False  # what appears from now on is read from its start
            for file in self._files:
                file.renamed_s = now_s if file.renamed_s is None else file.renamed_s
            return
        current = self._files[-1] if self._files else None
        if current is not None and current.inode == status.st_ino and current.renamed_s is None:
            if status.st_size < current.offset:
                current.offset, current.rest = 0, b""
            return
        if current is not None and current.renamed_s is None:
            current.renamed_s = now_s
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        opened = os.fstat(descriptor)
        offset = opened.st_size if self._is_new else 0
        self._is_new = False
        self._files.append(_Follower(descriptor=descriptor, inode=opened.st_ino, offset=offset))

    def _read(self, file: _Follower) -> bytes:
        behind = os.fstat(file.descriptor).st_size - file.offset
        if behind > MOST_BEHIND_BYTES:
            skipped = behind - MOST_BEHIND_BYTES // 2
            self.skipped_bytes += skipped + len(file.rest)
            file.offset += skipped
            file.rest = b""
            file.offset += self._to_line_break(file)
        while data := os.pread(file.descriptor, CHUNK_BYTES, file.offset):
            file.offset += len(data)
            whole, line_break, rest = data.rpartition(b"\n")
            if line_break:
                lines = file.rest + whole + line_break
                file.rest = rest
                return lines
            file.rest += data
            if len(file.rest) > CHUNK_BYTES:
                self.broken_lines += 1
                self.skipped_bytes += len(file.rest)
                file.rest = b""
        return b""

    def _to_line_break(self, file: _Follower) -> int:
        data = os.pread(file.descriptor, CHUNK_BYTES, file.offset)
        return data.find(b"\n") + 1
