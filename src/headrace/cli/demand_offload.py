"""`headrace demand offload`: who served the bytes, and the summary of it that the control plane is told."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.table import Table

from headrace.base.units import show_bytes
from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, out
from headrace.cli.telling import tell_control
from headrace.cli.totals import (
    MemoryOption,
    SinceOption,
    SiteOption,
    TotalsOption,
    UntilOption,
    an_engine,
    read_columns,
    read_span,
    show_hour,
)
from headrace.demand.offload import Tier, shares
from headrace.metering.offload import read_tiers, summarise
from headrace.metering.ports import Engine
from headrace.metering.surroundings import last_kinds
from headrace.metering.totals import Totals, open_totals
from headrace.wire.offload import OffloadView

_COLUMNS = {"site": "home", "hour": "hour"}
"""What may be asked for, and the column of the totals."""
ByOption = Annotated[str, typer.Option(help=f"Each on its own, with commas: {', '.join(_COLUMNS)}; '' for one sum.")]


def show_offload(
    totals: TotalsOption,
    by: ByOption = "site",
    site: SiteOption = "",
    since: SinceOption = "24h",
    until: UntilOption = "",
    memory_mib: MemoryOption = 1_024,
    as_json: AsJson = False,
) -> None:
    """Show what share of bytes a site served to its own clients, and what kind of site served them the rest.

    "fetched-through" was streamed from the origin, "no-home" are clients that no site hears.

    Example: [bold]headrace demand offload --totals /var/lib/headrace/demand --since 24h --by site,hour[/]
    """
    columns = read_columns(by, tuple(_COLUMNS)) if by else ()
    span_s = read_span(since, until)
    asked = tuple(dict.fromkeys(_COLUMNS[name] for name in (*columns, *(("site",) if site else ()))))
    scratch = TemporaryDirectory(prefix="headrace-demand-")
    with open_totals(totals) as opened, scratch, an_engine("duckdb", Path(scratch.name), memory_mib) as engine:
        found = read_tiers(opened, engine, last_kinds(totals), span_s=span_s, by=asked)
    rows = _rows(found, asked, columns, site)
    total: Counter[Tier] = Counter()
    for _, tiers in rows:
        total.update(tiers)
    if as_json:
        told = [{**names, **_told(tiers)} for names, tiers in rows] if columns else []
        out.print_json(data={"total": _told(total), "rows": told})
        return
    if not total:
        out.print("no bytes were counted in this time; what was counted by a Headrace of before has no offload")
        return
    shown = [tier for tier in Tier if total[tier]]
    table = Table(*columns, "bytes", *(str(tier) for tier in shown), box=None)
    for names, tiers in rows if columns else []:
        table.add_row(*(names[name] or "-" for name in columns), *_cells(tiers, shown))
    table.add_row(*("all" if at == 0 else "" for at in range(len(columns))), *_cells(total, shown))
    out.print(table)


def _rows(
    found: dict[tuple[Any, ...], Counter[Tier]], asked: tuple[str, ...], columns: tuple[str, ...], site: str
) -> list[tuple[dict[str, str], Counter[Tier]]]:
    """By the hour, then the site with the most bytes first."""
    rows = []
    for key, tiers in found.items():
        values = dict(zip(asked, key, strict=True))
        if site and values["home"] != site:
            continue
        hour = show_hour(values["hour"]) if "hour" in values else ""
        names = {"site": str(values.get("home", "")), "hour": hour}
        rows.append(({name: names[name] for name in columns}, tiers))
    return sorted(rows, key=lambda row: (row[0].get("hour", ""), -row[1].total(), row[0].get("site", "")))


def _told(tiers: Counter[Tier]) -> dict[str, Any]:
    return {
        "bytes": tiers.total(),
        "bytes_by_tier": {tier: tiers[tier] for tier in Tier if tiers[tier]},
        "shares": {tier: share for tier, share in shares(tiers).items() if tiers[tier]},
    }


def _cells(tiers: Counter[Tier], shown: list[Tier]) -> list[str]:
    share = shares(tiers)
    return [show_bytes(tiers.total()), *(f"{share[tier]:.1%}" for tier in shown)]


def tell_offload(
    totals: Totals, engine: Engine, folder: Path, *, now_s: float, control: ControlUrl, token: TokenFile, ca: CaFile
) -> None:
    """Tell the control plane, for its dashboard. What it refuses is said, and nothing fails by it."""
    summary = summarise(totals, engine, last_kinds(folder), now_s=now_s)
    if summary.hours:
        tell_control(
            "/v1/offload",
            summary,
            OffloadView,
            what="offload",
            otherwise="count with --no-tell",
            control=control,
            token_file=token,
            ca=ca,
        )
