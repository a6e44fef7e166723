"""Keys for rendezvous hashing: the same in every version of this program and on every machine."""

import hashlib
from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

SLOTS = 4096
"""Units of one slot prefer the same appliances; enough that shares differ by little."""


def text_key(name: str) -> int:
    """64 well-mixed bits of an id."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def slots_of(names: Iterable[str]) -> NDArray[np.int64]:
    """The slot of each unit, from its id."""
    return np.fromiter((text_key(name) % SLOTS for name in names), dtype=np.int64)


@cache
def slot_keys() -> NDArray[np.uint64]:
    """A key for each slot."""
    return np.array([text_key(f"slot {number}") for number in range(SLOTS)], dtype=np.uint64)
