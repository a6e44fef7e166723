"""`headrace misses`: why bytes did not come from the best appliances, and how much stayed in the networks."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated
from urllib.parse import quote

import typer
from rich.table import Table

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.base.units import show_bytes, show_count
from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, err, out, plain
from headrace.cli.steer import read_settings, tell_left_out
from headrace.cli.telling import tell_control
from headrace.metering.adapters.served import ServedSums
from headrace.metering.model import Fate, MeterLimits
from headrace.playback.adapters.past import Past
from headrace.playback.adapters.session_log import read_sessions
from headrace.playback.config import PlaybackConfig
from headrace.steering.misses import Misses, explain_misses
from headrace.steering.used import SLACK_S, UsedMisses, explain_used, lengths_of
from headrace.steering.used_chart import draw_used
from headrace.wire.batch_store import open_batch_store
from headrace.wire.codec import encode
from headrace.wire.files import write_atomic
from headrace.wire.misses import HOURS, MOST_ROWS, MissesView, summarise_used

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
    batches: Annotated[
        str,
        typer.Option(help="Judge what players used: folder or s3://bucket/prefix to which agents ship their logs."),
    ] = "",
    plot: Annotated[Path | None, typer.Option(help="With --batches: write bytes by hour and reason as SVG.")] = None,
    tell: Annotated[
        str,
        typer.Option(
            help="With --batches: tell the control plane, for its page, under this name of the steering node."
        ),
    ] = "",
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Say by site and title what kept the best appliances out: content, health, load or route.

    Bytes are expected ones: the bit rate that a session was taken to need, times the length of its title. With
    --batches they are those that appliances served, and one more reason is the player's own choice.

    Example: [bold]headrace misses explain sessions.log --node /var/lib/headrace/steer --batches s3://logs/batches[/]
    """
    config, past = read_settings(settings), Past(node, step_s=step)
    if batches:
        if tell and site:
            raise UsageError("--tell tells all sites: leave out --site")
        listed = max(top, MOST_ROWS) if tell else top
        used = _explain_used(log, past, config, batches, site=site, top=listed)
        if not used.bytes and used.unjoined["no_snapshot"]:
            raise UsageError(_NO_SNAPSHOT.format(node=node))
        if plot is not None:
            _write_plot(plot, used)
        if tell:
            _tell(used, tell, control=control, token_file=token_file, ca=ca)
        _print_used(replace(used, rows=used.rows[:top]), as_json=as_json)
    elif tell or plot is not None:
        raise UsageError(f"{'--tell' if tell else '--plot'} is of what was served: give --batches too")
    else:
        found = _explain_given(log, past, config, site=site, top=top)
        if not found.sessions and found.skipped:
            raise UsageError(_NO_SNAPSHOT.format(node=node))
        _print(found, as_json=as_json)


def _explain_given(log: Path, past: Past, config: PlaybackConfig, *, site: str, top: int) -> Misses:
    bad = list[int]()
    sessions = read_sessions(log, config.clients.location_database, bad)
    found = explain_misses(sessions, past.at, config.rank_limits, top=top, site=site)
    tell_left_out(bad)
    return found


def _print(found: Misses, *, as_json: bool) -> None:
    if as_json:
        typer.echo(encode(found).decode())
        return
    skipped = f", {found.skipped} more without a snapshot of their time" if found.skipped else ""
    out.print(f"{found.sessions} sessions, {show_bytes(found.bytes)} expected{skipped}")
    out.print(_side_by_side(found.by_tier, found.by_class))
    if not found.rows:
        return
    table = Table("site that should have served", "title", "why it did not", "bytes", "sessions")
    for one in found.rows:
        table.add_row(
            plain(one.site_id) or "-", plain(one.title_id), one.reason, show_bytes(one.bytes), str(one.sessions)
        )
    out.print(table)


_NO_SNAPSHOT = "no snapshot in {node} is of the time of this log: one day is kept, see [snapshot] history_s"


def _explain_used(log: Path, past: Past, config: PlaybackConfig, batches: str, *, site: str, top: int) -> UsedMisses:
    span = _span(log)
    with _served(batches, span) as served:
        sessions = read_sessions(log, config.clients.location_database, list[int]())
        found = explain_used(
            sessions,
            served.rows(),
            past.at,
            config.rank_limits,
            lengths=lengths_of(served.lengths()),
            top=top,
            site=site,
        )
        fates, strangers = served.fates, served.strangers
    _tell_batches(fates, strangers)
    return found


def _tell(used: UsedMisses, node: str, *, control: ControlUrl, token_file: TokenFile, ca: CaFile) -> None:
    summary = summarise_used(used, now_s=SystemClock().now_s())
    if not summary.hours:
        err.print(f"nothing is told: no byte was served in the last {HOURS} hours")
        return
    is_told = tell_control(
        f"/v1/misses/{quote(node, safe='')}",
        summary,
        MissesView,
        what="misses",
        otherwise="leave out --tell",
        control=control,
        token_file=token_file,
        ca=ca,
    )
    if is_told:
        err.print(f"told the control plane, as {plain(node)}")


def _write_plot(file: Path, used: UsedMisses) -> None:
    try:
        write_atomic(file, draw_used(used.hours).encode())
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror or error}") from None


def _span(log: Path) -> tuple[float, float]:
    """The moments of the first and the last session."""
    first_s, last_s, bad = float("inf"), float("-inf"), list[int]()
    for one in read_sessions(log, "", bad):
        first_s, last_s = min(first_s, one.at_s), max(last_s, one.at_s)
    tell_left_out(bad)
    if last_s < first_s:
        raise UsageError(f"no session in {log}")
    return first_s, last_s


@contextmanager
def _served(batches: str, span: tuple[float, float]) -> Iterator[ServedSums]:
    if "://" not in batches and not Path(batches).expanduser().is_dir():
        raise UsageError(f"--batches {batches}: no such folder")
    store = open_batch_store(batches)
    with TemporaryDirectory(prefix="headrace-misses-") as scratch:
        served = ServedSums(Path(scratch), first_s=span[0], end_s=span[1] + _LONGEST_S)
        try:
            served.add_all(store, MeterLimits())
            if not served.fates:
                raise UsageError(f"--batches {batches}: no batch of the time of this log")
            yield served
        finally:
            served.close()


_LONGEST_S = 12 * 3600 + SLACK_S
"""What is later than the last session by more belongs to none."""


def _tell_batches(fates: Counter[Fate], strangers: int) -> None:
    for fate, number in sorted(fates.items()):
        if fate is not Fate.COUNTED:
            err.print(f"left out: {show_count(number, 'batch', 'batches')}, {fate}")
    if strangers:
        err.print(f"left out: {show_count(strangers, 'thing')} in the store that are no batches")


_UNJOINED = {
    "no_session": "no session of this network and title in the log",
    "no_network": "without the client's network",
    "no_title": "of no title of that moment",
    "no_snapshot": "without a snapshot of that moment",
    "after_log": "after the last session of the log",
}


def _print_used(found: UsedMisses, *, as_json: bool) -> None:
    if as_json:
        typer.echo(encode(found).decode())
        return
    out.print(f"{show_bytes(found.bytes)} served in sessions of the log")
    for name, size in found.unjoined.items():
        if size:
            out.print(f"not judged: {show_bytes(size)}, {_UNJOINED[name]}")
    if found.unjudged_sessions:
        out.print(f"not judged: {show_count(found.unjudged_sessions, 'session')} without a snapshot or title then")
    out.print(_side_by_side(_shares(found.by_tier, found.bytes), _shares(found.by_class, found.bytes)))
    if not found.rows:
        return
    table = Table("site that should have served", "title", "why it did not", "bytes")
    for one in found.rows:
        table.add_row(plain(one.site_id) or "-", plain(one.title_id), one.reason, show_bytes(one.bytes))
    out.print(table)


def _shares(sizes: dict[str, int], total: int) -> dict[str, float]:
    return {name: size / total for name, size in sizes.items()}


def _side_by_side(by_tier: dict[str, float], by_class: dict[str, float]) -> Table:
    shares = Table("served by", "share of bytes", "why not by the best", "share of bytes")
    tiers = [(name, f"{share:.1%}") for name, share in by_tier.items()]
    classes = [("no miss" if name == "best" else name, f"{share:.1%}") for name, share in by_class.items()]
    for number in range(max(len(tiers), len(classes))):
        row = [*(tiers[number] if number < len(tiers) else ("", ""))]
        shares.add_row(*row, *(classes[number] if number < len(classes) else ("", "")))
    return shares
