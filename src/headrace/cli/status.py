"""`headrace status`: the fleet in a terminal, once or live."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headrace.base.clock import Clock, SystemClock
from headrace.base.instants import show_instant
from headrace.base.units import show_bps, show_bytes, show_count, show_duration
from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, ask_control, out, plain
from headrace.fleet.model import AdminState, FillState, HealthState, distinct_disks
from headrace.wire.client import ControlClient
from headrace.wire.codec import encode
from headrace.wire.errors import UnreachableError
from headrace.wire.operator import ApplianceView, FleetView

_STYLES = {
    HealthState.HEALTHY: "green",
    HealthState.TURNING_UP: "cyan",
    HealthState.UNKNOWN: "dim",
    HealthState.UNHEALTHY: "bold red",
    HealthState.LOST: "bold red",
}
_OLD_REPORT_S = 10.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(_status)


def _status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep the view up to date until Ctrl-C.")] = False,
    interval_s: Annotated[float, typer.Option("--interval", help="Seconds between two looks.", min=0.5, max=60)] = 1,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the fleet: sites, appliances, state with reason, traffic, holdings, fill.

    With --watch --json, one line of JSON for each look.

    Example: [bold]headrace status --watch[/]
    """

    async def work(client: ControlClient) -> None:
        if watch:
            await _watch(client, interval_s, SystemClock(), as_json=as_json)
            return
        view = await _ask(client)
        if as_json:
            typer.echo(encode(view).decode())
        else:
            out.print(render_fleet(view))

    ask_control(work, control=control, token_file=token_file, ca=ca)


async def _ask(client: ControlClient) -> FleetView:
    return await client.call("GET", "/v1/fleet", answer=FleetView)


async def _watch(client: ControlClient, interval_s: float, clock: Clock, *, as_json: bool) -> None:
    view = await _ask(client)
    if as_json:
        while True:
            typer.echo(encode(view).decode())
            await clock.sleep(interval_s)
            view = await _ask(client)
    with Live(render_fleet(view), console=out, auto_refresh=False, screen=out.is_terminal) as live:
        seen_s = clock.monotonic_s()
        while True:
            await clock.sleep(interval_s)
            try:
                view, problem, seen_s = await _ask(client), "", clock.monotonic_s()
            except UnreachableError:
                age = show_duration(clock.monotonic_s() - seen_s)
                problem = f"the control plane does not answer; this was seen {age} ago"
            live.update(render_fleet(view, problem=problem), refresh=True)


def render_fleet(view: FleetView, *, problem: str = "") -> RenderableType:
    """The whole view: a line of totals, warnings, a table of appliances by site."""
    parts: list[RenderableType] = [_totals(view)]
    if problem:
        parts.append(Text(problem, style="bold red"))
    if view.is_health_held:
        parts.append(
            Text(
                "Most of the fleet seemed lost at once: the last conclusions are held (our own network?)",
                style="yellow",
            )
        )
    parts.append(_appliances(view))
    empty = {site.site_id for site in view.sites} - {one.appliance.site_id for one in view.appliances}
    if empty:
        parts.append(Text(f"Sites without appliances: {', '.join(sorted(empty))}", style="dim"))
    return Group(*parts)


def _totals(view: FleetView) -> Text:
    healthy = sum(one.health.state is HealthState.HEALTHY for one in view.appliances)
    traffic = show_bps(sum(one.report.load.tx_bps for one in view.appliances))
    return Text.assemble(
        (f"{healthy}/{show_count(len(view.appliances), 'appliance')} healthy", "bold"),
        f" at {show_count(len(view.sites), 'site')} · {traffic} · "
        f"{show_count(view.title_count, 'title')}, {show_count(view.file_count, 'file')}, ",
        show_bytes(view.total_bytes),
    )


def _appliances(view: FleetView) -> Table:
    table = Table("site", "appliance", "state", "why", "traffic", "sessions", "holds", "fill", "disks", box=None)
    for column in (4, 5, 6):
        table.columns[column].justify = "right"
    shown_site = ""
    for one in sorted(view.appliances, key=lambda one: (one.appliance.site_id, one.appliance.appliance_id)):
        site = one.appliance.site_id
        load = one.report.load
        table.add_row(
            site if site != shown_site else "",
            one.appliance.appliance_id,
            _state(one),
            _why(one, view.now_s),
            show_bps(load.tx_bps),
            str(load.sessions),
            f"{one.holdings_count}/{one.plan_count} {show_bytes(one.holdings_bytes)}",
            _fill(one),
            _disks(one),
        )
        shown_site = site
    return table


def _state(one: ApplianceView) -> Text:
    state = one.health.state
    text = Text(str(state), style=_STYLES[state])
    if one.appliance.admin_state is not AdminState.ENABLED:
        text.append(f" {'drained' if one.is_drained else one.appliance.admin_state}", style="yellow")
        if one.window is not None and one.window.is_holding:
            text.append(f" by {one.window.window_id} until {show_instant(one.window.ends_s, one.window.zone)}")
    return text


def _why(one: ApplianceView, now_s: float) -> str:
    health = one.health
    detail = f": {health.detail}" if health.detail else ""
    lasting = f" for {show_duration(max(0.0, now_s - health.since_s))}" if health.since_s else ""
    old = ""
    if one.last_report_s is not None and now_s - one.last_report_s > _OLD_REPORT_S:
        old = f", last report {show_duration(now_s - one.last_report_s)} ago"
    return f"{health.reason}{detail}{lasting}{old}"


def _fill(one: ApplianceView) -> Text:
    fill = one.report.fill
    if fill.state is FillState.IDLE:
        return Text("idle", style="dim")
    if fill.state is FillState.FILLING:
        return Text(f"{fill.pending_files} to go, {show_bps(fill.rate_bps)}", style="cyan")
    style = "cyan" if fill.state is FillState.WAITING else "bold yellow"
    return Text(plain(f"{fill.state} {fill.error}".rstrip()), style=style)


def _disks(one: ApplianceView) -> Text:
    disks = one.report.disks
    if not disks:
        return Text("-", style="dim")
    free = show_bytes(sum(disk.free_bytes for disk in distinct_disks(disks)))
    failed = sum(not disk.is_ok for disk in disks)
    return Text(f"{free} free") if not failed else Text(f"{failed} failed, {free} free", style="bold red")
