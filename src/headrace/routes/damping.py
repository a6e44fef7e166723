"""Flapping prefixes and sessions are left out until they have been quiet: penalties with a half-life. Pure.

RFC 2439 with the limits that RIPE-580 (RFC 7196) advises: with the old ones a single change, multiplied by path
hunting, silenced a prefix for an hour; only what really flaps reaches a penalty of 6,000.
"""

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from headrace.routes.model import Prefix, RouteError

_PENALTY = struct.Struct("<ddB")


class Flap(StrEnum):
    """What is punished."""

    WITHDRAWN = "withdrawn"
    CHANGED = "changed"
    """Announced with other attributes."""
    DROPPED = "dropped"
    """A whole session was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DampingRules:
    """Table [routes.damping]."""

    is_on: bool = True
    half_life_s: float = 900.0
    suppress_at: float = 6_000.0
    """RFC 7196: at least 6,000; 12,000 is careful."""
    reuse_at: float = 750.0
    longest_s: float = 3_600.0
    """Nothing is left out for longer after its last flap."""
    withdrawn: float = 1_000.0
    changed: float = 500.0
    dropped: float = 1_000.0
    most_tracked: int = 500_000
    """Prefixes remembered at once, of all sessions; further ones are not damped."""

    @property
    def most(self) -> float:
        """No penalty is above this, so that `longest_s` holds (RFC 2439, 4.2)."""
        return self.reuse_at * math.exp2(min(60.0, self.longest_s / self.half_life_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalty:
    """Of one prefix in one session, or of one session."""

    points: float = 0.0
    """As of `at_s`."""
    at_s: float = 0.0
    is_suppressed: bool = False


def points_at(penalty: Penalty, rules: DampingRules, *, now_s: float) -> float:
    """The penalty as it has decayed."""
    age_s = max(0.0, now_s - penalty.at_s)
    return penalty.points * math.exp2(-age_s / rules.half_life_s)


def punish(penalty: Penalty, flap: Flap, rules: DampingRules, *, now_s: float, times: int = 1) -> Penalty:
    """The penalty after `times` flaps."""
    cost = {Flap.WITHDRAWN: rules.withdrawn, Flap.CHANGED: rules.changed, Flap.DROPPED: rules.dropped}[flap]
    points = min(points_at(penalty, rules, now_s=now_s) + cost * times, rules.most)
    is_suppressed = rules.is_on and (points > rules.suppress_at or (penalty.is_suppressed and points > rules.reuse_at))
    return Penalty(points=points, at_s=now_s, is_suppressed=is_suppressed)


def settle(penalty: Penalty, rules: DampingRules, *, now_s: float) -> Penalty | None:
    """The penalty as time goes by; None when it is forgotten: half of what is used again (RFC 2439, 4.8.7)."""
    points = points_at(penalty, rules, now_s=now_s)
    if points <= rules.reuse_at / 2:
        return None
    if penalty.is_suppressed and points <= rules.reuse_at:
        return replace(penalty, is_suppressed=False)
    return penalty


def reuse_s(penalty: Penalty, rules: DampingRules) -> float:
    """When a suppressed one is used again if nothing more happens, seconds since 1970."""
    return penalty.at_s + rules.half_life_s * math.log2(max(1.0, penalty.points / rules.reuse_at))


def _pack(penalty: Penalty) -> bytes:
    return _PENALTY.pack(penalty.points, penalty.at_s, penalty.is_suppressed)


def _unpack(packed: bytes, at: int) -> Penalty:
    points, at_s, is_suppressed = _PENALTY.unpack_from(packed, at)
    return Penalty(points=points, at_s=at_s, is_suppressed=bool(is_suppressed))


class Flaps:
    """The penalties of one session and of its prefixes."""

    def __init__(self) -> None:
        self.session = Penalty()
        self._prefixes: dict[Prefix, Penalty] = {}
        self._suppressed: frozenset[Prefix] = frozenset()

    def __len__(self) -> int:
        return len(self._prefixes)

    @property
    def suppressed(self) -> frozenset[Prefix]:
        """Prefixes that are left out now; the same object until it changes."""
        return self._suppressed

    def penalties(self) -> Iterator[tuple[Prefix, Penalty]]:
        """All that is remembered of prefixes."""
        yield from self._prefixes.items()

    def pack(self) -> bytes:
        """All that is remembered, to be stored; nothing where nothing is.

        Points f64, second f64, whether it is suppressed u8, little-endian: the session's, then of each prefix after its
        size u8 and itself.
        """
        if not self._prefixes and not self.session.points:
            return b""
        own = (bytes([len(prefix)]) + prefix + _pack(penalty) for prefix, penalty in sorted(self._prefixes.items()))
        return _pack(self.session) + b"".join(own)

    @classmethod
    def unpack(cls, packed: bytes) -> "Flaps":
        """What was packed; raises RouteError when it is broken."""
        flaps = cls()
        try:
            if packed:
                flaps.session, at = _unpack(packed, 0), _PENALTY.size
            while packed and at < len(packed):
                prefix = packed[at + 1 : (at := at + 1 + packed[at])]
                flaps._prefixes[prefix] = _unpack(packed, at)
                at += _PENALTY.size
        except struct.error:
            raise RouteError("points of damping that are cut off") from None
        flaps._note_suppressed()
        return flaps

    def punish(self, prefixes: Iterable[Prefix], flap: Flap, rules: DampingRules, *, now_s: float, room: int) -> int:
        """Punish each prefix; at most `room` new ones are remembered. How many were new."""
        new = 0
        for prefix in prefixes:
            before = self._prefixes.get(prefix)
            if before is None:
                if new >= room:
                    continue
                new, before = new + 1, Penalty()
            self._prefixes[prefix] = punish(before, flap, rules, now_s=now_s)
        self._note_suppressed()
        return new

    def drop(self, times: int, rules: DampingRules, *, now_s: float) -> None:
        """The session was lost `times` times."""
        self.session = punish(self.session, Flap.DROPPED, rules, now_s=now_s, times=times)

    def settle(self, rules: DampingRules, *, now_s: float) -> None:
        """Forget what is long ago, use again what has been quiet."""
        settled = ((prefix, settle(penalty, rules, now_s=now_s)) for prefix, penalty in self._prefixes.items())
        self._prefixes = {prefix: penalty for prefix, penalty in settled if penalty is not None}
        self.session = settle(self.session, rules, now_s=now_s) or Penalty()
        self._note_suppressed()

    def _note_suppressed(self) -> None:
        now = frozenset(prefix for prefix, penalty in self._prefixes.items() if penalty.is_suppressed)
        if now != self._suppressed:
            self._suppressed = now
