"""What another snapshot or other settings would have given to the sessions of a log: how many would have begun
elsewhere, how far away, and how high the loads of appliances would have risen.

Each session is taken to last as long as its title and to need the bit rate that the log says. Loads are reported to the
decision every `REPORT_S`, as a control plane does, so that shedding works as it would have. Running sessions are not
moved. Pure: the log comes as rows in order of time, near enough.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

from headrace.base.ids import ApplianceId
from headrace.steering.approach import Location, distance_km
from headrace.steering.compile import CompiledSnapshot
from headrace.steering.decide import Decider
from headrace.steering.load import Ledger
from headrace.steering.model import SnapshotAppliance
from headrace.steering.picks import Given
from headrace.steering.rank import Limits

REPORT_S = 5.0
ORIGIN, NOWHERE = "origin", "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedSession:
    """A session that was given out."""

    at_s: float
    client: bytes
    """Address in network byte order."""
    title_id: str
    appliance_id: str
    """The first of its pathways; '' for the origin."""
    session_bps: float
    location: Location | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The highest load of one appliance."""

    appliance_id: ApplianceId
    capacity_bps: int
    before_ratio: float
    """Of its capacity, as the log has it; sessions that began before the log are not in it."""
    after_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What would have changed."""

    sessions: int
    unknown_titles: int
    """Sessions of titles that the snapshot does not have: left out."""
    moved_ratio: float
    """Share of sessions that would have begun on another appliance."""
    tiers_before: dict[str, float]
    """Share of sessions by kind of site; `unknown` for appliances that the snapshot does not have."""
    tiers_after: dict[str, float]
    mean_km_before: float | None
    """Over sessions whose distance is known both ways."""
    mean_km_after: float | None
    full_before: int
    """Appliances whose load would have passed their capacity."""
    full_after: int
    peaks: tuple[Peak, ...]
    """Highest first, by the higher one of before and after."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Side:
    loads: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    ends: list[tuple[float, str, float]] = field(default_factory=list)
    tiers: Counter[str] = field(default_factory=Counter)
    km: float = 0.0

    def until(self, now_s: float) -> None:
        while self.ends and self.ends[0][0] <= now_s:
            _, name, bps = heappop(self.ends)
            self.loads[name] -= bps

    def begin(self, name: str, bps: float, until_s: float) -> None:
        load = self.loads[name] = self.loads.get(name, 0.0) + bps
        self.peaks[name] = max(load, self.peaks.get(name, 0.0))
        heappush(self.ends, (until_s, name, bps))


def replay(sessions: Iterable[LoggedSession], compiled: CompiledSnapshot, limits: Limits, *, top: int) -> Replayed:
    """Give the sessions out again.

    Args:
        top: how many appliances to list by their peaks.
    """
    play = _Play(compiled, limits)
    for one in sessions:
        play.give(one)
    return play.result(top)


class _Play:
    """The replay so far."""

    def __init__(self, compiled: CompiledSnapshot, limits: Limits) -> None:
        self._compiled = compiled
        self._idle = {name: replace(one, tx_bps=0.0, busy_ratio=0.0) for name, one in compiled.appliances.items()}
        self._ledger = Ledger(limits.load, workers=1, settle_s=0.0, most_age_s=2 * REPORT_S)
        self._decider = Decider(compiled, limits, self._ledger.levels)
        self._before, self._after = _Side(), _Side()
        self._count = self._unknown = self._moved = self._measured = 0
        self._next_report_s = float("-inf")

    def give(self, one: LoggedSession) -> None:
        """One session."""
        compiled, before, after = self._compiled, self._before, self._after
        title = compiled.library.titles.get(one.title_id)
        if title is None:
            self._unknown += 1
            return
        self._pass_time(one.at_s)
        given = self._decider.decide(one.client, one.title_id, one.location)
        assert given is not None
        first = given.appliances[0].appliance_id if given.appliances else ""
        self._count += 1
        self._moved += first != one.appliance_id
        until_s = one.at_s + title.title.duration_s
        before.tiers[tier_of(compiled, one.appliance_id)] += 1
        after.tiers[tier_of(compiled, first, given)] += 1
        if one.appliance_id in compiled.appliances:
            before.begin(one.appliance_id, one.session_bps, until_s)
        if first:
            after.begin(first, one.session_bps, until_s)
            self._ledger.give(first, one.session_bps, one.at_s)
        km = [_km(compiled, name, one.location) for name in (one.appliance_id, first)]
        if km[0] is not None and km[1] is not None:
            self._measured += 1
            before.km += km[0]
            after.km += km[1]

    def result(self, top: int) -> Replayed:
        """What came of it."""
        before, after, count, measured = self._before, self._after, self._count, self._measured
        peaks = sorted(_peaks(self._compiled, before, after), key=lambda one: -max(one.before_ratio, one.after_ratio))
        return Replayed(
            sessions=count,
            unknown_titles=self._unknown,
            moved_ratio=self._moved / count if count else 0.0,
            tiers_before=_shares(before.tiers),
            tiers_after=_shares(after.tiers),
            mean_km_before=before.km / measured if measured else None,
            mean_km_after=after.km / measured if measured else None,
            full_before=sum(one.before_ratio > 1 for one in peaks),
            full_after=sum(one.after_ratio > 1 for one in peaks),
            peaks=tuple(peaks[:top]),
        )

    def _pass_time(self, now_s: float) -> None:
        self._before.until(now_s)
        self._after.until(now_s)
        if now_s >= self._next_report_s:
            self._next_report_s = now_s + REPORT_S
            self._ledger.report(_loaded(self._idle, self._after), loads_at_s=now_s, now_s=now_s)


def _loaded(idle: dict[str, SnapshotAppliance], side: _Side) -> dict[str, SnapshotAppliance]:
    """The appliances with their replayed loads."""
    loaded = dict(idle)
    for name, tx_bps in side.loads.items():
        loaded[name] = replace(loaded[name], tx_bps=tx_bps)
    return loaded


def tier_of(compiled: CompiledSnapshot, name: str, given: Given | None = None) -> str:
    """Kind of the site that serves: of the appliance of this name ('' for the origin), as a session was `given` it."""
    if not name:
        return ORIGIN
    one = compiled.appliances.get(name)
    site_no = compiled.network.site_nos.get(one.site_id) if one else None
    if site_no is None:
        return NOWHERE
    return "last-resort" if given is not None and given.is_last_resort else compiled.network.sites[site_no].kind


def _km(compiled: CompiledSnapshot, name: str, location: Location | None) -> float | None:
    one = compiled.appliances.get(name)
    site_no = compiled.network.site_nos.get(one.site_id) if one else None
    if location is None or site_no is None:
        return None
    site = compiled.network.sites[site_no]
    if site.latitude_deg is None or site.longitude_deg is None:
        return None
    return distance_km(location, Location(latitude_deg=site.latitude_deg, longitude_deg=site.longitude_deg))


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: count / total for name, count in counts.most_common()}


def _peaks(compiled: CompiledSnapshot, before: _Side, after: _Side) -> Iterator[Peak]:
    for name in before.peaks.keys() | after.peaks.keys():
        capacity = compiled.appliances[name].capacity_bps
        if capacity > 0:
            yield Peak(
                appliance_id=ApplianceId(name),
                capacity_bps=capacity,
                before_ratio=before.peaks.get(name, 0.0) / capacity,
                after_ratio=after.peaks.get(name, 0.0) / capacity,
            )
