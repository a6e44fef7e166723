"""`headrace routes`: what networks announce to appliances, and what of it does not fit."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import wraps
from inspect import Parameter
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What every command may be asked with: its fields are options of each."""

    limit: Limit = None
    control: ControlUrl = None
    token_file: TokenFile = None
    ca: CaFile = None
    as_json: AsJson = False
    csv: AsCsv = False

    def fetch(self, report: str, shape: type[R], params: Mapping[str, str]) -> R:
        """The report with as many rows as are wanted, fetched page by page; programs get all unless they ask for a
        number."""
        if self.as_json and self.csv:
            raise UsageError("--json and --csv: one of both")
        shown = 0 if self.as_json or self.csv else SHOWN
        most = shown if self.limit is None else self.limit
        given = {name: value for name, value in params.items() if value}

        async def work(client: ControlClient) -> R:
            async def page(offset: int) -> R:
                limit = min(PAGE, most - offset) if most else PAGE
                where = {**given, "offset": str(offset), "limit": str(limit)}
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

        return ask_control(work, control=self.control, token_file=self.token_file, ca=self.ca)

    def prints(self, report: Answer, shape: type[Any], rows: tuple[Any, ...]) -> bool:
        """Print for programs, when that was asked."""
        if self.as_json:
            typer.echo(encode(report).decode())
        elif self.csv:
            typer.echo(as_csv(shape, rows), nl=False)
        return self.as_json or self.csv


def _with_shared(work: Callable[..., None]) -> Callable[..., None]:
    """A command with its own options and those of all, which it gets as its first argument."""
    own = list(inspect.signature(work).parameters.values())[1:]
    shared = [
        Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default, annotation=one.type) for one in fields(_Asked)
    ]

    @wraps(work)
    def run(**given: Any) -> None:
        asked = {one.name: given.pop(one.name) for one in shared}
        work(_Asked(**asked), **given)

    run.__signature__ = inspect.Signature([one.replace(kind=Parameter.KEYWORD_ONLY) for one in own] + shared)  # type: ignore[attr-defined]
    return run


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
        group.command(name)(_with_shared(command))
    app.add_typer(group, name="routes")


def _sessions(
    asked: _Asked,
    site: SiteOption = "",
    appliance: ApplianceOption = "",
) -> None:
    """List BGP sessions: state, whether their routes count, prefixes heard and filtered.

    Example: [bold]headrace routes sessions --site ams1[/]
    """
    found = asked.fetch("sessions", SessionsReport, {"site": site, "appliance": appliance})
    if asked.prints(found, SessionRow, found.rows):
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
    asked: _Asked,
    site: SiteOption = "",
    appliance: ApplianceOption = "",
    prefix: PrefixOption = "",
) -> None:
    """List routes by site and appliance, with the reason where one does not count.

    Example: [bold]headrace routes prefixes --appliance ams1-a --prefix 193.0.0.0/21[/]
    """
    found = asked.fetch("prefixes", PrefixesReport, {"site": site, "appliance": appliance, "prefix": prefix})
    _show_routes(asked, found)


def _filtered(
    asked: _Asked,
    site: SiteOption = "",
    appliance: ApplianceOption = "",
    prefix: PrefixOption = "",
    reason: Annotated[FilterReason | None, typer.Option(help="Only this reason.")] = None,
) -> None:
    """List routes that were heard and do not count, each with its reason.

    Example: [bold]headrace routes filtered --reason rpki-invalid --csv[/]
    """
    found = asked.fetch(
        "filtered",
        PrefixesReport,
        {"site": site, "appliance": appliance, "prefix": prefix, "reason": str(reason or "")},
    )
    _show_routes(asked, found)


def _show_routes(asked: _Asked, found: PrefixesReport) -> None:
    if asked.prints(found, PrefixRow, found.rows):
        return
    table = Table("prefix", "site", "appliance", "session", "AS path", "MED", "since", "not counted", box=None)
    for row in found.rows:
        path = row.as_path or f"{row.path_length} hops, origin {row.origin_as or 'none'}"
        since, reason = _since_when(row.learned_s), str(row.reason or "")
        table.add_row(row.prefix, row.site_id, row.appliance_id, row.session_id, path, str(row.med), since, reason)
    _show(table, found, len(found.rows), "route")
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(found.counts.items()) if reason)
    if counts:
        err.print(f"not counted: {counts}")


def _imbalance(
    asked: _Asked,
    site: SiteOption = "",
) -> None:
    """List sites whose members do not hear the same, and the prefixes that some of them miss.

    Content is spread over the members of a site: what one of them does not hear is served from elsewhere.

    Example: [bold]headrace routes imbalance --site ams1[/]
    """
    found = asked.fetch("imbalance", ImbalanceReport, {"site": site})
    if asked.prints(found, UnevenRow, found.prefixes):
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
    asked: _Asked,
    site: SiteOption = "",
    covered: Annotated[
        bool, typer.Option("--covered", help="Also those around which another site hears a prefix.")
    ] = False,
) -> None:
    """List prefixes that have no second site: their clients have nowhere to go when theirs is down.

    Example: [bold]headrace routes single --csv[/]
    """
    found = asked.fetch("single", SingleReport, {"site": site, "covered": str(covered).lower()})
    if asked.prints(found, SingleRow, found.rows):
        return
    table = Table("prefix", "site", "another site hears", box=None)
    for row in found.rows:
        table.add_row(row.prefix, row.site_id, row.cover)
    _show(table, found, len(found.rows), "prefix", "prefixes")


def _leaks(
    asked: _Asked,
    site: SiteOption = "",
    appliance: ApplianceOption = "",
) -> None:
    """List routes heard beyond their scope, as table routes.leaks of the control plane's settings tells it.

    Example: [bold]headrace routes leaks --site ams1[/]
    """
    found = asked.fetch("leaks", LeaksReport, {"site": site, "appliance": appliance})
    if asked.prints(found, LeakRow, found.rows):
        return
    table = Table("prefix", "site", "appliance", "session", "reason", "hops", "origin AS", box=None)
    for row in found.rows:
        hops, origin = str(row.path_length), str(row.origin_as or "none")
        table.add_row(row.prefix, row.site_id, row.appliance_id, row.session_id, str(row.reason), hops, origin)
    _show(table, found, len(found.rows), "route")


def _changes(
    asked: _Asked,
    since: Annotated[str, typer.Option(help="How long ago, 90m or 3h, or a time, 2026-12-01T20:13Z.")] = "1h",
    site: SiteOption = "",
    appliance: ApplianceOption = "",
) -> None:
    """List routes that were announced, withdrawn or changed since a time, of the last day.

    Example: [bold]headrace routes changes --since 3h --site ams1[/]
    """
    found = asked.fetch(
        "changes", ChangesReport, {"site": site, "appliance": appliance, "since": f"{_since(since):.3f}"}
    )
    if asked.prints(found, ChangeRow, found.rows):
        return
    table = Table("prefix", "site", "appliance", "session", "", "hops", "MED", "since", box=None)
    for row in found.rows:
        where = (row.prefix, row.site_id, row.appliance_id, row.session_id, str(row.kind))
        table.add_row(*where, str(row.path_length), str(row.med), _since_when(row.learned_s))
    _show(table, found, len(found.rows), "change")
    if found.compared_s is not None and found.compared_s < found.since_s:
        err.print(f"compared with tables kept since {show_instant(found.compared_s)} and later", soft_wrap=True)


def _since_when(learned_s: float | None) -> str:
    return "" if learned_s is None else show_instant(learned_s)


def _since(text: str) -> float:
    if "T" in text or "-" in text:
        return read_instant(text, "")
    return SystemClock().now_s() - read_duration(text)


def _show(table: Table, report: Answer, shown: int, one: str, many: str = "") -> None:
    if shown:
        out.print(table)
    words = show_count(report.total, one, many) if many else show_count(report.total, one)
    err.print(words if shown == report.total else f"{shown} of {words}: --limit 0 shows all")
