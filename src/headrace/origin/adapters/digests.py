"""SHA-256 of files, and of folders as the sequence of their files."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from headrace.base.ids import Sha256

CHUNK_BYTES = 8 * 1024 * 1024


def sha256_of(file: Path) -> Sha256:
    """The name that a file gets when it is published; raises OSError."""
    return Sha256(_feed(hashlib.sha256(), file, lambda count: None).hexdigest())


def digest_of_source(files: Iterable[tuple[str, Path]], settings: bytes, read: Callable[[int], None]) -> Sha256:
    """One digest over names, sizes and bytes of `files` (in the order given) and over the settings; raises OSError.

    Args:
        read: called with the number of bytes of each chunk.
    """
    digest = hashlib.sha256(settings)
    for name, file in files:
        digest.update(f"\0{name}\0{file.stat().st_size}\0".encode())
        _feed(digest, file, read)
    return Sha256(digest.hexdigest())


def _feed(digest: "hashlib._Hash", file: Path, read: Callable[[int], None]) -> "hashlib._Hash":
    with file.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            read(len(chunk))
    return digest
