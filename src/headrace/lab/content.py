"""Content whose every byte is known without keeping it: files of chosen sizes, filled from a seed. Pure.

Bytes are as good as random, so that no two places of any file look alike: a byte from a wrong page, offset or file is
seen. Names are SHA-256, as everywhere, so a client can also check a whole file without the seed.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from headrace.base.ids import Sha256
from headrace.catalog.model import FileSuffix, content_path

PAGE_BYTES = 4096
LARGE_PAGE_BYTES = 2 << 20
_AROUND = (-1, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """One file."""

    size_bytes: int
    seed: str
    suffix: FileSuffix = FileSuffix.MP4

    @property
    def sha256(self) -> Sha256:
        return _digest(self)

    @property
    def path(self) -> str:
        """Path of the URL and below the serve root, with a leading slash."""
        return content_path(self.sha256, self.suffix)

    @property
    def body(self) -> bytes:
        """All of it; kept for the files used last."""
        return _body(self)


def standard_content(seed: str = "headrace") -> tuple[KnownFile, ...]:
    """Sizes on both sides of a page, of a large page and of nginx's own borders, playlists, and renditions to play."""
    sizes = [1, 100, *(PAGE_BYTES + step for step in _AROUND), 100_000]
    sizes += [LARGE_PAGE_BYTES + step for step in _AROUND]
    sizes += [4 << 20, (4 << 20) + PAGE_BYTES + 1, (8 << 20) + 12_345]
    files = [KnownFile(size_bytes=size, seed=f"{seed}-{size}") for size in sizes]
    texts = [KnownFile(size_bytes=size, seed=f"{seed}-m{size}", suffix=FileSuffix.M3U8) for size in (700, 24_577)]
    return (*files, *texts)


def border_ranges(size_bytes: int) -> tuple[tuple[int, int], ...]:
    """Half-open ranges that begin or end around page and large-page borders, and the whole file; all within it."""
    borders = {0, size_bytes}
    for unit in (PAGE_BYTES, LARGE_PAGE_BYTES):
        last = size_bytes // unit * unit
        borders |= {unit, 2 * unit, last}
    points = sorted({at for border in borders for step in _AROUND if 0 <= (at := border + step) <= size_bytes})
    ranges = {(0, size_bytes)}
    for index, first in enumerate(points):
        ranges |= {(first, end) for end in points[index + 1 : index + 4]}
    return tuple(sorted(ranges))


def remainder_ranges(size_bytes: int) -> tuple[tuple[int, int], ...]:
    """Half-open ranges whose lengths leave every number of pages over a multiple of 64 KiB, and of 1 MiB.

    Servers send in chunks of such sizes: what is left at the end of a transfer takes all its values here.
    """
    pages = [(1 << 20) + left * PAGE_BYTES for left in range(1, 17)]
    chunks = [(2 << 20) + left * (64 << 10) for left in range(16)]
    return tuple(
        (start, start + length) for start in (0, 1) for length in pages + chunks if start + length <= size_bytes
    )


@lru_cache(maxsize=256)
def _digest(file: KnownFile) -> Sha256:
    return Sha256(hashlib.sha256(_body(file)).hexdigest())


@lru_cache(maxsize=64)
def _body(file: KnownFile) -> bytes:
    return hashlib.shake_128(file.seed.encode()).digest(file.size_bytes)
