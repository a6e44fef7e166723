"""Routes that appliances hear and the sessions over which they hear them.

A prefix is kept as bytes: its network address in network byte order (4 or 16 bytes), then its length in bits (1 byte).
So a million of them cost little, and their order as bytes is the order of a sweep: an outer prefix comes before those
inside it.
"""

import ipaddress
from array import array
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.base.errors import HeadraceError
from headrace.base.ids import ApplianceId

Prefix = bytes
"""5 bytes (IPv4) or 17 (IPv6)."""
AsPath = tuple[int | tuple[int, ...], ...]
"""AS numbers, the neighbour's first; a tuple inside is an AS_SET."""


class RouteError(HeadraceError):
    """A prefix, route or table is not what it should be."""

    exit_code = 24


class AddressFamily(StrEnum):
    """One session carries one family."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


class RouteOrigin(StrEnum):
    """ORIGIN attribute (RFC 4271, 5.1.1)."""

    IGP = "igp"
    EGP = "egp"
    INCOMPLETE = "incomplete"


class SessionState(StrEnum):
    """What a session with one peer is doing."""

    CONNECTING = "connecting"
    ESTABLISHED = "established"
    DOWN = "down"
    """It was established and is not now; its routes are kept for a graceful time."""
    OVER_LIMIT = "over-limit"
    """Closed here because the peer announced more prefixes than it may."""
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What a peer says of a route. Many routes share one."""

    as_path: AsPath
    origin: RouteOrigin
    next_hop: str
    med: int | None = None
    communities: tuple[str, ...] = ()
    """Standard ones as 64496:1, large ones as 64496:1:2, in ascending order."""

    @property
    def path_length(self) -> int:
        """Hops of the AS path; an AS_SET counts as one (RFC 4271, 9.1.2.2 a)."""
        return len(self.as_path)

    @property
    def origin_as(self) -> int | None:
        """The AS that announced the prefix first; None for an empty path or one that ends in an AS_SET (RFC 6811)."""
        last = self.as_path[-1] if self.as_path else None
        return last if isinstance(last, int) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One route of a session."""

    attributes: Attributes
    learned_s: float
    """When it was announced last with other attributes than before, seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session of an appliance's speaker, as the appliance reports it."""

    session_id: str
    """`<peer address>/<family>`; unique on its appliance."""
    peer_address: str
    peer_as: int
    local_as: int
    family: AddressFamily
    state: SessionState
    since_s: float
    """When the state began, seconds since 1970."""
    detail: str = ""
    """Why it is not established, in the peer's or the speaker's words."""
    prefixes: int = 0
    """In its table now."""
    most_prefixes: int = 0
    """Its limit; 0 for none."""
    drops: int = 0
    """Times that it was lost since the agent started."""
    updates: int = 0
    """Announcements and withdrawals since the agent started."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RouteColumns:
    """Routes that count, in ascending order of prefix: what steering ranks by, and nothing else.

    The columns of one family have one entry for each prefix; a prefix occurs once.
    """

    prefixes_v4: bytes = b""
    """5 bytes each."""
    path_lengths_v4: "array[int]" = field(default_factory=lambda: array("H"))
    meds_v4: "array[int]" = field(default_factory=lambda: array("I"))
    prefixes_v6: bytes = b""
    """17 bytes each."""
    path_lengths_v6: "array[int]" = field(default_factory=lambda: array("H"))
    meds_v6: "array[int]" = field(default_factory=lambda: array("I"))
    digest: str = ""
    """Of the whole; equal ones are the same routes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """Appliances that hear the same routes; each appliance is in one at most."""

    appliances: tuple[ApplianceId, ...]
    routes: RouteColumns


def parse_prefix(text: str) -> Prefix:
    """`192.0.2.0/24` or `2001:db8::/32` as bytes. IPv4-mapped IPv6 prefixes become IPv4.

    Raises:
        RouteError: not a prefix, or with bits set behind its length.
    """
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise RouteError(f"{text[:80]!r} is no prefix: {error}") from None
    return _pack(network.network_address, network.prefixlen)


def _pack(address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int) -> Prefix:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if mapped is not None and length >= 96:
        return mapped.packed + bytes([length - 96])
    return address.packed + bytes([length])


def show_prefix(prefix: Prefix) -> str:
    """The prefix as people write it."""
    return f"{ipaddress.ip_address(prefix[:-1])}/{prefix[-1]}"


def family_of(prefix: Prefix) -> AddressFamily:
    """Which family a prefix is of."""
    return AddressFamily.IPV4 if len(prefix) == 5 else AddressFamily.IPV6
