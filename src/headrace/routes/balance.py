"""Where networks announce unevenly: inside a site, at one site only, beyond what a site is there for. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from headrace.base.ids import ApplianceId, SiteId
from headrace.fleet.model import Site
from headrace.routes.columns import Columns
from headrace.routes.listing import picked_sessions, reason_codes, touching
from headrace.routes.model import (
    AddressFamily,
    Prefix,
    RouteColumns,
    SessionState,
    family_of,
    parse_prefix,
    show_prefix,
)
from headrace.routes.reports import (
    Imbalance,
    LeakReason,
    LeakRow,
    LeakRules,
    MemberRow,
    Network,
    Pick,
    Scope,
    SingleRow,
    UnevenRow,
)
from headrace.routes.spread import Alone, Spread, find_alone, lay_together
from headrace.routes.view import HeardAppliance, HeardSession, RoutesView

NO_ROUTES = RouteColumns()


def find_imbalance(view: RoutesView, network: Network, pick: Pick) -> tuple[list[MemberRow], Iterator[UnevenRow]]:
    """Members of uneven sites, and the prefixes that make them so; balanced sites are left out."""
    members: list[MemberRow] = []
    uneven: list[Iterator[UnevenRow]] = []
    for site_id, names in network.members().items():
        if pick.site_id not in ("", site_id) or _hears_the_same(view, names):
            continue
        for family in AddressFamily:
            spread = lay_together(family, [_prefixes(view, name, family) for name in names])
            rows = _member_rows(view, site_id, family, names, spread)
            if any(row.problem for row in rows):
                members += rows
                uneven.append(_uneven_rows(site_id, names, spread))
    return members, (row for each in uneven for row in each)


def _hears_the_same(view: RoutesView, names: Sequence[ApplianceId]) -> bool:
    """A quick look: most sites are in order."""
    digests = {view.appliances[name].routes.digest if name in view.appliances else None for name in names}
    sessions = {tuple(_has_session(view, name, family) for family in AddressFamily) for name in names}
    return len(digests) == 1 and len(sessions) == 1


def _prefixes(view: RoutesView, name: ApplianceId, family: AddressFamily) -> bytes:
    appliance = view.appliances.get(name)
    routes = appliance.routes if appliance else NO_ROUTES
    return routes.prefixes_v4 if family is AddressFamily.IPV4 else routes.prefixes_v6


def _member_rows(
    view: RoutesView, site_id: SiteId, family: AddressFamily, names: Sequence[ApplianceId], spread: Spread
) -> list[MemberRow]:
    heard = np.bincount(spread.owners, minlength=len(names)).tolist()
    has_session = [_has_session(view, name, family) for name in names]
    rows = []
    for place, name in enumerate(names):
        problem = None
        if any(has_session) and not has_session[place]:
            problem = Imbalance.NO_SESSION
        elif not heard[place] and len(spread):
            problem = Imbalance.NO_ROUTES
        elif heard[place] < len(spread):
            problem = Imbalance.MISSES_PREFIXES
        rows.append(
            MemberRow(
                site_id=site_id,
                family=family,
                appliance_id=name,
                problem=problem,
                heard=heard[place],
                missing=len(spread) - heard[place],
            )
        )
    return rows


def _has_session(view: RoutesView, name: ApplianceId, family: AddressFamily) -> bool:
    appliance = view.appliances.get(name)
    sessions = appliance.sessions if appliance else ()
    return any(one.session.family is family and one.session.state is not SessionState.DISABLED for one in sessions)


def _uneven_rows(site_id: SiteId, names: Sequence[ApplianceId], spread: Spread) -> Iterator[UnevenRow]:
    for row in np.flatnonzero(spread.counts < len(names)).tolist():
        owners = spread.owners_of(row)
        yield UnevenRow(
            site_id=site_id,
            prefix=show_prefix(spread.prefix(row)),
            heard_by=tuple(names[owner] for owner in owners),
            missing_at=tuple(name for place, name in enumerate(names) if place not in owners),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SinglePlace:
    """A prefix that is heard at one site only; cheap, until it is shown."""

    site_id: SiteId
    alone: Alone

    def show(self) -> SingleRow:
        """The row that people see."""
        cover = self.alone.cover
        return SingleRow(
            prefix=show_prefix(self.alone.prefix), site_id=self.site_id, cover=show_prefix(cover) if cover else ""
        )


def find_single(view: RoutesView, network: Network, pick: Pick, *, with_covered: bool = True) -> Iterator[SinglePlace]:
    """Prefixes without a second site, in ascending order; those that operators set for a site count as heard there.

    Args:
        with_covered: also those around which another site hears a prefix: their clients would go there.
    """
    members = network.members()
    sites = [site for site in members if site in network.sites]
    for family in AddressFamily:
        sets = [_site_prefixes(view, network.sites[site], members[site], family) for site in sites]
        for one in find_alone(lay_together(family, sets)):
            if pick.site_id in ("", sites[one.owner]) and (one.cover is None or with_covered):
                yield SinglePlace(site_id=sites[one.owner], alone=one)


def _site_prefixes(view: RoutesView, site: Site, names: Sequence[ApplianceId], family: AddressFamily) -> bytes:
    """All that any member hears, and what operators set; each once."""
    members = {_prefixes(view, name, family) for name in names}
    static = {parse_prefix(text) for text in site.prefixes}
    members.add(b"".join(sorted(prefix for prefix in static if family_of(prefix) is family)))
    return lay_together(family, sorted(members)).packed if len(members) > 1 else next(iter(members))


def find_leaks(view: RoutesView, network: Network, pick: Pick, rules: LeakRules) -> Iterator[LeakRow]:
    """Routes beyond their scope in order of site, appliance, session; each with the first reason that fits."""
    scopes = {scope.site_id: scope for scope in rules.scopes}
    members = network.members()
    for site_id, sessions in groupby(picked_sessions(view, network, pick), key=lambda one: one[0]):
        names = members[site_id]
        lonely = _lonely(view, names) if rules.by_members and not _hears_the_same(view, names) else {}
        scope = _scope(network, scopes.get(site_id), site_id, rules)
        for _, appliance, one in sessions:
            alone = lonely.get(appliance.appliance_id, frozenset())
            yield from _leaks_of(site_id, appliance, one, scope, alone, rules)


def _scope(network: Network, told: Scope | None, site_id: SiteId, rules: LeakRules) -> Scope:
    site = network.sites.get(site_id)
    own = site.prefixes if site is not None and rules.site_prefixes_are_scope else ()
    return Scope(
        site_id=site_id,
        prefixes=(*(told.prefixes if told else ()), *own),
        origin_as=told.origin_as if told else (),
    )


def _leaks_of(
    site_id: SiteId,
    appliance: HeardAppliance,
    one: HeardSession,
    scope: Scope,
    alone: frozenset[Prefix],
    rules: LeakRules,
) -> Iterator[LeakRow]:
    columns, counts = one.counted.table.columns, reason_codes(one) == 0
    checks = (
        (LeakReason.OUTSIDE_SCOPE, _outside(columns, scope.prefixes)),
        (LeakReason.FOREIGN_ORIGIN, ~np.isin(columns.origins, scope.origin_as) if scope.origin_as else None),
        (LeakReason.LONG_PATH, columns.path_lengths > rules.longest_path if rules.longest_path else None),
        (LeakReason.ONE_MEMBER_ONLY, _among(columns, alone) if alone else None),
    )
    done = ~counts
    for reason, mask in checks:
        if mask is None:
            continue
        for row in np.flatnonzero(mask & ~done).tolist():
            yield LeakRow(
                prefix=show_prefix(columns.prefix(row)),
                site_id=site_id,
                appliance_id=appliance.appliance_id,
                session_id=one.session.session_id,
                reason=reason,
                path_length=int(columns.path_lengths[row]),
                origin_as=int(columns.origins[row]) or None,
            )
        done = done | mask


def _outside(columns: Columns, texts: Iterable[str]) -> NDArray[np.bool_] | None:
    networks = [parse_prefix(text) for text in texts]
    if not networks:
        return None
    inside = np.zeros(len(columns), dtype=np.bool_)
    for network in networks:
        if family_of(network) is columns.family:
            inside |= touching(columns, network) & (columns.lengths >= network[-1])
    return ~inside


def _among(columns: Columns, prefixes: frozenset[Prefix]) -> NDArray[np.bool_]:
    return np.array([columns.prefix(row) in prefixes for row in range(len(columns))], dtype=np.bool_)


def _lonely(view: RoutesView, members: Sequence[ApplianceId]) -> dict[ApplianceId, frozenset[Prefix]]:
    """Prefixes that one member hears, and no other hears or covers; only where several hear routes of the family."""
    found: dict[ApplianceId, set[Prefix]] = {}
    for family in AddressFamily:
        names = [name for name in members if _prefixes(view, name, family)]
        if len(names) < 2:
            continue
        for one in find_alone(lay_together(family, [_prefixes(view, name, family) for name in names])):
            if one.cover is None:
                found.setdefault(names[one.owner], set()).add(one.prefix)
    return {name: frozenset(prefixes) for name, prefixes in found.items()}
