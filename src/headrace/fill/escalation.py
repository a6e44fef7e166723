"""Who of a site goes out for a file, and how far the others may go after how long. Pure.

Fill masters are the first in a line that every appliance works out for itself (rendezvous hashing), so that nobody has
to elect: the line of a file is another for each file, and hardly changes when members come and go. Two that do not
agree on the members may both go out; that costs one transfer, never a wrong file.

Rendezvous hashing: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998, section 3.
"""

import hashlib
from collections.abc import Iterable
from enum import IntEnum

from headrace.base.ids import ApplianceId, Sha256
from headrace.fill.model import Escalation, FillSource, SourceKind


class Reach(IntEnum):
    """How far an appliance may go for a file; each includes the ones before it."""

    PEERS = 0
    NEAR = 1
    NETWORK = 2
    ORIGIN = 3


def reach_of(source: FillSource) -> Reach:
    """How far it is to a source."""
    if source.kind is SourceKind.PEER:
        return Reach.PEERS
    if source.kind is SourceKind.ORIGIN:
        return Reach.ORIGIN
    return Reach.NEAR if source.is_near else Reach.NETWORK


def may_reach(place: int, masters: int, waited_s: float, policy: Escalation) -> Reach:
    """How far the appliance at `place` (0 for the first) of a file's line may go after waiting `waited_s`."""
    turn = place - masters + 1
    if turn <= 0:
        return Reach.ORIGIN
    waits = ((policy.origin_s, Reach.ORIGIN), (policy.network_s, Reach.NETWORK), (policy.near_s, Reach.NEAR))
    return next((reach for wait_s, reach in waits if waited_s >= turn * wait_s), Reach.PEERS)


def place_in_line(own: ApplianceId, members: Iterable[ApplianceId], name: Sha256) -> int:
    """How many of the members come before `own` for a file; 0 when it is alone, their number when it is no member.

    Who is no member (it drains, it is not healthy) still gets its files, after all others.
    """
    line = tuple(members)
    if own not in line:
        return len(line)
    mine = (_weight(own, name), own)
    return sum((_weight(one, name), one) < mine for one in line)


def _weight(member: ApplianceId, name: Sha256) -> bytes:
    return hashlib.blake2b(f"{member} {name}".encode(), digest_size=8).digest()
