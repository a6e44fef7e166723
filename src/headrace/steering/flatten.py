"""Compiles the routes of all sources into a table: sorted columns, one sweep over the distinct prefixes of each part.

What is done route by route is done by numpy on whole columns; what is done prefix by prefix costs about 3 µs each. A
part whose routes are those of the last time is not compiled again: one changed route costs its part, and a look at the
digests of the others.
"""

import hashlib
import heapq
from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.routes.model import RouteColumns
from headrace.steering.routes import CUTS, PART_OF, RoutePart, RouteTable

CUT_FROM = 20_000
"""Routes of all sources from which on they are cut into parts: fewer are compiled in some 50 ms."""
_V4 = np.dtype([("start", ">u4"), ("length", "u1")])
_V6 = np.dtype([("high", ">u8"), ("low", ">u8"), ("length", "u1")])
_LOW_64 = 2**64 - 1
_BITS = {4: 32, 6: 128}
_SALTS = (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)


@dataclass(slots=True, eq=False)
class RouteMemory:
    """What was compiled last: handed to the next `build_routes`."""

    cuts: dict[Hashable, "_Cut"] = field(default_factory=dict)
    """By source, of the last time."""
    slots: dict[Hashable, int] = field(default_factory=dict)
    """By source, of the last time."""
    parts: dict[bytes, RoutePart] = field(default_factory=dict)
    """By digest of their routes, of the last time and the time before: what flaps comes back."""
    used: set[bytes] = field(default_factory=set)
    """Those of the last time."""
    static: dict[tuple[str, ...], RouteColumns] = field(default_factory=dict)
    """Routes by the prefixes that an operator gave a site, of the last time."""


def build_routes(
    sources: Sequence[RouteColumns],
    memory: RouteMemory | None = None,
    names: Sequence[Hashable] | None = None,
    *,
    cut_from: int = CUT_FROM,
) -> RouteTable:
    """Build the table; the number of a source is its place in `sources`. About 10 s for a million prefixes.

    Args:
        memory: of the last time; renewed. What did not change is not compiled again.
        names: of the sources: one that keeps its name keeps its slot, and parts stay as they are.
        cut_from: as many routes are cut into parts.
    """
    memory = memory if memory is not None else RouteMemory()
    named = dict(zip(_once_each(names or range(len(sources))), sources, strict=True))
    is_cut = sum(len(one.meds_v4) + len(one.meds_v6) for one in sources) >= cut_from
    memory.slots = _slots(memory.slots, named)
    memory.cuts = {name: _cut(memory.cuts.get(name), one, is_cut) for name, one in named.items()}
    by_slot = sorted((slot, memory.cuts[name]) for name, slot in memory.slots.items())
    parts: dict[str, RoutePart] = {}
    used: dict[bytes, RoutePart] = {}
    for family in CUTS:
        heard = [(slot, own) for slot, cut in by_slot if (own := cut.families[family]) is not None]
        for number, key in _keys(family, heard):
            part = used[key] = memory.parts.get(key) or _compile(family, number, heard)
            parts[f"{family}.{number}" if is_cut else str(family)] = part
    memory.parts = {key: part for key, part in memory.parts.items() if key in memory.used} | used
    memory.used = set(used)
    numbers = array("I", bytes(4 * (max(memory.slots.values(), default=-1) + 1)))
    for number, name in enumerate(named):
        numbers[memory.slots[name]] = number
    return RouteTable(parts, numbers)


def _once_each(names: Iterable[Hashable]) -> Iterator[Hashable]:
    """Names, with a number where one occurs again."""
    seen = Counter[Hashable]()
    for name in names:
        yield name, seen[name]
        seen[name] += 1


def _slots(last: dict[Hashable, int], names: dict[Hashable, RouteColumns]) -> dict[Hashable, int]:
    """A slot for each name: its last one, else the lowest that is free."""
    kept = {name: last[name] for name in names if name in last}
    taken = set(kept.values())
    free = [slot for slot in range(len(names)) if slot not in taken]
    heapq.heapify(free)
    return {name: kept[name] if name in kept else heapq.heappop(free) for name in names}


class _Family(NamedTuple):
    """The routes of one source in one family, and where the parts begin in them."""

    rows: NDArray[np.void]
    path_lengths: NDArray[np.uint16]
    meds: NDArray[np.uint32]
    bounds: NDArray[np.int64]
    """One more than there are parts."""
    spanning: NDArray[np.int64]
    """Rows of prefixes that reach over several parts: they belong to all."""
    sums: NDArray[np.uint64]
    """Shape (parts, 2): 128 bits that tell the routes of a part from others."""
    has_routes: NDArray[np.bool_]
    """By part."""


class _Cut(NamedTuple):
    source: RouteColumns
    is_cut: bool
    families: dict[int, _Family | None]


def _cut(last: _Cut | None, source: RouteColumns, is_cut: bool) -> _Cut:
    if last is not None and last.is_cut == is_cut:
        known = last.source
        if known is source or (known.digest and known.digest == source.digest):
            return last
    v4 = _family(4, np.frombuffer(source.prefixes_v4, dtype=_V4), source.path_lengths_v4, source.meds_v4, is_cut)
    v6 = _family(6, np.frombuffer(source.prefixes_v6, dtype=_V6), source.path_lengths_v6, source.meds_v6, is_cut)
    return _Cut(source, is_cut, {4: v4, 6: v6})


def _family(
    family: int, rows: NDArray[np.void], paths: "array[int]", meds: "array[int]", is_cut: bool
) -> _Family | None:
    if not len(rows):
        return None
    path_lengths, med_column = np.frombuffer(paths, dtype=np.uint16), np.frombuffer(meds, dtype=np.uint32)
    values = [rows[name].astype(np.uint64) for name in rows.dtype.names or ()]
    values.append((path_lengths.astype(np.uint64) << np.uint64(32)) | med_column)
    mixed = np.stack([_mixed(values, salt) for salt in _SALTS], axis=1)
    parts = len(CUTS[family]) if is_cut else 1
    first = np.zeros(len(rows), dtype=np.int64)
    spanning = first[:0]
    if is_cut:
        high = (values[0] >> np.uint64(16 if family == 4 else 48)).astype(np.int64)
        last = high | (0xFFFF >> np.minimum(rows["length"], 16).astype(np.int64))
        first = PART_OF[family][high].astype(np.int64)
        spanning = np.flatnonzero(PART_OF[family][last] != first)
    bounds = np.searchsorted(first, np.arange(parts + 1))
    everywhere = mixed[spanning].sum(axis=0, dtype=np.uint64)
    mixed[spanning] = 0
    total = np.concatenate([np.zeros((1, 2), dtype=np.uint64), np.cumsum(mixed, axis=0, dtype=np.uint64)])
    sums = total[bounds[1:]] - total[bounds[:-1]] + everywhere
    has_routes = (np.diff(bounds) > 0) | bool(len(spanning))
    return _Family(rows, path_lengths, med_column, bounds, spanning, sums, has_routes)


def _keys(family: int, heard: Sequence[tuple[int, _Family]]) -> list[tuple[int, bytes]]:
    """The parts that have routes, each with the digest of these."""
    if not heard:
        return []
    slots = np.array([slot for slot, _ in heard], dtype=np.uint32)
    sums = np.stack([own.sums for _, own in heard])
    has_routes = np.stack([own.has_routes for _, own in heard])
    found = []
    for number in np.flatnonzero(has_routes.any(axis=0)).tolist():
        own = has_routes[:, number]
        digest = hashlib.blake2b(f"{family} {number} {has_routes.shape[1]}".encode(), digest_size=16)
        digest.update(slots[own].tobytes())
        digest.update(np.ascontiguousarray(sums[own, number]).tobytes())
        found.append((number, digest.digest()))
    return found


def _compile(family: int, number: int, heard: Sequence[tuple[int, _Family]]) -> RoutePart:
    entries = (_entries_v4 if family == 4 else _entries_v6)(_gathered(number, heard))
    numbered = _number_sets(entries)
    nodes = _Nodes()
    starts, own_nodes = _sweep(entries, numbered.sets, numbered.orders, _BITS[family], nodes)
    return RoutePart(
        **(_halves(starts, own_nodes) if family == 6 else _whole(starts, own_nodes)),
        node_parents=nodes.parents,
        node_lengths=nodes.lengths,
        node_sets=nodes.sets,
        node_classes=nodes.classes,
        class_parents=nodes.class_parents,
        class_sets=nodes.class_sets,
        set_starts=_column("I", numbered.starts),
        set_slots=_column("I", numbered.slots),
        set_path_lengths=_column("H", numbered.path_lengths),
        set_meds=_column("I", numbered.meds),
    )


class _Routes(NamedTuple):
    """The routes of one part, source by source."""

    rows: NDArray[np.void]
    slots: NDArray[np.uint32]
    path_lengths: NDArray[np.uint16]
    meds: NDArray[np.uint32]


def _gathered(number: int, heard: Sequence[tuple[int, _Family]]) -> _Routes:
    rows, paths, meds, slots, counts = [], [], [], [], []
    for slot, own in heard:
        if not own.has_routes[number]:
            continue
        at: Any = slice(int(own.bounds[number]), int(own.bounds[number + 1]))
        if len(own.spanning):
            at = np.union1d(np.arange(at.start, at.stop), own.spanning)
        rows.append(own.rows[at])
        paths.append(own.path_lengths[at])
        meds.append(own.meds[at])
        slots.append(slot)
        counts.append(len(rows[-1]))
    return _Routes(
        np.concatenate(rows),
        np.repeat(np.array(slots, dtype=np.uint32), np.array(counts, dtype=np.int64)),
        np.concatenate(paths),
        np.concatenate(meds),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Entries:
    """The routes of one part, sorted by prefix, then path length, MED, slot."""

    starts: list[int]
    """First address of each distinct prefix."""
    lengths: list[int]
    at: NDArray[np.int64]
    """Where the routes of each distinct prefix begin."""
    slots: NDArray[np.uint32]
    path_lengths: NDArray[np.uint16]
    meds: NDArray[np.uint32]


def _entries_v4(routes: _Routes) -> _Entries:
    keys = (routes.rows["start"].astype(np.uint64) << np.uint64(8)) | routes.rows["length"]
    order = np.lexsort((routes.slots, routes.meds, routes.path_lengths, keys))
    keys = keys[order]
    at = _changes(keys)
    first = keys[at]
    starts, lengths = (first >> np.uint64(8)).tolist(), (first & np.uint64(255)).tolist()
    return _sorted_entries(starts, lengths, at, routes, order)


def _entries_v6(routes: _Routes) -> _Entries:
    rows = routes.rows
    high, low, length = rows["high"].astype(np.uint64), rows["low"].astype(np.uint64), rows["length"]
    order = np.lexsort((routes.slots, routes.meds, routes.path_lengths, length, low, high))
    high, low, length = high[order], low[order], length[order]
    at = _changes(high, low, length)
    starts = [(one << 64) | other for one, other in zip(high[at].tolist(), low[at].tolist(), strict=True)]
    return _sorted_entries(starts, length[at].tolist(), at, routes, order)


def _sorted_entries(
    starts: list[int], lengths: list[int], at: NDArray[np.int64], routes: _Routes, order: NDArray[np.int64]
) -> _Entries:
    return _Entries(
        starts=starts,
        lengths=lengths,
        at=at,
        slots=routes.slots[order],
        path_lengths=routes.path_lengths[order],
        meds=routes.meds[order],
    )


def _changes(*columns: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where a row differs from the one before; the first row does."""
    if not len(columns[0]):
        return np.zeros(0, dtype=np.int64)
    differs = np.ones(len(columns[0]), dtype=bool)
    differs[1:] = False
    for column in columns:
        differs[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(differs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sets:
    """Distinct sets of routes, and which one each distinct prefix has."""

    sets: list[int]
    """By prefix."""
    orders: list[int]
    """By prefix: equal where the sources are grouped in the same way."""
    starts: NDArray[np.int64]
    slots: NDArray[np.uint32]
    path_lengths: NDArray[np.uint16]
    meds: NDArray[np.uint32]


def _number_sets(entries: _Entries) -> _Sets:
    """Give equal sets of routes one number. Sets are compared by sums of 128 mixed bits of their members."""
    at, slots = entries.at, entries.slots
    ranks = (entries.path_lengths.astype(np.uint64) << np.uint64(32)) | entries.meds
    sets, first = _number_alike(at, slots, ranks)
    orders, _ = _number_alike(at, slots, _dense(at, ranks))
    ends = np.append(at[1:], len(slots))
    sizes = (ends - at)[first]
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)])
    index = np.repeat(at[first] - starts[:-1], sizes) + np.arange(starts[-1])
    return _Sets(
        sets=sets.tolist(),
        orders=orders.tolist(),
        starts=starts,
        slots=slots[index],
        path_lengths=entries.path_lengths[index],
        meds=entries.meds[index],
    )


def _dense(at: NDArray[np.int64], ranks: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """0 for the best routes of each prefix, 1 for the next best, and so on; routes are sorted by rank."""
    steps = np.zeros(len(ranks), dtype=np.int64)
    steps[1:] = ranks[1:] != ranks[:-1]
    steps[at] = 0
    total = np.cumsum(steps)
    sizes = np.diff(np.append(at, len(ranks)))
    dense: NDArray[np.uint64] = (total - np.repeat(total[at], sizes)).astype(np.uint64)
    return dense


def _number_alike(
    at: NDArray[np.int64], slots: NDArray[np.uint32], ranks: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of each group of rows, and the first group of each number; numbers rise with first occurrence."""
    if not len(at):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    members = (slots.astype(np.uint64), ranks)
    one, other = (np.add.reduceat(_mixed(members, salt), at) for salt in _SALTS)
    order = np.lexsort((other, one))
    heads = _changes(one[order], other[order])
    first = order[heads]  # lexsort is stable: the first of equal ones is the first in `at`
    by_occurrence = np.argsort(first)
    renumbered = np.empty(len(first), dtype=np.int64)
    renumbered[by_occurrence] = np.arange(len(first))
    numbers = np.empty(len(at), dtype=np.int64)
    numbers[order] = np.repeat(renumbered, np.diff(np.append(heads, len(order))))
    return numbers, first[by_occurrence]


def _mixed(values: Sequence[NDArray[np.uint64]], salt: int) -> NDArray[np.uint64]:
    """SplitMix64 (Steele et al., 2014) over rows of values; sums modulo 2**64 are meant."""
    mixed = (values[0] + np.uint64(1)) * np.uint64(salt)
    for value in (*values[1:], np.array(salt, dtype=np.uint64)):
        mixed = mixed ^ value
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    result: NDArray[np.uint64] = mixed
    return result


class _Nodes:
    """Gives each distinct node and class a number; number 0 of each is that of nobody."""

    def __init__(self) -> None:
        self.parents, self.lengths = array("I", [0]), array("B", [0])
        self.sets, self.classes = array("I", [0]), array("I", [0])
        self.class_parents, self.class_sets = array("I", [0]), array("I", [0])
        self._numbers: dict[int, int] = {}
        self._class_numbers: dict[int, int] = {}
        self._tops = [-1]

    def inside(self, parent: int, length: int, own_set: int, order: int) -> int:
        """The node of a prefix inside the prefix of `parent`."""
        key = ((parent << 8 | length) << 32) | own_set
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.parents)
            self.parents.append(parent)
            self.lengths.append(length)
            self.sets.append(own_set)
            self.classes.append(self._class_no(self.classes[parent], own_set, order))
        return number

    def _class_no(self, parent: int, own_set: int, order: int) -> int:
        if self._tops[parent] == order:
            return parent  # A more specific prefix of the same sources hides their shorter one.
        key = parent << 32 | order
        number = self._class_numbers.get(key)
        if number is None:
            number = self._class_numbers[key] = len(self.class_parents)
            self.class_parents.append(parent)
            self.class_sets.append(own_set)
            self._tops.append(order)
        return number


def _sweep(
    entries: _Entries, sets: list[int], orders: list[int], bits: int, nodes: _Nodes
) -> tuple[list[int], list[int]]:
    """Flatten prefixes, outer ones first, into starts of ranges and the node of each."""
    starts, numbers = [0], [0]
    open_prefixes: list[tuple[int, int]] = []

    def emit(start: int, number: int) -> None:
        if start >> bits:
            return
        if starts[-1] == start:
            numbers[-1] = number
        elif numbers[-1] != number:
            starts.append(start)
            numbers.append(number)

    def close_until(start: int) -> None:
        while open_prefixes and open_prefixes[-1][0] < start:
            end, _ = open_prefixes.pop()
            emit(end + 1, open_prefixes[-1][1] if open_prefixes else 0)

    for start, length, own_set, order in zip(entries.starts, entries.lengths, sets, orders, strict=True):
        close_until(start)
        number = nodes.inside(open_prefixes[-1][1] if open_prefixes else 0, length, own_set, order)
        emit(start, number)
        open_prefixes.append((start + (1 << (bits - length)) - 1, number))
    close_until(1 << bits)
    return starts, numbers


def _whole(starts: list[int], nodes: list[int]) -> dict[str, Any]:
    """Columns of IPv4 from starts and nodes."""
    none = {"inner_high_v6": array("Q"), "inner_low_v6": array("Q"), "inner_nodes_v6": array("I")}
    return {"starts": array("I", starts), "nodes": array("I", nodes), **none}


def _halves(starts: list[int], nodes: list[int]) -> dict[str, Any]:
    """Split 128-bit starts: 64 bits for those on a /64, both halves for those inside one."""
    outer, outer_nodes = array("Q"), array("I")
    high_column, low_column, node_column = array("Q"), array("Q"), array("I")
    last = 0
    for start, node in zip(starts, nodes, strict=True):
        high, low = start >> 64, start & _LOW_64
        is_new = not outer or outer[-1] != high
        if is_new:
            outer.append(high)
            outer_nodes.append(node)
        if low:
            if is_new or not high_column or high_column[-1] != high:
                high_column.append(high)
                low_column.append(0)
                node_column.append(last)
            high_column.append(high)
            low_column.append(low)
            node_column.append(node)
            outer_nodes[-1] = node
        last = node
    return {
        "starts": outer,
        "nodes": outer_nodes,
        "inner_high_v6": high_column,
        "inner_low_v6": low_column,
        "inner_nodes_v6": node_column,
    }


def _column(typecode: str, values: NDArray[np.generic]) -> "array[int]":
    column = array(typecode)
    column.frombytes(values.astype(np.dtype(typecode)).tobytes())
    return column
