"""From a client's address to who hears a route for it, best route first.

Routes come as columns, one set for each *source*: the prefixes that an operator gave a site, or what one group of
appliances hears over BGP. Prefixes nest or lie apart, never cross, so one sweep flattens them into ranges of addresses;
a look-up is one bisection. Each range points to a *node*: its own prefix with those who hear it, and the node of the
next shorter prefix around it. Nodes that rank their sources alike are of one *class*, whatever the lengths, paths and
MEDs are: what is remembered for clients is remembered by class. Classes are numbered in bulk when a table is put
together, part by part.

Many routes are cut into *parts* by the first bits of addresses. Each part is a handful of flat columns that stand
alone, compiled, written as bytes and read in bulk: a changed route changes its part, and the others stay as they are.
In a part sources go by *slots*, which stay theirs while other sources come and go. IPv4-mapped IPv6 addresses and
prefixes count as IPv4. Order of routes: longest prefix, AS path length, MED, as RFC 4271 (9.1.2.2) has the latter two;
a missing MED is 0.
"""

import hashlib
import ipaddress
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np

from headrace.routes.model import RouteColumns

Covering = tuple[int, int, int, int]
"""(prefix length, AS path length, MED, source number): the best route of one source for an address."""
Groups = tuple[tuple[int, ...], ...]
"""Source numbers in groups of equally good routes, best first; () where nobody hears the client."""

_MAPPED = b"\x00" * 10 + b"\xff\xff"
_MAPPED_NETWORK = ipaddress.IPv6Network("::ffff:0:0/96")

_DENSE_V6 = (
    *(0x2001, 0x2002),
    *range(0x2400, 0x240B),
    *(0x2602, 0x2604, 0x2605, 0x2606, 0x2607, 0x2608, 0x2620),
    *(0x2803, 0x2804, 0x2805),
    *range(0x2A01, 0x2A11),
    *(0x2C10,),
)
"""Blocks out of which registries have assigned most prefixes (IANA, IPv6 unicast address assignments)."""
CUTS = {
    4: tuple(range(0, 0x10000, 0x200)),
    6: tuple(sorted({0, *range(0x2000, 0x4000, 0x100), 0x4000, *_DENSE_V6})),
}
"""First 16 bits with which the parts of a family begin."""
PART_OF = {
    family: np.searchsorted(np.array(cuts), np.arange(0x10000), side="right").astype(np.uint8) - np.uint8(1)
    for family, cuts in CUTS.items()
}
"""By the first 16 bits of an address: its part."""
_number_of = int.from_bytes

_TYPECODES = {
    "starts_v4": "I",
    "starts_v6": "Q",
    "nodes": "I",
    "inner_high_v6": "Q",
    "inner_low_v6": "Q",
    "inner_nodes_v6": "I",
    "node_parents": "I",
    "node_lengths": "B",
    "node_sets": "I",
    "node_classes": "I",
    "class_parents": "I",
    "class_sets": "I",
    "set_starts": "I",
    "set_slots": "I",
    "set_path_lengths": "H",
    "set_meds": "I",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoutePart:
    """Ranges of addresses of one family and who covers them. Made by `flatten`, or from the columns of one."""

    starts: "array[int]"
    """IPv4: addresses. IPv6: upper halves of addresses; a range that starts inside a /64 is in the inner columns."""
    nodes: "array[int]"
    """Of IPv6: of the end of the /64 that starts there."""
    inner_high_v6: "array[int]"
    inner_low_v6: "array[int]"
    inner_nodes_v6: "array[int]"
    node_parents: "array[int]"
    node_lengths: "array[int]"
    node_sets: "array[int]"
    node_classes: "array[int]"
    class_parents: "array[int]"
    class_sets: "array[int]"
    """A set of sources that are grouped as those of this class are."""
    set_starts: "array[int]"
    """One more than there are sets."""
    set_slots: "array[int]"
    set_path_lengths: "array[int]"
    set_meds: "array[int]"
    _inner: dict[int, tuple[Sequence[int], Sequence[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for high, low, node in zip(self.inner_high_v6, self.inner_low_v6, self.inner_nodes_v6, strict=True):
            lows, nodes = self._inner.setdefault(high, ([], []))
            lows.append(low)  # type: ignore[attr-defined]
            nodes.append(node)  # type: ignore[attr-defined]

    @classmethod
    def from_columns(cls, columns: Mapping[str, bytes | memoryview]) -> "RoutePart":
        """Read what `columns` gave.

        Raises:
            ValueError: a column is missing, cut short, or points past the end of another one.
        """
        read: dict[str, Any] = {}
        unwanted = "starts_v4" if "starts_v6" in columns else "starts_v6"
        for name, typecode in _TYPECODES.items():
            if name == unwanted:
                continue
            column = read[name] = array(typecode)
            if name not in columns:
                raise ValueError(f"routes have no column {name}")
            column.frombytes(columns[name])
        _check(read)
        starts = read.pop("starts_v4") if "starts_v4" in read else read.pop("starts_v6")
        return cls(starts=starts, **read)

    def columns(self) -> dict[str, "array[int]"]:
        """The whole part, column by column."""
        starts = {"starts_v6" if self.starts.typecode == "Q" else "starts_v4": self.starts}
        return starts | {name: getattr(self, name) for name in _TYPECODES if not name.startswith("starts_")}

    @property
    def classes(self) -> int:
        """How many classes of clients are in it; number 0 is of those whom nobody hears."""
        return len(self.class_parents)

    @property
    def ranges(self) -> int:
        """How many ranges of addresses."""
        return len(self.starts) + len(self.inner_low_v6)

    def groups(self, class_no: int, sources: "array[int]") -> Groups:
        """The sources that clients of a class of this part are heard by, in groups, best first."""
        groups: list[tuple[int, ...]] = []
        seen: set[int] = set()
        while class_no:
            for group in self._set_groups(self.class_sets[class_no]):
                fresh = [slot for slot in group if slot not in seen]
                if fresh:
                    groups.append(tuple(sorted(sources[slot] for slot in fresh)))
                    seen.update(fresh)
            class_no = self.class_parents[class_no]
        return tuple(groups)

    def coverage(self, node: int, sources: "array[int]") -> Iterator[Covering]:
        """The best route of each source at a node, best first."""
        seen: set[int] = set()
        while node:
            number, length = self.node_sets[node], self.node_lengths[node]
            fresh = [
                (self.set_path_lengths[at], self.set_meds[at], sources[self.set_slots[at]])
                for at in range(self.set_starts[number], self.set_starts[number + 1])
            ]
            for path_length, med, source in sorted(fresh):
                if source not in seen:
                    seen.add(source)
                    yield length, path_length, med, source
            node = self.node_parents[node]

    def node_no(self, address: bytes) -> int:
        """Node of an address of its family, given in network byte order."""
        start = _number_of(address[:8])
        inner = self._inner.get(start) if self._inner else None
        if inner is not None:
            return inner[1][bisect_right(inner[0], _number_of(address[8:])) - 1]
        return self.nodes[bisect_right(self.starts, start) - 1]

    def _set_groups(self, number: int) -> Iterator[list[int]]:
        group: list[int] = []
        last: tuple[int, int] | None = None
        for at in range(self.set_starts[number], self.set_starts[number + 1]):
            rank = (self.set_path_lengths[at], self.set_meds[at])
            if rank != last and group:
                yield group
                group = []
            group.append(self.set_slots[at])
            last = rank
        if group:
            yield group


class _Ranges:
    """The ranges of all parts of a family in one, with their classes."""

    __slots__ = ("first", "inner", "numbers", "starts")

    def __init__(self, family: int, parts: Sequence[RoutePart], offsets: Sequence[int]) -> None:
        self.starts, self.numbers = _joined(family, parts, offsets)
        """First addresses, and by range its class."""
        blocks = np.arange(0x10000, dtype=self.starts.typecode) << (16 if family == 4 else 48)
        first = np.searchsorted(np.frombuffer(self.starts, dtype=self.starts.typecode), blocks, side="right")
        self.first = array("I", np.append(first, len(self.starts)).astype(np.uint32).tobytes())
        """By the first 16 bits of addresses, and one more: how many ranges start before or with them."""
        self.inner = {high for part in parts for high in part.inner_high_v6}
        """Upper halves of the addresses inside whose /64 ranges start."""


def _joined(family: int, parts: Sequence[RoutePart], offsets: Sequence[int]) -> "tuple[array[int], array[int]]":
    code, cuts, bits = parts[0].starts.typecode, CUTS[family] if len(parts) > 1 else (0,), 16 if family == 4 else 48
    pieces, classes = [], []
    for number, part in enumerate(parts):
        starts, begin = np.frombuffer(part.starts, dtype=code), np.array([cuts[number] << bits], dtype=code)
        last = len(starts)
        if number + 1 < len(cuts):
            last = int(np.searchsorted(starts, np.array(cuts[number + 1] << bits, dtype=code)))
        first = int(np.searchsorted(starts, begin, side="right")[0])
        pieces += [begin, starts[first:last]]
        nodes = np.frombuffer(part.nodes, dtype=np.uint32)[first - 1 : last]
        own = np.frombuffer(part.node_classes, dtype=np.uint32)[nodes]
        classes.append(own + (own > 0) * np.uint32(offsets[number]))
    numbers = np.concatenate(classes).astype(np.uint32)
    return array(code, np.concatenate(pieces).tobytes()), array("I", numbers.tobytes())


_EMPTY: dict[str, Any] = {
    **{name: array(code) for name, code in _TYPECODES.items() if not name.startswith("starts_")},
    **{name: array("I", [0]) for name in ("nodes", "node_parents", "node_sets", "node_classes")},
    **{name: array("I", [0]) for name in ("class_parents", "class_sets", "set_starts")},
    "node_lengths": array("B", [0]),
}
_NOBODY = {4: RoutePart(starts=array("I", [0]), **_EMPTY), 6: RoutePart(starts=array("Q", [0]), **_EMPTY)}


class RouteTable:
    """All parts. Classes of clients have numbers of their own in each of them, but 0, whom nobody hears."""

    def __init__(self, parts: Mapping[str, RoutePart], sources: "array[int]") -> None:
        """Put parts together.

        Args:
            parts: by family and number, "4.17"; or "4" and "6" where nothing is cut. Those without routes are left out.
            sources: number of the source by slot.

        Raises:
            ValueError: a part has another name or family, or names a slot that there is not.
        """
        self.parts = parts
        self.sources = sources
        for name, part in parts.items():
            _check_place(name, part, len(sources))
        self._v4, self._v6 = (_parts_of(family, parts) for family in (4, 6))
        all_parts = [*self._v4, *self._v6]
        self._offsets = [0, *accumulate(part.classes - 1 for part in all_parts)]
        """What numbers of classes have more than in their part."""
        self._parts = all_parts
        self._ranges_v4 = _Ranges(4, self._v4, self._offsets)
        self._ranges_v6 = _Ranges(6, self._v6, self._offsets[len(self._v4) :])

    @property
    def classes(self) -> int:
        """How many classes of clients there are, counted in each part; number 0 is of those whom nobody hears."""
        return 1 + sum(part.classes - 1 for part in self.parts.values())

    @property
    def ranges(self) -> int:
        """How many ranges of addresses."""
        return sum(part.ranges for part in self.parts.values())

    def class_no(self, address: bytes) -> int:
        """Class of an address, given in network byte order (4 or 16 bytes)."""
        if len(address) == 4:
            ranges, start = self._ranges_v4, _number_of(address)
            block = start >> 16
        else:
            ranges, start = self._ranges_v6, _number_of(address[:8])
            block = start >> 48
            if start in ranges.inner or (not start and address[:12] == _MAPPED):
                return self._class_at(address)
        first = ranges.first
        return ranges.numbers[bisect_right(ranges.starts, start, first[block], first[block + 1]) - 1]

    def coverage(self, address: bytes) -> tuple[Covering, ...]:
        """The best route of each source that covers an address, best first."""
        part, node = self._node(address)
        return tuple(part.coverage(node, self.sources))

    def groups(self, class_no: int) -> Groups:
        """The sources that clients of a class are heard by, in groups, best first; the class is one of `class_no`."""
        if not class_no:
            return ()
        number = bisect_left(self._offsets, class_no) - 1
        return self._parts[number].groups(class_no - self._offsets[number], self.sources)

    def _node(self, address: bytes) -> tuple[RoutePart, int]:
        number, node = self._place(address)
        return self._parts[number], node

    def _place(self, address: bytes) -> tuple[int, int]:
        """Number of the part, and the node in it."""
        if len(address) == 16 and address[:12] == _MAPPED:
            address = address[12:]
        parts, family = (self._v4, 4) if len(address) == 4 else (self._v6, 6)
        number = int(PART_OF[family][_number_of(address[:2])]) if len(parts) > 1 else 0
        return number + (family == 6) * len(self._v4), parts[number].node_no(address)

    def _class_at(self, address: bytes) -> int:
        number, node = self._place(address)
        own = self._parts[number].node_classes[node]
        return own + self._offsets[number] if own else 0


def _parts_of(family: int, parts: Mapping[str, RoutePart]) -> tuple[RoutePart, ...]:
    """The parts of a family in order, or the only one."""
    own = {name for name in parts if name.startswith(f"{family}.")}
    if not own:
        return (parts.get(str(family), _NOBODY[family]),)
    return tuple(parts.get(f"{family}.{number}", _NOBODY[family]) for number in range(len(CUTS[family])))


def static_routes(prefixes: Iterable[str]) -> tuple[RouteColumns, tuple[str, ...]]:
    """Prefixes that an operator gave, as routes with an empty AS path and MED 0.

    Returns:
        The routes, and the texts that are no prefixes: one bad line must not stop a steering node.
    """
    v4: set[bytes] = set()
    v6: set[bytes] = set()
    bad: list[str] = []
    for text in prefixes:
        try:
            network = _network(text)
        except ValueError:
            bad.append(text)
            continue
        (v4 if network.version == 4 else v6).add(network.network_address.packed + bytes([network.prefixlen]))
    prefixes_v4, prefixes_v6 = b"".join(sorted(v4)), b"".join(sorted(v6))
    columns = RouteColumns(
        prefixes_v4=prefixes_v4,
        path_lengths_v4=array("H", bytes(2 * len(v4))),
        meds_v4=array("I", bytes(4 * len(v4))),
        prefixes_v6=prefixes_v6,
        path_lengths_v6=array("H", bytes(2 * len(v6))),
        meds_v6=array("I", bytes(4 * len(v6))),
        digest=f"static {len(v4)} {hashlib.sha256(prefixes_v4 + prefixes_v6).hexdigest()}",
    )
    return columns, tuple(bad)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED_NETWORK):
        packed = network.network_address.packed[12:]
        return ipaddress.IPv4Network((packed, network.prefixlen - 96))
    return network


def _check_place(name: str, part: RoutePart, slots: int) -> None:
    family, _, number = name.partition(".")
    starts = {"4": "I", "6": "Q"}.get(family)
    if starts is None or (number and not (number.isdecimal() and int(number) < len(CUTS[int(family)]))):
        raise ValueError(f"routes: there is no part {name[:20]!r}")
    if part.starts.typecode != starts:
        raise ValueError(f"routes: part {name} is of the other family")
    if part.starts[0] > (CUTS[int(family)][int(number)] << (16 if family == "4" else 48) if number else 0):
        raise ValueError(f"routes: part {name} begins after its first address")
    named = np.frombuffer(part.set_slots, dtype=np.uint32)
    if len(named) and int(named.max()) >= slots:
        raise ValueError(f"routes: part {name} names a source that there is not")


def _check(columns: Mapping[str, "array[int]"]) -> None:
    """Every number points into the column that it is for."""
    starts = "starts_v4" if "starts_v4" in columns else "starts_v6"
    nodes, classes = len(columns["node_parents"]), len(columns["class_parents"])
    sets = len(columns["set_starts"]) - 1
    pairs = (
        ("nodes", nodes),
        ("inner_nodes_v6", nodes),
        ("node_parents", nodes),
        ("node_sets", max(1, sets)),
        ("node_classes", classes),
        ("class_parents", classes),
        ("class_sets", max(1, sets)),
        ("set_starts", len(columns["set_slots"]) + 1),
    )
    for name, limit in pairs:
        values = np.frombuffer(columns[name], dtype=np.dtype(_TYPECODES[name]))
        if len(values) and int(values.max()) >= limit:
            raise ValueError(f"routes: column {name} points past {limit}")
    lengths = [
        (starts, "nodes"),
        ("node_parents", "node_lengths"),
        ("node_parents", "node_sets"),
        ("node_parents", "node_classes"),
        ("class_parents", "class_sets"),
        ("set_slots", "set_path_lengths"),
        ("set_slots", "set_meds"),
        ("inner_high_v6", "inner_low_v6"),
        ("inner_high_v6", "inner_nodes_v6"),
    ]
    for one, other in lengths:
        if len(columns[one]) != len(columns[other]):
            raise ValueError(f"routes: columns {one} and {other} differ in length")
    if not (columns[starts] and nodes and classes and sets >= 0):
        raise ValueError("routes: a column is empty")
