"""Who hears which prefixes: several sorted sets of prefixes laid over each other. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.routes.columns import order_of, pack_prefixes, split_prefixes
from headrace.routes.model import AddressFamily, Prefix

SEVERAL = -1
"""More than one owner."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spread:
    """Each prefix once, in ascending order, and its owners by their place in what was laid together."""

    family: AddressFamily
    packed: bytes
    """5 or 17 bytes a prefix."""
    starts: NDArray[np.int64]
    """Where the owners of each prefix begin in `owners`; one more at the end."""
    owners: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many owners each prefix has."""
        return np.diff(self.starts)

    def prefix(self, row: int) -> Prefix:
        """One prefix."""
        width = 5 if self.family is AddressFamily.IPV4 else 17
        return self.packed[row * width : (row + 1) * width]

    def owners_of(self, row: int) -> list[int]:
        """Who hears it, in ascending order."""
        found: list[int] = self.owners[self.starts[row] : self.starts[row + 1]].tolist()
        return sorted(found)


def lay_together(family: AddressFamily, sets: Sequence[bytes]) -> Spread:
    """Sets of packed prefixes, each without doubles."""
    sizes = [len(one) // (5 if family is AddressFamily.IPV4 else 17) for one in sets]
    high, low, lengths = split_prefixes(family, b"".join(sets))
    owners = np.repeat(np.arange(len(sets)), sizes)
    order = order_of(family, high, low, lengths)
    high, lengths, owners = high[order], lengths[order], owners[order]
    low = low if family is AddressFamily.IPV4 else low[order]
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (high[1:] != high[:-1]) | (lengths[1:] != lengths[:-1])
    if family is AddressFamily.IPV6:
        is_first[1:] |= low[1:] != low[:-1]
    rows = np.flatnonzero(is_first)
    return Spread(
        family=family,
        packed=pack_prefixes(family, high[rows], low if family is AddressFamily.IPV4 else low[rows], lengths[rows]),
        starts=np.append(rows, len(order)).astype(np.int64),
        owners=owners.astype(np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """A prefix that has one owner only."""

    prefix: Prefix
    owner: int
    cover: Prefix | None
    """The longest prefix around it that another owner hears."""


def find_alone(spread: Spread) -> Iterator[Alone]:
    """Prefixes of one owner, and what another one hears around them; in ascending order."""
    first = spread.owners[spread.starts[:-1]]
    owners = np.where(spread.counts == 1, first, SEVERAL).tolist() if len(spread) else []
    around: list[tuple[int, int, int]] = []  # last address, row, owner: of all that is around the next prefix
    for row, last in enumerate(_last_addresses(spread)):
        owner = owners[row]
        while around and around[-1][0] < last:
            around.pop()
        if owner != SEVERAL:
            other = next((outer for _, outer, its in reversed(around) if its != owner), None)
            yield Alone(prefix=spread.prefix(row), owner=owner, cover=None if other is None else spread.prefix(other))
        around.append((last, row, owner))


def _last_addresses(spread: Spread) -> Iterator[int]:
    bits, width = (32, 5) if spread.family is AddressFamily.IPV4 else (128, 17)
    packed = spread.packed
    for start in range(0, len(packed), width):
        address = int.from_bytes(packed[start : start + width - 1], "big")
        yield address | ((1 << (bits - packed[start + width - 1])) - 1)
