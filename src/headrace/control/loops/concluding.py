"""Turns evidence into stored health: gathers it, has it concluded, writes what changed with its event.

Decides nothing itself (`fleet.health`, `fleet.mass_loss`, `fleet.lifecycle` do). Another node that wrote in between
wins: the row is read again in the next turn.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from headrace.base.ids import ApplianceId
from headrace.control.loops.memory import Memory, read_memory, write_memory
from headrace.control.loops.reading import FleetState
from headrace.control.loops.settings import FleetSettings
from headrace.control.model import FleetRow, HealthChange, NewEvent
from headrace.control.ports import Store
from headrace.fleet.evidence import Evidence, ProbeSeen, RoutesSeen
from headrace.fleet.health import HealthTrack
from headrace.fleet.lifecycle import DrainState, conclude_drain
from headrace.fleet.mass_loss import ALONE, conclude_fleet
from headrace.fleet.model import Health, HealthReason, HealthState
from headrace.fleet.quorum import Probers, Weighed
from headrace.routes.model import AddressFamily, SessionState
from headrace.routes.view import RoutesView

ACTOR = "control:health"

WRITTEN_AT_ONCE = 200
"""Conclusions in one transaction: a mass change is quick, and agents that report meanwhile do not wait long."""

Probes = Mapping[ApplianceId, tuple[ProbeSeen, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Concluded:
    """The outcome of one turn."""

    health: Mapping[ApplianceId, Health]
    watching_since_s: float
    is_held: bool
    changes: tuple[str, ...]
    """`<appliance>:<state>:<reason>` of what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is in force for one appliance, and the version it was stored as."""

    memory: Memory
    version: int
    stored: Memory


class Concluder:
    """Keeps the memory of hysteresis between turns."""

    def __init__(self, store: Store, settings: FleetSettings) -> None:
        self._store = store
        self._settings = settings
        self._known: dict[ApplianceId, _Known] = {}
        self._cut_off: frozenset[str] = frozenset()

    def forget(self) -> None:
        """Start from what is stored: another node has decided in between."""
        self._known.clear()

    def turn(
        self, state: FleetState, probes: Probes, *, now_s: float, watching_since_s: float, probers: Probers = ALONE
    ) -> Concluded:
        """Conclude everything, write what changed."""
        known = {row.appliance.appliance_id: self._of_row(row) for row in state.rows}
        conclusion = conclude_fleet(
            {name: one.memory.track for name, one in known.items()},
            [evidence_of(state, row, probes) for row in state.rows],
            self._settings.health,
            now_s=now_s,
            watching_since_s=watching_since_s,
            was_held=state.is_held,
            probers=probers,
        )
        self._tell_of_probers(conclusion.weighed, now_s)
        if conclusion.is_held != state.is_held:
            self._store.set_health_held(
                conclusion.is_held, event=_held_event(conclusion.is_held, conclusion.detail), now_s=now_s
            )
        after = {
            row.appliance.appliance_id: self._with_drain(
                row,
                replace(known[row.appliance.appliance_id].memory, track=conclusion.tracks[row.appliance.appliance_id]),
                now_s,
            )
            for row in state.rows
        }
        self._known = {name: replace(known[name], memory=memory) for name, memory in after.items()}
        changes = self._write([name for name, one in self._known.items() if _has_changed(one)], now_s)
        return Concluded(
            health={name: track.health for name, track in conclusion.tracks.items()},
            watching_since_s=conclusion.watching_since_s,
            is_held=conclusion.is_held,
            changes=tuple(changes),
        )

    def _tell_of_probers(self, weighed: Weighed, now_s: float) -> None:
        """One event when a prober is found to be cut off, one when it is not any more."""
        for name in sorted(weighed.cut_off.keys() ^ self._cut_off):
            is_off = name in weighed.cut_off
            kind = "prober.cut-off" if is_off else "prober.trusted"
            detail = f"it does not reach {weighed.cut_off[name]}" if is_off else ""
            reason = "others-reach-them" if is_off else "agrees-with-others"
            told = NewEvent(actor=ACTOR, kind=kind, subject=f"prober/{name}", reason=reason, detail=detail)
            self._store.append_event(told, now_s=now_s)
        self._cut_off = frozenset(weighed.cut_off)

    def _of_row(self, row: FleetRow) -> _Known:
        known = self._known.get(row.appliance.appliance_id)
        if known is not None and known.version == row.health_version:
            return known
        memory = read_memory(row.health, row.health_memory)
        return _Known(memory=memory, version=row.health_version, stored=memory)

    def _with_drain(self, row: FleetRow, memory: Memory, now_s: float) -> Memory:
        received_s = row.report.received_at_s
        are_frozen = memory.track.health.reason is HealthReason.COUNTERS_FROZEN
        drain = conclude_drain(
            memory.drain,
            row.appliance.admin_state,
            row.report.report,
            None if received_s is None or are_frozen else now_s - received_s,
            now_s=now_s,
            quiet_s=self._settings.drain_quiet_s,
            silent_after_s=self._settings.health.silent_after_s,
        )
        return replace(memory, drain=drain)

    def _write(self, changed: list[ApplianceId], now_s: float) -> list[str]:
        """Write what is no longer as stored, in bounded transactions; says what was written."""
        written = []
        for start in range(0, len(changed), WRITTEN_AT_ONCE):
            batch = changed[start : start + WRITTEN_AT_ONCE]
            saved = self._store.save_health_all([_change(name, self._known[name]) for name in batch], now_s=now_s)
            for name in batch:
                if name not in saved:  # lost the race: the next turn starts from the row
                    del self._known[name]
                    continue
                known = self._known[name]
                self._known[name] = _Known(memory=known.memory, version=known.version + 1, stored=known.memory)
                written.append(_in_short(name, known.memory))
        return written


def _has_changed(known: _Known) -> bool:
    after, before = known.memory, known.stored
    if after.track.health != before.track.health or after.drain.state is not before.drain.state:
        return True
    return after.track.checks != before.track.checks


def _change(name: ApplianceId, known: _Known) -> HealthChange:
    return HealthChange(
        appliance_id=name,
        health=known.memory.track.health,
        expected_version=known.version,
        memory=write_memory(known.memory),
        event=_event(name, known.stored, known.memory),
    )


def _in_short(name: ApplianceId, memory: Memory) -> str:
    health, drain = memory.track.health, memory.drain.state
    return f"{name}:{health.state}:{health.reason}" + ("" if drain is DrainState.NOT_DRAINING else f":{drain}")


def evidence_of(state: FleetState, row: FleetRow, probes: Probes) -> Evidence:
    """What is known of one appliance now."""
    name = row.appliance.appliance_id
    return Evidence(
        appliance_id=name,
        admin_state=row.appliance.admin_state,
        last_message_s=row.report.heard_at_s,
        last_report_s=row.report.received_at_s,
        report=row.report.report,
        held_files=row.holdings.count,
        planned_files=row.plan.count,
        held_of_plan=state.held_of_plan[name],
        probes=probes.get(name, ()),
        routes=state.routes.get(name),
    )


def routes_seen(view: RoutesView, names: Iterable[ApplianceId]) -> dict[ApplianceId, RoutesSeen]:
    """What turn-up asks of the BGP sessions of these appliances; those without a session are left out."""
    found = {}
    for name in names:
        heard = view.appliances.get(name)
        sessions = [one.session for one in heard.sessions] if heard is not None else []
        sessions = [one for one in sessions if one.state is not SessionState.DISABLED]
        if heard is None or not sessions:
            continue
        counts = {
            AddressFamily.IPV4: len(heard.routes.path_lengths_v4),
            AddressFamily.IPV6: len(heard.routes.path_lengths_v6),
        }
        down = [one for one in sessions if one.state is not SessionState.ESTABLISHED]
        found[name] = RoutesSeen(
            sessions=len(sessions),
            established=len(sessions) - len(down),
            routes=sum(counts.values()),
            missing=tuple(sorted({one.family.value for one in sessions if not counts[one.family]})),
            detail="; ".join(f"{one.session_id} {one.state} {one.detail}".rstrip() for one in down[:2]),
        )
    return found


def _event(name: ApplianceId, before: Memory, after: Memory) -> NewEvent | None:
    """The line for the record; None when only a detail changed, or a hold came or went (the fleet's event says it)."""
    subject = f"appliance/{name}"
    if after.drain.state is DrainState.DRAINED and before.drain.state is not DrainState.DRAINED:
        return NewEvent(actor=ACTOR, kind="appliance.drained", subject=subject, reason="no-sessions")
    if not _is_worth_telling(before.track, after.track):
        return None
    was, now = before.track.health, after.track.health
    detail = f"{was.state} -> {now.state}" + (f": {now.detail}" if now.detail else "")
    return NewEvent(
        actor=ACTOR, kind="appliance.health-changed", subject=subject, reason=now.reason.value, detail=detail
    )


def _is_worth_telling(before: HealthTrack, after: HealthTrack) -> bool:
    was, now = before.health, after.health
    if HealthReason.HELD_LAST_STATE in (was.reason, now.reason) and now.state is HealthState.HEALTHY:
        return False
    return was.state is not now.state or (now.state is HealthState.HEALTHY and was.reason is not now.reason)


def _held_event(is_held: bool, detail: str) -> NewEvent:
    kind = "fleet.health-held" if is_held else "fleet.health-released"
    reason = HealthReason.HELD_LAST_STATE.value if is_held else "fleet-answers"
    return NewEvent(actor=ACTOR, kind=kind, subject="fleet", reason=reason, detail=detail)
