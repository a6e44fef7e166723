"""Moves maintenance windows on: asks `fleet.maintenance` what is due, writes it with its event by compare-and-set."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial

from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.control.in_force import row_in_force
from headrace.control.leaving import NAMED_TITLES, Leaving
from headrace.control.loops.memory import read_memory
from headrace.control.loops.reading import FleetState
from headrace.control.loops.settings import FleetSettings
from headrace.control.model import FleetRow, NewEvent
from headrace.control.ports import Store
from headrace.fleet.lifecycle import LeaveVerdict
from headrace.fleet.maintenance import MaintenanceWindow, Member, next_move
from headrace.fleet.model import Health
from headrace.placement.copies import sole_files

ACTOR = "control:maintenance"


class Maintainer:
    """Asks and writes; remembers nothing."""

    def __init__(self, store: Store, settings: FleetSettings) -> None:
        self._store = store
        self._settings = settings

    def turn(self, state: FleetState, health: Mapping[ApplianceId, Health], *, now_s: float) -> tuple[str, ...]:
        """Move every window by one step where one is due; `<window>:<state>` of what was written."""
        if not state.windows:
            return ()
        members = {
            row.appliance.appliance_id: _member(state, row, health) for row in state.rows if _is_meant(state, row)
        }
        windows = {one.window.window_id: one.window for one in state.windows}
        moved = []
        for one in state.windows:
            # What earlier windows took in this very turn is away already.
            judge = partial(self._judge, state, health, tuple(windows.values()))
            move = next_move(one.window, members, self._settings.maintenance, now_s=now_s, may_leave=judge)
            if move is None:
                continue
            subject = f"maintenance/{one.window.window_id}"
            told = NewEvent(actor=ACTOR, kind=move.kind, subject=subject, reason=move.reason, detail=move.detail)
            event = told if move.kind else None
            if self._store.save_window(move.window, expected_version=one.version, event=event, now_s=now_s):
                windows[one.window.window_id] = move.window
                moved.append(f"{move.window.window_id}:{move.window.state}")
        return tuple(moved)

    def _judge(
        self,
        state: FleetState,
        health: Mapping[ApplianceId, Health],
        windows: tuple[MaintenanceWindow, ...],
        names: AbstractSet[ApplianceId],
    ) -> LeaveVerdict:
        leaving = Leaving(
            rows=[row_in_force(row, windows) for row in state.rows],
            sites=state.sites,
            copying=_StateCopies(state=state),
            budget=self._settings.budget,
            health=health,
            hearings=state.hearings,
        )
        return leaving.judge(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class _StateCopies:
    """Copying on what the loops have read."""

    state: FleetState

    def sole_files(self, leaving: AbstractSet[ApplianceId], others: AbstractSet[ApplianceId]) -> FileSet:
        own = FileSet()
        for name in leaving:
            own = own | self.state.holdings[name]
        elsewhere = {id(self.state.holdings[name]): self.state.holdings[name] for name in others}
        return sole_files(own, elsewhere.values(), self.state.catalog.published)

    def titles_of(self, files: FileSet) -> tuple[str, ...]:
        known = self.state.catalog.files
        return tuple(
            sorted({known[number].title_id for number in files.page(0, 100) if number in known})[:NAMED_TITLES]
        )


def _is_meant(state: FleetState, row: FleetRow) -> bool:
    name = row.appliance.appliance_id
    return any(one.window.covers(row.appliance) or name in one.window.members for one in state.windows)


def _member(state: FleetState, row: FleetRow, health: Mapping[ApplianceId, Health]) -> Member:
    name = row.appliance.appliance_id
    own = state.own_states.get(name, row.appliance.admin_state)
    return Member(
        appliance=replace(row.appliance, admin_state=own),
        health=health.get(name, row.health),
        drain=read_memory(row.health, row.health_memory).drain.state,
        sessions=row.report.report.load.sessions,
    )
