"""Demand: what was asked of each file, where and when, as plain columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.base.ids import Sha256, SiteId

HOUR_S = 3_600
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demand:
    """Bytes and requests by file, site and hour; one row for each that there is, in order of hour, site, file."""

    files: tuple[Sha256, ...]
    """All files that are named below, sorted."""
    sizes: Ints
    """Bytes of each file, shape (n_files,)."""
    sites: tuple[SiteId, ...]
    """All sites that are named below, sorted."""
    file: Ints
    """Row of `files`, shape (n_rows,)."""
    site: Ints
    """Row of `sites`, shape (n_rows,)."""
    hour: Ints
    """Hours since the epoch (UTC), shape (n_rows,); the hour begins at 3600 times as many seconds."""
    bytes_asked: Ints
    """What clients wanted, whoever served it. Of a range without an end that was broken off: what was taken of it."""
    bytes_served: Ints
    """What came from this site's own disks; the rest was sent elsewhere or fetched through."""
    requests: Ints

    def plays(self) -> NDArray[np.float64]:
        """Bytes asked divided by the file's size, by row: how many times over it was watched (popularity)."""
        played: NDArray[np.float64] = self.bytes_asked / self.sizes[self.file]
        return played
