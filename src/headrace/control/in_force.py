"""Stored rows with the admin state in force: the operator's own one, or what a maintenance window holds. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from headrace.control.model import FleetRow, StoredWindow
from headrace.fleet.maintenance import MaintenanceWindow, state_in_force


def row_in_force(row: FleetRow, windows: Sequence[MaintenanceWindow]) -> FleetRow:
    """The row with the more restrictive of both."""
    one = row.appliance
    state = state_in_force(one.admin_state, one.appliance_id, windows)
    return row if state is one.admin_state else replace(row, appliance=replace(one, admin_state=state))


def rows_in_force(rows: tuple[FleetRow, ...], stored: Sequence[StoredWindow]) -> tuple[FleetRow, ...]:
    """All rows so."""
    holding = [one.window for one in stored if one.window.is_holding]
    return tuple(row_in_force(row, holding) for row in rows) if holding else rows
