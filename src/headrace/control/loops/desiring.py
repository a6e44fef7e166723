"""Keeps every appliance's desired state current: admin state, fill sources, where to redirect.

A new version is written only when the content differs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from headrace.base.ids import ApplianceId, SiteId
from headrace.control.loops.reading import FleetState
from headrace.control.loops.settings import FleetSettings, LoopUrls
from headrace.control.model import FleetRow
from headrace.control.ports import Store
from headrace.fill.model import FillRules
from headrace.fill.sources import Candidate, nearest_sites, rank_sources
from headrace.fleet.model import Health, HealthState, Site
from headrace.wire.agent import DesiredState

WRITTEN_AT_ONCE = 200
"""Desired states in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """The outcome of one turn."""

    written: int = 0
    waiting: int = 0


class Desirer:
    """Remembers what the last turn was made from."""

    def __init__(self, store: Store, settings: FleetSettings, urls: LoopUrls) -> None:
        self._store = store
        self._settings = settings
        self._urls = urls
        self._seen: tuple[object, ...] = ()
        self._is_done = False
        self._sites: tuple[Site, ...] | None = None
        self._near: dict[SiteId, tuple[SiteId, ...]] = {}

    def turn(
        self,
        state: FleetState,
        health: Mapping[ApplianceId, Health],
        rules: Mapping[ApplianceId, FillRules],
        *,
        has_time: Callable[[], bool],
    ) -> Desired:
        """Compare every appliance's desired state with what is stored, and write as many as time allows."""
        candidates = {
            (appliance_id := row.appliance.appliance_id): candidate_of(row, health[appliance_id].state)
            for row in state.rows
        }
        versions = tuple(row.desired.version if row.desired else 0 for row in state.rows)
        seen = (state.sites, tuple(candidates.values()), versions, rules)
        if self._is_done and seen == self._seen:
            return Desired()
        wanted = self._wanted(state, candidates, rules)
        differing = [row for row in state.rows if wanted[row.appliance.appliance_id] != row.desired]
        written = 0
        for start in range(0, len(differing), WRITTEN_AT_ONCE):
            if not has_time():
                break
            batch = differing[start : start + WRITTEN_AT_ONCE]
            new = (wanted[row.appliance.appliance_id] for row in batch)
            self._store.save_desired_all(
                {
                    row.appliance.appliance_id: replace(one, version=one.version + 1)
                    for row, one in zip(batch, new, strict=True)
                }
            )
            written += len(batch)
        self._seen, self._is_done = seen, not differing
        return Desired(written=written, waiting=len(differing) - written)

    def _wanted(
        self, state: FleetState, candidates: Mapping[ApplianceId, Candidate], rules: Mapping[ApplianceId, FillRules]
    ) -> dict[ApplianceId, DesiredState]:
        """The desired states, each with the version that is stored now."""
        if self._sites != state.sites:
            self._sites, self._near = state.sites, nearest_sites(state.sites, self._settings.sources.most_sites)
        by_site: dict[SiteId, list[Candidate]] = {}
        for candidate in candidates.values():
            by_site.setdefault(candidate.site_id, []).append(candidate)
        wanted = {}
        for row in state.rows:
            own = candidates[row.appliance.appliance_id]
            near = self._near.get(own.site_id, ())
            ranked = rank_sources(own, by_site, near, self._urls.origin, self._settings.sources)
            wanted[own.appliance_id] = DesiredState(
                version=row.desired.version if row.desired else 0,
                admin_state=row.appliance.admin_state,
                origin_url=self._urls.origin,
                redirect_url=self._urls.redirect,
                sources=ranked.sources,
                fill_rate_bps=self._settings.fill.appliance_bps,
                fill=rules[own.appliance_id],
            )
        return wanted


def candidate_of(row: FleetRow, health: HealthState) -> Candidate:
    """As a source, whatever its load.

    How much it holds is only told from nothing, so that a fill does not change everybody's list.
    """
    one = row.appliance
    return Candidate(
        appliance_id=one.appliance_id,
        site_id=one.site_id,
        content_url=one.content_url,
        admin_state=one.admin_state,
        health_state=health,
        held_files=min(1, row.holdings.count),
    )
