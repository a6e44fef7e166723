"""`headrace routes`: what networks announce to appliances, and what of it does not fit."""

from dataclasses import replace
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.base.instants import read_duration, read_instant, show_instant
from headrace.base.units import show_count, show_duration
from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, ask_control, err, out
from headrace.routes.hygiene import FilterReason
from headrace.routes.reports import (
    Answer,
    ChangeRow,
    ChangesReport,
    ImbalanceReport,
    LeakRow,
    LeaksReport,
    MemberRow,
    PrefixesReport,
    PrefixRow,
    SessionRow,
    SessionsReport,
    SingleReport,
    SingleRow,
    UnevenRow,
    as_csv,
)
from headrace.wire.client import ControlClient
from headrace.wire.codec import encode

R = TypeVar("R", bound=Answer)

PAGE = 10_000
SHOWN = 100
"""Rows of a table for people, unless more are asked for."""

SiteOption = Annotated[str, typer.Option("--site", help="Only this site.")]
ApplianceOption = Annotated[str, typer.Option("--appliance", help="Only this appliance.")]
PrefixOption = Annotated[str, typer.Option("--prefix", help="Routes inside or around this prefix.")]
Limit = Annotated[
    int | None, typer.Option(help="Rows; 0 for all. Left out: 100 in a table, all with --json or --csv.", min=0)
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV with a line of names.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        help="Routes heard over BGP: sessions, prefixes, filtered ones, imbalance, no second site, leaks, changes.",
        no_args_is_help=True,
    )
    for name, command in (
        ("sessions", _sessions),
        ("prefixes", _prefixes),
        ("filtered", _filtered),
        ("imbalance", _imbalance),
        ("single", _single),
        ("leaks", _leaks),
        ("changes", _changes),
    ):
        group.command(name)(command)
    app.add_typer(group, name="routes")


def _sessions(
    site: SiteOption = "",
    appliance: ApplianceOption = "",
    limit: Limit = None,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """List BGP sessions: state, whether their routes count, prefixes heard and filtered.

    Example: [bold]headrace routes sessions --site ams1[/]
    """
    asked = {"site": site, "appliance": appliance}
    found = _ask("sessions", SessionsReport, asked, _most(limit, as_json, csv), control, token_file, ca)
    if _printed(found, SessionRow, found.rows, as_json, csv):
        return
    now_s = SystemClock().now_s()
    table = Table("site", "appliance", "session", "AS", "state", "routes", "prefixes", "filtered", "drops", box=None)
    for row in found.rows:
        state = f"{row.state} for {show_duration(max(0.0, now_s - row.since_s))}"
        standing = "damped" if row.is_damped else str(row.standing)
        if row.until_s is not None:
            standing += f" for {show_duration(max(0.0, row.until_s - now_s))} more"
        filtered = str(row.filtered) if row.filtered else ""
        most = f" of {row.most_prefixes}" if row.most_prefixes else ""
        detail = f" ({row.detail})" if row.detail else ""
        cells = (row.session_id, str(row.peer_as), state + detail, standing, f"{row.prefixes}{most}", filtered)
        table.add_row(row.site_id, row.appliance_id, *cells, str(row.drops or ""))
    _show(table, found, len(found.rows), "session")
    if found.rpki_state != "off":
        err.print(f"RPKI: {found.rpki_state}, {show_count(found.rpki_count, 'payload')}", found.rpki_error)


def _prefixes(
    site: SiteOption = "",
    appliance: ApplianceOption = "",
    prefix: PrefixOption = "",
    limit: Limit = None,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """List routes by site and appliance, with the reason where one does not count.

    Example: [bold]headrace routes prefixes --appliance ams1-a --prefix 193.0.0.0/21[/]
    """
    asked = {"site": site, "appliance": appliance, "prefix": prefix}
    found = _ask("prefixes", PrefixesReport, asked, _most(limit, as_json, csv), control, token_file, ca)
    _show_routes(found, as_json, csv)


def _filtered(
    site: SiteOption = "",
    appliance: ApplianceOption = "",
    prefix: PrefixOption = "",
    reason: Annotated[FilterReason | None, typer.Option(help="Only this reason.")] = None,
    limit: Limit = None,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """List routes that were heard and do not count, each with its reason.

    Example: [bold]headrace routes filtered --reason rpki-invalid --csv[/]
    """
    asked = {"site": site, "appliance": appliance, "prefix": prefix, "reason": str(reason or "")}
    found = _ask("filtered", PrefixesReport, asked, _most(limit, as_json, csv), control, token_file, ca)
    _show_routes(found, as_json, csv)


def _show_routes(found: PrefixesReport, as_json: bool, csv: bool) -> None:
    if _printed(found, PrefixRow, found.rows, as_json, csv):
        return
    table = Table("prefix", "site", "appliance", "session", "AS path", "MED", "since", "not counted", box=None)
    for row in found.rows:
        path = row.as_path or f"{row.path_length} hops, origin {row.origin_as or 'none'}"
        since, reason = show_instant(row.learned_s), str(row.reason or "")
        table.add_row(row.prefix, row.site_id, row.appliance_id, row.session_id, path, str(row.med), since, reason)
    _show(table, found, len(found.rows), "route")
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(found.counts.items()) if reason)
    if counts:
        err.print(f"not counted: {counts}")


def _imbalance(
    site: SiteOption = "",
    limit: Limit = None,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """List sites whose members do not hear the same, and the prefixes that some of them miss.

    Content is spread over the members of a site: what one of them does not hear is served from elsewhere.

    Example: [bold]headrace routes imbalance --site ams1[/]
    """
    found = _ask("imbalance", ImbalanceReport, {"site": site}, _most(limit, as_json, csv), control, token_file, ca)
    if _printed(found, UnevenRow, found.prefixes, as_json, csv):
        return
    table = Table("site", "family", "appliance", "problem", "heard", "missing", box=None)
    for row in found.rows:
        table.add_row(row.site_id, row.family, row.appliance_id, str(row.problem or ""), *_numbers(row))
    out.print(table)
    uneven = Table("site", "prefix", "heard by", "missing at", box=None)
    for one in found.prefixes:
        uneven.add_row(one.site_id, one.prefix, ", ".join(one.heard_by), ", ".join(one.missing_at))
    _show(uneven, found, len(found.prefixes), "uneven prefix", "uneven prefixes")


def _numbers(row: MemberRow) -> tuple[str, str]:
    return str(row.heard), str(row.missing or "")


def _single(
    site: SiteOption = "",
    covered: Annotated[
        bool, typer.Option("--covered", help="Also those around which another site hears a prefix.")
    ] = False,
    limit: Limit = None,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """List prefixes that have no second site: their clients have nowhere to go when theirs is down.

    Example: [bold]headrace routes single --csv[/]
    """
    asked = {"site": site, "covered": str(covered).lower()}
    found = _ask("single", SingleReport, asked, _most(limit, as_json, csv), control, token_file, ca)
    if _printed(found, SingleRow, found.rows, as_json, csv):
        return
    table = Table("prefix", "site", "another site hears", box=None)
    for row in found.rows:
        table.add_row(row.prefix, row.site_id, row.cover)
    _show(table, found, len(found.rows), "prefix", "prefixes")


def _leaks(
    site: SiteOption = "",
    appliance: ApplianceOption = "",
    limit: Limit = None,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """List routes heard beyond their scope, as table routes.leaks of the control plane's settings tells it.

    Example: [bold]headrace routes leaks --site ams1[/]
    """
    asked = {"site": site, "appliance": appliance}
    found = _ask("leaks", LeaksReport, asked, _most(limit, as_json, csv), control, token_file, ca)
    if _printed(found, LeakRow, found.rows, as_json, csv):
        return
    table = Table("prefix", "site", "appliance", "session", "reason", "hops", "origin AS", box=None)
    for row in found.rows:
        hops, origin = str(row.path_length), str(row.origin_as or "none")
        table.add_row(row.prefix, row.site_id, row.appliance_id, row.session_id, str(row.reason), hops, origin)
    _show(table, found, len(found.rows), "route")


def _changes(
    since: Annotated[str, typer.Option(help="How long ago, 90m or 3h, or a time, 2026-12-01T20:13Z.")] = "1h",
    site: SiteOption = "",
    appliance: ApplianceOption = "",
    limit: Limit = None,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """List routes that were announced, withdrawn or changed since a time, of the last day.

    Example: [bold]headrace routes changes --since 3h --site ams1[/]
    """
    asked = {"site": site, "appliance": appliance, "since": f"{_since(since):.3f}"}
    found = _ask("changes", ChangesReport, asked, _most(limit, as_json, csv), control, token_file, ca)
    if _printed(found, ChangeRow, found.rows, as_json, csv):
        return
    table = Table("prefix", "site", "appliance", "session", "", "hops", "MED", "since", box=None)
    for row in found.rows:
        where = (row.prefix, row.site_id, row.appliance_id, row.session_id, str(row.kind))
        table.add_row(*where, str(row.path_length), str(row.med), show_instant(row.learned_s))
    _show(table, found, len(found.rows), "change")
    if found.compared_s is not None and found.compared_s < found.since_s:
        err.print(f"compared with tables kept since {show_instant(found.compared_s)} and later", soft_wrap=True)


def _since(text: str) -> float:
    if "T" in text or "-" in text:
        return read_instant(text, "")
    return SystemClock().now_s() - read_duration(text)


def _most(limit: int | None, as_json: bool, csv: bool) -> int:
    """Rows to fetch; 0 for all. Programs get all unless they ask for a number."""
    if as_json and csv:
        raise UsageError("--json and --csv: one of both")
    if limit is None:
        return 0 if as_json or csv else SHOWN
    return limit


def _ask(
    report: str,
    shape: type[R],
    asked: dict[str, str],
    most: int,
    control: list[str] | None,
    token_file: Any,
    ca: Any,
) -> R:
    """The report with at most `most` rows, fetched page by page."""
    params = {name: value for name, value in asked.items() if value}

    async def work(client: ControlClient) -> R:
        async def page(offset: int) -> R:
            limit = min(PAGE, most - offset) if most else PAGE
            where = {**params, "offset": str(offset), "limit": str(limit)}
            return await client.call("GET", f"/v1/routes/{report}", answer=shape, params=where)

        name = "prefixes" if shape is ImbalanceReport else "rows"
        whole = await page(0)
        while (have := len(getattr(whole, name))) < min(whole.total, most or whole.total):
            more = getattr(await page(have), name)
            if not more:
                break
            rows: dict[str, Any] = {name: (*getattr(whole, name), *more)}
            whole = replace(whole, **rows)
        return whole

    return ask_control(work, control=control, token_file=token_file, ca=ca)


def _printed(report: Answer, shape: type[Any], rows: tuple[Any, ...], as_json: bool, csv: bool) -> bool:
    """Print for programs, when that was asked."""
    if as_json:
        typer.echo(encode(report).decode())
    elif csv:
        typer.echo(as_csv(shape, rows), nl=False)
    return as_json or csv


def _show(table: Table, report: Answer, shown: int, one: str, many: str = "") -> None:
    if shown:
        out.print(table)
    words = show_count(report.total, one, many) if many else show_count(report.total, one)
    err.print(words if shown == report.total else f"{shown} of {words}: --limit 0 shows all")
