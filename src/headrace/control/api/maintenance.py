"""Maintenance windows: planned ahead within the failure budget, listed, ended early."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter

from headrace.control.api.budget import leaving_now, overruled
from headrace.control.api.guard import GuardedRoute
from headrace.control.api.parts import Parts, WithCaller, WithParts, noted
from headrace.control.api.problems import Refusal, invalid, not_found
from headrace.control.checks import check_words
from headrace.control.model import StoredWindow
from headrace.fleet.maintenance import MaintenanceWindow, cancel, check_window
from headrace.fleet.model import FleetError
from headrace.wire.operator import FORCE_HINT, MaintenanceRequest

router = APIRouter(route_class=GuardedRoute, tags=["maintenance"])

_ATTEMPTS = 5


@router.get("/v1/maintenance")
def list_windows(parts: WithParts, past: bool = False) -> tuple[MaintenanceWindow, ...]:
    """Windows that have not ended, in the order of their planning; with `past` also those that have."""
    return tuple(one.window for one in parts.store.windows(with_ended=past))


@router.get("/v1/maintenance/{window_id}")
def show_window(parts: WithParts, window_id: str) -> MaintenanceWindow:
    """One window."""
    return _stored(parts, window_id).window


@router.post("/v1/maintenance", status_code=201)
def plan_window(parts: WithParts, caller: WithCaller, wanted: MaintenanceRequest) -> MaintenanceWindow:
    """Plan a window; it drains by itself ahead of its start, and ends by itself."""
    for _ in range(_ATTEMPTS):
        version = parts.store.windows_version()
        now_s = parts.clock.now_s()
        window, detail = _checked(parts, wanted, actor=caller.actor, now_s=now_s)
        happened = noted(caller, "maintenance.planned", "maintenance", wanted.reason, detail)
        stored = parts.store.add_window(window, expected=version, event=happened, now_s=now_s)
        if stored is not None:
            return stored.window
    raise Refusal(409, "conflict", "maintenance windows were changed at the same moment: look and ask again")


@router.delete("/v1/maintenance/{window_id}")
def end_window(parts: WithParts, caller: WithCaller, window_id: str, reason: str = "") -> MaintenanceWindow:
    """Cancel a window that has not begun, or end it now: its appliances come back as their checks pass."""
    check_words("reason", reason, may_be_empty=True)
    stored = _stored(parts, window_id)
    now_s = parts.clock.now_s()
    try:
        ended = cancel(stored.window, now_s=now_s)
    except FleetError as error:
        raise Refusal(409, "has-ended", str(error)) from None
    detail = f"{stored.window.state} -> {ended.state}: {ended.target}"
    happened = noted(caller, "maintenance.cancelled", f"maintenance/{window_id}", reason or "operator-asked", detail)
    if not parts.store.save_window(ended, expected_version=stored.version, event=happened, now_s=now_s):
        raise Refusal(409, "conflict", f"maintenance window {window_id} moved at the same moment: look and ask again")
    return ended


def _stored(parts: Parts, window_id: str) -> StoredWindow:
    found = next((one for one in parts.store.windows(with_ended=True) if one.window.window_id == window_id), None)
    if found is None:
        raise not_found(f"maintenance window {window_id[:60]}")
    return found


def _checked(parts: Parts, wanted: MaintenanceRequest, *, actor: str, now_s: float) -> tuple[MaintenanceWindow, str]:
    """The window that may be stored, and the words for its event."""
    rules = parts.config.fleet.maintenance
    _check_words(parts, wanted)
    ahead_s = rules.drain_ahead_s if wanted.drain_ahead_s is None else wanted.drain_ahead_s
    starts_s = now_s + ahead_s if wanted.starts_s is None else wanted.starts_s
    window = MaintenanceWindow(
        window_id="",
        appliance_id=wanted.appliance_id,
        site_id=wanted.site_id,
        starts_s=starts_s,
        ends_s=wanted.ends_s,
        drain_ahead_s=ahead_s,
        reason=wanted.reason,
        zone=wanted.zone,
        is_forced=wanted.is_forced,
        planned_by=actor,
        planned_at_s=now_s,
    )
    leaving = leaving_now(parts)
    others = [one.window for one in parts.store.windows()]
    check_window(window, others, [row.appliance for row in leaving.rows], rules, now_s=now_s)
    verdict = leaving.judge_window(window, others, now_s=now_s)
    detail = f"{window.target}, {(window.ends_s - window.starts_s) / 60:.0f} min from {window.starts_s:.0f}"
    if not verdict.may_leave:
        return window, f"{detail}, {overruled(verdict, is_forced=wanted.is_forced, why=wanted.reason, hint=FORCE_HINT)}"
    return window, detail


def _check_words(parts: Parts, wanted: MaintenanceRequest) -> None:
    check_words("reason", wanted.reason)
    if (wanted.appliance_id is None) == (wanted.site_id is None):
        raise invalid("name one appliance (appliance_id) or one site (site_id)")
    if wanted.appliance_id is not None and parts.store.appliance(wanted.appliance_id) is None:
        raise not_found(f"appliance {wanted.appliance_id}")
    if wanted.site_id is not None and wanted.site_id not in {site.site_id for site in parts.store.sites()}:
        raise not_found(f"site {wanted.site_id}")
    try:
        ZoneInfo(wanted.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise invalid(f"zone {wanted.zone[:60]!r} is not a time zone: write UTC or Europe/Amsterdam") from None
