"""The root file system of a guest, as an initial RAM disk: a cpio archive made in memory, without root's rights.

Pure: bytes in, bytes out. The format is "newc" of the kernel's Documentation/driver-api/early-userspace/buffer-format.
"""

import stat
from pathlib import PurePosixPath

_MAGIC = "070701"


class RootImage:
    """Collects what the guest's root holds; folders above a file are made by themselves."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, bytes, tuple[int, int]]] = {}

    def folder(self, path: str) -> None:
        """A folder, and those above it."""
        for part in reversed([PurePosixPath(path), *PurePosixPath(path).parents]):
            if str(part) != "/":
                self._entries.setdefault(_name(part), (stat.S_IFDIR | 0o755, b"", (0, 0)))

    def file(self, path: str, body: bytes, *, mode: int = 0o644) -> None:
        """A file; the last one of a name wins."""
        self._put(path, stat.S_IFREG | mode, body)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._put(path, stat.S_IFLNK | 0o777, target.encode())

    def device(self, path: str, major: int, minor: int) -> None:
        """A character device."""
        self._put(path, stat.S_IFCHR | 0o600, b"", (major, minor))

    def to_cpio(self) -> bytes:
        """The archive, as the kernel reads it; not compressed."""
        parts = bytearray()
        for number, (name, (mode, body, device)) in enumerate(self._entries.items(), start=1):
            parts += _record(name, mode, body, device, number)
        return bytes(parts + _record("TRAILER!!!", 0, b"", (0, 0), 0))

    def _put(self, path: str, mode: int, body: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self.folder(str(PurePosixPath(path).parent))
        self._entries[_name(PurePosixPath(path))] = (mode, body, device)


def _name(path: PurePosixPath) -> str:
    return str(path).lstrip("/")


def _record(name: str, mode: int, body: bytes, device: tuple[int, int], number: int) -> bytes:
    text = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(body), 0, 0, device[0], device[1], len(text), 0)
    head = (_MAGIC + "".join(f"{field:08x}" for field in fields)).encode() + text
    return _padded(head) + _padded(body)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
