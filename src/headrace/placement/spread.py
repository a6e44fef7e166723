"""How the files of a site are spread over its appliances: weighted rendezvous hashing within the room of each. Pure.

Units are dealt into slots by hash, and for each slot the appliances stand in an order that depends on nothing but
their ids and weights (Thaler and Ravishankar, IEEE/ACM Trans. Networking 6, 1998; weights by the logarithmic method).
So an appliance that joins or leaves takes or gives its own share. What does not fit goes to the next of its order, the
least wanted first. A unit is what must lie together to be steered to: all files of a title.

Appliances are not alike: the hot units, as many bytes as all of them can take in proportion to throughput, are dealt by
throughput; the others by the room that is left, so that fast appliances get the traffic and large ones the tail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.base.ids import ApplianceId
from headrace.placement.choose import Bools, Floats, Ints
from headrace.placement.hashing import SLOTS, slot_keys, text_key

HOT_ROOM_RATIO = 0.6
"""Of an appliance's room, at most what may be dealt by throughput."""
HOT_DEMAND_RATIO = 0.8
"""Of the site's expected bytes, what counts as hot at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """One appliance as placement sees it."""

    appliance_id: ApplianceId
    room_bytes: float
    throughput_bps: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spread:
    """Who holds what in one site."""

    units: Ints
    """The chosen units, most wanted first."""
    on: Bools
    """Shape (n_units_chosen, n_bins)."""
    short: Ints
    """Places in `units` of those that got fewer copies than asked for, or none."""


def copies_wanted(load_bps: Floats, bins: Sequence[Bin], *, share: float = 0.1) -> NDArray[np.int16]:
    """Copies in proportion to demand: as many as keep one unit below `share` of the mean appliance's throughput."""
    mean_bps = sum(one.throughput_bps for one in bins) / max(1, len(bins))
    copies = np.ceil(load_bps / max(1.0, share * mean_bps))
    return np.clip(copies, 1, max(1, len(bins))).astype(np.int16)


def spread_units(
    units: Ints,
    size_bytes: Floats,
    demand: Floats,
    copies: NDArray[np.integer[Any]],
    slots: Ints,
    bins: Sequence[Bin],
) -> Spread:
    """Deal chosen units over appliances.

    Args:
        units: numbers of the units, most wanted first; the other columns are in this order.
        demand: expected bytes, or anything in proportion.
        slots: `hashing.slots_of` of the units.
    """
    room = np.array([one.room_bytes for one in bins])
    # What is held for the region's sake comes first and is cold.
    taken = np.where(demand > 0, size_bytes * copies, 0.0)
    is_hot = (np.arange(len(units)) < _hot_count(taken, demand, bins)) & (demand > 0)
    throughput = np.array([max(1.0, one.throughput_bps) for one in bins])
    hot_bytes = float(taken[is_hot].sum())
    cold_weight = np.maximum(room - hot_bytes * throughput / throughput.sum(), 1.0)
    order_hot, order_cold = _orders(bins, throughput), _orders(bins, cold_weight)
    preference = np.where(is_hot[:, None], order_hot[slots], order_cold[slots])
    on = np.zeros((len(units), len(bins)), dtype=np.bool_)
    need = copies.astype(np.int64)
    left = room.copy()
    for turn in range(len(bins)):
        asking = np.flatnonzero(need > 0)
        if not len(asking):
            break
        wish = preference[asking, turn]
        for place in range(len(bins)):
            here = asking[wish == place]
            used = np.cumsum(size_bytes[here])
            got = here[: int(np.searchsorted(used, left[place], side="right"))]
            on[got, place] = True
            need[got] -= 1
            left[place] -= used[len(got) - 1] if len(got) else 0.0
    _use_gaps(on, need, size_bytes, left)
    return Spread(units=units, on=on, short=np.flatnonzero(need > 0))


def _use_gaps(on: Bools, need: Ints, size_bytes: Floats, left: Floats) -> None:
    """What fits nowhere in its turn is tried where gaps are left; the most wanted first, a bounded number."""
    for unit in np.flatnonzero(need > 0)[:256]:
        for place in np.argsort(-left, kind="stable"):
            if need[unit] > 0 and not on[unit, place] and size_bytes[unit] <= left[place]:
                on[unit, place] = True
                need[unit] -= 1
                left[place] -= size_bytes[unit]


def _hot_count(size_bytes: Floats, demand: Floats, bins: Sequence[Bin]) -> int:
    total_bps = sum(max(1.0, one.throughput_bps) for one in bins)
    most_bytes = min(HOT_ROOM_RATIO * one.room_bytes * total_bps / max(1.0, one.throughput_bps) for one in bins)
    by_room = int(np.searchsorted(np.cumsum(size_bytes), most_bytes, side="right"))
    so_far = np.cumsum(demand)
    by_demand = int(np.searchsorted(so_far, HOT_DEMAND_RATIO * (so_far[-1] if len(so_far) else 0.0)))
    return min(by_room, by_demand, len(demand))


def _orders(bins: Sequence[Bin], weights: Floats) -> Ints:
    """Places of the appliances for each slot, best first, shape (SLOTS, n_bins)."""
    keys = np.array([text_key(one.appliance_id) for one in bins], dtype=np.uint64)
    mixed = (slot_keys()[:, None] ^ keys[None, :]) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(12)
    scores = weights / -np.log((mixed + 0.5) / 2.0**52)
    order: Ints = np.argsort(-scores, axis=1, kind="stable")
    assert order.shape == (SLOTS, len(bins))
    return order
