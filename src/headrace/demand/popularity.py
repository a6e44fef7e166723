"""How often each file was asked for lately, at several time scales: all that a forecast remembers of the past.

Popularity of a file is bytes asked divided by its size, so that a film watched once by ten people counts ten whatever
its size. It is kept as counts that fade with half-lives from two hours to months (`HALF_LIVES_S`): short ones follow a
title that rises within the hour, long ones smooth over days and weeks. One row a file, for one region or site. Never
reads logs: `metering` brings the counts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]

HOUR_S = 3_600.0
DAY_S = 86_400.0
HALF_LIVES_S = np.array([2 * HOUR_S, 8 * HOUR_S, DAY_S, 3 * DAY_S, 10 * DAY_S, 40 * DAY_S])


@dataclass(slots=True, eq=False)
class Popularity:
    """Fading counts of plays; `observe` changes it in place, because a row is touched with each batch of logs."""

    counts: Floats
    """Plays, each fading, shape (n_files, n_half_lives), as of `counted_s`."""
    counted_s: Floats
    """By file: when its row was last brought up to date, UTC epoch seconds."""
    first_s: Floats
    """By file: first play seen; infinity for none."""

    @classmethod
    def empty(cls, n_files: int) -> "Popularity":
        """Nothing was asked for yet."""
        return cls(
            counts=np.zeros((n_files, len(HALF_LIVES_S))),
            counted_s=np.zeros(n_files),
            first_s=np.full(n_files, np.inf),
        )

    def observe(self, files: Ints, plays: Floats, *, now_s: float) -> None:
        """Add plays of one batch.

        Args:
            files: rows, each may come several times.
            plays: bytes asked divided by size of the file, shape of `files`.
            now_s: the end of the batch; counts fade from there.
        """
        rows, places = np.unique(files, return_inverse=True)
        fade = np.exp2(-np.maximum(now_s - self.counted_s[rows], 0.0)[:, None] / HALF_LIVES_S)
        self.counts[rows] = self.counts[rows] * fade + np.bincount(places, weights=plays)[:, None]
        self.counted_s[rows] = now_s
        self.first_s[rows] = np.minimum(self.first_s[rows], now_s)

    def at(self, now_s: float, rows: Ints | slice = slice(None)) -> Floats:
        """Faded counts of some rows at an instant, shape (n_rows, n_half_lives)."""
        age_s = np.maximum(now_s - self.counted_s[rows], 0.0)
        faded: Floats = self.counts[rows] * np.exp2(-age_s[:, None] / HALF_LIVES_S)
        return faded
