"""Lists of sessions, routes and changes for operators. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.base.ids import ApplianceId, SiteId
from headrace.routes.columns import Columns, order_of
from headrace.routes.hygiene import FILTER_REASONS, REASON_CODES, FilterReason, Reasons
from headrace.routes.model import Prefix, family_of, parse_prefix, show_prefix
from headrace.routes.reports import ChangeKind, ChangeRow, Network, Pick, PrefixRow, SessionRow
from headrace.routes.view import HeardAppliance, HeardSession, RoutesView


def list_sessions(view: RoutesView, network: Network, pick: Pick) -> Iterator[SessionRow]:
    """All sessions in order of site, appliance, session."""
    for site_id, appliance, one in picked_sessions(view, network, pick):
        session, total = one.session, len(one.counted.table)
        counted = 0 if one.is_damped else int(one.counted.mask().sum())
        yield SessionRow(
            site_id=site_id,
            appliance_id=appliance.appliance_id,
            session_id=session.session_id,
            peer_as=session.peer_as,
            local_as=session.local_as,
            family=session.family,
            state=session.state,
            since_s=session.since_s,
            standing=one.counting.standing,
            until_s=one.counting.until_s,
            is_damped=one.is_damped,
            prefixes=total,
            counted=counted,
            filtered=total - counted,
            most_prefixes=session.most_prefixes,
            drops=session.drops,
            updates=session.updates,
            detail=session.detail,
        )


def _appliances(view: RoutesView, network: Network, pick: Pick) -> Iterator[tuple[SiteId, HeardAppliance]]:
    found = [(network.site_of[name], view.appliances[name]) for name in view.appliances if name in network.site_of]
    for site_id, appliance in sorted(found, key=lambda one: (one[0], one[1].appliance_id)):
        if pick.site_id in ("", site_id) and pick.appliance_id in ("", appliance.appliance_id):
            yield site_id, appliance


def picked_sessions(
    view: RoutesView, network: Network, pick: Pick
) -> Iterator[tuple[SiteId, HeardAppliance, HeardSession]]:
    """Sessions in order of site, appliance, session."""
    for site_id, appliance in _appliances(view, network, pick):
        for one in appliance.sessions:
            yield site_id, appliance, one


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedRoutes:
    """Some routes of one session; cheap, so that a page of many can be cut out before rows are made."""

    site_id: SiteId
    appliance_id: ApplianceId
    session: HeardSession
    rows: NDArray[np.intp]
    """In ascending order of prefix."""
    codes: Reasons
    """Of all rows of the table."""

    def show(self, row: int, learned_s: NDArray[np.uint32] | None = None) -> PrefixRow:
        """The row that people see, without what only the chunk says; `learned_s` of all rows of the table."""
        columns, code = self.session.counted.table.columns, int(self.codes[row])
        return PrefixRow(
            prefix=show_prefix(columns.prefix(row)),
            site_id=self.site_id,
            appliance_id=self.appliance_id,
            session_id=self.session.session.session_id,
            reason=FILTER_REASONS[code - 1] if code else None,
            path_length=int(columns.path_lengths[row]),
            med=int(columns.meds[row]),
            origin_as=int(columns.origins[row]) or None,
            learned_s=_second(learned_s, row),
        )


def list_routes(
    view: RoutesView, network: Network, pick: Pick, *, only_filtered: bool = False, reason: FilterReason | None = None
) -> Iterator[PlacedRoutes]:
    """Routes in order of site, appliance, session, prefix.

    Args:
        only_filtered: those that do not count; `reason`: those that do not count for this reason.

    Raises:
        RouteError: `pick.prefix` is no prefix.
    """
    wanted = parse_prefix(pick.prefix) if pick.prefix else None
    for site_id, appliance, one in picked_sessions(view, network, pick):
        if wanted is not None and family_of(wanted) is not one.session.family:
            continue
        columns, codes = one.counted.table.columns, reason_codes(one)
        is_wanted = np.ones(len(columns), dtype=np.bool_) if wanted is None else touching(columns, wanted)
        if reason is not None:
            is_wanted &= codes == REASON_CODES[reason]
        elif only_filtered:
            is_wanted &= codes != 0
        found = np.flatnonzero(is_wanted)
        picked = columns.take(found)
        rows = found[order_of(columns.family, picked.high, picked.low, picked.lengths)]
        yield PlacedRoutes(site_id=site_id, appliance_id=appliance.appliance_id, session=one, rows=rows, codes=codes)


def reason_codes(one: HeardSession) -> Reasons:
    """Why each route does not count, damping included; 0 where it does."""
    reasons = one.counted.table.reasons.copy()
    if one.is_damped:
        reasons[reasons == 0] = REASON_CODES[FilterReason.SESSION_DAMPED]
    elif one.counted.damped:
        reasons[(reasons == 0) & one.counted.damped_mask()] = REASON_CODES[FilterReason.DAMPED]
    return reasons


def touching(columns: Columns, wanted: Prefix) -> NDArray[np.bool_]:
    """Rows whose prefix lies inside or around `wanted`."""
    bits = 32 if len(wanted) == 5 else 128
    address, length = int.from_bytes(wanted[:-1], "big"), wanted[-1]
    found = np.zeros(len(columns), dtype=np.bool_)
    lengths = columns.lengths.astype(np.int64)
    for common in range(min(length, int(lengths.max(initial=0))) + 1):
        mine = np.minimum(lengths, length) == common
        if not mine.any():
            continue
        mask = ((1 << common) - 1) << (bits - common)
        if bits == 32:
            found |= mine & ((columns.high & np.uint64(mask)) == np.uint64(address & mask))
        else:
            high, low = np.uint64(mask >> 64), np.uint64(mask & (2**64 - 1))
            is_high = (columns.high & high) == np.uint64((address & mask) >> 64)
            found |= mine & is_high & ((columns.low & low) == np.uint64(address & mask & (2**64 - 1)))
    return found


def show_changes(
    kind: ChangeKind,
    columns: Columns,
    learned_s: NDArray[np.uint32] | None,
    *,
    site_id: str,
    appliance_id: str,
    session_id: str,
) -> Iterator[ChangeRow]:
    """Rows of one kind of one session; `learned_s` of each of `columns`."""
    for row in range(len(columns)):
        yield ChangeRow(
            prefix=show_prefix(columns.prefix(row)),
            site_id=site_id,
            appliance_id=appliance_id,
            session_id=session_id,
            kind=kind,
            path_length=int(columns.path_lengths[row]),
            med=int(columns.meds[row]),
            origin_as=int(columns.origins[row]) or None,
            learned_s=_second(learned_s, row),
        )


def _second(learned_s: NDArray[np.uint32] | None, row: int) -> float | None:
    return None if learned_s is None else float(learned_s[row])
