"""Why sessions were not served by the best appliances for their clients, weighed by what they need: misses, explained.

The best ones are those behind the best route, at the best kind of site, nearest: the first step of the client's
approach, whatever their health, load and holdings are. A session that was given to none of them is a miss, and what
kept all of them out of it is its class. Pure: what was given comes as rows, snapshots by moment.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.fleet.model import AdminState
from headrace.steering.approach import Place
from headrace.steering.compile import CompiledSnapshot, order_fault
from headrace.steering.decide import Decider
from headrace.steering.homes import best_for
from headrace.steering.library import CompiledTitle
from headrace.steering.load import REFUSES, STEPS, TAKES, draw_of, fresh_levels, outcome
from headrace.steering.model import SnapshotAppliance
from headrace.steering.rank import Limits
from headrace.steering.rendezvous import hash_key
from headrace.steering.replay import LoggedSession, tier_of


class MissClass(StrEnum):
    """What kept the best appliances out of an answer."""

    NONE = "best"
    """One of them was given: no miss."""
    ROUTE = "route"
    """No appliance hears the client."""
    HEALTH = "health"
    """Those that hold the title, or all of them, are not in working order, or were taken out of service."""
    CONTENT = "content"
    """None of those in working order holds the title."""
    LOAD = "load"
    """Those that hold it are near their capacity and gave the session away."""
    OTHER = "other"
    """One of them could have taken it, as the snapshot of that moment has it: it had changed shortly before."""
    CHOICE = "choice"
    """The player used another appliance than the better one that it was given, which was able. Of bytes that were
    served (`used`) only: what a session was given is not the player's choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissRow:
    """Misses of one class, by the site that should have served and the title."""

    site_id: str
    """'' where no site hears the client."""
    title_id: str
    reason: MissClass
    bytes: float
    sessions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Misses:
    """What a log of sessions comes to. Bytes are expected ones: bit rate times length of the title."""

    sessions: int
    bytes: float
    skipped: int
    """Sessions without a snapshot of their time, or of titles that it does not have."""
    by_class: dict[str, float]
    """Share of the bytes."""
    by_tier: dict[str, float]
    """Share of the bytes by kind of the site that served them: how much stayed in the networks (offload)."""
    rows: tuple[MissRow, ...]
    """Most bytes first."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Sum:
    bytes: Counter[tuple[str, str, MissClass]] = field(default_factory=Counter)
    sessions: Counter[tuple[str, str, MissClass]] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)
    skipped: int = 0


def explain_misses(
    sessions: Iterable[LoggedSession],
    snapshot_at: Callable[[float], CompiledSnapshot | None],
    limits: Limits,
    *,
    top: int,
    site: str = "",
) -> Misses:
    """Class each session.

    Args:
        snapshot_at: the snapshot that was in force at a moment (UTC epoch seconds), None where none is kept. The same
            object for as long as it was in force, as what is found of it is remembered until the next one.
        top: how many rows to list.
        site: only sessions that this site should have served; '' for all.
    """
    found, judge = _Sum(), None
    for one in sessions:
        compiled = snapshot_at(one.at_s)
        title = compiled.library.titles.get(one.title_id) if compiled is not None else None
        if compiled is None or title is None:
            found.skipped += 1
            continue
        if judge is None or judge.compiled is not compiled:
            judge = Judge(compiled, limits)
        reason, best_site = judge.judge(one, title)
        if site and site != best_site:
            continue
        key, weight = (best_site, one.title_id, reason), one.session_bps / 8 * title.title.duration_s
        found.bytes[key] += weight  # type: ignore[assignment]
        found.sessions[key] += 1
        found.tiers[tier_of(compiled, one.appliance_id)] += weight  # type: ignore[assignment]
    return _result(found, top)


class Judge:
    """Says by one snapshot who is best for a client, and what keeps them out."""

    def __init__(self, compiled: CompiledSnapshot, limits: Limits) -> None:
        self.compiled = compiled
        self._decider = Decider(compiled, limits, fresh_levels(compiled.appliances, limits.load))

    def judge(self, one: LoggedSession, title: CompiledTitle) -> tuple[MissClass, str]:
        """The class of a session and the site that should have served it."""
        best = self.best(one)
        if not best:
            return MissClass.ROUTE, ""
        given = self.compiled.appliances.get(one.appliance_id)
        if given is not None and any(given.appliance_id == each.appliance_id for each in best):
            return MissClass.NONE, given.site_id
        return self.why_not(best, one, title), best[0].site_id

    def best(self, one: LoggedSession) -> Sequence[SnapshotAppliance]:
        """The best ones for the client of a session."""
        return best_for(self._decider, one.client, one.location)

    def why_not(self, best: Sequence[SnapshotAppliance], one: LoggedSession, title: CompiledTitle) -> MissClass:
        """What keeps all of these from the session."""
        draw = draw_of(one.client, title.key)
        holders = [each for each in best if title.number in each.holdings]
        able = [each for each in best if order_fault(each) is None and each.admin_state is AdminState.ENABLED]
        ready = [each for each in able if title.number in each.holdings]
        if ready:
            takes = any(self._takes(each, draw) for each in ready)
            return MissClass.OTHER if takes else MissClass.LOAD
        return MissClass.HEALTH if holders or not able else MissClass.CONTENT

    def is_better(self, name: str, other: str, one: LoggedSession) -> bool:
        """Whether the client of a session reaches the first appliance by a better step than the other one."""
        place, beside = self._place(name, one), self._place(other, one)
        return place is not None and (beside is None or place < beside)

    def keeps(self, name: str, one: LoggedSession, title: CompiledTitle) -> bool:
        """Whether an appliance is able to serve a session that has it."""
        given = self.compiled.appliances.get(name)
        if given is None or order_fault(given) is not None or given.admin_state is not AdminState.ENABLED:
            return False
        level, draw = self._decider.levels.get(name, STEPS), draw_of(one.client, title.key)
        kept = outcome(level, draw, hash_key(name), is_in_use=True) != REFUSES
        return kept and title.number in given.holdings

    def _place(self, name: str, one: LoggedSession) -> Place | None:
        hearer = self.compiled.hearer_of.get(name, -1)
        return self._decider.ways(one.client, one.location).routed.place_of.get(hearer)

    def _takes(self, one: SnapshotAppliance, draw: int) -> bool:
        level = self._decider.levels.get(one.appliance_id, STEPS)
        return outcome(level, draw, hash_key(one.appliance_id), is_in_use=False) == TAKES


def _result(found: _Sum, top: int) -> Misses:
    total = float(sum(found.bytes.values()))
    by_class: Counter[str] = Counter()
    for (_, _, reason), weight in found.bytes.items():
        by_class[reason] += weight
    misses = ((key, weight) for key, weight in found.bytes.items() if key[2] is not MissClass.NONE)
    ranked = sorted(misses, key=lambda row: (-row[1], row[0]))[:top]
    return Misses(
        sessions=sum(found.sessions.values()),
        bytes=total,
        skipped=found.skipped,
        by_class={name: weight / total for name, weight in by_class.most_common()} if total else {},
        by_tier={name: weight / total for name, weight in found.tiers.most_common()} if total else {},
        rows=tuple(
            MissRow(site_id=key[0], title_id=key[1], reason=key[2], bytes=weight, sessions=found.sessions[key])
            for key, weight in ranked
        ),
    )
