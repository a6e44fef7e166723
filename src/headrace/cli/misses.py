"""`headrace misses`: why bytes did not come from the best appliances, and how much stayed in the networks."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from headrace.base.errors import UsageError
from headrace.base.units import show_bytes
from headrace.cli.console import AsJson, out, plain
from headrace.cli.steer import read_settings, tell_left_out
from headrace.playback.adapters.past import Past
from headrace.playback.adapters.session_log import read_sessions
from headrace.steering.misses import Misses, explain_misses
from headrace.wire.codec import encode

misses = typer.Typer(
    help="Misses: bytes that did not come from the best appliance for their client.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.add_typer(misses, name="misses")


@misses.command("explain")
def _explain(
    log: Annotated[Path, typer.Argument(help="Log of sessions given out (settings of the node: `\\[log] file`).")],
    node: Annotated[Path, typer.Option(help="Folder of the node's snapshots (`\\[snapshot] folder`), kept for a day.")],
    settings: Annotated[
        Path | None, typer.Option(help="Settings of the node: limits, loads, location database.")
    ] = None,
    step: Annotated[int, typer.Option(help="Seconds for which one snapshot is taken to hold.", min=1, max=3600)] = 60,
    site: Annotated[str, typer.Option(help="Only sessions that this site should have served.")] = "",
    top: Annotated[int, typer.Option(help="Rows to list, most bytes first.", min=0, max=100_000)] = 20,
    as_json: AsJson = False,
) -> None:
    """Say by site and title what kept the best appliances out: content, health, load or route.

    Bytes are expected ones: the bit rate that a session was taken to need, times the length of its title.

    Example: [bold]headrace misses explain sessions.log --node /var/lib/headrace/steer[/]
    """
    config = read_settings(settings)
    past, bad = Past(node, step_s=step), list[int]()
    sessions = read_sessions(log, config.clients.location_database, bad)
    found = explain_misses(sessions, past.at, config.rank_limits, top=top, site=site)
    tell_left_out(bad)
    if not found.sessions and found.skipped:
        raise UsageError(f"no snapshot in {node} is of the time of this log: one day is kept, see [snapshot] history_s")
    if as_json:
        typer.echo(encode(found).decode())
    else:
        _print(found)


def _print(found: Misses) -> None:
    skipped = f", {found.skipped} more without a snapshot of their time" if found.skipped else ""
    out.print(f"{found.sessions} sessions, {show_bytes(found.bytes)} expected{skipped}")
    shares = Table("served by", "share of bytes", "why not by the best", "share of bytes")
    tiers = [(name, f"{share:.1%}") for name, share in found.by_tier.items()]
    classes = [("no miss" if name == "best" else name, f"{share:.1%}") for name, share in found.by_class.items()]
    for number in range(max(len(tiers), len(classes))):
        row = [*(tiers[number] if number < len(tiers) else ("", ""))]
        shares.add_row(*row, *(classes[number] if number < len(classes) else ("", "")))
    out.print(shares)
    if not found.rows:
        return
    table = Table("site that should have served", "title", "why it did not", "bytes", "sessions")
    for one in found.rows:
        table.add_row(
            plain(one.site_id) or "-", plain(one.title_id), one.reason, show_bytes(one.bytes), str(one.sessions)
        )
    out.print(table)
