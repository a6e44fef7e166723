"""`headrace demand`: count shipped logs, show what was asked for."""

from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import typer
from rich.table import Table

from headrace.base.clock import SystemClock
from headrace.base.ids import ApplianceId, SiteId
from headrace.base.instants import read_duration
from headrace.base.logs import set_up_logging
from headrace.base.units import show_bps, show_bytes, show_count
from headrace.catalog.model import Title
from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, ask_control, err, out
from headrace.cli.demand_offload import show_offload, tell_offload
from headrace.cli.steer import read_settings
from headrace.cli.title import PAGE
from headrace.cli.totals import (
    EngineOption,
    MemoryOption,
    MostOption,
    SinceOption,
    SiteOption,
    TotalsOption,
    UntilOption,
    an_engine,
    read_columns,
    read_span,
    show_hour,
)
from headrace.demand import queries
from headrace.fleet.model import Site, SiteKind
from headrace.metering.count import CountReport, Meter, Surroundings
from headrace.metering.folder import TotalsFolder, hold_totals
from headrace.metering.model import Fate, Kind, MeterLimits
from headrace.metering.surroundings import keep_surroundings, last_surroundings
from headrace.metering.totals import Totals, open_totals
from headrace.playback.adapters.disk import SnapshotFile
from headrace.playback.adapters.fetch import fetch_snapshot, read_snapshot
from headrace.steering.homes import Homes
from headrace.wire.batch_store import BatchStoreError, open_batch_store
from headrace.wire.client import ControlClient
from headrace.wire.errors import RefusedError, UnreachableError
from headrace.wire.operator import ApplianceView, TitleView

_COLUMNS = ("title", "rendition", "file", "site", "hour")

ByOption = Annotated[str, typer.Option(help=f"What to add up by, with commas: {', '.join(_COLUMNS)}.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Demand: what was asked for, by file, site and hour.", no_args_is_help=True)
    group.command("count")(_count)
    group.command("show")(_show)
    group.command("quality")(_quality)
    group.command("flaws")(_flaws)
    group.command("offload")(show_offload)
    app.add_typer(group, name="demand")


def _count(
    batches: Annotated[
        str,
        typer.Option(
            envvar="HEADRACE_BATCHES", help="Folder or s3://bucket/prefix to which agents ship (`url` of `\\[ship]`)."
        ),
    ],
    totals: TotalsOption,
    every: Annotated[str, typer.Option(help="Go on, counting this often, such as 5m; '' counts once.")] = "",
    keep: Annotated[str, typer.Option(help="Batches that were counted stay in the store so long.")] = "7d",
    late: Annotated[str, typer.Option(help="Requests older than this when they are shipped do not count.")] = "8d",
    engine: EngineOption = "duckdb",
    memory_mib: MemoryOption = 1_024,
    tell: Annotated[
        bool, typer.Option(help="Tell the control plane's dashboard who served the bytes; needs the role operate.")
    ] = True,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Count the batches of logs that agents have shipped: each once, whatever is killed when.

    Files, sites and routes are asked of the control plane; while it is away, what was known last is taken.

    Example: [bold]headrace demand count --batches s3://logs/batches --totals /var/lib/headrace/demand --every 5m[/]
    """
    limits = MeterLimits(keep_s=read_duration(keep), late_s=read_duration(late))
    pause_s = read_duration(every) if every else 0.0
    set_up_logging("INFO" if every else "WARNING")
    store, clock = open_batch_store(batches), SystemClock()

    with hold_totals(totals) as folder:
        snapshot = SnapshotFile(folder.path / "snapshot")

        learn = _learner(snapshot, control, token_file, ca)
        while True:
            try:
                surroundings = replace(_surroundings(folder, learn), home_of=_homes(snapshot))
                with an_engine(engine, folder.path / "scratch", memory_mib) as opened:
                    report = Meter(store, folder, opened, limits, clock=clock).count(surroundings)
                    if tell:
                        known = Totals(folder.path, folder.ledger)
                        tell_offload(
                            known, opened, folder.path, now_s=clock.now_s(), control=control, token=token_file, ca=ca
                        )
                _say_counted(report, as_json=as_json)
            except BatchStoreError as error:
                if not pause_s:
                    raise
                err.print(str(error))
            if not pause_s:
                return
            clock.block(pause_s)


def _learner(snapshot: SnapshotFile, control: ControlUrl, token_file: TokenFile, ca: CaFile) -> Callable[[], "_Learnt"]:
    """Asks the control plane for files, sites and routes; routes go to `snapshot`."""

    async def ask(client: ControlClient) -> "_Learnt":
        try:
            await fetch_snapshot(client, snapshot)
        except RefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND:  # a control plane that was started just now has none yet
                raise
        return await _learn(client)

    def learn() -> "_Learnt":
        return ask_control(ask, control=control, token_file=token_file, ca=ca)

    return learn


def _surroundings(folder: TotalsFolder, learn: Any) -> Surroundings:
    try:
        learnt = learn()
    except UnreachableError as error:
        known = last_surroundings(folder.path)
        err.print(f"{error}; going on with the files and sites that were known last")
        return known
    return keep_surroundings(folder.path, learnt.titles, learnt.sites, learnt.kinds)


def _homes(snapshot: SnapshotFile) -> Callable[[str], str]:
    """Looks up where clients belong, in the snapshot that was fetched last; read when the first is asked for."""

    @cache
    def homes() -> Homes | None:
        compiled = read_snapshot(snapshot)
        return None if compiled is None else Homes(compiled, read_settings(None).rank_limits)

    def home_of(client: str) -> str:
        known = homes()
        return (known.of(client) if known else None) or ""

    return home_of


class _Learnt(NamedTuple):
    """What the control plane knows."""

    titles: list[Title]
    sites: dict[ApplianceId, SiteId]
    kinds: dict[SiteId, SiteKind]


async def _learn(client: ControlClient) -> _Learnt:
    views = await client.call("GET", "/v1/appliances", answer=tuple[ApplianceView, ...])
    known = await client.call("GET", "/v1/sites", answer=tuple[Site, ...])
    titles: list[Title] = []
    while True:
        after = {"after": str(titles[-1].title_id)} if titles else {}
        page = await client.call(
            "GET", "/v1/titles", answer=tuple[TitleView, ...], params={"limit": str(PAGE), **after}
        )
        titles += [view.title for view in page]
        if len(page) < PAGE:
            sites = {view.appliance.appliance_id: view.appliance.site_id for view in views}
            return _Learnt(titles, sites, {site.site_id: site.kind for site in known})


def _say_counted(report: CountReport, *, as_json: bool) -> None:
    if as_json:
        values = {one.name: getattr(report, one.name) for one in fields(report)}
        out.print_json(data={name: dict(v) if isinstance(v, Counter) else v for name, v in values.items()})
        return
    counted = report.fates[Fate.COUNTED]
    out.print(f"counted {show_count(report.requests, 'request')} of {show_count(counted, 'batch', 'batches')}")
    for fate, number in sorted(report.fates.items()):
        if fate is not Fate.COUNTED:
            out.print(f"set aside: {show_count(number, 'batch', 'batches')}, {fate}")
    for reason, number in sorted(report.flaws.items()):
        out.print(f"not demand: {show_count(number, 'request')}, {reason}")
    if report.flawed_lines:
        out.print(f"not readable on the appliances: {show_count(report.flawed_lines, 'line')}")
    if report.strangers:
        out.print(f"left alone, no batches: {show_count(report.strangers, 'thing')} in the store")
    if report.deleted:
        out.print(f"deleted from the store: {show_count(report.deleted, 'old batch', 'old batches')}")


def _show(
    totals: TotalsOption,
    by: ByOption = "title",
    site: SiteOption = "",
    since: SinceOption = "24h",
    until: UntilOption = "",
    top: MostOption = 20,
    memory_mib: MemoryOption = 1_024,
    as_json: AsJson = False,
) -> None:
    """Show what was asked for most, with how much of it was served from the site's own disks.

    "plays" is bytes asked divided by the size of the file: how many times over it was watched.

    Example: [bold]headrace demand show --by file,site --since 7d --top 50[/]
    """
    columns = read_columns(by, _COLUMNS)
    found = _ask(totals, Kind.DEMAND, columns, site, (since, until), top, memory_mib)
    if as_json:
        out.print_json(data=found)
        return
    table = Table(*columns, "asked", "served", "share", "requests", "plays", box=None)
    for row in found:
        share = row["bytes_served"] / row["bytes_asked"] if row["bytes_asked"] else 0.0
        amounts = (show_bytes(row["bytes_asked"]), show_bytes(row["bytes_served"]), f"{share:.1%}")
        table.add_row(*_names(row, columns), *amounts, str(row["requests"]), f"{row['plays']:.2f}")
    out.print(table if found else _NOTHING)


def _quality(
    totals: TotalsOption,
    by: ByOption = "title",
    site: SiteOption = "",
    since: SinceOption = "24h",
    until: UntilOption = "",
    top: MostOption = 20,
    memory_mib: MemoryOption = 1_024,
    as_json: AsJson = False,
) -> None:
    """Show what players said of their sessions (CMCD): sessions, play delay, rebuffering, throughput.

    Example: [bold]headrace demand quality --by site,hour --since 24h[/]
    """
    columns = read_columns(by, ("title", "site", "hour"))
    found = _ask(totals, Kind.SESSIONS, columns, site, (since, until), top, memory_mib)
    if as_json:
        out.print_json(data=found)
        return
    table = Table(*columns, "sessions", "play delay", "longest", "rebuffers", "in sessions", "throughput", box=None)
    for row in found:
        delays = [_milliseconds(row[name]) for name in ("delay_ms", "most_delay_ms")]
        kbps = "-" if row["kbps"] is None else show_bps(1_000 * row["kbps"])
        rebuffered = row["rebuffered_sessions"] / row["sessions"]
        table.add_row(
            *_names(row, columns), str(row["sessions"]), *delays, str(row["rebuffers"]), f"{rebuffered:.1%}", kbps
        )
    out.print(table if found else _NOTHING)


def _flaws(totals: TotalsOption, as_json: AsJson = False) -> None:
    """Show what did not count, and why: by appliance, over all that was counted. It lies in the totals' folder aside/.

    Example: [bold]headrace demand flaws --totals /var/lib/headrace/demand[/]
    """
    with open_totals(totals) as opened:
        flaws, fates = opened.ledger.flaws(), opened.ledger.fates()
    if as_json:
        out.print_json(data={"requests": [flaw._asdict() for flaw in flaws], "batches": fates})
        return
    table = Table("appliance", "reason", "requests", "bytes", box=None)
    for flaw in flaws:
        table.add_row(flaw.appliance, flaw.reason, str(flaw.requests), show_bytes(flaw.body_bytes))
    out.print(table if flaws else "every request counted")
    for fate, number in sorted(fates.items()):
        out.print(f"{show_count(number, 'batch', 'batches')}: {fate}")


_NOTHING = "nothing was asked for in this time"


def _ask(
    totals: Path, kind: Kind, columns: tuple[str, ...], site: str, span: tuple[str, str], top: int, memory_mib: int
) -> list[dict[str, Any]]:
    first_s, end_s = read_span(*span)
    scratch = TemporaryDirectory(prefix="headrace-demand-")
    with open_totals(totals) as opened, scratch, an_engine("duckdb", Path(scratch.name), memory_mib) as engine:
        table = opened.table(engine, kind, first_s=first_s, end_s=end_s)
        if table is None:
            return []
        if site:
            table = table.filter(table.site == site)
        question = queries.top if kind is Kind.DEMAND else queries.quality
        found: list[dict[str, Any]] = engine.fetch(question(table, by=columns, most=top)).to_pylist()
    for row in found:
        if "hour" in row:
            row["hour"] = show_hour(row["hour"])
    return found


def _names(row: dict[str, Any], columns: tuple[str, ...]) -> list[str]:
    return [row[column][:16] if column == "file" else row[column] for column in columns]


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value / 1_000:.2f} s"
