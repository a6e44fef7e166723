"""Weighted rendezvous hashing: which appliances of a site a title prefers, so that it keeps to few of them.

An appliance that joins or leaves takes or gives only its own share of titles. Orders are the same in every version of
this program and on every steering node.
"""

import hashlib
import math
from collections.abc import Iterable

MOST_ORDERS = 1024
"""Titles whose order a roster remembers; more are forgotten all at once."""
_64_BITS = 2**64 - 1

Member = tuple[str, int]
"""Appliance id and weight (its capacity)."""
Order = tuple[tuple[float, str], ...]
"""(-score, appliance id), best first."""


def hash_key(name: str) -> int:
    """64 well-mixed bits of an id."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def rendezvous_score(title_key: int, appliance_key: int, weight: float) -> float:
    """The share of titles for which an appliance scores highest is its weight over the sum of weights (logarithmic
    method). Keys are of `hash_key`, mixed as in SplitMix64 (Steele et al., 2014): half the cost of a keyed hash here.
    """
    mixed = ((title_key ^ appliance_key) * 0xBF58476D1CE4E5B9) & _64_BITS
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return weight / -math.log((((mixed ^ (mixed >> 31)) >> 12) + 0.5) / 2**52)


class Roster:
    """The appliances of a site, whatever state they are in. Remembers orders, which depend on nothing else."""

    __slots__ = ("_keys", "_orders", "members")

    def __init__(self, members: Iterable[Member]) -> None:
        self.members = tuple(members)
        self._keys = tuple(hash_key(name) for name, _ in self.members)
        self._orders: dict[int, Order] = {}

    def order(self, title_key: int) -> Order:
        """The site's appliances for a title, best first; ties (weight 0) by id."""
        known = self._orders.get(title_key)
        if known is None:
            pairs = zip(self.members, self._keys, strict=True)
            scored = ((-rendezvous_score(title_key, key, weight), name) for (name, weight), key in pairs)
            if len(self._orders) >= MOST_ORDERS:
                self._orders.clear()
            known = self._orders[title_key] = tuple(sorted(scored))
        return known
