"""Reads a folder as a tree of git's ids. What was hashed before and has not changed since is not read again.

`.git` is left out wherever it occurs; ignore files are not heeded, because a compiler does not heed them. The index of
a folder is only a saving: deleted or damaged, everything is hashed anew.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.upstream.tree import FILE, LINK, PROGRAM, Leaf, blob_id
from headrace.wire.files import write_atomic
from headrace.workshop.errors import SourceError

RACY_NS = 2_000_000_000
"""A file changed this shortly before it was looked at may change again without its time telling."""
_CHUNK = 1 << 20
_MAGIC = b"headrace tree index 1"


@dataclass(frozen=True, slots=True)
class Known:
    """A leaf and what its file looked like when it was hashed."""

    leaf: Leaf
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    def fits(self, status: os.stat_result) -> bool:
        """Whether the file is still the one that was hashed."""
        return (
            self.mtime_ns == status.st_mtime_ns
            and self.size_bytes == status.st_size
            and self.ctime_ns == status.st_ctime_ns
            and self.inode == status.st_ino
            and self.leaf.mode == mode_of(status)
        )


Index = Mapping[bytes, Known]


def read_tree(folder: Path, index_path: Path | None, *, now_s: float) -> dict[bytes, Leaf]:
    """Every file and link below `folder`, with its id.

    Args:
        index_path: where what is known is kept between calls; None to hash everything.

    Raises:
        SourceError: something cannot be read, changes meanwhile, or is neither file, link nor folder.
    """
    known = read_index(index_path) if index_path else {}
    root = os.fsencode(folder)
    found: dict[bytes, Known] = {}
    try:
        for path, status in _walk(root, b""):
            before = known.get(path)
            found[path] = before if before and before.fits(status) else look_at(root, path, status)
    except OSError as error:
        raise SourceError(f"cannot read the source {folder}: {error}") from None
    if index_path and found != known:
        write_index(index_path, found, now_s=now_s)
    return {path: one.leaf for path, one in found.items()}


def look_at(root: bytes, path: bytes, status: os.stat_result) -> Known:
    """Hash one file or link. Raises OSError, or SourceError when it changes meanwhile."""
    whole = os.path.join(root, path)
    blob = blob_id(os.readlink(whole)) if stat.S_ISLNK(status.st_mode) else _hash_file(whole, status.st_size)
    return known_of(Leaf(mode_of(status), blob), status)


def known_of(leaf: Leaf, status: os.stat_result) -> Known:
    """What is known of a file that has this content now."""
    return Known(leaf, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def mode_of(status: os.stat_result) -> str:
    """git's mode of a file."""
    if stat.S_ISLNK(status.st_mode):
        return LINK
    return PROGRAM if status.st_mode & stat.S_IXUSR else FILE


def read_index(path: Path) -> dict[bytes, Known]:
    """What an earlier look left; nothing when there was none or it is damaged."""
    try:
        magic, *entries = path.read_bytes().split(b"\0")
        if magic != _MAGIC or entries.pop() != b"end":
            return {}
        return dict(_parsed(entry) for entry in entries)
    except (OSError, ValueError, IndexError):
        return {}


def write_index(path: Path, index: Index, *, now_s: float) -> None:
    """Keep what is known. A file changed within the last seconds is kept as one that fits nothing."""
    latest_ns = int(now_s * 1e9) - RACY_NS
    lines = [_MAGIC]
    for name, one in index.items():
        is_racy = one.mtime_ns > latest_ns or one.ctime_ns > latest_ns
        head = f"{one.leaf.mode} {one.leaf.blob or '-'} {one.size_bytes} {one.mtime_ns} "
        lines.append(f"{head}{0 if is_racy else one.ctime_ns} {one.inode} ".encode() + name)
    with contextlib.suppress(OSError):
        write_atomic(path, b"\0".join([*lines, b"end"]))


def _parsed(entry: bytes) -> tuple[bytes, Known]:
    mode, blob, size, mtime, ctime, inode, path = entry.split(b" ", 6)
    leaf = Leaf(mode.decode(), blob.decode().replace("-", ""))
    return path, Known(leaf, int(size), int(mtime), int(ctime), int(inode))


def _walk(root: bytes, folder: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    with os.scandir(os.path.join(root, folder) if folder else root) as entries:
        for entry in entries:
            if entry.name == b".git":
                continue
            path = folder + b"/" + entry.name if folder else entry.name
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                yield from _walk(root, path)
            elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                yield path, status
            else:
                raise SourceError(f"{os.fsdecode(os.path.join(root, path))} is neither file, link nor folder")


def _hash_file(path: bytes, size_bytes: int) -> str:
    digest = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
    left = size_bytes
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            left -= len(chunk)
    if left:
        raise SourceError(f"{os.fsdecode(path)} changes while it is read")
    return digest.hexdigest()
