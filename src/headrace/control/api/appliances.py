"""Appliances: what is wanted of them, what they hold, and taking them away within the failure budget."""

from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter

from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.control.api.budget import leaving_now, open_windows, overruled
from headrace.control.api.guard import GuardedRoute
from headrace.control.api.parts import Parts, WithCaller, WithParts, noted
from headrace.control.api.problems import Refusal, not_found
from headrace.control.checks import VERSIONS_END, check_address, check_words
from headrace.control.fleet_view import view_appliance
from headrace.control.model import FleetRow
from headrace.fleet.lifecycle import check_move
from headrace.fleet.maintenance import MaintenanceWindow
from headrace.fleet.model import AdminState, Appliance, FleetError
from headrace.wire.operator import FORCE_HINT, ApplianceChange, ApplianceView, HoldingsView, PlanView

router = APIRouter(route_class=GuardedRoute, tags=["appliances"])


@router.get("/v1/appliances")
def list_appliances(parts: WithParts) -> tuple[ApplianceView, ...]:
    """All appliances in order of id."""
    windows = open_windows(parts)
    return tuple(view_appliance(row, windows) for row in parts.store.fleet())


@router.get("/v1/appliances/{appliance_id}")
def show_appliance(parts: WithParts, appliance_id: str) -> ApplianceView:
    """One appliance: wanted, reported, concluded."""
    return view_appliance(_row(parts, appliance_id), open_windows(parts), is_whole=True)


@router.get("/v1/appliances/{appliance_id}/holdings")
def show_holdings(parts: WithParts, appliance_id: str) -> HoldingsView:
    """What an appliance holds, as a bitmap, and the titles of which it holds every file."""
    stored = parts.store.holdings(ApplianceId(appliance_id))
    if stored is None:
        raise not_found(f"appliance {appliance_id}")
    held = stored.files
    whole = tuple(one.title.title_id for one in parts.store.titles() if all(number in held for number in one.file_nos))
    return HoldingsView(
        digest=stored.head.digest,
        count=stored.head.count,
        total_bytes=stored.head.total_bytes,
        files=held.encode(),
        titles=whole,
    )


@router.get("/v1/appliances/{appliance_id}/plan")
def show_plan(parts: WithParts, appliance_id: str, version: int | None = None) -> PlanView:
    """What an appliance should hold: the plan in force, or one of the last versions."""
    name = _row(parts, appliance_id).appliance.appliance_id
    if version is not None and not 0 < version < VERSIONS_END:
        raise not_found(f"plan of {appliance_id} in version {version}")
    stored = parts.store.plan(name, version)
    if stored is None and version is not None:
        raise not_found(f"plan of {appliance_id} in version {version}")
    planned = stored.files if stored else FileSet()
    titles = parts.store.titles() if stored else ()
    return PlanView(
        appliance_id=name,
        version=stored.head.version if stored else 0,
        digest=planned.digest(),
        count=len(planned),
        total_bytes=stored.head.total_bytes if stored else 0,
        titles=tuple(one.title.title_id for one in titles if all(number in planned for number in one.file_nos)),
    )


@router.patch("/v1/appliances/{appliance_id}")
def change_appliance(parts: WithParts, caller: WithCaller, appliance_id: str, change: ApplianceChange) -> ApplianceView:
    """Enable, drain, disable, or change address, rate and site."""
    check_words("reason", change.reason, may_be_empty=True)
    row = _row(parts, appliance_id)
    wanted = _changed(row.appliance, change)
    check_address(wanted.appliance_id, wanted.content_url, wanted.capacity_bps)
    windows = open_windows(parts)
    if wanted == row.appliance:
        _check_not_held(appliance_id, change.admin_state, windows)
        return view_appliance(row, windows)
    if wanted.site_id not in {site.site_id for site in parts.store.sites()}:
        raise not_found(f"site {wanted.site_id}")
    detail = _what_changed(row.appliance, wanted)
    if wanted.admin_state is not row.appliance.admin_state:
        _check_move(wanted.appliance_id, row.appliance.admin_state, wanted.admin_state)
        if wanted.admin_state is not AdminState.ENABLED:
            detail += _check_budget(parts, wanted.appliance_id, change, FORCE_HINT)
    kind = "appliance.admin-changed" if wanted.admin_state is not row.appliance.admin_state else "appliance.changed"
    happened = noted(caller, kind, f"appliance/{appliance_id}", change.reason or "operator-asked", detail)
    now_s = parts.clock.now_s()
    if parts.store.change_appliance(wanted, expected_version=row.version, event=happened, now_s=now_s) is None:
        raise Refusal(409, "conflict", f"appliance {appliance_id} was changed at the same moment: look and ask again")
    return view_appliance(_row(parts, appliance_id), windows)


@router.delete("/v1/appliances/{appliance_id}", status_code=204)
def remove_appliance(parts: WithParts, caller: WithCaller, appliance_id: str, reason: str = "") -> None:
    """Forget an appliance and end its credential; what still serves is asked to leave within the failure budget."""
    check_words("reason", reason, may_be_empty=True)
    _row(parts, appliance_id)
    _check_budget(parts, ApplianceId(appliance_id), ApplianceChange(), "; disable it first")
    happened = noted(caller, "appliance.removed", f"appliance/{appliance_id}", reason or "operator-asked")
    if not parts.store.remove_appliance(ApplianceId(appliance_id), event=happened, now_s=parts.clock.now_s()):
        raise not_found(f"appliance {appliance_id}")


@router.delete("/v1/appliances/{appliance_id}/credential", status_code=204)
def revoke_credential(parts: WithParts, caller: WithCaller, appliance_id: str) -> None:
    """End an appliance's credential; it may enrol again with a join token bound to its id."""
    _row(parts, appliance_id)
    token = parts.store.appliance_token(ApplianceId(appliance_id))
    happened = noted(caller, "credential.revoked", f"appliance/{appliance_id}", "operator-asked")
    if token is None or not parts.store.revoke_token(token.token_id, event=happened, now_s=parts.clock.now_s()):
        raise not_found(f"credential in force of appliance {appliance_id}")


def _row(parts: Parts, appliance_id: str) -> FleetRow:
    row = parts.store.appliance(ApplianceId(appliance_id))
    if row is None:
        raise not_found(f"appliance {appliance_id}")
    return row


def _changed(appliance: Appliance, change: ApplianceChange) -> Appliance:
    asked = {
        "admin_state": change.admin_state,
        "content_url": change.content_url,
        "capacity_bps": change.capacity_bps,
        "site_id": change.site_id,
    }
    return replace(appliance, **{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]


def _what_changed(before: Appliance, after: Appliance) -> str:
    names = ("admin_state", "content_url", "capacity_bps", "site_id")
    changes = [(name, getattr(before, name), getattr(after, name)) for name in names]
    return ", ".join(f"{name} {old} -> {new}" for name, old, new in changes if old != new)


def _check_move(appliance_id: ApplianceId, now: AdminState, wanted: AdminState) -> None:
    try:
        check_move(appliance_id, now, wanted)
    except FleetError as error:
        raise Refusal(409, "illegal-move", str(error)) from None


def _check_not_held(appliance_id: str, wanted: AdminState | None, windows: Sequence[MaintenanceWindow]) -> None:
    """Refuse to enable what is enabled already and only a maintenance window keeps out."""
    holding = [one.window_id for one in windows if one.is_holding and appliance_id in one.members]
    if wanted is AdminState.ENABLED and holding:
        names = " and ".join(holding)
        raise Refusal(
            409, "in-maintenance", f"appliance {appliance_id} is in maintenance window {names}: end it to bring it back"
        )


def _check_budget(parts: Parts, leaving: ApplianceId, change: ApplianceChange, hint: str) -> str:
    """Ask the failure budget; gives a note for the event when it was overruled."""
    verdict = leaving_now(parts).judge({leaving})
    if verdict.may_leave:
        return ""
    return ", " + overruled(verdict, is_forced=change.is_forced, why=change.reason, hint=hint)
