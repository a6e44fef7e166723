"""What a new session is given while every appliance takes all: found step by step, and remembered by class and title.

There are 100,000 times as many pairs of a class of clients and a title as there is room to remember them, so that most
of what is found is found for the first time: what is here looks at few appliances, and at each of them once.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from headrace.base.ids import ApplianceId, SiteId
from headrace.steering.load import Met
from headrace.steering.model import SnapshotAppliance
from headrace.steering.rendezvous import Roster


class Memory:
    """Bounds what is remembered of choices, over all classes of clients: past `most`, all is forgotten at once."""

    def __init__(self, most: int = 400_000) -> None:
        """`most` choices: some 0.4 kB each."""
        self._most = most
        self._used = 0
        self._dicts: list[dict[Any, Any]] = []

    def put(self, remembered: dict[Any, Any], key: object, value: object) -> None:
        """Remember a value in one of the dictionaries that are bounded together."""
        if self._used >= self._most:
            for one in self._dicts:
                one.clear()
            self._dicts, self._used = [], 0
        if not remembered:
            self._dicts.append(remembered)
        remembered[key] = value
        self._used += 1


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


class Picks:
    """Equally good appliances, as new sessions are given them."""

    __slots__ = ("_table", "_width", "holds", "roster", "rows")

    def __init__(self, roster: Roster, rows: Sequence[Pick | None]) -> None:
        self.roster = roster
        self.rows = rows
        """For each member of the roster what may be picked."""
        tests = {id(one.appliance.holdings): one.holds for one in rows if one}
        self.holds = next(iter(tests.values())) if len(tests) == 1 else None
        """Where they hold the same: whether they hold the title of a number."""
        self._table = roster.table()
        self._width = len(rows)

    def order(self, slot: int) -> Sequence[int]:
        """Places in `rows` for a slot, best first."""
        table, width = self._table, self._width
        return self.roster.order(slot) if table is None else table[slot * width : slot * width + width]


class Given(NamedTuple):
    """What a session is given."""

    appliances: tuple[SnapshotAppliance, ...]
    """Best first."""
    best: str
    """Where it should be; '' when there is only what it has already."""
    is_last_resort: bool
    met: tuple[Met, ...]
    """On the way to it."""
    names: tuple[ApplianceId, ...]
    """Of those met."""


NOBODY = Given((), "", False, (), ())


def given_of(picks: Sequence[Pick], *, is_last_resort: bool) -> Given:
    """A session's appliances, best first."""
    if not picks:
        return NOBODY
    appliances, _, names, _, _, met = zip(*picks, strict=True)
    return Given(appliances, names[0], is_last_resort, met, names)


def first_picks(
    steps: list[Any], slot: int, number: int, pathways: int, sites: int, picked: Callable[[Any], Picks]
) -> list[Pick]:
    """The first appliances that hold a title, best first.

    As many as an answer has pathways; where all of them are of one site and an answer shall span two, the last one
    gives way to the best one of another site.

    Args:
        steps: hearers, best first; each is put into the `Picks` that `picked` makes of it when it is first reached.
        slot, number: of the title.
        sites: 1 or 2.
    """
    found: list[Pick] = []
    lone: SiteId | None = None
    for at, step in enumerate(steps):
        picks = step
        if picks.__class__ is tuple:
            picks = steps[at] = picked(step)
        is_mixed = picks.holds is None
        if not is_mixed and not picks.holds(number):
            continue
        rows = picks.rows
        for place in picks.order(slot):
            one = rows[place]
            if one is None or (is_mixed and not one[1](number)):
                continue
            if lone is None:
                found.append(one)
                if len(found) == pathways:
                    lone = _lone_site(found) if pathways > 1 < sites else None
                    if lone is None:
                        return found
            elif one[3] != lone:
                found[-1] = one
                return found
    return found


def _lone_site(picks: list[Pick]) -> SiteId | None:
    """The site that all are of; None where there is another one."""
    lone = picks[0][3]
    for one in picks:
        if one[3] != lone:
            return None
    return lone
