"""`headrace maintenance`: windows planned ahead for an appliance or a site."""

from typing import Annotated

import typer
from rich.table import Table

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.base.ids import appliance_id, site_id
from headrace.base.instants import read_duration, read_instant, read_zone, show_instant
from headrace.base.units import show_duration
from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, ask_control, err, look, out
from headrace.fleet.maintenance import MaintenanceWindow
from headrace.wire.codec import encode
from headrace.wire.operator import MaintenanceRequest

WindowArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the window: w1, w2, ...")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Maintenance windows: plan, list, show, cancel.", no_args_is_help=True)
    for name, command in (("plan", _plan), ("list", _list), ("show", _show), ("cancel", _cancel)):
        group.command(name)(command)
    app.add_typer(group, name="maintenance")


def _plan(
    reason: Annotated[str, typer.Option(help="Why; kept in the record of events.")],
    appliance: Annotated[str | None, typer.Option(help="For this appliance.")] = None,
    site: Annotated[str | None, typer.Option(help="For all appliances of this site.")] = None,
    start: Annotated[
        str, typer.Option(help="When the work begins: 2026-12-01T02:00Z; left out: when a drain from now on is over.")
    ] = "",
    end: Annotated[str, typer.Option(help="When it ends, likewise.")] = "",
    lasts: Annotated[str, typer.Option("--for", help="Or how long it lasts: 90m, 3h.")] = "",
    zone: Annotated[str, typer.Option(help="Time zone of times without one, and to show: Europe/Amsterdam.")] = "",
    drain_ahead: Annotated[str, typer.Option(help="New sessions go elsewhere so long before the start.")] = "2h",
    force: Annotated[bool, typer.Option("--force", help="Also past the failure budget; kept in the record.")] = False,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Plan a window: it is drained ahead of its start and comes back after its end, when its checks pass.

    Example: [bold]headrace maintenance plan --site ams1 --start 2026-12-01T02:00+01:00 --for 3h --reason "power"[/]
    """
    if (appliance is None) == (site is None):
        raise UsageError("name one of both: --appliance ID or --site ID")
    ahead_s = read_duration(drain_ahead)
    starts_s = read_instant(start, zone) if start else SystemClock().now_s() + ahead_s
    wanted = MaintenanceRequest(
        appliance_id=appliance_id(appliance) if appliance else None,
        site_id=site_id(site) if site else None,
        starts_s=starts_s,
        ends_s=_end_of(starts_s, end, lasts, zone),
        drain_ahead_s=ahead_s,
        reason=reason,
        zone=read_zone(zone).key if zone else "UTC",
        is_forced=force,
    )
    planned = ask_control(
        lambda client: client.call("POST", "/v1/maintenance", body=wanted, answer=MaintenanceWindow),
        control=control,
        token_file=token_file,
        ca=ca,
    )
    if as_json:
        typer.echo(encode(planned).decode())
        return
    err.print(f"{planned.window_id}: {planned.target} {_when(planned)}, drained from {_at(planned, planned.drains_s)}")


def _end_of(starts_s: float, end: str, lasts: str, zone: str) -> float:
    if bool(end) == bool(lasts):
        raise UsageError("say when it ends, by one of --end TIME and --for 3h; what has no end is disabled instead")
    return read_instant(end, zone) if end else starts_s + read_duration(lasts)


def _list(
    past: Annotated[bool, typer.Option("--past", help="Also those that have ended.")] = False,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """List the windows that have not ended.

    Example: [bold]headrace maintenance list --past[/]
    """
    path, shape = "/v1/maintenance" + ("?past=true" if past else ""), tuple[MaintenanceWindow, ...]
    windows = look(path, shape, control=control, token_file=token_file, ca=ca, as_json=as_json)
    if windows is None:
        return
    table = Table("window", "for", "state", "start", "end", "reason", "note")
    for one in windows:
        start, end = _at(one, one.starts_s), _at(one, one.ends_s)
        table.add_row(one.window_id, one.target, one.state, start, end, one.reason, _note(one))
    out.print(table)


def _show(
    window: WindowArgument,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one window: its times, how far it is, and who is held by it.

    Example: [bold]headrace maintenance show w3[/]
    """
    path = f"/v1/maintenance/{_window_id(window)}"
    one = look(path, MaintenanceWindow, control=control, token_file=token_file, ca=ca, as_json=as_json)
    if one is None:
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    rows = (
        ("window", f"{one.window_id}, {one.target}"),
        ("state", f"{one.state} {_note(one)}".rstrip()),
        ("drained from", _at(one, one.drains_s)),
        ("start", _at(one, one.starts_s)),
        ("end", f"{_at(one, one.ends_s)}, {show_duration(one.ends_s - one.starts_s)} after the start"),
        ("reason", one.reason),
        ("planned by", f"{one.planned_by}, {_at(one, one.planned_at_s)}{', forced' if one.is_forced else ''}"),
        ("held now", ", ".join(one.members) if one.is_holding else "nobody"),
    )
    for row in rows:
        table.add_row(*row)
    out.print(table)


def _cancel(
    window: WindowArgument,
    reason: Annotated[str, typer.Option(help="Why; kept in the record of events.")] = "",
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Cancel a window, or end one that is open: its appliances come back as their checks pass.

    Example: [bold]headrace maintenance cancel w3 --reason "disk came early"[/]
    """
    path = f"/v1/maintenance/{_window_id(window)}"
    params = {"reason": reason} if reason else None
    ask_control(lambda client: client.raw("DELETE", path, params=params), control=control, token_file=token_file, ca=ca)
    err.print(f"{window} is ended")


def _window_id(text: str) -> str:
    if not text.startswith("w") or not text[1:].isdecimal() or not text.isascii():
        raise UsageError(f"{text[:60]!r} is not the id of a window: w1, w2, ... (`headrace maintenance list`)")
    return text


def _when(one: MaintenanceWindow) -> str:
    return f"from {_at(one, one.starts_s)} to {_at(one, one.ends_s)}"


def _at(one: MaintenanceWindow, at_s: float) -> str:
    return show_instant(at_s, one.zone)


def _note(one: MaintenanceWindow) -> str:
    held = f"waits: {one.refusal} ({one.detail})" if one.refusal else one.detail
    return f"forced; {held}".rstrip("; ") if one.is_forced else held
