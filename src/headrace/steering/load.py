"""How much an appliance takes as it nears its capacity: gradually less, back only when it is well below.

What an appliance takes is a *level*. From STEPS (all) it falls to 0 (no new sessions) between `shed_from_ratio` and
`room_ratio` of its capacity, and below 0 where running sessions must leave it too. Who goes elsewhere first is fixed by
the client and the title (its *draw*), so nobody moves to and fro while levels stand still, and a rising or falling
level moves only those between the two.

A level keeps its value until the load has moved by `hysteresis_ratio` the other way. Between two reports a steering
node adds the sessions that it has given out itself (`Ledger`), times the number of nodes and workers, as each of them
does the same and none speaks to another. Pure: time and reports are handed in.
"""

import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from headrace.base.ids import ApplianceId
from headrace.steering.model import SnapshotAppliance

STEPS = 64
MOST_MOVED = 32
"""Steps of running sessions that an appliance far over its capacity sends away at most: half of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRules:
    """From which share of its capacity on an appliance takes less."""

    shed_from_ratio: float = 0.75
    """Below, it takes all sessions."""
    room_ratio: float = 0.9
    """From here on it takes no new ones."""
    move_from_ratio: float = 1.0
    """From here on running ones are sent away too: up to half of them at `move_until_ratio`."""
    move_until_ratio: float = 1.2
    hysteresis_ratio: float = 0.04
    """So much lower must the load be before a level rises again."""


def use_ratio(one: SnapshotAppliance, pending_bps: float = 0.0) -> float:
    """Share of what an appliance can do that is in use; 1.0 is full. `pending_bps`: given out and not reported yet."""
    if one.capacity_bps <= 0:
        return float("inf")
    return max((one.tx_bps + pending_bps) / one.capacity_bps, one.busy_ratio)


def level_at(use: float, rules: LoadRules) -> int:
    """The level that a load asks for: STEPS down to -MOST_MOVED, never rising with the load."""
    if use < rules.shed_from_ratio:
        return STEPS
    if use < rules.room_ratio:
        left = (rules.room_ratio - use) / (rules.room_ratio - rules.shed_from_ratio)
        return max(1, min(STEPS, round(left * STEPS)))
    if use < rules.move_from_ratio:
        return 0
    over = (use - rules.move_from_ratio) / (rules.move_until_ratio - rules.move_from_ratio)
    return -max(1, round(min(1.0, over) * MOST_MOVED))


def next_level(last: int, use: float, rules: LoadRules) -> int:
    """The level after `last`: falls at once, rises only as far as a load higher by the hysteresis would allow."""
    return min(level_at(use, rules), max(last, level_at(use + rules.hysteresis_ratio, rules)))


def draw_of(client: bytes, title_key: int) -> int:
    """0 to STEPS - 1 for a client (its address; of IPv6 the first 64 bits) and a title: who goes elsewhere first."""
    return (zlib.crc32(client[:8]) * 0x9E3779B1 ^ title_key * 0x85EBCA6B) >> 13 & (STEPS - 1)


def is_taken(level: int, draw: int, appliance_key: int) -> bool:
    """Whether an appliance at a level takes the new session of a draw: exactly `level` of STEPS draws are taken.

    Each appliance deals the draws in another order, so that clients whom one sends away are not all sent away by the
    next one too.
    """
    return level >= STEPS or _dealt(draw, appliance_key) < level


TAKES, SHEDS, REFUSES = range(3)
"""What becomes of a session at an appliance. One that runs there and is kept only as it runs there: SHEDS."""


def outcome(level: int, draw: int, appliance_key: int, *, is_in_use: bool) -> int:
    """TAKES, SHEDS or REFUSES for the session of a draw, new or already running there.

    Of running ones, those that the appliance took last go first.
    """
    if is_in_use:
        if level > 0:
            return TAKES
        return SHEDS if level == 0 or _dealt(draw, appliance_key) < STEPS + level else REFUSES
    if level <= 0:
        return REFUSES
    return TAKES if is_taken(level, draw, appliance_key) else SHEDS


class Met(NamedTuple):
    """An appliance that was looked at on the way to a choice, and what its level and the client's draw came to.

    As long as all else stays, whoever meets the same ones with the same outcomes is given the same, whatever the
    levels and the draw are.
    """

    name: ApplianceId
    key: int
    """64 bits of the name."""
    is_in_use: bool
    outcome: int


def _dealt(draw: int, appliance_key: int) -> int:
    return (draw * (appliance_key | 1) + (appliance_key >> 32)) % STEPS


def fresh_levels(appliances: Mapping[str, SnapshotAppliance], rules: LoadRules) -> dict[str, int]:
    """Levels without a history, of those appliances that do not take all."""
    levels = ((name, level_at(use_ratio(one), rules)) for name, one in appliances.items())
    return {name: level for name, level in levels if level != STEPS}


@dataclass(slots=True, kw_only=True, eq=False)
class _Given:
    """Sessions given out on one appliance and not seen in a report yet."""

    batches: deque[list[float]] = field(default_factory=deque)
    """[second, bits per second], oldest first."""
    total_bps: float = 0.0
    next_bps: float = 0.0
    """The level is looked at again when the total has passed this."""


class Ledger:
    """Levels of all appliances as one steering worker sees them."""

    def __init__(self, rules: LoadRules, *, workers: int, settle_s: float, most_age_s: float) -> None:
        """Begin with an empty book.

        Args:
            workers: of all steering nodes together: each assumes that the others give out as much as it does.
            settle_s: a session is in reports that were read so long after it was given.
            most_age_s: without newer reports, sessions are forgotten after so long.
        """
        self.levels: dict[str, int] = {}
        """Of those that do not take all."""
        self._rules = rules
        self._workers = workers
        self._settle_s = settle_s
        self._most_age_s = most_age_s
        self._given: dict[str, _Given] = {}
        self._appliances: Mapping[str, SnapshotAppliance] = {}

    def pending_bps(self, name: str) -> float:
        """What all workers together are taken to have given to an appliance since it reported."""
        given = self._given.get(name)
        return given.total_bps * self._workers if given else 0.0

    def report(self, appliances: Mapping[str, SnapshotAppliance], *, loads_at_s: float, now_s: float) -> None:
        """Take loads that were read at `loads_at_s`. May run beside `give` in another thread."""
        self._appliances = appliances
        seen_s = max(loads_at_s - self._settle_s, now_s - self._most_age_s)
        for name, given in list(self._given.items()):
            self._forget(given, seen_s)
            if not given.batches or name not in appliances:
                self._given.pop(name, None)
                if name in appliances:
                    self._relevel(name, appliances[name])
        for name in list(self.levels):
            if name not in appliances:
                self._set(name, STEPS)
        for name, one in appliances.items():
            if name in self.levels or name in self._given or use_ratio(one) >= self._rules.shed_from_ratio:
                self._relevel(name, one)

    def give(self, name: str, session_bps: float, now_s: float) -> None:
        """Count a session that was given out on an appliance."""
        given = self._given.get(name)
        if given is None:
            given = self._given[name] = _Given()
        second = float(int(now_s))
        if given.batches and given.batches[-1][0] == second:
            given.batches[-1][1] += session_bps
        else:
            given.batches.append([second, session_bps])
        given.total_bps += session_bps
        if given.total_bps < given.next_bps:
            return
        one = self._appliances.get(name)
        if one is not None:
            self._relevel(name, one)

    def _forget(self, given: _Given, before_s: float) -> None:
        while given.batches and given.batches[0][0] < before_s:
            given.batches.popleft()
        given.total_bps = sum(bps for _, bps in given.batches)

    def _relevel(self, name: str, one: SnapshotAppliance) -> None:
        given = self._given.get(name)
        pending_bps = given.total_bps * self._workers if given else 0.0
        if given:  # Look again after half a step more.
            room = (self._rules.room_ratio - self._rules.shed_from_ratio) * max(1, one.capacity_bps)
            given.next_bps = given.total_bps + room / (2 * STEPS * self._workers)
        last = self.levels.get(name, STEPS)
        level = next_level(last, use_ratio(one, pending_bps), self._rules)
        if level != last:
            self._set(name, level)

    def _set(self, name: str, level: int) -> None:
        if level == STEPS:
            self.levels.pop(name, None)
        else:
            self.levels[name] = level
