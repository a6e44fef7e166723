"""Which files a store of given room should hold: those that serve most expected bytes for each byte of room. Pure.

The value of a file is expected bytes served per byte of room, which is its expected plays. Filling by value until the
room is used is the solution of the fractional knapsack (Dantzig, Operations Research 5, 1957); whole files lose at most
the one that does not fit. A file that is not held must be worth its fill: it takes the place of others only when it is
expected to serve more than they would, by at least `fill_price` of its own bytes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]


def choose_files(
    plays: Floats, size_bytes: Floats, *, room_bytes: float, held: Bools, fill_price: float = 0.0
) -> Bools:
    """The files to hold.

    Args:
        plays: expected plays of each file in the time that the choice is for.
        size_bytes: by file, above 0.
        held: files that need no fill.
        fill_price: how many bytes must be served more for each byte filled.

    Returns:
        By file; their sizes sum to `room_bytes` at most. Files without expected plays are kept only if held.
    """
    value = np.where(held, plays + fill_price, plays)
    order = np.flatnonzero((value > fill_price) | held)
    order = order[np.argsort(-value[order], kind="stable")]
    chosen = np.zeros(len(plays), dtype=np.bool_)
    before = np.concatenate([[0.0], np.cumsum(size_bytes[order])])
    # The prefix that fits, then smaller files for what room is left behind the first that does not.
    fits = int(np.searchsorted(before, room_bytes, side="right")) - 1
    chosen[order[:fits]] = True
    left = room_bytes - before[fits]
    for at in order[fits : fits + 200]:
        if size_bytes[at] <= left:
            chosen[at] = True
            left -= size_bytes[at]
    return chosen


def fractional_bound(plays: Floats, size_bytes: Floats, *, room_bytes: float) -> float:
    """Expected bytes that no choice can exceed: the last file is held in part."""
    order = np.argsort(-plays, kind="stable")
    end = np.cumsum(size_bytes[order])
    part = np.clip((room_bytes - (end - size_bytes[order])) / size_bytes[order], 0.0, 1.0)
    return float((plays[order] * size_bytes[order] * part).sum())
