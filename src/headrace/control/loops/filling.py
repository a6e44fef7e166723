"""What the fills of each appliance keep to: window, caps, orders, fill masters, and what it may not delete.

Puts the decisions of `headrace.fill` together for one turn; the desiring loop writes the outcome. What agents accuse
each other of is told in the record, once for each source and file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from headrace.base.errors import HeadraceError
from headrace.base.ids import ApplianceId, SiteId
from headrace.catalog.fileset import FileSet
from headrace.control.loops.reading import FleetState
from headrace.control.loops.settings import FillDefaults
from headrace.control.model import FleetRow, NewEvent
from headrace.control.ports import Store
from headrace.fill.caps import Filler, share_inbound
from headrace.fill.model import FillRules
from headrace.fill.orders import FillOrder, OrderEnd, Urgency, UrgencyReason, end_of, judge_order
from headrace.fill.windows import Window, next_window, read_hours, windows_from
from headrace.fleet.model import AdminState, Health, HealthState, Site
from headrace.placement.copies import sole_files

ACTOR = "control:fill"
ORDERS_KEPT = 1000
_MOST_WINDOWS = 60
"""A pre-seed further away than this has time enough."""
_KEEP_PAUSE_S, _KEEP_PAUSE_MANY_S = 2.0, 60.0
"""Between two looks for last copies; agents keep what left their plan for longer, whatever happens."""
_RULES_PAUSE_S = 3.0
"""A share that is left over is given to others so late in a large fleet, in a small one in the next turn."""
_LEFTOVER_S = 3600.0
_MANY = 500
_MOST_TOLD = 10_000
MOST_ACCUSED = 8
"""Files that one appliance can have withheld from all at once, by what it says of others."""
FILLING_STATES = frozenset({HealthState.HEALTHY, HealthState.TURNING_UP})


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteWindow:
    """The hours that are in force at a site; '' for both where it fills at once."""

    hours: str = ""
    zone: str = ""

    def next(self, now_s: float) -> Window | None:
        """The window that is open now, else the next one; None where it fills at once."""
        hours = read_hours(self.hours) if self.hours else None
        return next_window(hours, self.zone, now_s) if hours else None

    def until(self, now_s: float, until_s: float) -> tuple[Window, ...]:
        """The windows from now until then."""
        hours = read_hours(self.hours) if self.hours else None
        if hours is None:
            return ()
        count = min(_MOST_WINDOWS, 2 + int(max(0.0, until_s - now_s) / 86_400))
        return windows_from(hours, self.zone, now_s, count=count)


def window_in_force(site: Site, defaults: FillDefaults) -> SiteWindow:
    """A site has a window once its time zone is known: without one, local hours mean nothing."""
    hours = site.fill_window or defaults.window
    try:
        if not site.time_zone or read_hours(hours) is None:
            return SiteWindow()
    except HeadraceError:  # written by somebody past the API: filling at once is better than never
        return SiteWindow()
    return SiteWindow(hours=hours, zone=site.time_zone)


@dataclass(slots=True)
class _Orders:
    """What the orders come to, by appliance."""

    urgent: dict[ApplianceId, FileSet] = field(default_factory=dict)
    first: dict[ApplianceId, FileSet] = field(default_factory=dict)


class FillRuler:
    """Remembers which orders and accusations were told of."""

    def __init__(self, store: Store, defaults: FillDefaults) -> None:
        self._store, self._defaults = store, defaults
        self._told: set[tuple[str, str, int]] = set()
        self._urgency: dict[tuple[str, SiteId], UrgencyReason] = {}
        self._seen: dict[ApplianceId, tuple[FileSet, FileSet]] = {}
        self._leftovers: dict[ApplianceId, tuple[FileSet, float]] = {}
        self._kept: dict[ApplianceId, str] = {}
        self._made: dict[SiteId, tuple[object, dict[ApplianceId, FillRules]]] = {}
        """The rules of each site and what they were made of: most are those of before."""
        self._last: dict[ApplianceId, FillRules] = {}
        self._seen_versions, self._ruled_s = (-1, -1), 0.0
        self._kept_at_s = -_KEEP_PAUSE_MANY_S

    def turn(
        self, state: FleetState, health: Mapping[ApplianceId, Health], *, now_s: float
    ) -> dict[ApplianceId, FillRules]:
        """The rules of every appliance; ends orders that are over.

        In a large fleet not anew each turn, unless a setting, an order, a conclusion of health or a plan changed.
        """
        seen = (state.versions.fleet, state.versions.plans)
        if len(state.rows) >= _MANY and seen == self._seen_versions and 0 <= now_s - self._ruled_s < _RULES_PAUSE_S:
            return self._last
        self._seen_versions, self._ruled_s = seen, now_s
        self._last = self._rule(state, health, now_s)
        return self._last

    def _rule(
        self, state: FleetState, health: Mapping[ApplianceId, Health], now_s: float
    ) -> dict[ApplianceId, FillRules]:
        sites = {site.site_id: site for site in state.sites}
        by_site: dict[SiteId, list[FleetRow]] = {}
        for row in state.rows:
            by_site.setdefault(row.appliance.site_id, []).append(row)
        windows = {name: window_in_force(sites[name], self._defaults) for name in by_site}
        orders = self._weigh(state, by_site, windows, now_s)
        doubts = self._doubts(state, now_s)
        keep = self._last_copies(state, health, now_s)
        rules: dict[ApplianceId, FillRules] = {}
        nexts: dict[SiteWindow, Window | None] = {}
        for name, rows in by_site.items():
            common = self._common(windows[name], rows, health)
            if windows[name] not in nexts:
                nexts[windows[name]] = windows[name].next(now_s)
            shares = self._shares(sites[name], nexts[windows[name]], rows, state)
            own = {
                one: (shares[one], orders.urgent.get(one), orders.first.get(one), doubts.get(one), keep.get(one, ""))
                for row in rows
                if (one := row.appliance.appliance_id)
            }
            before = self._made.get(name)
            if before is None or before[0] != (common, own):
                before = self._made[name] = ((common, own), {one: _rules(common, *what) for one, what in own.items()})
            rules |= before[1]
        self._made = {name: made for name, made in self._made.items() if name in by_site}
        return rules

    def _common(self, window: SiteWindow, rows: Sequence[FleetRow], health: Mapping[ApplianceId, Health]) -> FillRules:
        defaults = self._defaults
        return FillRules(
            hours=window.hours,
            zone=window.zone,
            volume_bytes=defaults.appliance_volume_bytes,
            urgent_bps=defaults.urgent_bps,
            members=tuple(row.appliance.appliance_id for row in rows if may_be_master(row, health)),
            masters=defaults.masters,
            escalation=defaults.escalation,
        )

    def _shares(
        self, site: Site, window: Window | None, rows: Sequence[FleetRow], state: FleetState
    ) -> dict[ApplianceId, int | None]:
        defaults = self._defaults
        fillers = []
        for row in rows:
            one, fill = row.appliance.appliance_id, row.report.report.fill
            is_of_now = window is not None and abs(fill.window_opened_s - window.opens_s) < 1.0
            fillers.append(
                Filler(
                    appliance_id=one,
                    is_hungry=state.held_of_plan[one] < row.plan.count,
                    inbound_bytes=fill.window_inbound_bytes if is_of_now else 0,
                )
            )
        return share_inbound(
            fillers,
            rate_bps=site.fill_bps or defaults.site_bps,
            volume_bytes=site.fill_volume_bytes or defaults.site_volume_bytes,
        )

    def _weigh(
        self,
        state: FleetState,
        by_site: Mapping[SiteId, Sequence[FleetRow]],
        windows: Mapping[SiteId, SiteWindow],
        now_s: float,
    ) -> _Orders:
        """Sort the files of all orders by how they are filled now, and end orders that are over."""
        sums = _Orders()
        for order in state.orders:
            files = files_of(order, state)
            is_filled = True
            for site_id, rows in by_site.items():
                if order.site_id not in (None, site_id):
                    continue
                lacking = {
                    row.appliance.appliance_id: missing for row in rows if (missing := _missing(row, files, state))
                }
                if lacking:
                    is_filled = False
                    self._place(order, site_id, lacking, windows[site_id], state, sums, now_s)
            # What is not published yet is not filled either, though nobody lacks it.
            if (end := end_of(order, is_filled=bool(files) and is_filled, now_s=now_s)) is not None:
                self._end(order, end, now_s)
        return sums

    def _place(
        self,
        order: FillOrder,
        site_id: SiteId,
        lacking: Mapping[ApplianceId, FileSet],
        window: SiteWindow,
        state: FleetState,
        sums: _Orders,
        now_s: float,
    ) -> None:
        ahead = window.until(now_s, order.by_s) if order.by_s is not None else ()
        most = max(sum(state.catalog.files[one].size_bytes for one in files) for files in lacking.values())
        rate_bps = min(one for one in (self._defaults.appliance_bps, self._defaults.site_bps, 10**15) if one)
        urgency, reason = judge_order(order, ahead, left_bytes=most, rate_bps=rate_bps, now_s=now_s)
        kind = sums.urgent if urgency is Urgency.PASSES_WINDOW else sums.first
        for name, files in lacking.items():
            kind[name] = kind.get(name, FileSet()) | files
        before, self._urgency[order.order_id, site_id] = self._urgency.get((order.order_id, site_id)), reason
        if before is not reason and reason is UrgencyReason.NO_TIME_IN_WINDOWS:
            event = NewEvent(
                actor=ACTOR,
                kind="fill.passes-window",
                subject=f"site/{site_id}",
                reason=reason.value,
                detail=f"{order.order_id}, {order.target}",
            )
            self._store.append_event(event, now_s=now_s)

    def _end(self, order: FillOrder, end: OrderEnd, now_s: float) -> None:
        ended = replace(order, ended=end, ended_at_s=now_s)
        event = NewEvent(
            actor=ACTOR,
            kind="fill.order-ended",
            subject="fleet",
            reason=str(end),
            detail=f"{order.order_id}, {order.target}",
        )
        self._store.end_fill_order(ended, event=event, now_s=now_s)
        self._store.drop_fill_orders(keep=ORDERS_KEPT)

    def _doubts(self, state: FleetState, now_s: float) -> dict[ApplianceId, FileSet]:
        """The files that each appliance is said to give wrong bytes of, as long as the accusers say so."""
        doubts: dict[ApplianceId, set[int]] = {}
        for accuser, accused, number in accusations(state.rows):
            if number in state.holdings[accused]:
                doubts.setdefault(accused, set()).add(number)
            key = (accuser, accused, number)
            if key not in self._told:
                if len(self._told) >= _MOST_TOLD:
                    self._told.clear()
                self._told.add(key)
                event = NewEvent(
                    actor=f"appliance:{accuser}",
                    kind="fill.wrong-bytes",
                    subject=f"appliance/{accused}",
                    reason="sha256-differs",
                    detail=f"file number {number}: it is asked to verify it, and nobody is sent to it for that file",
                )
                self._store.append_event(event, now_s=now_s)
        return {name: FileSet(numbers) for name, numbers in doubts.items()}

    def _last_copies(
        self, state: FleetState, health: Mapping[ApplianceId, Health], now_s: float
    ) -> dict[ApplianceId, str]:
        """Published files outside of an appliance's plan that nobody who serves holds and keeps beside it."""
        self._note_leftovers(state, now_s)
        pause_s = _KEEP_PAUSE_S if len(state.rows) < _MANY else _KEEP_PAUSE_MANY_S
        if 0 <= now_s - self._kept_at_s < pause_s:
            return self._kept
        self._kept_at_s, self._kept = now_s, {}
        if self._leftovers:
            settled = {
                (row.holdings.digest, row.plan.digest): _settled(row, state)
                for row in state.rows
                if row.appliance.admin_state is AdminState.ENABLED
                and health[row.appliance.appliance_id].state is HealthState.HEALTHY
            }
            promised = list(settled.values())
            for name, (rest, at_s) in list(self._leftovers.items()):
                sole = sole_files(rest, promised, state.catalog.published)
                if sole:
                    promised.append(sole)  # of several that hold what is in no plan, one keeps it
                    self._kept[name] = sole.encode()
                if now_s - at_s > _LEFTOVER_S:  # deleted long since, but for what it was told to keep
                    self._leftovers[name] = (sole, now_s)
                    if not sole:
                        del self._leftovers[name]
        return self._kept

    def _note_leftovers(self, state: FleetState, now_s: float) -> None:
        """Remember what was held when it left a plan: appliances report only what they hold of their plan."""
        seen: dict[ApplianceId, tuple[FileSet, FileSet]] = {}
        for row in state.rows:
            name = row.appliance.appliance_id
            plan, held = state.plans[name], state.holdings[name]
            before = self._seen.get(name)
            seen[name] = (plan, held)
            if before is None or before[0] is plan:
                continue
            left = (before[0] & before[1]) - plan
            rest, _ = self._leftovers.get(name, (FileSet(), 0.0))
            rest = (rest | left) - plan
            self._leftovers.pop(name, None)
            if rest:
                self._leftovers[name] = (rest, now_s)
        self._seen = seen
        self._leftovers = {name: one for name, one in self._leftovers.items() if name in seen}


def accusations(rows: Sequence[FleetRow]) -> Iterator[tuple[ApplianceId, ApplianceId, int]]:
    """Who says of whom that it gave wrong bytes, of which file number; as long as the reports say so."""
    by_url: dict[str, ApplianceId] = {}
    for row in rows:
        own, wrong = row.appliance.appliance_id, row.report.report.fill.wrong_bytes
        if wrong and not by_url:
            by_url = {other.appliance.content_url: other.appliance.appliance_id for other in rows}
        for one in wrong[-MOST_ACCUSED:]:
            accused = by_url.get(one.base_url)
            if accused is not None and accused != own:
                yield own, accused, one.file_no


def may_be_master(row: FleetRow, health: Mapping[ApplianceId, Health]) -> bool:
    """Whether an appliance can be counted on to bring files into its site."""
    state = health[row.appliance.appliance_id].state
    return row.appliance.admin_state is AdminState.ENABLED and state in FILLING_STATES


def files_of(order: FillOrder, state: FleetState) -> FileSet:
    """The numbers of the files that an order is about; none while nothing of that name is published."""
    if order.title_id is not None:
        found = next((one for one in state.catalog.titles if one.title.title_id == order.title_id), None)
        return FileSet(found.file_nos) if found else FileSet()
    return FileSet(number for number, file in state.catalog.files.items() if file.sha256 == order.sha256)


def _missing(row: FleetRow, files: FileSet, state: FleetState) -> FileSet:
    name = row.appliance.appliance_id
    return (files & state.plans[name]) - state.holdings[name]


def _rules(
    common: FillRules,
    share_bps: int | None,
    urgent: FileSet | None,
    first: FileSet | None,
    doubt: FileSet | None,
    keep: str,
) -> FillRules:
    return replace(
        common, inbound_bps=share_bps, urgent=_text(urgent), first=_text(first), doubt=_text(doubt), keep=keep
    )


def _settled(row: FleetRow, state: FleetState) -> FileSet:
    """What it holds and goes on holding."""
    name = row.appliance.appliance_id
    return state.holdings[name] & state.plans[name]


def _text(files: FileSet | None) -> str:
    return files.encode() if files else ""
