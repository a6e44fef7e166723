"""What a new session is given while every appliance takes all: the first appliances that hold the title, step by step.

There are 100,000 times as many pairs of a class of clients and a title as there is room to remember them, so that most
of what is asked is asked for the first time. So no choice is remembered: what was cost more to keep, to collect and to
forget than a walk, which looks at few appliances, and at each of them once.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from headrace.base.ids import ApplianceId, SiteId
from headrace.steering.load import TAKES, Met
from headrace.steering.model import SnapshotAppliance
from headrace.steering.rendezvous import Roster, hash_key


class Pick(NamedTuple):
    """An appliance that new sessions may be given, as far as its load is not looked at."""

    appliance: SnapshotAppliance
    holds: Callable[[int], bool]
    """Whether it holds the title of a number."""
    name: ApplianceId
    site_id: SiteId
    key: int
    """64 bits of its id, for `load.outcome`."""
    taking: Met
    """Where it takes the session."""


def pick_of(one: SnapshotAppliance) -> Pick:
    """An appliance that may be picked."""
    key = hash_key(one.appliance_id)
    return Pick(
        one, one.holdings.tester(), one.appliance_id, one.site_id, key, Met(one.appliance_id, key, False, TAKES)
    )


class Shape(NamedTuple):
    """How an answer is put together."""

    pathways: int
    """Appliances in it."""
    sites: int
    """That it spans at least, where there are so many: 1 or 2, and not more than pathways."""


class Picks:
    """Equally good appliances, as new sessions are given them."""

    __slots__ = ("_table", "_width", "holds", "lone", "roster", "rows")

    def __init__(self, roster: Roster, rows: Sequence[Pick | None]) -> None:
        self.roster = roster
        self.rows = rows
        """For each member of the roster what may be picked."""
        tests = {id(one.appliance.holdings): one.holds for one in rows if one}
        self.holds = next(iter(tests.values())) if len(tests) == 1 else None
        """Where they hold the same: whether they hold the title of a number."""
        sites = {one.site_id for one in rows if one}
        self.lone = next(iter(sites)) if len(sites) == 1 else None
        """The site that all are of; None where there are several."""
        self._table = roster.table()
        self._width = len(rows)

    def order(self, slot: int) -> Sequence[int]:
        """Places in `rows` for a slot, best first."""
        table, width = self._table, self._width
        return self.roster.order(slot) if table is None else table[slot * width : slot * width + width]


class Given:
    """What a session is given."""

    __slots__ = ("_met", "is_last_resort", "kept", "picks")

    def __init__(
        self,
        picks: Sequence[Pick],
        *,
        is_last_resort: bool,
        met: tuple[Met, ...] | None = None,
        kept: Sequence[Pick] = (),
    ) -> None:
        """Put it together.

        Args:
            met: None: those picked, who all took it.
        """
        self.picks = picks
        """Chosen for any session, best first."""
        self.kept = kept
        """After them: only because this session has them."""
        self.is_last_resort = is_last_resort
        self._met = met

    @property
    def appliances(self) -> tuple[SnapshotAppliance, ...]:
        """Best first."""
        return tuple([one.appliance for one in (*self.picks, *self.kept)])

    @property
    def best(self) -> str:
        """Where it should be; '' when there is only what it has already."""
        return self.picks[0].name if self.picks else ""

    @property
    def met(self) -> tuple[Met, ...]:
        """On the way to it."""
        return tuple([one.taking for one in self.picks]) if self._met is None else self._met

    @property
    def names(self) -> tuple[ApplianceId, ...]:
        """Of those met."""
        return tuple([one.name for one in (self.picks if self._met is None else self._met)])


def first_picks(
    steps: list[Any], slot: int, number: int, shape: Shape, picked: Callable[[Any], Picks]
) -> Sequence[Pick]:
    """The first appliances that hold a title, best first.

    As many as an answer has pathways; where all of them are of one site and an answer shall span two, the last one
    gives way to the best one of another site.

    Args:
        steps: hearers, best first; each is put into the `Picks` that `picked` makes of it when it is first reached.
        slot, number: of the title.
    """
    pathways, sites = shape
    found: list[Pick] = []
    lone: SiteId | None = None
    for at, step in enumerate(steps):
        picks = step
        if picks.__class__ is tuple:
            picks = steps[at] = picked(step)
        holds = picks.holds
        if (holds is not None and not holds(number)) or (lone is not None and picks.lone == lone):
            continue
        rows = picks.rows
        for place in picks.order(slot):
            one = rows[place]
            if one is None or (holds is None and not one[1](number)):
                continue
            if lone is None:
                found.append(one)
                if len(found) == pathways:
                    lone = _lone_site(found, sites)
                    if lone is None:
                        return found
            elif one[3] != lone:
                found[-1] = one
                return found
    return found


def _lone_site(picks: list[Pick], sites: int) -> SiteId | None:
    """The site that all are of; None where there is another one, or one is enough."""
    if sites < 2:
        return None
    lone = picks[0][3]
    for one in picks:
        if one[3] != lone:
            return None
    return lone
