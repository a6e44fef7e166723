"""`headrace appliance`: enrol, look at, drain, disable and remove cache servers."""

from typing import Annotated

import typer
from rich.table import Table

from headrace.base.clock import Clock, SystemClock
from headrace.base.errors import HeadraceError
from headrace.base.ids import appliance_id, site_id
from headrace.base.instants import show_instant
from headrace.base.units import show_bps, show_bytes, show_count, show_duration
from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, ask_control, err, out
from headrace.fleet.model import AdminState, CheckState
from headrace.wire.client import ControlClient
from headrace.wire.codec import encode
from headrace.wire.operator import ApplianceChange, ApplianceView, JoinToken, JoinTokenRequest

ApplianceArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the appliance.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the record of events.")]
Force = Annotated[bool, typer.Option("--force", help="Also past the failure budget; kept in the record.")]


class NotDrainedError(HeadraceError):
    """The appliance still had sessions when the time was up; it stays draining."""

    exit_code = 27


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Appliances: enrol, list, show, enable, drain, disable, remove.", no_args_is_help=True)
    for name, command in (
        ("list", _list),
        ("show", _show),
        ("token", _token),
        ("enable", _enable),
        ("drain", _drain),
        ("disable", _disable),
        ("revoke", _revoke),
        ("remove", _remove),
    ):
        group.command(name)(command)
    app.add_typer(group, name="appliance")


def _list(control: ControlUrl = None, token_file: TokenFile = None, ca: CaFile = None, as_json: AsJson = False) -> None:
    """List all appliances.

    Example: [bold]headrace appliance list[/]
    """
    shape = tuple[ApplianceView, ...]
    views: tuple[ApplianceView, ...] = ask_control(
        lambda client: client.call("GET", "/v1/appliances", answer=shape), control=control, token_file=token_file, ca=ca
    )
    if as_json:
        typer.echo(encode(views, shape).decode())
        return
    table = Table("appliance", "site", "wanted", "health", "reason", "traffic", "holds", "address")
    for view in views:
        one = view.appliance
        holds = f"{view.holdings_count}/{view.plan_count}"
        traffic = show_bps(view.report.load.tx_bps)
        held = f" {view.window.window_id}" if view.window is not None and view.window.is_holding else ""
        wanted = f"{one.admin_state}{held}{' (drained)' if view.is_drained else ''}"
        health = view.health
        table.add_row(
            one.appliance_id, one.site_id, wanted, health.state, health.reason, traffic, holds, one.content_url
        )
    out.print(table)


def _show(
    appliance: ApplianceArgument,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one appliance: wanted, reported, concluded.

    Example: [bold]headrace appliance show ams1-1[/]
    """
    path = f"/v1/appliances/{appliance_id(appliance)}"
    view = ask_control(
        lambda client: client.call("GET", path, answer=ApplianceView), control=control, token_file=token_file, ca=ca
    )
    if as_json:
        typer.echo(encode(view).decode())
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for row in _rows(view):
        table.add_row(*row)
    out.print(table)


def _rows(view: ApplianceView) -> tuple[tuple[str, str], ...]:
    report, health = view.report, view.health
    disks = "; ".join(
        f"{disk.folder}: {show_bytes(disk.free_bytes)} free of {show_bytes(disk.total_bytes)}"
        if disk.is_ok
        else f"{disk.folder}: failed, {disk.error}"
        for disk in report.disks
    )
    fill = report.fill
    to_go, restarts = show_count(fill.pending_files, "file"), show_count(report.nginx.restarts, "time")
    return (
        ("appliance", f"{view.appliance.appliance_id} at {view.appliance.site_id}, {view.appliance.content_url}"),
        ("wanted", f"{view.appliance.admin_state}{', drained' if view.is_drained else ''}"),
        ("maintenance", _window(view)),
        ("health", f"{health.state}: {health.reason} {health.detail}".rstrip()),
        ("turn-up", _turn_up(view)),
        ("traffic", f"{show_bps(report.load.tx_bps)}, {show_count(report.load.sessions, 'session')}"),
        ("holds", f"{view.holdings_count} of {show_count(view.plan_count, 'file')}, {show_bytes(view.holdings_bytes)}"),
        (
            "fill",
            f"{fill.state}, {to_go} to go at {show_bps(fill.rate_bps)} {fill.error}".rstrip(),
        ),
        ("disks", disks or "none reported"),
        (
            "nginx",
            f"{report.nginx.version}, restarted {restarts} {report.nginx.error}".rstrip(),
        ),
        ("release", f"headrace {report.release.headrace}, Linux {report.release.kernel}"),
    )


def _turn_up(view: ApplianceView) -> str:
    passed = sum(one.state is CheckState.PASSED for one in view.turn_up)
    open_ones = [
        f"{one.check}: {one.state}, {one.detail}" for one in view.turn_up if one.state is not CheckState.PASSED
    ]
    return "\n".join((f"{passed} of {show_count(len(view.turn_up), 'check')} passed", *open_ones))


def _window(view: ApplianceView) -> str:
    one = view.window
    if one is None:
        return "none planned"
    times = f"{show_instant(one.starts_s, one.zone)} to {show_instant(one.ends_s, one.zone)}"
    return f"{one.window_id} {one.state}, {times}: {one.reason} {one.detail}".rstrip()


def _token(
    site: Annotated[str, typer.Option(help="Site that the appliance belongs to.")],
    appliance: Annotated[str | None, typer.Option(help="Only this appliance may use it; else any new one.")] = None,
    hours: Annotated[float, typer.Option(help="Valid for so long.", min=0.01, max=720)] = 24,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a one-time join token for a new appliance.

    Example: [bold]headrace appliance token --site ams1 > join.token[/]
    """
    wanted = JoinTokenRequest(
        site_id=site_id(site),
        appliance_id=appliance_id(appliance) if appliance else None,
        lifetime_s=hours * 3600,
    )
    made = ask_control(
        lambda client: client.call("POST", "/v1/join-tokens", body=wanted, answer=JoinToken),
        control=control,
        token_file=token_file,
        ca=ca,
    )
    typer.echo(encode(made).decode() if as_json else made.token)


def _enable(
    appliance: ApplianceArgument,
    reason: Reason = "",
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Let clients come; after a disable the turn-up checks must pass first.

    Example: [bold]headrace appliance enable ams1-1[/]
    """
    change = ApplianceChange(admin_state=AdminState.ENABLED, reason=reason)
    ask_control(lambda client: _change(client, appliance, change), control=control, token_file=token_file, ca=ca)
    err.print(f"{appliance} is enabled")


def _drain(
    appliance: ApplianceArgument,
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the running sessions have ended.")] = False,
    limit_s: Annotated[float, typer.Option("--limit", help="Wait at most so many seconds.", min=1)] = 10_800,
    force: Force = False,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Send new sessions elsewhere; running ones finish.

    Example: [bold]headrace appliance drain ams1-1 --reason "new disk" --wait[/]
    """
    change = ApplianceChange(admin_state=AdminState.DRAINING, reason=reason, is_forced=force)

    async def work(client: ControlClient) -> None:
        await _change(client, appliance, change)
        if wait:
            await _until_drained(client, appliance, limit_s, SystemClock())

    ask_control(work, control=control, token_file=token_file, ca=ca)
    err.print(f"{appliance} is {'drained' if wait else 'draining'}")


def _disable(
    appliance: ApplianceArgument,
    reason: Reason = "",
    force: Force = False,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Take it out of every answer at once, running sessions too.

    Example: [bold]headrace appliance disable ams1-1 --reason "on fire"[/]
    """
    change = ApplianceChange(admin_state=AdminState.DISABLED, reason=reason, is_forced=force)
    ask_control(lambda client: _change(client, appliance, change), control=control, token_file=token_file, ca=ca)
    err.print(f"{appliance} is disabled")


def _revoke(
    appliance: ApplianceArgument, control: ControlUrl = None, token_file: TokenFile = None, ca: CaFile = None
) -> None:
    """End its credential at once; it serves on, and comes back with a join token made for it.

    Example: [bold]headrace appliance revoke ams1-1[/]
    """
    path = f"/v1/appliances/{appliance_id(appliance)}/credential"
    ask_control(lambda client: client.raw("DELETE", path), control=control, token_file=token_file, ca=ca)
    err.print(f"the credential of {appliance} is revoked")


def _remove(
    appliance: ApplianceArgument, control: ControlUrl = None, token_file: TokenFile = None, ca: CaFile = None
) -> None:
    """Forget a disabled appliance and its credential.

    Example: [bold]headrace appliance remove ams1-1[/]
    """
    path = f"/v1/appliances/{appliance_id(appliance)}"
    ask_control(lambda client: client.raw("DELETE", path), control=control, token_file=token_file, ca=ca)
    err.print(f"{appliance} is removed")


async def _change(client: ControlClient, appliance: str, change: ApplianceChange) -> ApplianceView:
    path = f"/v1/appliances/{appliance_id(appliance)}"
    return await client.call("PATCH", path, body=change, answer=ApplianceView)


async def _until_drained(client: ControlClient, appliance: str, limit_s: float, clock: Clock) -> None:
    ends_s = clock.monotonic_s() + limit_s
    with err.status(f"{appliance}: waiting for its sessions") as line:
        while True:
            view = await client.call("GET", f"/v1/appliances/{appliance_id(appliance)}", answer=ApplianceView)
            if view.is_drained:
                return
            sessions = show_count(view.report.load.sessions, "session")
            left_s = ends_s - clock.monotonic_s()
            if left_s <= 0:
                raise NotDrainedError(f"{appliance} still has {sessions} after {show_duration(limit_s)}")
            line.update(f"{appliance}: {sessions}, at most {show_duration(left_s)} more")
            await clock.sleep(1)
