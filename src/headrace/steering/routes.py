"""From a client's address to who hears a route for it, best route first.

Routes come as columns, one set for each *source*: the prefixes that an operator gave a site, or what one group of
appliances hears over BGP. Prefixes nest or lie apart, never cross, so one sweep flattens them into ranges of addresses;
a look-up is one bisection. Each range points to a *node*: its own prefix with those who hear it, and the node of the
next shorter prefix around it. Nodes that rank their sources alike are of one *class*, whatever the lengths, paths and
MEDs are: what is remembered for clients is remembered by class.

The table is a handful of flat columns, so that it is compiled once, written as bytes and read in bulk. IPv4-mapped
IPv6 addresses and prefixes count as IPv4. Order of routes: longest prefix, AS path length, MED, as RFC 4271 (9.1.2.2)
has the latter two; a missing MED is 0.
"""

import ipaddress
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headrace.routes.model import RouteColumns

Covering = tuple[int, int, int, int]
"""(prefix length, AS path length, MED, source number): the best route of one source for an address."""
Groups = tuple[tuple[int, ...], ...]
"""Source numbers in groups of equally good routes, best first; () where nobody hears the client."""

_MAPPED = b"\x00" * 10 + b"\xff\xff"
_MAPPED_NETWORK = ipaddress.IPv6Network("::ffff:0:0/96")
_LOW_64 = 2**64 - 1

_TYPECODES = {
    "starts_v4": "I",
    "nodes_v4": "I",
    "starts_v6": "Q",
    "nodes_v6": "I",
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
    "set_sources": "I",
    "set_path_lengths": "H",
    "set_meds": "I",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RouteTable:
    """Ranges of addresses and who covers them. Made by `flatten.build_routes`, or from the columns of one."""

    starts_v4: "array[int]"
    nodes_v4: "array[int]"
    starts_v6: "array[int]"
    """Upper halves of addresses. A range that starts inside a /64 is in the inner columns."""
    nodes_v6: "array[int]"
    """Of the end of the /64 that starts there."""
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
    set_sources: "array[int]"
    set_path_lengths: "array[int]"
    set_meds: "array[int]"
    _inner: dict[int, tuple[Sequence[int], Sequence[int]]] = field(default_factory=dict)

    @classmethod
    def from_columns(cls, columns: Mapping[str, bytes | memoryview]) -> "RouteTable":
        """Read what `columns` gave.

        Raises:
            ValueError: a column is missing, cut short, or points past the end of another one.
        """
        read: dict[str, Any] = {}
        for name, typecode in _TYPECODES.items():
            column = read[name] = array(typecode)
            if name not in columns:
                raise ValueError(f"routes have no column {name}")
            column.frombytes(columns[name])
        table = cls(**read)
        _check(table)
        fill_inner(table)
        return table

    def columns(self) -> dict[str, "array[int]"]:
        """The whole table, column by column."""
        return {name: getattr(self, name) for name in _TYPECODES}

    @property
    def classes(self) -> int:
        """How many classes of clients there are; number 0 is of those whom nobody hears."""
        return len(self.class_parents)

    def node_no(self, address: bytes) -> int:
        """Node of an address, given in network byte order (4 or 16 bytes)."""
        if len(address) == 16:
            if address[:12] != _MAPPED:
                return self._node_no_v6(int.from_bytes(address, "big"))
            address = address[12:]
        return self.nodes_v4[bisect_right(self.starts_v4, int.from_bytes(address, "big")) - 1]

    def class_no(self, address: bytes) -> int:
        """Class of an address."""
        if len(address) == 4:  # written out: half of the time was that of the calls
            at = bisect_right(self.starts_v4, int.from_bytes(address, "big")) - 1
            return self.node_classes[self.nodes_v4[at]]
        return self.node_classes[self.node_no(address)]

    def coverage(self, address: bytes) -> tuple[Covering, ...]:
        """The best route of each source that covers an address, best first."""
        found, seen, node = [], set[int](), self.node_no(address)
        while node:
            number, length = self.node_sets[node], self.node_lengths[node]
            for at in range(self.set_starts[number], self.set_starts[number + 1]):
                source = self.set_sources[at]
                if source not in seen:
                    seen.add(source)
                    found.append((length, self.set_path_lengths[at], self.set_meds[at], source))
            node = self.node_parents[node]
        return tuple(found)

    def groups(self, class_no: int) -> Groups:
        """The sources that clients of a class are heard by, in groups, best first."""
        groups: list[tuple[int, ...]] = []
        seen: set[int] = set()
        while class_no:
            for group in self._set_groups(self.class_sets[class_no]):
                fresh = tuple(source for source in group if source not in seen)
                if fresh:
                    groups.append(fresh)
                    seen.update(fresh)
            class_no = self.class_parents[class_no]
        return tuple(groups)

    def _node_no_v6(self, address: int) -> int:
        high = address >> 64
        at = bisect_right(self.starts_v6, high) - 1
        inner = self._inner.get(high) if self._inner else None
        if inner is None:
            return self.nodes_v6[at]
        return inner[1][bisect_right(inner[0], address & _LOW_64) - 1]

    def _set_groups(self, number: int) -> Iterator[list[int]]:
        group: list[int] = []
        last: tuple[int, int] | None = None
        for at in range(self.set_starts[number], self.set_starts[number + 1]):
            rank = (self.set_path_lengths[at], self.set_meds[at])
            if rank != last and group:
                yield group
                group = []
            group.append(self.set_sources[at])
            last = rank
        if group:
            yield group


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
    columns = RouteColumns(
        prefixes_v4=b"".join(sorted(v4)),
        path_lengths_v4=array("H", bytes(2 * len(v4))),
        meds_v4=array("I", bytes(4 * len(v4))),
        prefixes_v6=b"".join(sorted(v6)),
        path_lengths_v6=array("H", bytes(2 * len(v6))),
        meds_v6=array("I", bytes(4 * len(v6))),
    )
    return columns, tuple(bad)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED_NETWORK):
        packed = network.network_address.packed[12:]
        return ipaddress.IPv4Network((packed, network.prefixlen - 96))
    return network


def fill_inner(table: RouteTable) -> None:
    """Make the inner columns ready for look-ups."""
    rows: dict[int, tuple[list[int], list[int]]] = {}
    for high, low, node in zip(table.inner_high_v6, table.inner_low_v6, table.inner_nodes_v6, strict=True):
        lows, nodes = rows.setdefault(high, ([], []))
        lows.append(low)
        nodes.append(node)
    table._inner.update(rows)


def _check(table: RouteTable) -> None:
    """Every number points into the column that it is for."""
    nodes, classes, sets = len(table.node_parents), len(table.class_parents), len(table.set_starts) - 1
    pairs = (
        ("nodes_v4", nodes),
        ("nodes_v6", nodes),
        ("inner_nodes_v6", nodes),
        ("node_parents", nodes),
        ("node_sets", max(1, sets)),
        ("node_classes", classes),
        ("class_parents", classes),
        ("class_sets", max(1, sets)),
        ("set_starts", len(table.set_sources) + 1),
    )
    columns = table.columns()
    for name, limit in pairs:
        values = np.frombuffer(columns[name], dtype=np.dtype(_TYPECODES[name]))
        if len(values) and int(values.max()) >= limit:
            raise ValueError(f"routes: column {name} points past {limit}")
    lengths = [
        ("starts_v4", "nodes_v4"),
        ("starts_v6", "nodes_v6"),
        ("node_parents", "node_lengths"),
        ("node_parents", "node_sets"),
        ("node_parents", "node_classes"),
        ("class_parents", "class_sets"),
        ("set_sources", "set_path_lengths"),
        ("set_sources", "set_meds"),
        ("inner_high_v6", "inner_low_v6"),
        ("inner_high_v6", "inner_nodes_v6"),
    ]
    for one, other in lengths:
        if len(columns[one]) != len(columns[other]):
            raise ValueError(f"routes: columns {one} and {other} differ in length")
    if not (table.starts_v4 and table.starts_v6 and nodes and classes and sets >= 0):
        raise ValueError("routes: a column is empty")
