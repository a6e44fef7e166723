"""`headrace steer`: run a steering node, explain its answers, replay its sessions."""

import os
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.base.ids import title_id
from headrace.base.logs import set_up_logging
from headrace.cli.console import AsJson, out
from headrace.playback.adapters.disk import PARTS_NAME
from headrace.playback.adapters.explainer import ask_explanation
from headrace.playback.adapters.geo import open_locator
from headrace.playback.adapters.history import PartFolder
from headrace.playback.adapters.session_log import read_sessions
from headrace.playback.answers import Answers
from headrace.playback.bodies import Bodies
from headrace.playback.config import PlaybackConfig, load_playback_config, parse_playback_config
from headrace.playback.run import run_playback
from headrace.steering.compile import compile_snapshot
from headrace.steering.explain import ExplainedAppliance, Explanation
from headrace.steering.model import SteeringSnapshot
from headrace.steering.replay import Replayed, replay
from headrace.wire.codec import encode
from headrace.wire.snapshot import unpack_snapshot

Config = Annotated[Path | None, typer.Option(help="TOML settings of this steering node; see docs/steering.md.")]
AcceptOlder = Annotated[
    bool,
    typer.Option(
        "--accept-older",
        help="Follow the next snapshot whatever its version or store: after a control plane was restored or rebuilt.",
    ),
]
LogLevel = Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")]

steer = typer.Typer(help="Run a steering node (with --config), or explain what it answers.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(steer, name="steer")


@steer.callback(invoke_without_command=True)
def _steer(
    context: typer.Context,
    config: Config = None,
    accept_older: AcceptOlder = False,
    log_level: LogLevel = "INFO",
) -> None:
    """Run a steering node: playlists, MPDs and steering manifests for players, from the last snapshot.

    It goes on without the control plane. Any number of nodes may run. Ends with SIGTERM or Ctrl-C.

    Example: [bold]headrace steer --config /etc/headrace/steer.toml[/]
    """
    if context.invoked_subcommand is None:
        _run(config, accept_older=accept_older, log_level=log_level)


@steer.command("run")
def _steer_run(config: Config = None, accept_older: AcceptOlder = False, log_level: LogLevel = "INFO") -> None:
    """Run a steering node; the same as `headrace steer --config FILE`.

    Example: [bold]headrace steer run --config /etc/headrace/steer.toml[/]
    """
    _run(config, accept_older=accept_older, log_level=log_level)


@steer.command("explain")
def _steer_explain(
    client: Annotated[str, typer.Option(help="IP address of the client.")],
    title: Annotated[str, typer.Option(help="Id of the title.")],
    steer_url: Annotated[
        str, typer.Option("--steer", envvar="HEADRACE_STEER", help="URL of the steering node to ask.")
    ] = "http://127.0.0.1:8500",
    token_file: Annotated[
        Path | None, typer.Option(envvar="HEADRACE_STEER_TOKEN_FILE", help="Token of the node's explain.token_file.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(envvar="HEADRACE_CA", help="The private CA, for an https URL.")] = None,
    snapshot: Annotated[
        Path | None, typer.Option(help="Decide here from a snapshot file (snapshot.bin) instead of asking a node.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="With --snapshot: settings of the node, for its limits and location database.")
    ] = None,
    at: Annotated[
        str, typer.Option(help="A past moment: 20:13, 2026-11-23T20:13 (local time) or seconds since 1970.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show every appliance with its rank for a client and a title, or the reason why it has none.

    Example: [bold]headrace steer explain --client 192.0.2.7 --title bunny --at 20:13[/]
    """
    wanted = title_id(title)
    at_s = read_moment(at, now_s=SystemClock().now_s()) if at else None
    if snapshot is not None and at_s is not None:
        raise UsageError("--at asks a node which snapshot was in force; with --snapshot there is only the one")
    if snapshot is not None:
        found = _explain_here(snapshot, config, client, wanted)
    else:
        moment = f"&at={at_s:.3f}" if at_s is not None else ""
        path = f"/v1/explain?client={quote(client)}&title={quote(wanted)}{moment}"
        found = ask_explanation(steer_url.rstrip("/") + path, _token(token_file), ca)
    if as_json:
        typer.echo(encode(found).decode())
    else:
        out.print(_table(found))
        out.print(_footer(found))


@steer.command("replay")
def _steer_replay(
    log: Annotated[Path, typer.Argument(help="Log of sessions given out (settings: `\\[log] file`).")],
    snapshot: Annotated[Path, typer.Option(help="The snapshot to replay against: snapshot.bin of a node.")],
    settings: Annotated[
        Path | None, typer.Option(help="Settings to replay with: limits, loads, location database.")
    ] = None,
    top: Annotated[int, typer.Option(help="Appliances to list by their peaks.", min=0, max=100_000)] = 10,
    as_json: AsJson = False,
) -> None:
    """Give the sessions of a log out again, by another snapshot or other settings, and show what would have changed.

    Example: [bold]headrace steer replay sessions.log --snapshot snapshot.bin --settings tried.toml[/]
    """
    config = read_settings(settings)
    compiled = compile_snapshot(_snapshot(snapshot))
    bad: list[int] = []
    sessions = read_sessions(log, config.clients.location_database, bad)
    found = replay(sessions, compiled, config.rank_limits, top=top)
    tell_left_out(bad)
    if as_json:
        typer.echo(encode(found).decode())
    else:
        _print_replayed(found)


def read_moment(text: str, *, now_s: float) -> float:
    """UTC epoch seconds of a past moment as people write it; a time without a day is of the last 24 hours.

    Raises:
        UsageError: no such moment.
    """
    try:
        return float(text)
    except ValueError:
        pass
    now = datetime.fromtimestamp(now_s).astimezone()
    try:
        if "-" not in text:
            clock = time.fromisoformat(text)
            moment = datetime.combine(now.date(), clock, tzinfo=now.tzinfo)
            return (moment if moment <= now else moment - timedelta(days=1)).timestamp()
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)).timestamp()
    except ValueError:
        raise UsageError(f"--at {text!r} is no moment: write 20:13, 2026-11-23T20:13 or seconds since 1970") from None


def _run(config: Path | None, *, accept_older: bool, log_level: str) -> None:
    if config is None:
        raise UsageError("--config FILE is needed; docs/steering.md shows one")
    settings = load_playback_config(config)
    set_up_logging(log_level)
    run_playback(settings, is_older_accepted=accept_older, log_level=log_level)


def _explain_here(snapshot: Path, config: Path | None, client: str, title: Any) -> Explanation:
    read, settings = _snapshot(snapshot), read_settings(config)
    locate = open_locator(settings.clients.location_database)
    answers = Answers(compile_snapshot(read), settings, locate, Bodies(0), settings.new_ledger())
    compiled, now_s = answers.compiled, SystemClock().now_s()
    answers.ledger.report(compiled.appliances, loads_at_s=compiled.loads_at_s, now_s=now_s)
    found = answers.explain(client, title, now_s=SystemClock().now_s())
    if found is None:
        known = title in answers.compiled.library.titles
        raise UsageError(f"{client!r} is not an IP address" if known else f"the snapshot has no title {title}")
    return found


def _snapshot(file: Path) -> SteeringSnapshot:
    try:
        return unpack_snapshot(file.read_bytes(), find=PartFolder(file.parent / PARTS_NAME).find)
    except OSError as error:
        raise UsageError(f"cannot read the snapshot {file}: {error}") from None


def tell_left_out(bad: Sequence[int]) -> None:
    """Tell of lines of a log that are no sessions."""
    if bad:
        typer.echo(f"{len(bad)} lines are no sessions and were left out, the first is line {bad[0]}", err=True)


def read_settings(file: Path | None) -> PlaybackConfig:
    """Settings of a steering node from its file; the defaults without one."""
    return load_playback_config(file) if file else parse_playback_config(_LOCAL, source="defaults")


_LOCAL = """
[control]
urls = ["http://127.0.0.1"]
token_file = "-"
[snapshot]
folder = "-"
"""


def _token(token_file: Path | None) -> str:
    if token_file is None:
        return os.environ.get("HEADRACE_STEER_TOKEN", "")
    try:
        return token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the token file {token_file}: {error}") from None


def _table(found: Explanation) -> Table:
    table = Table(title=f"{found.title_id} for {found.client}", title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("appliance")
    table.add_column("site")
    table.add_column("prefix", justify="right")
    table.add_column("path", justify="right")
    table.add_column("MED", justify="right")
    table.add_column("km", justify="right")
    table.add_column("load", justify="right")
    table.add_column("reason")
    for row in found.appliances:
        table.add_row(*_cells(row), style=None if row.rank else "dim")
    return table


def _cells(row: ExplainedAppliance) -> tuple[str, ...]:
    reason = f"{row.reason}: {row.detail}" if row.detail else row.reason
    return (
        str(row.rank or "-"),
        row.appliance_id,
        row.site_id,
        row.prefix or "-",
        str(row.path_length) if row.path_length is not None else "-",
        str(row.med) if row.med is not None else "-",
        f"{row.distance_km:.0f}" if row.distance_km is not None else "-",
        f"{row.load_ratio:.0%}",
        reason,
    )


def _footer(found: Explanation) -> str:
    place = "unknown" if found.latitude_deg is None else f"{found.latitude_deg:.1f}, {found.longitude_deg:.1f}"
    origin = f"then the origin, {found.origin_url}" if found.origin_url else "no origin is set"
    return f"{origin} · client's place {place} · snapshot {found.snapshot_version}, {found.snapshot_age_s:.0f} s old"


def _print_replayed(found: Replayed) -> None:
    out.print(f"{found.sessions} sessions, {found.moved_ratio:.1%} would have begun on another appliance")
    if found.unknown_titles:
        out.print(f"{found.unknown_titles} more are of titles that the snapshot does not have")
    table = Table("", "as logged", "replayed")
    for tier in dict.fromkeys((*found.tiers_before, *found.tiers_after)):
        table.add_row(tier, f"{found.tiers_before.get(tier, 0):.1%}", f"{found.tiers_after.get(tier, 0):.1%}")
    if found.mean_km_before is not None and found.mean_km_after is not None:
        table.add_row("mean distance, km", f"{found.mean_km_before:.0f}", f"{found.mean_km_after:.0f}")
    table.add_row("appliances over capacity", str(found.full_before), str(found.full_after))
    for peak in found.peaks:
        table.add_row(f"peak of {peak.appliance_id}", f"{peak.before_ratio:.0%}", f"{peak.after_ratio:.0%}")
    out.print(table)
