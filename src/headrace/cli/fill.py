"""`headrace fill`: how far fills are, and what is to be filled now or by a date."""

from typing import Annotated

import typer
from rich.table import Table

from headrace.base.errors import InvalidIdError, UsageError
from headrace.base.ids import Sha256, SiteId, TitleId, sha256, site_id, title_id
from headrace.base.instants import read_instant, show_instant
from headrace.base.units import show_bps, show_bytes, show_count
from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, ask_control, err, look, out
from headrace.fill.orders import FillOrder
from headrace.wire.codec import encode
from headrace.wire.fill import FillOrderRequest, FillView, SiteFill

TargetArgument = Annotated[str, typer.Argument(metavar="TITLE|FILE", help="Id of a title, or SHA-256 of a file.")]
OnlySite = Annotated[str | None, typer.Option("--site", help="Only at this site.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the record of events.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Fills: show, now, by, cancel.", no_args_is_help=True)
    for name, command in (("show", _show), ("now", _now), ("by", _by), ("cancel", _cancel)):
        group.command(name)(command)
    app.add_typer(group, name="fill")


def _show(
    site: Annotated[str | None, typer.Option("--site", help="This site, with its appliances and titles.")] = None,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how far fills are: windows, what is missing, when it will be there, and what will not fit.

    Example: [bold]headrace fill show --site ams1[/]
    """
    path = "/v1/fill" + (f"?site={site_id(site)}" if site else "")
    view = look(path, FillView, control=control, token_file=token_file, ca=ca, as_json=as_json)
    if view is None:
        return
    _show_sites(view)
    if site:
        for one in view.sites:
            _show_appliances(one)
            _show_titles(one)
    _show_orders(view.orders)


def _show_sites(view: FillView) -> None:
    table = Table("site", "window", "missing", "from outside", "expected end", "will not fit")
    for one in view.sites:
        left = show_bytes(one.left_over_bytes) if one.left_over_bytes else ""
        row = (show_bytes(one.missing_bytes), show_bytes(one.inbound_bytes), _at(one, one.expected_end_s), left)
        table.add_row(one.site_id, _window(one), *row)
    out.print(table)


def _show_appliances(site: SiteFill) -> None:
    table = Table("appliance", "state", "missing", "rate", "expected end", "detail")
    for one in site.appliances:
        missing = f"{show_bytes(one.missing_bytes)}, {show_count(one.missing_files, 'file')}"
        ends = _at(site, one.expected_end_s)
        table.add_row(one.appliance_id, one.state, missing, show_bps(one.rate_bps), ends, one.detail)
    out.print(table)


def _show_titles(site: SiteFill) -> None:
    if not site.titles:
        return
    table = Table("title", "missing", "of", "expected end", "in this window")
    for one in site.titles:
        sizes = (show_bytes(one.missing_bytes), show_bytes(one.planned_bytes))
        table.add_row(one.title_id, *sizes, _at(site, one.expected_end_s), "yes" if one.fits else "no")
    out.print(table)
    if site.titles_missing > len(site.titles):
        out.print(f"and {show_count(site.titles_missing - len(site.titles), 'more title', 'more titles')}")


def _show_orders(orders: tuple[FillOrder, ...]) -> None:
    if not orders:
        return
    table = Table("order", "for", "site", "when", "ordered", "reason")
    for one in orders:
        when = "now" if one.by_s is None else f"by {show_instant(one.by_s)}"
        ordered = f"{show_instant(one.ordered_at_s)}, {one.ordered_by}"
        table.add_row(one.order_id, one.target, one.site_id or "all", when, ordered, one.reason)
    out.print(table)


def _now(
    target: TargetArgument,
    site: OnlySite = None,
    reason: Reason = "",
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Fill a title or a file now, past the windows, with a cap of its own; where it is planned, nowhere else.

    Example: [bold]headrace fill now big-buck-bunny --reason "faulty encode replaced"[/]
    """
    _order(target, site, None, reason, control=control, token_file=token_file, ca=ca, as_json=as_json)


def _by(
    target: TargetArgument,
    date: Annotated[str, typer.Argument(metavar="TIME", help="When it must be there: 2026-12-01T18:00Z.")],
    zone: Annotated[str, typer.Option(help="Time zone of a time without one: Europe/Amsterdam.")] = "",
    site: OnlySite = None,
    reason: Reason = "",
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Fill a title or a file by a date: first in the windows before it, and past them when they do not do.

    Example: [bold]headrace fill by big-buck-bunny 2026-12-01T18:00Z --reason premiere[/]
    """
    by_s = read_instant(date, zone)
    _order(target, site, by_s, reason, control=control, token_file=token_file, ca=ca, as_json=as_json)


def _order(
    target: str,
    site: str | None,
    by_s: float | None,
    reason: str,
    *,
    control: ControlUrl,
    token_file: TokenFile,
    ca: CaFile,
    as_json: bool,
) -> None:
    title, file = _read_target(target)
    wanted = FillOrderRequest(title_id=title, sha256=file, site_id=_site_or_none(site), by_s=by_s, reason=reason)
    given = ask_control(
        lambda client: client.call("POST", "/v1/fill/orders", body=wanted, answer=FillOrder),
        control=control,
        token_file=token_file,
        ca=ca,
    )
    if as_json:
        typer.echo(encode(given).decode())
        return
    when = "now" if given.by_s is None else f"by {show_instant(given.by_s)}"
    err.print(f"{given.order_id}: {given.target} is filled {when}, where it is planned")


def _cancel(
    order: Annotated[str, typer.Argument(metavar="ORDER", help="Id of the order: o1, o2, ...")],
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Cancel an order; its files are filled as any others.

    Example: [bold]headrace fill cancel o3[/]
    """
    if not order.startswith("o") or not order[1:].isdecimal() or not order.isascii():
        raise UsageError(f"{order[:60]!r} is not the id of an order: o1, o2, ... (`headrace fill show`)")
    path = f"/v1/fill/orders/{order}"
    ask_control(lambda client: client.raw("DELETE", path), control=control, token_file=token_file, ca=ca)
    err.print(f"{order} is cancelled")


def _read_target(text: str) -> tuple[TitleId | None, Sha256 | None]:
    try:
        return None, sha256(text)
    except InvalidIdError:
        return title_id(text), None


def _site_or_none(text: str | None) -> SiteId | None:
    return site_id(text) if text else None


def _window(site: SiteFill) -> str:
    if not site.hours:
        return "none, at once"
    return f"{site.hours} {site.zone}, {'open' if site.is_open else 'shut'}"


def _at(site: SiteFill, at_s: float | None) -> str:
    return "" if at_s is None else show_instant(at_s, site.zone or "UTC")
