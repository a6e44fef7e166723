"""Chunks of tables as numpy columns: what of a route decides whether it counts and how good it is, a million at a time.

Reads the layout that `chunks.py` describes, without making a Python value for each route. All of it is checked, so that
what an appliance sent can be used as it is. Decides nothing.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.routes.chunks import ChunkParts, prefix_bytes, take_apart, unpack_attributes
from headrace.routes.model import AddressFamily, Attributes, Prefix, RouteError
from headrace.routes.times import count_times, is_times

U64 = NDArray[np.uint64]
Bools = NDArray[np.bool_]

_AT_ONCE = 100
"""Chunks that are read together: enough for small ones to cost little, few enough for large ones to need little."""
_FRONT = struct.Struct("<BBIB")
_FRONT_BYTES = _FRONT.size
_U32 = struct.Struct("<I")
_NONE: U64 = np.empty(0, dtype=np.uint64)
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Who hears: what the same route means to two of them may differ."""

    local_as: int
    """Origin of a route with an empty path (RFC 6811, 2)."""
    own_as: frozenset[int] = frozenset()
    """AS numbers that are ours: a path that holds one is a loop (RFC 4271, 9.1.2)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """Routes of one family, one entry each. In ascending order of prefix when they come from one chunk."""

    family: AddressFamily
    high: U64
    """IPv4: the address. IPv6: its first 64 bits."""
    low: U64
    """IPv6: its last 64 bits. IPv4: nothing."""
    lengths: NDArray[np.uint8]
    path_lengths: NDArray[np.uint16]
    meds: NDArray[np.uint32]
    origins: NDArray[np.uint32]
    """AS number; 0 for none (RFC 6811: an AS_SET)."""
    is_loop: Bools
    """The path holds an AS number of ours."""
    marks: NDArray[np.uint32]
    """Of all that was said of the route; another one: something of it is another."""

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: "NDArray[Any]") -> "Columns":
        """Those rows (numbers or a mask), in that order."""
        return Columns(
            family=self.family,
            high=self.high[rows],
            low=self.low if self.family is AddressFamily.IPV4 else self.low[rows],
            lengths=self.lengths[rows],
            path_lengths=self.path_lengths[rows],
            meds=self.meds[rows],
            origins=self.origins[rows],
            is_loop=self.is_loop[rows],
            marks=self.marks[rows],
        )

    def prefixes(self) -> bytes:
        """All prefixes, 5 or 17 bytes each."""
        return pack_prefixes(self.family, self.high, self.low, self.lengths)

    def prefix(self, row: int) -> Prefix:
        """One prefix."""
        length = bytes([int(self.lengths[row])])
        if self.family is AddressFamily.IPV4:
            return int(self.high[row]).to_bytes(4, "big") + length
        return int(self.high[row]).to_bytes(8, "big") + int(self.low[row]).to_bytes(8, "big") + length


def empty_columns(family: AddressFamily) -> Columns:
    """No routes."""
    return Columns(
        family=family,
        high=_NONE,
        low=_NONE,
        lengths=np.empty(0, dtype=np.uint8),
        path_lengths=np.empty(0, dtype=np.uint16),
        meds=np.empty(0, dtype=np.uint32),
        origins=np.empty(0, dtype=np.uint32),
        is_loop=np.empty(0, dtype=np.bool_),
        marks=np.empty(0, dtype=np.uint32),
    )


def join_columns(family: AddressFamily, parts: Sequence[Columns]) -> Columns:
    """All rows of parts of one family, in the order of the parts."""
    if len(parts) <= 1:
        return parts[0] if parts else empty_columns(family)
    return Columns(
        family=family,
        high=np.concatenate([part.high for part in parts]),
        low=np.concatenate([part.low for part in parts]),
        lengths=np.concatenate([part.lengths for part in parts]),
        path_lengths=np.concatenate([part.path_lengths for part in parts]),
        meds=np.concatenate([part.meds for part in parts]),
        origins=np.concatenate([part.origins for part in parts]),
        is_loop=np.concatenate([part.is_loop for part in parts]),
        marks=np.concatenate([part.marks for part in parts]),
    )


# ---- prefixes


def split_prefixes(family: AddressFamily, packed: bytes) -> tuple[U64, U64, NDArray[np.uint8]]:
    """Packed prefixes as the columns high, low, lengths."""
    rows = np.frombuffer(packed, dtype=np.uint8).reshape(-1, prefix_bytes(family))
    if family is AddressFamily.IPV4:
        high = np.ascontiguousarray(rows[:, :4]).view(">u4").ravel().astype(np.uint64)
        return high, _NONE, rows[:, 4].copy()
    words = np.ascontiguousarray(rows[:, :16]).view(">u8").astype(np.uint64)
    return words[:, 0].copy(), words[:, 1].copy(), rows[:, 16].copy()


def pack_prefixes(family: AddressFamily, high: U64, low: U64, lengths: NDArray[np.uint8]) -> bytes:
    """The reverse of `split_prefixes`."""
    rows = np.empty((len(lengths), prefix_bytes(family)), dtype=np.uint8)
    if family is AddressFamily.IPV4:
        rows[:, :4] = high.astype(">u4").view(np.uint8).reshape(-1, 4)
    else:
        rows[:, :8] = high.astype(">u8").view(np.uint8).reshape(-1, 8)
        rows[:, 8:16] = low.astype(">u8").view(np.uint8).reshape(-1, 8)
    rows[:, -1] = lengths
    return rows.tobytes()


def masked(words: U64, lengths: "NDArray[Any] | int", bits: int) -> U64:
    """The first `lengths` of `bits` bits of each word, the rest zero; lengths outside 0 to `bits` count as the ends."""
    kept = np.clip(np.asarray(lengths, dtype=np.int64), 0, bits)
    shift = (bits - kept).astype(np.uint64)
    # Numpy does not say what a shift by all 64 bits gives.
    mask = np.where(shift >= 64, np.uint64(0), _ALL << np.minimum(shift, np.uint64(63)))
    result: U64 = words & mask
    return result


def order_of(family: AddressFamily, high: U64, low: U64, lengths: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Row numbers in ascending order of prefix; equal ones stay in their order."""
    if family is AddressFamily.IPV4:
        return np.argsort((high << np.uint64(8)) | lengths, kind="stable")
    return np.lexsort((lengths, low, high))


# ---- reading


def read_columns(packed: bytes, listener: Listener) -> Columns:
    """Read one chunk.

    Raises:
        RouteError: not a chunk, cut off, too large, or with contents that a chunk cannot have.
    """
    part = take_apart(packed)
    return _columns_of(part.family, [part], listener)


def read_many(family: AddressFamily, packed: Iterable[bytes], listener: Listener) -> tuple[Columns, NDArray[np.int64]]:
    """The routes of many chunks, one behind the other, and how many each has; those of the other family have none.

    All at once: most chunks of a small table have a single route. Raises as `read_columns` does.
    """
    found: list[Columns] = []
    sizes: list[int] = []
    chunks = iter(packed)
    while parts := [take_apart(one) for one in islice(chunks, _AT_ONCE)]:
        sizes += [part.rows if part.family is family else 0 for part in parts]
        found.append(_columns_of(family, [part for part in parts if part.family is family], listener))
    return join_columns(family, found), np.array(sizes, np.int64)


def _columns_of(family: AddressFamily, parts: Sequence[ChunkParts], listener: Listener) -> Columns:
    if not parts:
        return empty_columns(family)
    rows = np.array([part.rows for part in parts])
    counts = np.array([part.count for part in parts])
    high, low, lengths = split_prefixes(family, b"".join([part.prefixes for part in parts]))
    _check_prefixes(family, high, low, lengths, begins=np.cumsum(rows)[:-1])
    places = np.frombuffer(b"".join([part.places for part in parts]), dtype="<u4").astype(np.int64)
    if (places >= np.repeat(counts, rows)).any():
        raise RouteError("a chunk with a route whose attributes are missing")
    places += np.repeat(np.cumsum(counts) - counts, rows)
    sizes = np.frombuffer(b"".join([part.sizes for part in parts]), dtype="<u4")
    if [part for part, size in zip(parts, _sums(sizes, counts), strict=True) if len(part.attributes) != size]:
        raise RouteError("a chunk with more or fewer bytes than attributes")
    said = b"".join([part.attributes for part in parts])
    cut = [said[start:end] for start, end in pairwise(accumulate(sizes.tolist(), initial=0))]
    # Chunks of a table have most attributes in common: each set is looked at once.
    numbers = {each: number for number, each in enumerate(dict.fromkeys(cut))}
    path_lengths, meds, origins, loops = _scan(b"".join(numbers), list(map(len, numbers)), listener)
    marks = list(map(zlib.crc32, numbers))
    places = np.array([numbers[each] for each in cut])[places]
    return Columns(
        family=family,
        high=high,
        low=low,
        lengths=lengths,
        path_lengths=np.array(path_lengths, dtype=np.uint16)[places],
        meds=np.array(meds, dtype=np.uint32)[places],
        origins=np.array(origins, dtype=np.uint32)[places],
        is_loop=np.array(loops, dtype=np.bool_)[places],
        marks=np.array(marks, dtype=np.uint32)[places],
    )


def _sums(sizes: "NDArray[np.uint32]", counts: "NDArray[Any]") -> list[int]:
    """Sums of as many sizes after each other as `counts` says; none is zero."""
    sums: list[int] = np.add.reduceat(sizes.astype(np.int64), np.cumsum(counts) - counts).tolist()
    return sums


def count_routes(packed: Iterable[bytes]) -> tuple[int, ...]:
    """How many routes each chunk, or part of times, has; reads all of each, raises as `read_columns` does."""
    parts, counts = list[ChunkParts](), list[int]()
    for one in packed:
        if is_times(one):
            counts.append(count_times(one))
        else:
            parts.append(take_apart(one))
            counts.append(parts[-1].rows)
    for family in AddressFamily:
        _columns_of(family, [part for part in parts if part.family is family], Listener(local_as=0))
    return tuple(counts)


def find_attributes(packed: bytes, prefixes: Iterable[Prefix]) -> dict[Prefix, Attributes]:
    """All that a chunk says of a few of its routes; those that it does not have are left out.

    Raises:
        RouteError: as `read_columns`; only what is needed is checked.
    """
    parts = take_apart(packed)
    width = prefix_bytes(parts.family)
    sizes = np.frombuffer(parts.sizes, dtype="<u4")
    ends = np.cumsum(sizes, dtype=np.int64)
    known = {parts.prefixes[at : at + width]: row for row, at in enumerate(range(0, len(parts.prefixes), width))}
    found: dict[Prefix, Attributes] = {}
    for prefix in prefixes:
        row = known.get(prefix)
        if row is not None:
            place = _U32.unpack_from(parts.places, 4 * row)[0]
            end = int(ends[place])
            found[prefix] = unpack_attributes(parts.attributes[end - int(sizes[place]) : end])
    return found


def _check_prefixes(
    family: AddressFamily, high: U64, low: U64, lengths: NDArray[np.uint8], *, begins: "NDArray[Any]"
) -> None:
    """Lengths in range, no bits behind them, ascending between the rows where another chunk begins."""
    if family is AddressFamily.IPV4:
        is_wrong = (lengths > 32) | (masked(high, lengths, 32) != high)
        key = (high << np.uint64(8)) | lengths
        is_ascending = key[1:] > key[:-1]
    else:
        tails = np.maximum(lengths.astype(np.int64) - 64, 0)
        is_wrong = (lengths > 128) | (masked(high, lengths, 64) != high) | (masked(low, tails, 64) != low)
        is_same_high, is_same_low = high[1:] == high[:-1], low[1:] == low[:-1]
        is_ascending = (
            (high[1:] > high[:-1])
            | (is_same_high & (low[1:] > low[:-1]))
            | (is_same_high & is_same_low & (lengths[1:] > lengths[:-1]))
        )
    is_ascending[begins - 1] = True
    if is_wrong.any():
        raise RouteError("a chunk with bits set behind the length of a prefix, or a length that is none")
    if not is_ascending.all():
        raise RouteError("a chunk whose prefixes are not in ascending order")


def _scan(data: bytes, sizes: list[int], listener: Listener) -> tuple[list[int], list[int], list[int], list[bool]]:
    """Path length, MED (missing: 0), origin and loop of each set of attributes."""
    count = len(sizes)
    path_lengths, meds, origins, loops = [0] * count, [0] * count, [0] * count, [False] * count
    own = tuple(struct.pack("<I", number) for number in listener.own_as)
    front = _FRONT.unpack_from
    at = end = 0
    try:
        for index, size in enumerate(sizes):
            end += size
            kind, has_med, med, hop_bytes = front(data, at)
            if kind > 2 or hop_bytes not in (4, 16):
                raise RouteError("a chunk with broken attributes")
            at += _FRONT_BYTES + hop_bytes
            hops = data[at] | data[at + 1] << 8
            start, at = at + 2, at + 2 + 6 * hops
            # The usual path is a row of single numbers: all sizes are zero, and nothing needs to be taken apart.
            if data[start:at:6].strip(b"\0") or data[start + 1 : at : 6].strip(b"\0"):
                at, numbers, origin = _walk_path(data, start, hops)
                loops[index] = not listener.own_as.isdisjoint(numbers)
            else:
                origin = int.from_bytes(data[at - 4 : at], "little") if hops else listener.local_as
                for each in own:
                    if each in data[start:at] and any(data[one + 2 : one + 6] == each for one in range(start, at, 6)):
                        loops[index] = True
            path_lengths[index], origins[index] = hops, origin
            if has_med:
                meds[index] = med
            at += 2 + 4 * (data[at] | data[at + 1] << 8)
            at += 2 + 12 * (data[at] | data[at + 1] << 8)
            if at != end:
                raise RouteError("a chunk with more or fewer bytes than attributes")
    except (struct.error, IndexError):
        raise RouteError("a chunk with broken attributes") from None
    if at != len(data):
        raise RouteError("a chunk with more or fewer bytes than attributes")
    return path_lengths, meds, origins, loops


def _walk_path(data: bytes, at: int, hops: int) -> tuple[int, set[int], int]:
    """End, numbers and origin (0 for a set) of a path with sets in it."""
    numbers: set[int] = set()
    origin = 0
    for _ in range(hops):
        size = data[at] | data[at + 1] << 8
        found = struct.unpack_from(f"<{size or 1}I", data, at + 2)
        origin = 0 if size else found[0]
        numbers.update(found)
        at += 2 + 4 * (size or 1)
    return at, numbers, origin
