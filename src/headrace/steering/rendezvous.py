"""Weighted rendezvous hashing: which appliances a title prefers among equals, so that it keeps to few of them.

Titles are dealt into SLOTS by the hash of their id; appliances are ordered for each slot. An appliance that joins or
leaves takes or gives only its own share of slots. Orders are the same in every version of this program and on every
steering node.
"""

import hashlib
import math
from array import array
from collections.abc import Iterable, Sequence

import numpy as np

SLOTS = 1024
"""Titles of one slot prefer the same appliances; enough that the shares of an appliance's slots differ by 3 % or less
from its share of capacity."""
_SCORED_AT_ONCE = 8192
"""Appliances times slots: a roster is ordered for so many slots at a time as take about a millisecond."""
_MOST_ORDERED = 4_000_000
"""Places that a roster remembers; more are forgotten all at once."""
_64_BITS = 2**64 - 1

Member = tuple[str, int]
"""Appliance id and weight (its capacity)."""


def hash_key(name: str) -> int:
    """64 well-mixed bits of an id."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def slot_of(title_key: int) -> int:
    """The slot of a title, from the key of its id."""
    return title_key % SLOTS


SLOT_KEYS = tuple(hash_key(f"slot {number}") for number in range(SLOTS))


def rendezvous_score(title_key: int, appliance_key: int, weight: float) -> float:
    """The share of keys for which an appliance scores highest is its weight over the sum of weights (logarithmic
    method). Keys are of `hash_key`, mixed as in SplitMix64 (Steele et al., 2014): half the cost of a keyed hash here.
    """
    mixed = ((title_key ^ appliance_key) * 0xBF58476D1CE4E5B9) & _64_BITS
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return weight / -math.log((((mixed ^ (mixed >> 31)) >> 12) + 0.5) / 2**52)


class Roster:
    """Appliances that are equally good, whatever state they are in. Remembers orders, which depend on nothing else."""

    __slots__ = ("_blocks", "_keys", "_slots_a_block", "_weights", "members")

    def __init__(self, members: Iterable[Member]) -> None:
        self.members = tuple(sorted(members))
        self._keys: np.ndarray[tuple[int], np.dtype[np.uint64]] | None = None
        self._weights = np.zeros(0)
        self._slots_a_block = max(1, min(SLOTS, _SCORED_AT_ONCE // max(1, len(self.members))))
        self._blocks: dict[int, Sequence[int]] = {}

    def order(self, slot: int) -> Sequence[int]:
        """Places in `members` for a slot, best first; ties (weight 0) by id."""
        number = slot // self._slots_a_block
        block = self._blocks.get(number)
        if block is None:
            block = self._block(number)
        count = len(self.members)
        at = (slot - number * self._slots_a_block) * count
        return block[at : at + count]

    def table(self) -> bytes | None:
        """The orders of all slots, one after the other, where they are computed at once anyway; else None."""
        is_small = self._slots_a_block == SLOTS and self.members
        return bytes(self._blocks.get(0) or self._block(0)) if is_small else None

    def _block(self, number: int) -> Sequence[int]:
        count = len(self.members)
        if len(self._blocks) * self._slots_a_block * count >= _MOST_ORDERED:
            self._blocks.clear()
        first = number * self._slots_a_block
        ordered = self._ordered(first, min(SLOTS, first + self._slots_a_block))
        block = self._blocks[number] = (
            ordered.astype(np.uint8).tobytes()  # slices of bytes cost least
            if count <= 256
            else array("I", ordered.astype(np.uint32).tobytes())
        )
        return block

    def _ordered(self, first: int, end: int) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
        if self._keys is None:
            self._keys = np.array([hash_key(name) for name, _ in self.members], dtype=np.uint64)
            self._weights = np.array([weight for _, weight in self.members], dtype=np.float64)
        slots = np.array(SLOT_KEYS[first:end], dtype=np.uint64)
        mixed = (slots[:, None] ^ self._keys[None, :]) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(12)
        scores = self._weights / -np.log((mixed + 0.5) / 2.0**52)
        return np.argsort(-scores, axis=1, kind="stable")
