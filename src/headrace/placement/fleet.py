"""Which units every site and appliance of a fleet should hold: the nightly plan. Pure; one site after the other.

Sites of a region share one forecast, so one ranking serves all of them. What a site holds keeps a bonus (a new unit
must gain `fill_price` plays more), and the cut between held and new is found without sorting again, which keeps the
cost of a site linear in its units. Units that no site would hold are dealt over the region so that `region_copies` of
each exist.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from headrace.base.ids import SiteId
from headrace.placement.choose import Bools, Floats, Ints
from headrace.placement.hashing import text_key
from headrace.placement.spread import Bin, Spread, copies_wanted, spread_units

PINNED_RATIO = 0.5
"""Of a site's room, at most what is held for the region's sake."""
DAY_S = 86_400.0
PEAK_FACTOR = 2.5
"""The busiest hour over the mean hour: copies are for the evening."""


class HoldReason(StrEnum):
    """Why a site holds a unit, or does not."""

    ALL_FIT = "all-fit"
    """Every title fits on every appliance of the site."""
    EXPECTED = "expected"
    """Among those that serve most for the room."""
    KEPT = "kept"
    """Held already; what would take its place does not gain enough to pay for its fill."""
    REGION_COPY = "region-copy"
    """The region needs copies of it, and this site was dealt one."""
    LESS_EXPECTED = "less-expected"
    """Left out: others serve more for the room."""
    NOT_WORTH_FILL = "not-worth-fill"
    """Left out: it would serve a little more than what is held, not enough for its fill."""
    NO_GAP = "no-gap"
    """Left out: no appliance has a gap of its size left."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Units:
    """What is placed, by unit."""

    size_bytes: Floats
    slots: Ints
    plays: dict[str, Floats]
    """Expected plays a day of the mean site, for each region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRoom:
    """A site with its appliances."""

    site_id: SiteId
    region: str
    scale: float
    """Its plays over those of the mean site of its region."""
    bins: tuple[Bin, ...]
    held: "Ints" = field(default_factory=lambda: np.zeros(0, dtype=np.int64), compare=False)
    """Units of its plan in force."""
    rules: "FleetRules | None" = None
    """Its own, such as outside its fill window; None: those of the fleet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRules:
    """Settings of the plan."""

    fill_price: float = 0.1
    """Plays a day that a new unit must gain over what it displaces."""
    region_copies: int = 1
    reactive_ratio: float = 0.2
    """Of the room, what is left to what is asked for by day."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SitePlan:
    """What one site should hold."""

    site_id: SiteId
    spread: Spread
    pinned: Ints
    """Units held for the region's sake."""
    least_new_plays: float
    """A unit that is not held must be expected to be played so often a day."""
    least_kept_plays: float
    expected_bytes: float
    """A day, of what was placed."""
    bound_bytes: float
    """No plan of this room and these copies serves more."""


@dataclass(frozen=True, slots=True, eq=False)
class _Region:
    order: Ints
    value: Floats
    size: Floats
    before: Floats
    pins: dict[SiteId, Ints]


def plan_fleet(
    units: Units, sites: Sequence[SiteRoom], rules: FleetRules, *, whole: Mapping[str, int] | None = None
) -> Iterator[SitePlan]:
    """Plan each site; plans come one by one so that a whole fleet's never lie in memory together.

    Args:
        whole: sites of each region, beside these, that hold all units: copies that the region has already.
    """
    for region in sorted({site.region for site in sites}):
        members = [site for site in sites if site.region == region]
        copies = max(0, rules.region_copies - (whole or {}).get(region, 0))
        shared = _rank(units, region, members, replace(rules, region_copies=copies))
        for site in members:
            yield _plan_site(units, site, shared, site.rules or rules)


def _room(site: SiteRoom, rules: FleetRules) -> float:
    rules = site.rules or rules
    return sum(one.room_bytes for one in site.bins) * (1.0 - rules.reactive_ratio)


def _rank(units: Units, region: str, members: Sequence[SiteRoom], rules: FleetRules) -> _Region:
    plays = units.plays[region]
    order = np.argsort(-plays, kind="stable")
    size = units.size_bytes[order]
    before = np.concatenate([[0.0], np.cumsum(size)])
    pins = _deal_pins(units, order, before, members, rules)
    return _Region(order=order, value=plays[order], size=size, before=before, pins=pins)


def _deal_pins(
    units: Units, order: Ints, before: Floats, members: Sequence[SiteRoom], rules: FleetRules
) -> dict[SiteId, Ints]:
    """Units behind what enough sites hold anyway, dealt over the sites of the region by room."""
    rooms = np.array([_room(site, rules) for site in members])
    if rules.region_copies < 1 or not len(rooms) or before[-1] == 0:
        return {}
    largest = np.sort(rooms)[::-1]
    wanted = min(rules.region_copies, len(rooms))
    # The part of the room that pins take shrinks what is held anyway; 0.9 leaves room for what changes of the cut.
    pinned = 0.0
    for _ in range(4):
        common = 0.9 * float(largest[wanted - 1]) * (1.0 - pinned)
        pinned = min(PINNED_RATIO, wanted * max(0.0, before[-1] - common) / max(1.0, float(rooms.sum())))
    first = int(np.searchsorted(before, common))
    end = (
        int(np.searchsorted(before, before[first] + PINNED_RATIO * rooms.sum() / wanted))
        if first < len(order)
        else first
    )
    tail = order[first:end]
    keys = np.array([text_key(site.site_id) for site in members], dtype=np.uint64)
    found: dict[SiteId, list[Ints]] = {site.site_id: [] for site in members}
    for part in np.array_split(tail, max(1, len(tail) * len(members) // 4_000_000)):
        mixed = ((part.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))[:, None] ^ keys[None, :]
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        scores = rooms / -np.log(
            ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(12)).astype(np.float64) / 2.0**52 + 1e-16
        )
        best = np.argpartition(-scores, wanted - 1, axis=1)[:, :wanted]
        for place, site in enumerate(members):
            found[site.site_id].append(part[(best == place).any(axis=1)])
    return {
        name: _first_that_fit(units, np.concatenate(parts), PINNED_RATIO * rooms[at])
        for at, (name, parts) in enumerate(found.items())
    }


def _first_that_fit(units: Units, pins: Ints, room_bytes: float) -> Ints:
    return pins[: int(np.searchsorted(np.cumsum(units.size_bytes[pins]), room_bytes, side="right"))]


def _plan_site(units: Units, site: SiteRoom, shared: _Region, rules: FleetRules) -> SitePlan:
    pins = shared.pins.get(site.site_id, np.zeros(0, dtype=np.int64))
    room = _room(site, rules)
    # Nothing far behind the cut can matter: twice the room is looked at, and what is held.
    end = min(len(shared.order), int(np.searchsorted(shared.before, 2.0 * room)) + 1)
    order = shared.order[:end]
    is_held = np.zeros(len(units.size_bytes), dtype=np.bool_)
    is_held[site.held] = True
    is_pinned = np.zeros(len(units.size_bytes), dtype=np.bool_)
    is_pinned[pins] = True
    plays = shared.value[:end] * site.scale
    size = shared.size[:end]
    copies = copies_wanted(plays * size * 8.0 / DAY_S * PEAK_FACTOR, site.bins)
    taken = size * copies
    left = room - float(units.size_bytes[pins].sum())
    chosen, new_plays, kept_plays = cut(
        plays, np.where(is_pinned[order], 0.0, taken), is_held[order], left, rules.fill_price
    )
    chosen &= ~is_pinned[order]
    units_chosen = np.concatenate([pins, order[chosen]])
    # Pins are the first to be dealt: a region's copy must not fall to a gap that a hot unit left too small.
    demand = np.concatenate([np.zeros(len(pins)), (plays * size)[chosen]])
    spread = _spread(
        units, site, rules, units_chosen, np.concatenate([np.ones(len(pins), dtype=np.int16), copies[chosen]]), demand
    )
    placed = spread.on.any(axis=1)
    value = np.where(np.concatenate([np.ones(len(pins), bool), chosen[chosen]]), demand, 0.0)
    used = np.where(is_pinned[order], 0.0, taken)
    fits = np.clip((left - (np.cumsum(used) - used)) / np.maximum(used, 1.0), 0.0, 1.0)
    return SitePlan(
        site_id=site.site_id,
        spread=spread,
        pinned=pins,
        least_new_plays=new_plays,
        least_kept_plays=kept_plays,
        expected_bytes=float(value[placed].sum()),
        bound_bytes=float((plays * size * np.where(is_pinned[order], 0.0, fits)).sum()),
    )


def _spread(units: Units, site: SiteRoom, rules: FleetRules, chosen: Ints, copies: Ints, demand: Floats) -> Spread:
    bins = [
        Bin(
            appliance_id=one.appliance_id,
            room_bytes=one.room_bytes * (1.0 - rules.reactive_ratio),
            throughput_bps=one.throughput_bps,
        )
        for one in site.bins
    ]
    return spread_units(chosen, units.size_bytes[chosen], demand, copies, units.slots[chosen], bins)


def cut(
    plays: Floats, taken_bytes: Floats, is_held: Bools, room_bytes: float, fill_price: float
) -> tuple[Bools, float, float]:
    """Choose from units in falling order of plays: held ones down to a value, new ones down to it plus the price.

    Returns:
        Which are chosen, the least plays of a new one, the least of one that is kept.
    """
    held_bytes, new_bytes = (
        np.cumsum(np.where(is_held, taken_bytes, 0.0)),
        np.cumsum(np.where(is_held, 0.0, taken_bytes)),
    )
    falling = -plays

    def ends(least: float) -> tuple[int, int]:
        kept = int(np.searchsorted(falling, -least, side="right"))
        return kept, min(kept, int(np.searchsorted(falling, -(least + fill_price), side="right")))

    def used(least: float) -> float:
        kept, new = ends(least)
        return (held_bytes[kept - 1] if kept else 0.0) + (new_bytes[new - 1] if new else 0.0)

    low, high = 0.0, float(plays[0]) + 1.0 if len(plays) else 1.0
    if used(low) <= room_bytes:
        high = low
    for _ in range(60 if high > low else 0):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if used(middle) <= room_bytes else (middle, high)
    kept, new = ends(high)
    chosen = np.zeros(len(plays), dtype=np.bool_)
    chosen[:kept] = is_held[:kept]
    chosen[:new] |= ~is_held[:new]
    # Units of equal plays stand or fall together in the search: what room is left goes to the next in order.
    left = room_bytes - used(high)
    behind = np.flatnonzero(~chosen & (is_held | (plays > fill_price)))[:2000]
    behind = behind[taken_bytes[behind] <= left]
    chosen[behind[: int(np.searchsorted(np.cumsum(taken_bytes[behind]), left, side="right"))]] = True
    return chosen, high + fill_price, high
