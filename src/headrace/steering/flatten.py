"""Compiles the routes of all sources into one table: sorted columns, one sweep over the distinct prefixes.

What is done route by route is done by numpy on whole columns; what is done prefix by prefix costs about 3 µs each.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.routes.model import RouteColumns
from headrace.steering.routes import RouteTable, fill_inner

_V4 = np.dtype([("start", ">u4"), ("length", "u1")])
_V6 = np.dtype([("high", ">u8"), ("low", ">u8"), ("length", "u1")])
_LOW_64 = 2**64 - 1


def build_routes(sources: Sequence[RouteColumns]) -> RouteTable:
    """Build the table; the number of a source is its place in `sources`. About 10 s for a million prefixes."""
    v4, v6 = _entries_v4(sources), _entries_v6(sources)
    numbered = _number_sets(v4, v6)
    nodes = _Nodes()
    starts_v4, nodes_v4 = _sweep(v4, numbered.sets[: v4.count], numbered.orders[: v4.count], 32, nodes)
    starts_v6, nodes_v6 = _sweep(v6, numbered.sets[v4.count :], numbered.orders[v4.count :], 128, nodes)
    table = RouteTable(
        starts_v4=array("I", starts_v4),
        nodes_v4=array("I", nodes_v4),
        **_halves(starts_v6, nodes_v6),
        node_parents=nodes.parents,
        node_lengths=nodes.lengths,
        node_sets=nodes.sets,
        node_classes=nodes.classes,
        class_parents=nodes.class_parents,
        class_sets=nodes.class_sets,
        set_starts=_column("I", numbered.starts),
        set_sources=_column("I", numbered.sources),
        set_path_lengths=_column("H", numbered.path_lengths),
        set_meds=_column("I", numbered.meds),
    )
    fill_inner(table)
    return table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Entries:
    """Routes of all sources in one family, sorted by prefix, then path length, MED, source."""

    starts: list[int]
    """First address of each distinct prefix."""
    lengths: list[int]
    at: NDArray[np.int64]
    """Where the routes of each distinct prefix begin."""
    sources: NDArray[np.uint32]
    path_lengths: NDArray[np.uint16]
    meds: NDArray[np.uint32]

    @property
    def count(self) -> int:
        return len(self.starts)


def _entries_v4(sources: Sequence[RouteColumns]) -> _Entries:
    rows = np.frombuffer(b"".join(one.prefixes_v4 for one in sources), dtype=_V4)
    keys = (rows["start"].astype(np.uint64) << np.uint64(8)) | rows["length"]
    columns = _attributes([(len(one.prefixes_v4) // 5, one.path_lengths_v4, one.meds_v4) for one in sources])
    order = np.lexsort((columns[0], columns[2], columns[1], keys))
    keys = keys[order]
    at = _changes(keys)
    first = keys[at]
    starts, lengths = (first >> np.uint64(8)).tolist(), (first & np.uint64(255)).tolist()
    return _sorted_entries(starts, lengths, at, columns, order)


def _entries_v6(sources: Sequence[RouteColumns]) -> _Entries:
    rows = np.frombuffer(b"".join(one.prefixes_v6 for one in sources), dtype=_V6)
    high, low, length = rows["high"].astype(np.uint64), rows["low"].astype(np.uint64), rows["length"]
    columns = _attributes([(len(one.prefixes_v6) // 17, one.path_lengths_v6, one.meds_v6) for one in sources])
    order = np.lexsort((columns[0], columns[2], columns[1], length, low, high))
    high, low, length = high[order], low[order], length[order]
    at = _changes(high, low, length)
    starts = [(one << 64) | other for one, other in zip(high[at].tolist(), low[at].tolist(), strict=True)]
    return _sorted_entries(starts, length[at].tolist(), at, columns, order)


_Attributes = tuple[NDArray[np.uint32], NDArray[np.uint16], NDArray[np.uint32]]


def _attributes(parts: Sequence[tuple[int, "array[int]", "array[int]"]]) -> _Attributes:
    counts = np.array([count for count, _, _ in parts], dtype=np.int64)
    sources = np.repeat(np.arange(len(parts), dtype=np.uint32), counts)
    path_lengths = np.frombuffer(b"".join(paths.tobytes() for _, paths, _ in parts), dtype=np.uint16)
    meds = np.frombuffer(b"".join(meds.tobytes() for _, _, meds in parts), dtype=np.uint32)
    return sources, path_lengths, meds


def _sorted_entries(
    starts: list[int], lengths: list[int], at: NDArray[np.int64], columns: _Attributes, order: NDArray[np.int64]
) -> _Entries:
    return _Entries(
        starts=starts,
        lengths=lengths,
        at=at,
        sources=columns[0][order],
        path_lengths=columns[1][order],
        meds=columns[2][order],
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
    """By prefix, those of IPv4 first."""
    orders: list[int]
    """By prefix: equal where the sources are grouped in the same way."""
    starts: NDArray[np.int64]
    sources: NDArray[np.uint32]
    path_lengths: NDArray[np.uint16]
    meds: NDArray[np.uint32]


def _number_sets(v4: _Entries, v6: _Entries) -> _Sets:
    """Give equal sets of routes one number. Sets are compared by sums of 128 mixed bits of their members."""
    at = np.concatenate([v4.at, v6.at + len(v4.sources)])
    sources = np.concatenate([v4.sources, v6.sources])
    path_lengths = np.concatenate([v4.path_lengths, v6.path_lengths])
    meds = np.concatenate([v4.meds, v6.meds])
    ranks = (path_lengths.astype(np.uint64) << np.uint64(32)) | meds
    sets, first = _number_alike(at, sources, ranks)
    orders, _ = _number_alike(at, sources, _dense(at, ranks))
    ends = np.append(at[1:], len(sources))
    sizes = (ends - at)[first]
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)])
    index = np.repeat(at[first] - starts[:-1], sizes) + np.arange(starts[-1])
    return _Sets(
        sets=sets.tolist(),
        orders=orders.tolist(),
        starts=starts,
        sources=sources[index],
        path_lengths=path_lengths[index],
        meds=meds[index],
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
    at: NDArray[np.int64], sources: NDArray[np.uint32], ranks: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of each group of rows, and the first group of each number; numbers rise with first occurrence."""
    if not len(at):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    one = np.add.reduceat(_mixed(sources, ranks, 0x9E3779B97F4A7C15), at)
    other = np.add.reduceat(_mixed(sources, ranks, 0xD1B54A32D192ED03), at)
    order = np.lexsort((other, one))
    heads = _changes(one[order], other[order])
    first = order[heads]  # lexsort is stable: the first of equal ones is the first in `at`
    by_occurrence = np.argsort(first)
    renumbered = np.empty(len(first), dtype=np.int64)
    renumbered[by_occurrence] = np.arange(len(first))
    numbers = np.empty(len(at), dtype=np.int64)
    numbers[order] = np.repeat(renumbered, np.diff(np.append(heads, len(order))))
    return numbers, first[by_occurrence]


def _mixed(sources: NDArray[np.uint32], ranks: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    """SplitMix64 (Steele et al., 2014) over both; sums modulo 2**64 are meant."""
    mixed = (sources.astype(np.uint64) + np.uint64(1)) * np.uint64(salt)
    for value in (ranks, np.uint64(salt)):
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
        "starts_v6": outer,
        "nodes_v6": outer_nodes,
        "inner_high_v6": high_column,
        "inner_low_v6": low_column,
        "inner_nodes_v6": node_column,
    }


def _column(typecode: str, values: NDArray[np.generic]) -> "array[int]":
    column = array(typecode)
    column.frombytes(values.astype(np.dtype(typecode)).tobytes())
    return column
