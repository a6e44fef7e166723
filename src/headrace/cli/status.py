"""`headrace status`: the fleet in a terminal, as the fleet page shows it."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headrace.base.clock import SystemClock
from headrace.base.units import show_bps, show_bytes, show_duration
from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, ask_control, out
from headrace.fleet.model import AdminState, FillState, HealthState
from headrace.wire.client import ControlClient
from headrace.wire.codec import encode
from headrace.wire.errors import UnreachableError
from headrace.wire.operator import ApplianceView, FleetView

_SIGNS = {
    HealthState.HEALTHY: ("●", "green"),
    HealthState.TURNING_UP: ("◐", "cyan"),
    HealthState.UNKNOWN: ("○", "dim"),
    HealthState.UNHEALTHY: ("▲", "yellow"),
    HealthState.LOST: ("✕", "bold red"),
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(_status)


def _status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing it until Ctrl-C.")] = False,
    every_s: Annotated[float, typer.Option("--every", help="Seconds between looks with --watch.", min=0.2)] = 1.0,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show sites and appliances: state with its reason, traffic, holdings, fill.

    With --json and --watch it prints one line a look.

    Example: [bold]headrace status --watch[/]
    """

    async def work(client: ControlClient) -> None:
        if as_json:
            await _print_lines(client, every_s if watch else None)
        elif watch:
            await _follow(client, every_s)
        else:
            out.print(_screen(await _look(client)))

    ask_control(work, control=control, token_file=token_file, ca=ca)


async def _look(client: ControlClient) -> FleetView:
    return await client.call("GET", "/v1/fleet", answer=FleetView)


async def _print_lines(client: ControlClient, every_s: float | None) -> None:
    while True:
        typer.echo(encode(await _look(client)).decode())
        if every_s is None:
            return
        await SystemClock().sleep(every_s)


async def _follow(client: ControlClient, every_s: float) -> None:
    clock = SystemClock()
    last: FleetView | None = None
    with Live(console=out, auto_refresh=False, screen=True) as live:
        while True:
            try:
                last = await _look(client)
                live.update(_screen(last), refresh=True)
            except UnreachableError as error:
                stale = Text(f"stale: {error}", style="bold red")
                live.update(Group(stale, _screen(last)) if last else stale, refresh=True)
            await clock.sleep(every_s)


def _screen(view: FleetView) -> RenderableType:
    healthy = sum(one.health.state is HealthState.HEALTHY for one in view.appliances)
    traffic = sum(one.report.load.tx_bps for one in view.appliances)
    head = Text.assemble(
        (f"{healthy}/{len(view.appliances)} appliances healthy", "bold"),
        f"   {len(view.sites)} sites   {view.title_count} titles, {view.file_count} files, {show_bytes(view.total_bytes)}",
        f"   traffic {show_bps(traffic)}",
    )
    parts: list[RenderableType] = [head]
    if view.is_health_held:
        parts.append(Text("most of the fleet seemed lost at once: the last state is held", style="bold yellow"))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("site", "appliance", "state", "why", "traffic", "sessions", "holds", "fill", "report"):
        is_number = column in ("traffic", "sessions", "holds", "report")
        table.add_column(column, justify="right" if is_number else "left", no_wrap=column != "why")
    for site in view.sites:
        rows = [one for one in view.appliances if one.appliance.site_id == site.site_id]
        for index, one in enumerate(rows):
            table.add_row(site.site_id if index == 0 else "", *_cells(one, view.now_s))
        if not rows:
            table.add_row(site.site_id, Text("no appliance yet", style="dim"))
    return Group(*parts, table)


def _cells(one: ApplianceView, now_s: float) -> tuple[RenderableType, ...]:
    sign, style = _SIGNS[one.health.state]
    state = Text(f"{sign} {one.health.state}", style=style)
    if one.appliance.admin_state is not AdminState.ENABLED:
        wanted = "drained" if one.is_drained else one.appliance.admin_state
        state.append(f" · {wanted}", style="magenta")
    return (
        one.appliance.appliance_id,
        state,
        f"{one.health.reason} {one.health.detail}".strip(),
        show_bps(one.report.load.tx_bps),
        str(one.report.load.sessions),
        f"{one.holdings_count}/{one.plan_count}",
        _fill(one),
        "never" if one.last_report_s is None else f"{show_duration(max(0.0, now_s - one.last_report_s))} ago",
    )


def _fill(one: ApplianceView) -> str:
    fill = one.report.fill
    if fill.state is FillState.IDLE:
        return "idle"
    return f"{fill.state} {fill.pending_files} to go, {show_bps(fill.rate_bps)}"
