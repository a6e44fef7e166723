"""Which appliances a client should use for a title, in order, and for each other one the reason why not.

An appliance is eligible when an operator has it enabled, it passed its turn-up checks, is healthy, holds every file of
the title, hears a route for the client, and has room. Eligible ones are ordered by prefix length, AS path length, MED,
kind of site, distance (in steps, where the client's place is known), then by weighted rendezvous hashing of the title's
slot, so that a title keeps to few appliances and a joining or leaving one moves no more than its share. One that nears
its capacity goes behind the others for a growing share of clients (`load`).

Sites declared as last resort serve clients for whom no routed site has an eligible appliance. A session that already
runs is treated more gently than a new one: see `Session`. Pure: no clock, no chance, no memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from headrace.base.ids import ApplianceId, SiteId
from headrace.fleet.model import AdminState
from headrace.steering.approach import Approach, Approaches, Location, approaches
from headrace.steering.compile import CompiledSnapshot, order_fault
from headrace.steering.library import CompiledTitle
from headrace.steering.load import REFUSES, STEPS, TAKES, LoadRules, Met, fresh_levels, is_taken, outcome, use_ratio
from headrace.steering.model import Exclusion, SnapshotAppliance
from headrace.steering.picks import Given, Pick, Shape, first_picks, pick_of
from headrace.steering.rendezvous import hash_key, rendezvous_score


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many pathways an answer has and when an appliance is full."""

    pathways: int = 4
    """Appliances in an answer; 3 to 5 is what players handle well."""
    sites: int = 2
    """An answer spans at least this many sites where there are so many."""
    distance_step_km: float = 100.0
    """Sites whose distances fall in one step count as equally near."""
    load: LoadRules = field(default_factory=LoadRules)
    shape: Shape = field(init=False)
    """The first two, for `picks`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", Shape(self.pathways, min(self.sites, self.pathways)))


class Wanted(Protocol):
    """A title, as far as ranking looks at it."""

    @property
    def number(self) -> int: ...
    @property
    def slot(self) -> int: ...


class Sharing(NamedTuple):
    """What of their load decides."""

    levels: Mapping[str, int] = MappingProxyType({})
    """Of appliances that do not take all sessions: see `load`."""
    draw: int = 0
    """The client's, for the title."""


EVERYBODY_TAKES = Sharing()


class Session(NamedTuple):
    """What a running session tells of itself when it asks for a steering manifest.

    Its appliances stay after the chosen ones though they are full or outranked, draining ones after those, so that the
    session can finish there; the one in use keeps its place when it is only full, and loses it to some sessions when it
    is far over its capacity. A slow one goes behind all others.
    """

    written: tuple[ApplianceId, ...] = ()
    """Pathways that its playlist was written with, the origin left out."""
    current: ApplianceId | None = None
    slow: tuple[ApplianceId, ...] = ()
    """Pathways whose measured throughput is below what the title's lowest rendition needs."""


NEW_SESSION = Session()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An appliance with what it was ordered by."""

    appliance: SnapshotAppliance
    fault: Exclusion | None
    """None: eligible. DRAINING or NO_ROOM: may only be kept for a session that has it."""
    is_slow: bool
    distance_km: float | None
    order: tuple[int, int, int, float, str]
    """Rank of the route, kind of site, distance step, place among equals, id: lower is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The pathways of an answer, best first: `chosen` for any session, `kept` only because this session has them."""

    chosen: tuple[Candidate, ...]
    kept: tuple[Candidate, ...]
    approach: Approach
    """What was considered: those who hear the client, else those of last resort."""
    met: tuple[Met, ...]
    """On the way to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """An appliance that is not in the answer."""

    appliance: SnapshotAppliance
    reason: Exclusion
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """A choice with a reason for every other appliance: each is in exactly one of the three."""

    chosen: tuple[Candidate, ...]
    kept: tuple[Candidate, ...]
    excluded: tuple[Excluded, ...]


def choose(
    compiled: CompiledSnapshot,
    ways: Approaches,
    title: Wanted,
    limits: Limits,
    session: Session = NEW_SESSION,
    sharing: Sharing = EVERYBODY_TAKES,
) -> Choice:
    """The pathways for a client, without the reasons; looks no further than it must."""
    approach, pool = ways.routed, _pool(compiled, ways.routed, title, limits, session, sharing)
    met = pool.met
    if ways.last_resort.steps and not any(one.fault is None for one in pool.ranked):
        last = _pool(compiled, ways.last_resort, title, limits, session, sharing)
        met = met + last.met
        if any(one.fault is None for one in last.ranked):
            approach, pool = ways.last_resort, last
    chosen = _over_sites(pool.ranked, limits)
    taken = {one.appliance.appliance_id for one in chosen}
    own = [name for name in session.written if name not in taken]
    kept = list(_still_able(compiled, approach, own, title, session, sharing)) if own else []
    kept.sort(key=lambda one: (one.fault is Exclusion.DRAINING, one.is_slow, one.order))
    return Choice(chosen=tuple(chosen), kept=tuple(kept), approach=approach, met=tuple(met))


def choose_new(
    compiled: CompiledSnapshot, ways: Approaches, title: Wanted, limits: Limits, sharing: Sharing = EVERYBODY_TAKES
) -> Given:
    """What `choose` gives a new session, at a tenth of the cost: see `picks`."""
    if limits.sites > 2:
        return choose_sharing(compiled, ways, title, limits, sharing)
    slot, number, shape, picked = title.slot, title.number, limits.shape, compiled.picked
    picks, is_last_resort = first_picks(ways.routed_picks, slot, number, shape, picked), False
    if not picks:
        picks = first_picks(ways.resort_picks, slot, number, shape, picked)
        is_last_resort = bool(picks)
    if sharing.levels and any([one.name in sharing.levels for one in picks]):
        return choose_sharing(compiled, ways, title, limits, sharing)
    return Given(picks, is_last_resort=is_last_resort)


def choose_running(
    compiled: CompiledSnapshot, ways: Approaches, title: Wanted, limits: Limits, session: Session, sharing: Sharing
) -> Given:
    """What `choose` gives a running session, chosen and kept; quicker where it has only what a new one is given."""
    current = session.current
    if not session.slow and current not in sharing.levels:
        given = choose_new(compiled, ways, title, limits, sharing)
        if {one.name for one in given.picks}.issuperset(session.written):
            met = given.met
            if any(one.name == current for one in met):  # Its level will count otherwise than for a new one.
                met = tuple([one._replace(is_in_use=True) if one.name == current else one for one in met])
            return Given(given.picks, is_last_resort=given.is_last_resort, met=met)
    choice = choose(compiled, ways, title, limits, session, sharing)
    is_last_resort = choice.approach is ways.last_resort
    chosen, kept = ([pick_of(one.appliance) for one in some] for some in (choice.chosen, choice.kept))
    return Given(chosen, kept=kept, is_last_resort=is_last_resort, met=choice.met)


def choose_sharing(
    compiled: CompiledSnapshot, ways: Approaches, title: Wanted, limits: Limits, sharing: Sharing
) -> Given:
    """What `choose_new` gives where an appliance that it would pick does not take all."""
    met: list[Met] = []
    found, shed = _takers(compiled, ways.routed_picks, title, limits, sharing, met)
    is_last_resort = not found and not shed
    if is_last_resort:
        found, shed = _takers(compiled, ways.resort_picks, title, limits, sharing, met)
    found += shed
    taken = _spread([one.site_id for one in found], limits)
    return Given([found[no] for no in taken], is_last_resort=is_last_resort and bool(found), met=tuple(met))


def _takers(
    compiled: CompiledSnapshot, steps: list[Any], title: Wanted, limits: Limits, sharing: Sharing, met: list[Met]
) -> tuple[list[Pick], list[Pick]]:
    """Those that take the session and those that shed it; adds whom it met."""
    levels, draw, number, slot = sharing.levels, sharing.draw, title.number, title.slot
    pathways, wanted_sites = limits.pathways, min(limits.sites, limits.pathways)
    found: list[Pick] = []
    shed: list[Pick] = []
    sites: set[SiteId] = set()
    for at, step in enumerate(steps):
        picks = steps[at] = compiled.picked(step) if step.__class__ is tuple else step
        holds, rows = picks.holds, picks.rows
        if holds is not None and not holds(number):
            continue
        for place in picks.order(slot):
            one = rows[place]
            if one is None or (holds is None and not one.holds(number)):
                continue
            level = levels.get(one.name)
            if level is None:
                met.append(one.taking)
            elif (came_to := _came_to(one, level, draw, met)) != TAKES:
                if came_to != REFUSES:
                    shed.append(one)
                continue
            found.append(one)
            sites.add(one.site_id)
            if len(found) >= pathways and len(sites) >= wanted_sites:
                return found, shed
    return found, shed


def _came_to(one: Pick, level: int, draw: int, met: list[Met]) -> int:
    came_to = outcome(level, draw, one.key, is_in_use=False)
    met.append(Met(one.name, one.key, False, came_to))
    return came_to


def walk(
    compiled: CompiledSnapshot,
    approach: Approach,
    title: Wanted,
    session: Session = NEW_SESSION,
    sharing: Sharing = EVERYBODY_TAKES,
) -> Iterator[Candidate]:
    """Appliances of an approach that hold the title, best first; those with a `fault` are among them."""
    able, number = compiled.able, title.number
    for place, hearers in approach.steps:
        roster = compiled.roster(hearers)
        for rank_no, at in enumerate(roster.order(title.slot)):
            one = able.get(roster.members[at][0])
            if one is not None and (number == 0 or number in one.holdings):
                yield _candidate(compiled, one, (*place, rank_no, one.appliance_id), approach, session, sharing)


def rank(
    compiled: CompiledSnapshot,
    client_class: int,
    title: CompiledTitle,
    location: Location | None,
    limits: Limits,
    session: Session = NEW_SESSION,
    sharing: Sharing | None = None,
) -> Ranking:
    """What `choose` chooses, and the reason for each appliance of the snapshot that is not in it.

    Args:
        sharing: None: levels follow from the loads of the snapshot alone.
    """
    sharing = sharing or Sharing(levels=fresh_levels(compiled.appliances, limits.load))
    ways = approaches(compiled, client_class, location, distance_step_km=limits.distance_step_km)
    choice = choose(compiled, ways, title, limits, session, sharing)
    taken = {one.appliance.appliance_id for one in choice.chosen + choice.kept}
    excluded = []
    for hearer, appliances in (*enumerate(compiled.by_hearer), (-1, compiled.homeless)):
        for one in appliances:
            if one.appliance_id not in taken:
                is_routed = hearer in choice.approach.place_of
                reason, detail = _exclusion(one, title, sharing, is_routed=is_routed)
                excluded.append(Excluded(appliance=one, reason=reason, detail=detail))
    return Ranking(chosen=choice.chosen, kept=choice.kept, excluded=tuple(excluded))


def score(title: CompiledTitle, one: SnapshotAppliance) -> float:
    """Rendezvous score of an appliance for a title; higher is better among equals."""
    return rendezvous_score(title.slot_key, hash_key(one.appliance_id), max(0, one.capacity_bps))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    ranked: list[Candidate]
    """As many as the choice can depend on: best first, then those that shed this client, then slow ones."""
    met: list[Met]


def _pool(
    compiled: CompiledSnapshot, approach: Approach, title: Wanted, limits: Limits, session: Session, sharing: Sharing
) -> _Pool:
    fast: list[Candidate] = []
    shed: list[Candidate] = []
    slow: list[Candidate] = []
    met: list[Met] = []
    sites: set[SiteId] = set()
    wanted_sites = min(limits.sites, limits.pathways)
    for one in walk(compiled, approach, title, session, sharing):
        if one.fault is Exclusion.DRAINING:
            continue
        name = one.appliance.appliance_id
        key, is_in_use = hash_key(name), name == session.current
        came_to = outcome(sharing.levels.get(name, STEPS), sharing.draw, key, is_in_use=is_in_use)
        met.append(Met(name, key, is_in_use, came_to))
        if came_to == REFUSES:
            continue
        if one.is_slow:
            slow.append(one)
        elif came_to != TAKES and not is_in_use:
            shed.append(one)
        else:
            fast.append(one)
            sites.add(one.appliance.site_id)
            if len(fast) >= limits.pathways and len(sites) >= wanted_sites:
                break
    return _Pool(ranked=fast + shed + slow, met=met)


def _still_able(
    compiled: CompiledSnapshot,
    approach: Approach,
    names: list[ApplianceId],
    title: Wanted,
    session: Session,
    sharing: Sharing,
) -> Iterator[Candidate]:
    """Those of the named appliances that can serve the client."""
    for name in names:
        one = compiled.able.get(name)
        if one is None or title.number not in one.holdings:
            continue
        place = approach.place_of.get(compiled.hearer_of.get(name, -1))
        if place is not None:
            roster = compiled.roster(next(hearers for at, hearers in approach.steps if at == place))
            order = [roster.members[at][0] for at in roster.order(title.slot)]
            yield _candidate(compiled, one, (*place, order.index(name), name), approach, session, sharing)


def _candidate(
    compiled: CompiledSnapshot,
    one: SnapshotAppliance,
    order: tuple[int, int, int, float, str],
    approach: Approach,
    session: Session,
    sharing: Sharing,
) -> Candidate:
    return Candidate(
        appliance=one,
        fault=_soft_fault(one, sharing),
        is_slow=one.appliance_id in session.slow,
        distance_km=approach.km_of.get(compiled.hearer_of[one.appliance_id]),
        order=order,
    )


def _over_sites(ranked: Sequence[Candidate], limits: Limits) -> list[Candidate]:
    return [ranked[no] for no in _spread([one.appliance.site_id for one in ranked], limits)]


def _spread(sites: Sequence[SiteId], limits: Limits) -> list[int]:
    """Places of the first ones; where they are of too few sites, the best of further sites in place of the last ones.

    Args:
        sites: of all that may be chosen, best first.
    """
    chosen = list(range(min(limits.pathways, len(sites))))
    wanted = min(limits.sites, limits.pathways)
    for number in range(limits.pathways, len(sites)):
        own = [sites[each] for each in chosen]
        if len(set(own)) >= wanted:
            break
        if sites[number] not in own:
            spare = max(no for no, site in enumerate(own) if own.count(site) > 1)
            del chosen[spare]
            chosen.append(number)
    return chosen


def _soft_fault(one: SnapshotAppliance, sharing: Sharing) -> Exclusion | None:
    if one.admin_state is AdminState.DRAINING:
        return Exclusion.DRAINING
    return Exclusion.NO_ROOM if sharing.levels.get(one.appliance_id, STEPS) <= 0 else None


def _exclusion(
    one: SnapshotAppliance, title: CompiledTitle, sharing: Sharing, *, is_routed: bool
) -> tuple[Exclusion, str]:
    fault = order_fault(one)
    if fault is not None:
        return fault, one.health.detail or one.health.reason
    if not is_routed:
        return Exclusion.NO_ROUTE, "it hears no route for the client"
    if title.number not in one.holdings:
        return Exclusion.TITLE_NOT_HELD, f"not all of the title's {len(title.title.files)} files are held"
    soft = _soft_fault(one, sharing)
    level, used = sharing.levels.get(one.appliance_id, STEPS), f"{use_ratio(one):.0%} of its capacity is in use"
    if soft is Exclusion.NO_ROOM:
        return soft, used
    if soft is None and not is_taken(level, sharing.draw, hash_key(one.appliance_id)):
        return Exclusion.SHED, f"{used}; {1 - level / STEPS:.0%} of new sessions go elsewhere, this one too"
    return (soft, "new sessions go elsewhere") if soft else (Exclusion.OUTRANKED, "enough better ones were found")
