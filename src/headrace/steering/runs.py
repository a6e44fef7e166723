"""What a new session is given while every appliance takes all: found step by step, and remembered by its beginning.

Titles of one slot that the same appliances hold are ranked alike, for all classes of clients whose approach begins with
the same hearers. So what is remembered is not answers by class, of which there are 100,000 times 1024, but *leads*
(equally good appliances that hold a title, in the order of its slot) and *runs* (the appliances that leads one after
the other come to). `Memory` bounds both.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from headrace.base.ids import ApplianceId, SiteId
from headrace.steering.load import Met
from headrace.steering.model import SnapshotAppliance
from headrace.steering.rendezvous import Roster

FEW_TESTED = 3
"""Different holdings that are asked as fast as it is remembered what they say."""


class Memory:
    """Bounds what is remembered of choices, over all classes of clients: past `most`, all is forgotten at once."""

    def __init__(self, most: int = 1_000_000) -> None:
        self._most = most
        self._used = 0
        self._dicts: list[dict[Any, Any]] = []
        self.pathways = 1
        """Appliances in an answer at most."""
        self._starts: dict[tuple[int, int, bool], Run] = {}

    def put(self, remembered: dict[Any, Any], key: object, value: object) -> None:
        """Remember a value in one of the dictionaries that are bounded together."""
        if self._used >= self._most:
            self._forget()
        if not remembered:
            self._dicts.append(remembered)
        remembered[key] = value
        self._used += 1

    def _forget(self) -> None:
        for one in self._dicts:
            one.clear()
        self._dicts, self._used = [], 0

    def start(self, pathways: int, sites: int, *, is_last_resort: bool) -> "Run":
        """The empty run of answers with so many pathways over so many sites (1 or 2); ask before the first lead."""
        if pathways > self.pathways:
            self.pathways = pathways
            self._forget()  # Leads are as long as answers.
        key = (pathways, sites, is_last_resort)
        known = self._starts.get(key)
        if known is None:
            known = self._starts.setdefault(key, Run((), pathways, sites, is_last_resort))
        return known


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


class Lead:
    """Equally good appliances that hold a title, best first: as many as an answer has, and one of another site."""

    __slots__ = ("picks",)

    def __init__(self, picks: tuple[Pick, ...]) -> None:
        self.picks = picks


Leads = dict[Any, Lead]
"""By order of the roster, where it is small, else by slot."""
_NOBODY: Leads = {}


class Picks:
    """Equally good appliances, as new sessions are given them."""

    __slots__ = ("_by_holders", "_by_title", "_testers", "holds", "leads", "roster", "rows", "table", "width")

    def __init__(self, roster: Roster, rows: Sequence[Pick | None]) -> None:
        self.roster = roster
        self.rows = rows
        """For each member of the roster what may be picked."""
        tests = {id(one.appliance.holdings): one.holds for one in rows if one}
        self.holds = next(iter(tests.values())) if len(tests) == 1 else None
        """Where they hold the same: whether they hold the title of a number."""
        self.table = roster.table()
        self.width = len(rows)
        self.leads: Leads = {}
        """Of titles that all of them hold, where they hold the same."""
        self._by_title: dict[int, Leads] = {}
        """What `_find_leads` found."""
        self._testers = tuple((1 << number, test) for number, test in enumerate(tests.values()))
        self._by_holders: dict[int, Leads] = {}

    def _find_leads(self, number: int, memory: Memory) -> Leads:
        """The leads of titles that are held by those who hold the title of a number."""
        holders = 0
        for bit, holds in self._testers:
            if holds(number):
                holders |= bit
        leads = self._by_holders.setdefault(holders, {}) if holders else _NOBODY
        if len(self._testers) > FEW_TESTED:
            memory.put(self._by_title, number, leads)
        return leads

    def lead(self, slot: int, number: int, memory: Memory) -> Lead | None:
        """Those that hold the title of a number; None where nobody does."""
        if self.holds is None:
            leads = self._by_title.get(number)
            if leads is None:
                leads = self._find_leads(number, memory)
            if leads is _NOBODY:
                return None
        elif self.holds(number):
            leads = self.leads
        else:
            return None
        table = self.table
        key: object = slot
        if table is not None:
            key = table[slot * self.width : slot * self.width + self.width]
        found = leads.get(key)
        if found is None:
            found = Lead(self._best(slot, number, memory.pathways))
            memory.put(leads, key, found)
        return found

    def _best(self, slot: int, number: int, most: int) -> tuple[Pick, ...]:
        rows, found = self.rows, list[Pick]()
        for at in self.roster.order(slot):
            one = rows[at]
            if one is None or not one[1](number):
                continue
            if len(found) < most:
                found.append(one)
            elif any([other[3] != found[0][3] for other in found]):
                break
            elif one[3] != found[0][3]:
                found.append(one)
                break
        return tuple(found)


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


class Run:
    """Appliances that a ranking begins with, and how it goes on."""

    __slots__ = ("after", "given", "is_done", "limits", "lone_site", "picks")

    def __init__(self, picks: tuple[Pick, ...], pathways: int, sites: int, is_last_resort: bool) -> None:
        self.picks = picks
        self.limits = (pathways, sites, is_last_resort)
        self.after: dict[Any, Run] = {}
        """By lead; where only another site is missing, by the appliance of it."""
        is_full = len(picks) == pathways
        is_lone = is_full and pathways > 1 < sites and len({one.site_id for one in picks}) == 1
        self.lone_site = picks[0].site_id if is_lone else None
        """All are of it, and another one is still looked for."""
        self.is_done = is_full and not is_lone
        self.given = Given(
            appliances=tuple([one.appliance for one in picks]),
            best=picks[0].name if picks else "",
            is_last_resort=is_last_resort and bool(picks),
            met=tuple([one.taking for one in picks]),
            names=tuple([one.name for one in picks]),
        )

    def grown(self, lead: Lead, memory: Memory) -> "Run":
        """This run with those of a lead behind it; not yet known."""
        made = self.followed(lead.picks)
        memory.put(self.after, lead, made)
        return made

    def followed(self, others: tuple[Pick, ...]) -> "Run":
        """This run with others behind it, best first; looks at no more of them than it must."""
        pathways, sites, _ = self.limits
        rest = iter(others)
        picks = [*self.picks, *islice(rest, pathways - len(self.picks))]
        if len(picks) == pathways > 1 < sites and len({one.site_id for one in picks}) == 1:
            other = next((one for one in rest if one.site_id != picks[0].site_id), None)
            if other is not None:
                picks[-1] = other
        return Run(tuple(picks), *self.limits)

    def spread(self, others: tuple[Pick, ...], memory: Memory) -> "Run":
        """This run of a lone site, its last one replaced by the first of others that is of another site."""
        for one in others:
            if one.site_id != self.lone_site:
                known = self.after.get(one.name)
                if known is None:
                    known = Run((*self.picks[:-1], one), *self.limits)
                    memory.put(self.after, one.name, known)
                return known
        return self
