"""One turn of the lease-holder: read, conclude health, plan, set desired states, compile the snapshot, tidy up.

It blocks (the store does), so the service runs it in a thread. Every write is a compare-and-set: two nodes that both
believe they hold the lease do no harm, and a turn that is cut short is finished by the next one.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from headrace.base.clock import Clock
from headrace.base.ids import ApplianceId
from headrace.base.logs import event
from headrace.control.loops.concluding import Concluded, Concluder, Probes
from headrace.control.loops.desiring import Desirer
from headrace.control.loops.filling import FillRuler
from headrace.control.loops.maintaining import Maintainer
from headrace.control.loops.planning import Planner
from headrace.control.loops.reading import FleetState
from headrace.control.loops.settings import FleetSettings, LoopUrls
from headrace.control.loops.snapshot import Loads, SnapshotMaker, busy_ratio, coarse_bps, content_tag
from headrace.control.loops.state import LoopState
from headrace.control.loops.telling import FillTeller
from headrace.control.ports import Store
from headrace.fleet.mass_loss import ALONE
from headrace.fleet.model import Health, HealthState
from headrace.fleet.quorum import Probers
from headrace.routes.model import Hearing

_log = logging.getLogger(__name__)

BUSY_STEPS = 20
"""Other loads than the bit rate count in so many steps."""
CLOCK_JUMP_S = 1.0
"""Wall time that moves this much otherwise than monotonic time was set by somebody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watch:
    """Since when this node has decided without a break."""

    since_s: float
    last_now_s: float
    last_monotonic_s: float
    gap_s: float


class Decider:
    """Everything that a deciding node remembers between turns."""

    def __init__(
        self, store: Store, settings: FleetSettings, urls: LoopUrls, *, clock: Clock, state: LoopState
    ) -> None:
        self._store = store
        self._settings = settings
        self._urls = urls
        self._clock = clock
        self._state = state
        self._concluder = Concluder(store, settings)
        self._maintainer = Maintainer(store, settings)
        self._planner = Planner(store, settings)
        self._ruler = FillRuler(store, settings.fill)
        self._teller = FillTeller(store, settings.fill)
        self._desirer = Desirer(store, settings, urls)
        self._watch: _Watch | None = None
        self.hearings: tuple[Hearing, ...] = ()
        """Routes that count, as the loop over routes last gave them."""
        self._maker = SnapshotMaker()
        self._loads = Loads(tx_bps={})

    def forget(self) -> None:
        """Another node decides, or nobody knows: begin anew when the lease comes back."""
        self._watch = None
        self._concluder.forget()

    def turn(self, fleet: FleetState, probes: Probes, probers: Probers = ALONE) -> None:
        """Decide once on `fleet` and the newest probes of all nodes; logs one line."""
        now_s = self._clock.now_s()
        self._watch = self._watched(now_s)
        concluded = self._concluder.turn(
            fleet, probes, now_s=now_s, watching_since_s=self._watch.since_s, probers=probers
        )
        self._watch = replace(self._watch, since_s=concluded.watching_since_s)
        self._compile(fleet, concluded.health, now_s)
        moved = self._maintainer.turn(fleet, concluded.health, now_s=now_s)
        planned = self._planner.turn(fleet, now_s=now_s, has_time=self._timer())
        rules = self._ruler.turn(fleet, concluded.health, now_s=now_s)
        self._teller.turn(fleet, now_s=now_s, has_time=self._timer())
        desired = self._desirer.turn(fleet, concluded.health, rules, has_time=self._timer())
        self._count(concluded)
        self._state.plans_written += planned.written
        self._state.plans_waiting = planned.waiting
        self._state.desired_written += desired.written
        self._state.desired_waiting = desired.waiting
        is_news = bool(concluded.changes or moved or planned.written or desired.written)
        event(
            _log,
            "turn_decided",
            level=logging.INFO if is_news else logging.DEBUG,
            health=",".join(concluded.changes[:8]) or "-",
            health_changes=len(concluded.changes),
            held=concluded.is_held,
            maintenance=",".join(moved) or "-",
            plans=planned.written,
            plan_cause=planned.cause or "-",
            desired=desired.written,
            snapshot=self._state.snapshot_version,
            fleet_version=fleet.versions.fleet,
            titles_version=fleet.versions.titles,
            holdings_version=fleet.versions.holdings,
        )

    def _watched(self, now_s: float) -> _Watch:
        """Begin the watch anew after a break: what was not heard in it proves nothing.

        A break is a gap between turns that silence could hide in (this machine was suspended, the store was away), far
        longer than the gap before it; or a wall clock that was set.
        """
        monotonic_s = self._clock.monotonic_s()
        watch = self._watch
        if watch is None:
            return _Watch(since_s=now_s, last_now_s=now_s, last_monotonic_s=monotonic_s, gap_s=0.0)
        gap_s = monotonic_s - watch.last_monotonic_s
        is_break = gap_s > max(self._settings.health.silent_after_s, 2 * watch.gap_s)
        has_jumped = abs((now_s - watch.last_now_s) - gap_s) > CLOCK_JUMP_S
        if is_break or has_jumped:
            event(_log, "watch_begun_anew", level=logging.WARNING, gap_s=gap_s, clock_jumped=has_jumped)
        since_s = now_s if is_break or has_jumped else watch.since_s
        return _Watch(since_s=since_s, last_now_s=now_s, last_monotonic_s=monotonic_s, gap_s=gap_s)

    def _timer(self) -> Callable[[], bool]:
        until_s = self._clock.monotonic_s() + self._settings.work_s
        return lambda: self._clock.monotonic_s() < until_s

    def _compile(self, fleet: FleetState, health: Mapping[ApplianceId, Health], now_s: float) -> None:
        """Save a new snapshot when its content would be another than that of the stored one."""
        loads = self._coarse_loads(fleet, now_s)
        hearings = self._maker.routes.ready(fleet.sites, self.hearings)
        tag = content_tag(fleet, health, loads, self._urls.origin, hearings=hearings)
        version, stored_tag = self._store.snapshot_etag() or (0, "")
        self._state.snapshot_version = version
        if tag == stored_tag:
            return
        snapshot = self._maker.compile(
            fleet,
            health,
            loads,
            version=version + 1,
            built_at_s=now_s,
            origin_url=self._urls.origin,
            hearings=hearings,
        )
        new = self._maker.stored(snapshot, tag)
        if self._store.save_snapshot(new, expected_version=version):
            self._state.snapshot_version, self._state.snapshot_bytes = new.version, len(new.packed)

    def _coarse_loads(self, fleet: FleetState, now_s: float) -> Loads:
        last = self._loads
        is_due = not 0 <= now_s - last.at_s < self._settings.snapshot_load_interval_s
        loads: dict[ApplianceId, float] = {}
        busy: dict[ApplianceId, float] = {}
        for row in fleet.rows:
            name = row.appliance.appliance_id
            before = last.tx_bps.get(name)
            if name not in last.busy_ratio or is_due:
                bounds = self._settings
                ratio = busy_ratio(
                    row,
                    most_connections=bounds.most_connections,
                    most_disk_busy_ratio=bounds.most_disk_busy_ratio,
                )
                busy[name] = round(ratio * BUSY_STEPS) / BUSY_STEPS
            else:
                busy[name] = last.busy_ratio[name]
            if before is None or is_due:
                step = self._settings.snapshot_load_step_ratio
                before = coarse_bps(row.report.report.load.tx_bps, before, row.appliance.capacity_bps, step_ratio=step)
            loads[name] = before
        self._loads = Loads(tx_bps=loads, busy_ratio=busy, at_s=now_s if is_due else last.at_s)
        return self._loads

    def _count(self, concluded: Concluded) -> None:
        counts = Counter(health.state for health in concluded.health.values())
        self._state.appliances = {state: counts[state] for state in HealthState}
        self._state.health_changes += len(concluded.changes)
        self._state.is_health_held = concluded.is_held
