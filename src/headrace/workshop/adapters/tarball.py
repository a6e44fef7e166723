"""Unpacks a source tarball, bounded in size and number of files; nothing in it can reach outside its folder."""

import hashlib
import tarfile
from pathlib import Path

from headrace.workshop.errors import SourceError

MOST_BYTES = 16 << 30
MOST_FILES = 1_000_000
_CHUNK = 1 << 20


def is_tarball(path: Path) -> bool:
    """Whether the name is that of a tarball."""
    return path.name.endswith((".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2"))


def digest_of(path: Path) -> str:
    """SHA-256 of the tarball.

    Raises:
        SourceError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise SourceError(f"cannot read the tarball {path}: {error.strerror or error}") from None
    return digest.hexdigest()


def unpack(path: Path, into: Path, *, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES) -> Path:
    """Unpack into the empty folder `into`; gives the folder of the source: the only one on top, else `into` itself.

    Raises:
        SourceError: not a tarball, damaged, over a bound, or with members that reach outside.
    """
    total_bytes = files = 0
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                total_bytes += member.size
                files += 1
                if total_bytes > most_bytes or files > most_files:
                    raise SourceError(f"{path}: unpacks to more than {most_bytes} bytes or {most_files} files")
                archive.extract(member, into, filter="data")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise SourceError(f"{path}: not a tarball that can be unpacked: {error}") from None
    except OSError as error:
        raise SourceError(f"cannot unpack {path}: {error}") from None
    tops = list(into.iterdir())
    if not tops:
        raise SourceError(f"{path}: the tarball is empty")
    return tops[0] if len(tops) == 1 and tops[0].is_dir() and not tops[0].is_symlink() else into
