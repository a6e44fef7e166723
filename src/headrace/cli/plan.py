"""`headrace plan`: foretell demand, show what should lie where, what a forecast would change, and why."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.table import Table

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.base.ids import ApplianceId, FileNo, SiteId, TitleId
from headrace.base.instants import read_duration, show_instant
from headrace.base.units import show_bytes, show_count
from headrace.catalog.fileset import FileSet
from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, ask_control, err, out
from headrace.cli.steer import read_moment
from headrace.cli.title import PAGE
from headrace.demand.forecast_titles import TitleFacts, TitleForecast, forecast_titles
from headrace.fleet.model import Site
from headrace.metering.adapters.duckdb_engine import DuckDbEngine
from headrace.metering.totals import open_totals
from headrace.placement.by_demand import DemandPlan, Explained, Seat, explain, plan_by_demand
from headrace.placement.fleet import FleetRules
from headrace.placement.plan import PlacedTitle, Room, check_plan, room_of
from headrace.wire.client import ControlClient
from headrace.wire.errors import MalformedError, UnreachableError
from headrace.wire.forecast import MOST_FORECAST_BYTES, read_forecast, write_forecast
from headrace.wire.operator import ApplianceView, PlanView, TitleView

ForecastOption = Annotated[
    Path, typer.Option("--forecast", envvar="HEADRACE_FORECAST", help="File of the forecast; `plan forecast` makes it.")
]
SiteOption = Annotated[str, typer.Option(help="Only this site.")]
PriceOption = Annotated[float, typer.Option(min=0.0, help="[fleet.placement] fill_price of the control node.")]
ShareOption = Annotated[float, typer.Option(min=0.0, max=0.9, help="[fleet.placement] reactive_ratio.")]
CopiesOption = Annotated[int, typer.Option(min=0, max=100, help="[fleet.placement] region_copies.")]
_RESERVE_RATIO = 0.05


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Plans: what should lie where, and why.", no_args_is_help=True)
    group.command("forecast")(_forecast)
    group.command("show")(_show)
    group.command("diff")(_diff)
    group.command("explain")(_explain)
    group.command("rollback")(_rollback)
    app.add_typer(group, name="plan")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """What the control plane knows now."""

    sites: tuple[Site, ...]
    appliances: tuple[ApplianceView, ...]
    titles: tuple[TitleView, ...]
    plans: tuple[PlanView, ...]

    def seats(self) -> dict[ApplianceId, Seat]:
        regions = {site.site_id: site.region for site in self.sites}
        return {
            view.appliance.appliance_id: Seat(
                site_id=view.appliance.site_id,
                region=regions.get(view.appliance.site_id, ""),
                throughput_bps=float(view.appliance.capacity_bps),
            )
            for view in self.appliances
        }

    def placed(self) -> list[PlacedTitle]:
        """Titles with one number each: what is compared here are whole titles."""
        return [
            PlacedTitle(
                title_id=view.title.title_id,
                published_at_s=view.published_at_s,
                file_nos=(FileNo(number),),
                size_bytes=view.size_bytes,
            )
            for number, view in enumerate(self.titles, start=1)
        ]

    def rooms(self) -> list[Room]:
        number = {view.title.title_id: at for at, view in enumerate(self.titles, start=1)}
        planned = {
            plan.appliance_id: FileSet(number[name] for name in plan.titles if name in number) for plan in self.plans
        }
        found = (
            room_of(
                view.appliance.appliance_id,
                view.report,
                view.holdings_bytes,
                planned[view.appliance.appliance_id],
                reserve_ratio=_RESERVE_RATIO,
            )
            for view in self.appliances
        )
        return [room for room in found if room is not None]


def _forecast(
    totals: Annotated[Path, typer.Option(envvar="HEADRACE_TOTALS", help="Folder of the totals of `demand count`.")],
    forecast: ForecastOption,
    since: Annotated[str, typer.Option(help="How much of the past is looked at.")] = "60d",
    every: Annotated[str, typer.Option(help="Go on, making it anew this often, such as 1h; '' makes it once.")] = "",
    at: Annotated[str, typer.Option(help="As if it were then, such as 2026-11-23T20:00; '' is now.")] = "",
    keep: Annotated[int, typer.Option(min=0, max=100, help="Forecasts of before that are kept, for rollback.")] = 7,
    memory_mib: Annotated[int, typer.Option("--memory", min=64, help="MiB for the query.")] = 1_024,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Foretell the next day's plays of each title from what was counted in the hours that are over.

    The control node reads the file that [fleet.placement] forecast_file names, whenever it changes.

    Example: [bold]headrace plan forecast --totals /var/lib/headrace/demand --forecast forecast --every 1h[/]
    """
    clock, pause_s = SystemClock(), read_duration(every) if every else 0.0
    then_s = read_moment(at, now_s=clock.now_s()) if at else None
    while True:
        try:
            picture = ask_control(_catalog, control=control, token_file=token_file, ca=ca)
            now_s = clock.now_s() if then_s is None else then_s
            made = _foretell(totals, picture, now_s, read_duration(since), memory_mib)
            _keep_old(forecast, keep)
            write_forecast(forecast, made)
            regions = show_count(max(1, len(made.regions) - 1), "region")
            out.print(f"foretold {show_count(len(made.titles), 'title')} in {regions}: {forecast}")
        except UnreachableError as error:
            if not pause_s:
                raise
            err.print(f"{error}; the forecast of before stays")
        if not pause_s:
            return
        clock.block(pause_s)


def _foretell(totals: Path, picture: _Picture, now_s: float, since_s: float, memory_mib: int) -> TitleForecast:
    with open_totals(totals) as opened, TemporaryDirectory(prefix="headrace-") as scratch:
        engine = DuckDbEngine(Path(scratch), memory_bytes=memory_mib << 20)
        try:
            demand = opened.demand(engine, first_s=now_s - since_s, end_s=now_s)
        finally:
            engine.close()
    facts = [
        TitleFacts(
            title_id=view.title.title_id,
            files=tuple(file.sha256 for file in view.title.files),
            size_bytes=view.size_bytes,
            published_s=view.published_at_s if view.title.launch_s is None else view.title.launch_s,
            group=view.title.group,
        )
        for view in picture.titles
    ]
    return forecast_titles(demand, facts, {site.site_id: site.region for site in picture.sites}, now_s=now_s)


def _show(
    site: SiteOption = "",
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the plan in force of each appliance.

    Example: [bold]headrace plan show --site ams1[/]
    """
    picture = _of_site(ask_control(_look, control=control, token_file=token_file, ca=ca), site)
    if as_json:
        out.print_json(data=[asdict(plan) for plan in picture.plans])
        return
    table = Table("appliance", "site", "version", "titles", "planned", "held", box=None)
    for view, plan in zip(picture.appliances, picture.plans, strict=True):
        share = view.holdings_bytes / plan.total_bytes if plan.total_bytes else 1.0
        name = view.appliance
        amounts = (str(len(plan.titles)), show_bytes(plan.total_bytes), f"{min(1.0, share):.0%}")
        table.add_row(name.appliance_id, name.site_id, str(plan.version), *amounts)
    out.print(table if picture.plans else "no appliances yet")


def _diff(
    forecast: ForecastOption,
    site: SiteOption = "",
    fill_price: PriceOption = 0.1,
    reactive_ratio: ShareOption = 0.2,
    region_copies: CopiesOption = 1,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what a forecast would change in a fill window and what it costs, before any of it is done.

    Nothing is changed: the same decision as the control node's is made here.

    Example: [bold]headrace plan diff --forecast tomorrow[/]
    """
    picture = ask_control(_look, control=control, token_file=token_file, ca=ca)
    plan = _planned(picture, _read(forecast), fill_price, reactive_ratio, region_copies)
    changes = [one for one in _changes(picture, plan) if not site or one.site_id == site]
    if as_json:
        out.print_json(data=[asdict(one) for one in changes])
        return
    table = Table("appliance", "site", "comes", "goes", "to fill", "expected a day", "instead of", box=None)
    for one in changes:
        comes, goes = show_count(len(one.comes), "title"), show_count(len(one.goes), "title")
        expected = (show_bytes(one.expected_bytes), show_bytes(one.expected_now_bytes))
        table.add_row(one.appliance_id, one.site_id, comes, goes, show_bytes(one.fill_bytes), *expected)
    out.print(table if changes else "nothing changes")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    appliance_id: ApplianceId
    site_id: SiteId
    comes: tuple[TitleId, ...]
    goes: tuple[TitleId, ...]
    fill_bytes: int
    expected_bytes: float
    """A day, of what it would hold, as if nobody else of the site held it."""
    expected_now_bytes: float


def _changes(picture: _Picture, plan: DemandPlan) -> Iterable[_Change]:
    seats, size = picture.seats(), {view.title.title_id: view.size_bytes for view in picture.titles}
    by_site = {name: _expected(plan, name, seats) for name in {seat.site_id for seat in seats.values()}}
    for room in picture.rooms():
        wanted = plan.plan.plans[room.appliance_id].files
        place = seats[room.appliance_id].site_id
        then, now = (
            {picture.titles[number - 1].title.title_id for number in files} for files in (wanted, room.planned)
        )
        if then == now:
            continue
        expected = by_site[place]
        yield _Change(
            appliance_id=room.appliance_id,
            site_id=place,
            comes=tuple(sorted(then - now)),
            goes=tuple(sorted(now - then)),
            fill_bytes=sum(size[name] for name in then - now),
            expected_bytes=sum(expected[name] * size[name] for name in then),
            expected_now_bytes=sum(expected[name] * size[name] for name in now),
        )


def _expected(plan: DemandPlan, site: SiteId, seats: dict[ApplianceId, Seat]) -> dict[TitleId, float]:
    own = {name: seat for name, seat in seats.items() if seat.site_id == site and name in plan.plan.plans}
    return {title.title_id: explain(plan, title.title_id, own)[0].plays for title in plan.titles} if own else {}


def _explain(
    what: Annotated[str, typer.Argument(metavar="FILE", help="Id of a title, or the SHA-256 of a file of it.")],
    forecast: ForecastOption,
    site: SiteOption = "",
    fill_price: PriceOption = 0.1,
    reactive_ratio: ShareOption = 0.2,
    region_copies: CopiesOption = 1,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Say why each site would hold a title, or would not: what is expected of it, from what, and what it takes.

    Example: [bold]headrace plan explain big-film --forecast /etc/headrace/forecast[/]
    """
    picture = ask_control(_look, control=control, token_file=token_file, ca=ca)
    title = _title_of(picture, what)
    plan = _planned(picture, _read(forecast), fill_price, reactive_ratio, region_copies)
    found = [one for one in explain(plan, title, picture.seats()) if not site or one.site_id == site]
    if as_json:
        out.print_json(data=[_as_data(one) for one in found])
        return
    table = Table("site", "why", "plays a day", "±", "foretold from", "needed", "on", box=None)
    for one in found:
        amounts = (f"{one.plays:.2f}", f"{one.spread:.2f}")
        why = one.forecast_reason.name.lower().replace("_", "-")
        table.add_row(
            one.site_id, one.reason.value, *amounts, why, f"{one.least_new_plays:.2f}", ", ".join(one.appliances) or "-"
        )
    out.print(table if found else f"no appliance has reported a disk yet, so nothing is planned for {title}")


def _as_data(one: Explained) -> dict[str, object]:
    return {**asdict(one), "forecast_reason": one.forecast_reason.name.lower().replace("_", "-")}


def _rollback(forecast: ForecastOption, version: Annotated[int, typer.Option(min=1, help="How far back.")] = 1) -> None:
    """Go back to an earlier forecast: the control node plans by it as soon as it sees the file.

    Titles that left since come back where that pays for their fill; the forecast that is left is kept as version 1.

    Example: [bold]headrace plan rollback --forecast /etc/headrace/forecast[/]
    """
    older = _old(forecast, version)
    if not older.exists():
        raise UsageError(f"there is no {older}: so far back nothing was kept")
    chosen = _read(older)
    _keep_old(forecast, max(1, version))
    write_forecast(forecast, chosen)
    out.print(f"{forecast} is again the forecast of {show_instant(chosen.made_s)}")


def _old(forecast: Path, version: int) -> Path:
    return forecast.with_name(f"{forecast.name}.{version}")


def _keep_old(forecast: Path, keep: int) -> None:
    """Move each kept forecast one back; the newest stays in place until the next one is whole."""
    if keep < 1 or not forecast.exists():
        return
    for version in range(keep - 1, 0, -1):
        if _old(forecast, version).exists():
            _old(forecast, version).replace(_old(forecast, version + 1))
    write_forecast(_old(forecast, 1), _read(forecast))


def _read(forecast: Path) -> TitleForecast:
    try:
        if forecast.stat().st_size > MOST_FORECAST_BYTES:
            raise UsageError(f"{forecast} is larger than any forecast")
        return read_forecast(forecast.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read the forecast {forecast}: {error.strerror}") from None
    except MalformedError as error:
        raise UsageError(f"{forecast}: {error}") from None


def _planned(
    picture: _Picture, forecast: TitleForecast, fill_price: float, reactive_ratio: float, region_copies: int
) -> DemandPlan:
    rules = FleetRules(fill_price=fill_price, reactive_ratio=reactive_ratio, region_copies=region_copies)
    titles, rooms = picture.placed(), picture.rooms()
    plan = plan_by_demand(titles, rooms, picture.seats(), forecast, rules)
    check_plan(plan.plan, titles, rooms)
    return plan


def _title_of(picture: _Picture, what: str) -> TitleId:
    for view in picture.titles:
        if what == view.title.title_id or any(what == file.sha256 for file in view.title.files):
            return view.title.title_id
    raise UsageError(f"no title or file {what[:80]!r}: `headrace title list` shows what is published")


def _of_site(picture: _Picture, site: str) -> _Picture:
    kept = [at for at, view in enumerate(picture.appliances) if not site or view.appliance.site_id == site]
    return _Picture(
        sites=picture.sites,
        appliances=tuple(picture.appliances[at] for at in kept),
        titles=picture.titles,
        plans=tuple(picture.plans[at] for at in kept),
    )


async def _look(client: ControlClient) -> _Picture:
    picture = await _catalog(client)
    appliances = await client.call("GET", "/v1/appliances", answer=tuple[ApplianceView, ...])
    plans = [
        await client.call("GET", f"/v1/appliances/{view.appliance.appliance_id}/plan", answer=PlanView)
        for view in appliances
    ]
    return _Picture(sites=picture.sites, appliances=appliances, titles=picture.titles, plans=tuple(plans))


async def _catalog(client: ControlClient) -> _Picture:
    sites = await client.call("GET", "/v1/sites", answer=tuple[Site, ...])
    titles: list[TitleView] = []
    while True:
        after = {"after": str(titles[-1].title.title_id)} if titles else {}
        page = await client.call(
            "GET", "/v1/titles", answer=tuple[TitleView, ...], params={"limit": str(PAGE), **after}
        )
        titles += page
        if len(page) < PAGE:
            return _Picture(sites=sites, appliances=(), titles=tuple(titles), plans=())
