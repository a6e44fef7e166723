"""Which routes count at all: default routes, bogons, too long prefixes, loops and RPKI-invalid ones do not. Pure.

Each route that does not count has one reason, the first of `FilterReason` that fits. Good practice: RFC 7454, 6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.routes.columns import Columns, masked, split_prefixes
from headrace.routes.model import AddressFamily, parse_prefix
from headrace.routes.rpki import Validity, VrpTable

Reasons = NDArray[np.uint8]
"""One entry a route: 0 counts, n is the n-th of FILTER_REASONS."""


class FilterReason(StrEnum):
    """Why a route that was heard does not count."""

    DEFAULT_ROUTE = "default-route"
    """0.0.0.0/0 or ::/0: it says nothing of who is behind the session."""
    BOGON = "bogon"
    """Not of the public internet, by the registries of special-purpose addresses (RFC 6890)."""
    TOO_SHORT = "too-short"
    """Larger than any network's: half of the internet is a default route in disguise."""
    TOO_LONG = "too-long"
    """More specific than networks take from each other."""
    OWN_AS = "own-as"
    """The path holds an AS number of ours (RFC 4271, 9.1.2)."""
    RPKI_INVALID = "rpki-invalid"
    """The holder of the addresses has said who may announce them, and this is another (RFC 6811)."""
    DAMPED = "damped"
    """It came and went too often lately (`damping.py`)."""
    SESSION_DAMPED = "session-damped"
    """Its session came and went too often lately."""


FILTER_REASONS = tuple(FilterReason)
REASON_CODES: Mapping[FilterReason, int] = {reason: code for code, reason in enumerate(FILTER_REASONS, start=1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class HygieneRules:
    """Table [routes.hygiene]."""

    shortest_v4: int = 8
    """Bits; no network was given more than an IPv4 /8."""
    shortest_v6: int = 16
    """Bits; the same for IPv6."""
    longest_v4: int = 24
    """Bits; networks do not take IPv4 prefixes longer than this from each other."""
    longest_v6: int = 48
    """Bits; the same for IPv6."""
    takes_bogons: bool = False
    """For laboratories and private networks: private and documentation addresses count."""
    own_as: tuple[int, ...] = ()
    """AS numbers of ours besides the speaker's own."""
    drops_rpki_invalid: bool = True


# IANA IPv4 Special-Purpose Address Registry (RFC 6890 and its updates, entries that are not globally reachable), class
# D and E. 192.0.0.0/24 as a whole: the parts of it that are reachable serve protocols, no clients.
BOGONS_V4 = (
    ("0.0.0.0/8", "this network, RFC 791"),
    ("10.0.0.0/8", "private use, RFC 1918"),
    ("100.64.0.0/10", "shared address space, RFC 6598"),
    ("127.0.0.0/8", "loopback, RFC 1122"),
    ("169.254.0.0/16", "link local, RFC 3927"),
    ("172.16.0.0/12", "private use, RFC 1918"),
    ("192.0.0.0/24", "IETF protocol assignments, RFC 6890"),
    ("192.0.2.0/24", "documentation, RFC 5737"),
    ("192.88.99.0/24", "6to4 relay anycast, RFC 7526"),
    ("192.168.0.0/16", "private use, RFC 1918"),
    ("198.18.0.0/15", "benchmarking, RFC 2544"),
    ("198.51.100.0/24", "documentation, RFC 5737"),
    ("203.0.113.0/24", "documentation, RFC 5737"),
    ("224.0.0.0/4", "multicast, RFC 1112"),
    ("240.0.0.0/4", "reserved, RFC 1112"),
)
# IANA IPv6 Special-Purpose Address Registry; what is outside 2000::/3 was never given to networks (IANA IPv6 Global
# Unicast Address Assignments) and is a bogon as a whole.
BOGONS_V6 = (
    ("2001::/23", "IETF protocol assignments, RFC 2928"),
    ("2001:db8::/32", "documentation, RFC 3849"),
    ("2002::/16", "6to4, RFC 3056, RFC 7526"),
    ("3ffe::/16", "the 6bone, RFC 5156"),
    ("3fff::/20", "documentation, RFC 9637"),
)
GLOBAL_UNICAST_V6 = "2000::/3"


def judge_hygiene(columns: Columns, rules: HygieneRules, vrps: VrpTable | None) -> Reasons:
    """The reason why each route does not count; 0 where it does.

    Args:
        vrps: None: nothing is known, so that no route is invalid.
    """
    reasons: Reasons = np.zeros(len(columns), dtype=np.uint8)
    if vrps is not None and rules.drops_rpki_invalid:
        reasons[vrps.validate(columns) == Validity.INVALID.code] = REASON_CODES[FilterReason.RPKI_INVALID]
    reasons[columns.is_loop] = REASON_CODES[FilterReason.OWN_AS]
    is_v4 = columns.family is AddressFamily.IPV4
    longest = rules.longest_v4 if is_v4 else rules.longest_v6
    shortest = rules.shortest_v4 if is_v4 else rules.shortest_v6
    reasons[columns.lengths > longest] = REASON_CODES[FilterReason.TOO_LONG]
    reasons[columns.lengths < shortest] = REASON_CODES[FilterReason.TOO_SHORT]
    if not rules.takes_bogons:
        reasons[find_bogons(columns)] = REASON_CODES[FilterReason.BOGON]
    reasons[columns.lengths == 0] = REASON_CODES[FilterReason.DEFAULT_ROUTE]
    return reasons


def find_bogons(columns: Columns) -> "NDArray[np.bool_]":
    """Which routes lie inside special-purpose space.

    An IPv4 prefix that merely covers a bogon (192.0.0.0/9) is none; IPv6 must lie inside 2000::/3.
    """
    family = columns.family
    bogons = BOGONS_V4 if family is AddressFamily.IPV4 else BOGONS_V6
    found = np.zeros(len(columns), dtype=np.bool_)
    for text, _ in bogons:
        found |= _is_inside(columns, text)
    if family is AddressFamily.IPV6:
        found |= ~_is_inside(columns, GLOBAL_UNICAST_V6)
    return found


def _is_inside(columns: Columns, text: str) -> "NDArray[np.bool_]":
    high, _, lengths = split_prefixes(columns.family, parse_prefix(text))
    bits, length = (32 if columns.family is AddressFamily.IPV4 else 64), int(lengths[0])
    result: NDArray[np.bool_] = (columns.lengths >= length) & (masked(columns.high, length, bits) == high[0])
    return result


def count_reasons(reasons: Any) -> dict[FilterReason, int]:
    """How many routes have each reason; reasons that none has are left out."""
    counts = np.bincount(reasons, minlength=len(FILTER_REASONS) + 1)
    return {reason: int(counts[code]) for reason, code in REASON_CODES.items() if counts[code]}
