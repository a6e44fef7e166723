"""Builders of fleet values for tests."""

from headrace.base.ids import ApplianceId, SiteId
from headrace.fleet.evidence import Evidence, ProbeOutcome, ProbeSeen
from headrace.fleet.health import HealthTrack
from headrace.fleet.model import (
    AdminState,
    Appliance,
    ApplianceReport,
    DiskReport,
    Health,
    HealthReason,
    HealthState,
    LoadReport,
    NginxReport,
)

GIB = 1024**3


def make_report(*, is_nginx_up: bool = True, are_disks_ok: bool = True, sessions: int = 0) -> ApplianceReport:
    """A report of an appliance with one disk."""
    disk = DiskReport(folder="/cache", is_ok=are_disks_ok, total_bytes=100 * GIB, free_bytes=50 * GIB)
    return ApplianceReport(disks=(disk,), nginx=NginxReport(is_running=is_nginx_up), load=LoadReport(sessions=sessions))


def make_probe(
    at_s: float, outcome: ProbeOutcome = ProbeOutcome.OK, *, failures: int = 1, vantage: str = "control-1"
) -> ProbeSeen:
    """A probe result; failures in a row came one second apart."""
    is_ok = outcome is ProbeOutcome.OK
    failed_at_s = () if is_ok else tuple(at_s - back for back in range(failures - 1, -1, -1))
    return ProbeSeen(vantage=vantage, at_s=at_s, outcome=outcome, failed_at_s=failed_at_s, is_verified=is_ok)


def make_evidence(
    name: str = "a-1",
    *,
    reported_s: float | None,
    probes: tuple[ProbeSeen, ...] = (),
    report: ApplianceReport | None = None,
    admin_state: AdminState = AdminState.ENABLED,
    held: int = 10,
    planned: int = 10,
) -> Evidence:
    """Evidence of an appliance whose files, as far as they go, are those of its plan."""
    return Evidence(
        appliance_id=ApplianceId(name),
        admin_state=admin_state,
        last_message_s=reported_s,
        last_report_s=reported_s,
        report=report or make_report(),
        held_files=held,
        planned_files=planned,
        held_of_plan=min(held, planned),
        probes=probes,
    )


def make_track(state: HealthState = HealthState.HEALTHY, *, since_s: float = 0.0) -> HealthTrack:
    """A conclusion that has lasted since `since_s`."""
    is_healthy = state is HealthState.HEALTHY
    health = Health(
        state=state,
        reason=HealthReason.ALL_CHECKS_PASS if is_healthy else HealthReason.NO_REPORT,
        since_s=since_s,
        is_turned_up=state not in (HealthState.UNKNOWN, HealthState.TURNING_UP),
    )
    return HealthTrack(health=health, healthy_since_s=since_s if is_healthy else None)


def make_appliance(name: str = "a-1", *, site: str = "s-1", admin_state: AdminState = AdminState.ENABLED) -> Appliance:
    """An appliance of a site."""
    return Appliance(
        appliance_id=ApplianceId(name),
        site_id=SiteId(site),
        content_url=f"http://{name}.example",
        admin_state=admin_state,
    )
