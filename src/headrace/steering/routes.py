"""From a client's address to the sites that hear a route for it, longest prefix first.

Prefixes nest or lie apart, never cross, so one sweep flattens them into ranges; a look-up is one bisection. A million
prefixes cost about 135 MiB and 750,000 look-ups a second on one core, against 545 MiB and 490,000 of a radix tree
(docs/decisions/0008). IPv4-mapped IPv6 addresses and prefixes count as IPv4.
"""

import ipaddress
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Coverage = tuple[tuple[int, int], ...]
"""(prefix length, site number) of every site that covers a range, longest prefix first."""

_MAPPED = b"\x00" * 10 + b"\xff\xff"
_MAPPED_NETWORK = ipaddress.IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """Ranges of addresses and who covers them. Build with `build_routes`."""

    starts_v4: Sequence[int]
    coverages_v4: Sequence[int]
    starts_v6: Sequence[int]
    coverages_v6: Sequence[int]
    coverages: tuple[Coverage, ...]
    """Number 0 is the empty one."""

    def coverage_no(self, address: bytes) -> int:
        """Number of the coverage of an address, given in network byte order (4 or 16 bytes)."""
        if len(address) == 16:
            if address[:12] != _MAPPED:
                return self.coverages_v6[bisect_right(self.starts_v6, int.from_bytes(address, "big")) - 1]
            address = address[12:]
        return self.coverages_v4[bisect_right(self.starts_v4, int.from_bytes(address, "big")) - 1]


def build_routes(prefixes: Iterable[tuple[int, str]]) -> tuple[RouteTable, tuple[str, ...]]:
    """Build the table from (site number, CIDR prefix).

    Returns:
        The table, and the prefixes that are none: one bad line must not stop a steering node.
    """
    v4: list[tuple[int, int, int]] = []
    v6: list[tuple[int, int, int]] = []
    bad: list[str] = []
    for site_no, text in prefixes:
        try:
            network = _network(text)
        except ValueError:
            bad.append(text)
            continue
        (v4 if network.version == 4 else v6).append((int(network.network_address), network.prefixlen, site_no))
    interned = _Coverages()
    starts_v4, coverages_v4 = _flatten(v4, 32, interned)
    starts_v6, coverages_v6 = _flatten(v6, 128, interned)
    table = RouteTable(
        starts_v4=array("I", starts_v4),
        coverages_v4=array("I", coverages_v4),
        starts_v6=starts_v6,
        coverages_v6=array("I", coverages_v6),
        coverages=tuple(interned.rows),
    )
    return table, tuple(bad)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED_NETWORK):
        packed = network.network_address.packed[12:]
        return ipaddress.IPv4Network((packed, network.prefixlen - 96))
    return network


class _Coverages:
    """Gives each distinct coverage one number."""

    def __init__(self) -> None:
        self.rows: list[Coverage] = [()]
        self._numbers: dict[Coverage, int] = {(): 0}
        self._steps: dict[tuple[int, int, int], int] = {}

    def extended(self, outer: int, length: int, site_no: int) -> int:
        """The coverage `outer` with a longer (or equal) prefix of one site added."""
        step = (outer, length, site_no)
        number = self._steps.get(step)
        if number is None:
            others = [entry for entry in self.rows[outer] if entry[1] != site_no]
            row = tuple(sorted([*others, (length, site_no)], key=lambda entry: (-entry[0], entry[1])))
            number = self._numbers.setdefault(row, len(self.rows))
            if number == len(self.rows):
                self.rows.append(row)
            self._steps[step] = number
        return number


def _flatten(prefixes: list[tuple[int, int, int]], bits: int, interned: _Coverages) -> tuple[list[int], list[int]]:
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

    for start, length, site_no in sorted(prefixes):
        close_until(start)
        number = interned.extended(open_prefixes[-1][1] if open_prefixes else 0, length, site_no)
        emit(start, number)
        open_prefixes.append((start + (1 << (bits - length)) - 1, number))
    close_until(1 << bits)
    return starts, numbers
