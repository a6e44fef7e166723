"""Tells in the record, before a window opens, what will not fit into it. Once for each site and window."""

from collections.abc import Callable

from headrace.base.ids import SiteId
from headrace.base.instants import show_instant
from headrace.base.units import show_bps, show_bytes
from headrace.control.fill_progress import Look, arrange, view_site
from headrace.control.loops.reading import FleetState
from headrace.control.loops.settings import FillDefaults
from headrace.control.model import NewEvent
from headrace.control.ports import Store
from headrace.wire.fill import SiteFill

ACTOR = "control:fill"
PAUSE_S = 5.0
"""Between two rounds; each walks the plans of all sites that have a window and lack something."""


class FillTeller:
    """Remembers what was told."""

    def __init__(self, store: Store, defaults: FillDefaults) -> None:
        self._store, self._defaults = store, defaults
        self._began_s = -PAUSE_S
        self._look: Look | None = None
        self._left: list[SiteId] = []
        self._told: dict[SiteId, float] = {}

    def turn(self, state: FleetState, *, now_s: float, has_time: Callable[[], bool]) -> None:
        """Look at as many sites as time allows, at the rest in the next turns."""
        if not self._left:
            if 0 <= now_s - self._began_s < PAUSE_S:
                return
            self._began_s = now_s
            zoned = {site.site_id for site in state.sites if site.time_zone}
            lacking = (row for row in state.rows if state.held_of_plan[row.appliance.appliance_id] < row.plan.count)
            self._left = sorted({row.appliance.site_id for row in lacking} & zoned)
        if not self._left:
            return
        look = self._look = arrange(state, self._look)
        while self._left and has_time():
            name = self._left.pop()
            if name in look.by_site:
                self._judge(view_site(look, name, self._defaults, now_s=now_s), now_s)

    def _judge(self, site: SiteFill, now_s: float) -> None:
        if site.opens_s is None or not site.left_over_bytes or self._told.get(site.site_id) == site.opens_s:
            return
        self._told[site.site_id] = site.opens_s
        self._store.append_event(_event(site), now_s=now_s)


def _event(site: SiteFill) -> NewEvent:
    assert site.closes_s is not None
    detail = (
        f"{show_bytes(site.left_over_bytes)} of {show_bytes(site.missing_bytes)} will be missing when the window "
        f"closes {show_instant(site.closes_s, site.zone)}; {show_bytes(site.inbound_bytes)} come from outside, "
        f"at no more than {show_bps(site.site_bps)}"
    )
    return NewEvent(
        actor=ACTOR, kind="fill.will-not-fit", subject=f"site/{site.site_id}", reason="window-too-short", detail=detail
    )
