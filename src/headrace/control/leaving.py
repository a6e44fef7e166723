"""Asks the failure budget whether appliances may leave: gathers from rows and holdings what `check_may_leave` wants.

Decides nothing itself. The API asks before an operator's change and when a window is planned, the loops when a window
begins; they differ only in where holdings come from.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.control.model import FleetRow
from headrace.fleet.lifecycle import Copies, FailureBudget, LeaveVerdict, Standing, check_may_leave
from headrace.fleet.maintenance import MaintenanceWindow, crowded_instants, held_at
from headrace.fleet.model import AdminState, Health, Site
from headrace.fleet.region import Coverage, join, region_of, static_coverage
from headrace.routes.model import Hearing, RouteColumns

NAMED_TITLES = 3
"""So many titles are named in a refusal."""


class Copying(Protocol):
    """Who holds what."""

    def sole_files(self, leaving: AbstractSet[ApplianceId], others: AbstractSet[ApplianceId]) -> FileSet:
        """Published files that some of `leaving` hold and none of `others` does."""
        ...

    def titles_of(self, files: FileSet) -> tuple[str, ...]:
        """A few of the titles that these files belong to."""
        ...


class _ByDigest:
    """Columns that are equal when their digests are."""

    def __init__(self, columns: RouteColumns) -> None:
        self.columns = columns

    def __hash__(self) -> int:
        return hash(self.columns.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByDigest) and other.columns.digest == self.columns.digest


@lru_cache(maxsize=1024)
def _cover_columns(keyed: _ByDigest) -> Coverage:
    columns = keyed.columns
    v6 = _spans(columns.prefixes_v6, 16)
    low = (1 << 64) - 1
    return Coverage(v4=_spans(columns.prefixes_v4, 4), v6=tuple((first << 64, last << 64 | low) for first, last in v6))


def _spans(packed: bytes, width: int) -> tuple[tuple[int, int], ...]:
    """The addresses of packed prefixes, those next to each other joined; of IPv6 the first 64 bits.

    Prefixes come in order, outer ones first, so that one sweep is enough: a million of them take a tenth of a second.
    """
    rows = np.frombuffer(packed, dtype=np.uint8).reshape(-1, width + 1)
    if not len(rows):
        return ()
    used = min(width, 8)
    begins = np.zeros(len(rows), dtype=np.uint64)
    for column in range(used):
        begins = begins << np.uint64(8) | rows[:, column].astype(np.uint64)
    host_bits = np.maximum(0, 8 * used - rows[:, width].astype(np.int64)).astype(np.uint64)
    all_ones = np.uint64(2**64 - 1)
    # Shifting by the whole width is not defined, and a default route has that many host bits.
    hosts = np.where(host_bits == 0, np.uint64(0), all_ones >> (np.uint64(64) - np.maximum(host_bits, np.uint64(1))))
    reach = np.maximum.accumulate(begins | hosts)
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = (begins[1:] > reach[:-1]) & (begins[1:] - np.uint64(1) != reach[:-1])
    firsts = np.flatnonzero(is_first)
    lasts = np.append(firsts[1:] - 1, len(rows) - 1)
    return tuple(zip(begins[firsts].tolist(), reach[lasts].tolist(), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """What the budget is asked with."""

    rows: Sequence[FleetRow]
    """With the admin states in force."""
    sites: Sequence[Site]
    copying: Copying
    budget: FailureBudget
    health: Mapping[ApplianceId, Health] | None = None
    """Newer conclusions than those of the rows."""
    hearings: Sequence[Hearing] = ()
    """Live routes that count."""

    def judge(self, names: AbstractSet[ApplianceId]) -> LeaveVerdict:
        """Whether all of `names` may leave at once."""
        fleet = [Standing(appliance=row.appliance, health=self._health_of(row)) for row in self.rows]
        serving = {one.appliance.appliance_id: one for one in fleet if one.is_serving}
        going = names & serving.keys()
        if not going:
            return check_may_leave(names, fleet, budget=self.budget)
        return check_may_leave(names, fleet, copies=self._copies(going, serving), budget=self.budget)

    def judge_window(
        self, window: MaintenanceWindow, others: Iterable[MaintenanceWindow], *, now_s: float
    ) -> LeaveVerdict:
        """Whether a window may begin, and go on while other ones come and go; the first refusal, else the last word."""
        others = list(others)
        names = frozenset(row.appliance.appliance_id for row in self.rows if window.covers(row.appliance))
        verdict = self.judge(names)
        for at_s in crowded_instants(window, others, now_s=now_s):
            rows = [
                replace(row, appliance=replace(row.appliance, admin_state=AdminState.DISABLED))
                if row.appliance.appliance_id not in names and held_at(others, row.appliance, at_s)
                else row
                for row in self.rows
            ]
            verdict = replace(self, rows=rows).judge(names)
            if not verdict.may_leave:
                break
        return verdict

    def _health_of(self, row: FleetRow) -> Health:
        return row.health if self.health is None else self.health.get(row.appliance.appliance_id, row.health)

    def _coverage(self, site: Site) -> Coverage:
        """What operators say that a site hears, and what its appliances hear over BGP."""
        inside = {row.appliance.appliance_id for row in self.rows if row.appliance.site_id == site.site_id}
        heard = [one.routes for one in self.hearings if not inside.isdisjoint(one.appliances)]
        return join([static_coverage(site), *(_cover_columns(_ByDigest(routes)) for routes in heard)])

    def _copies(self, going: AbstractSet[ApplianceId], serving: Mapping[ApplianceId, Standing]) -> Copies:
        others = serving.keys() - going
        in_fleet = self.copying.sole_files(going, others)
        if in_fleet:
            return Copies(in_fleet=len(in_fleet), titles=self.copying.titles_of(in_fleet))
        for site_id in sorted({serving[name].appliance.site_id for name in going}):
            region = region_of(site_id, self.sites, self._coverage)
            if region is None:
                continue
            near = {name for name in others if serving[name].appliance.site_id in region.sites}
            own = {name for name in going if serving[name].appliance.site_id in region.sites}
            sole = self.copying.sole_files(own, near)
            if sole:
                return Copies(in_region=len(sole), region=region.name, titles=self.copying.titles_of(sole))
        return Copies()
