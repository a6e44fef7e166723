"""`headrace site`: where appliances stand and which client networks they serve."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from rich.progress import track
from rich.table import Table

from headrace.base.errors import UsageError
from headrace.base.ids import site_id
from headrace.base.instants import read_zone
from headrace.base.units import parse_amount, show_count
from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, ask_control, err, look, out
from headrace.fleet.model import Site, SiteKind
from headrace.wire.client import ControlClient

SiteArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the site.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Sites: add, load, list, show, remove.", no_args_is_help=True)
    group.command("add")(_add)
    group.command("load")(_load)
    group.command("list")(_list)
    group.command("show")(_show)
    group.command("remove")(_remove)
    app.add_typer(group, name="site")


def _add(
    site: SiteArgument,
    name: Annotated[str, typer.Option(help="Name for people.")] = "",
    kind: Annotated[SiteKind, typer.Option(help="How it reaches its clients.")] = SiteKind.EMBEDDED,
    latitude: Annotated[float | None, typer.Option(help="Degrees north.", min=-90, max=90)] = None,
    longitude: Annotated[float | None, typer.Option(help="Degrees east.", min=-180, max=180)] = None,
    prefix: Annotated[list[str] | None, typer.Option(help="Client network, 192.0.2.0/24; again for more.")] = None,
    region: Annotated[str, typer.Option(help="Sites of one region stand in for one another.")] = "",
    last_resort: Annotated[bool, typer.Option("--last-resort", help="Serves clients whom no site hears.")] = False,
    zone: Annotated[str, typer.Option(help="Time zone of its fill window: Europe/Amsterdam; none: no window.")] = "",
    fill_window: Annotated[str, typer.Option(help="Local hours of its fills, 02:00-14:00, or always.")] = "",
    fill_rate: Annotated[str, typer.Option(help="Most that its fills bring in: 1.2Gb/s.")] = "",
    fill_volume: Annotated[str, typer.Option(help="The same in one window: 6.5TB.")] = "",
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Add a site, or replace what is known of it.

    Example: [bold]headrace site add ams1 --latitude 52.3 --longitude 4.9 --prefix 192.0.2.0/24[/]
    """
    wanted = Site(
        site_id=site_id(site),
        name=name,
        kind=kind,
        latitude_deg=latitude,
        longitude_deg=longitude,
        prefixes=tuple(prefix or ()),
        is_last_resort=last_resort,
        region=region,
        time_zone=read_zone(zone).key if zone else "",
        fill_window=fill_window,
        fill_bps=parse_amount(fill_rate, unit="b/s") if fill_rate else 0,
        fill_volume_bytes=parse_amount(fill_volume, unit="B") if fill_volume else 0,
    )
    ask_control(lambda client: _put(client, wanted), control=control, token_file=token_file, ca=ca)
    err.print(f"site {wanted.site_id}: {show_count(len(wanted.prefixes), 'prefix', 'prefixes')}")


def _load(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML with one [\\[site]] table per site.")],
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Add or replace many sites; the file is checked whole before the first is sent.

    A table has the keys site_id, name, kind, latitude_deg, longitude_deg, prefixes, is_last_resort, region, time_zone,
    fill_window, fill_bps, fill_volume_bytes.

    Example: [bold]headrace site load sites.toml[/]
    """
    sites = _read_sites(file)

    async def work(client: ControlClient) -> None:
        for site in track(sites, description="sites", console=err):
            await _put(client, site)

    ask_control(work, control=control, token_file=token_file, ca=ca)
    err.print(show_count(len(sites), "site"))


def _list(control: ControlUrl = None, token_file: TokenFile = None, ca: CaFile = None, as_json: AsJson = False) -> None:
    """List all sites.

    Example: [bold]headrace site list --json[/]
    """
    sites = look("/v1/sites", tuple[Site, ...], control=control, token_file=token_file, ca=ca, as_json=as_json)
    if sites is None:
        return
    table = Table("site", "name", "kind", "place", "region", "prefixes", "last resort")
    for site in sites:
        few, last = _few(site.prefixes), _yes(site.is_last_resort)
        table.add_row(site.site_id, site.name, site.kind, _place(site), site.region, few, last)
    out.print(table)


def _show(
    site: SiteArgument,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one site with all its prefixes.

    Example: [bold]headrace site show ams1[/]
    """
    path = f"/v1/sites/{site_id(site)}"
    found = look(path, Site, control=control, token_file=token_file, ca=ca, as_json=as_json)
    if found is None:
        return
    out.print(found.site_id, style="bold", end=" ")
    out.print(f"{found.name}\n{found.kind}, {_place(found)}{', region ' + found.region if found.region else ''}")
    out.print("\n".join(found.prefixes) or "no prefixes")


def _remove(site: SiteArgument, control: ControlUrl = None, token_file: TokenFile = None, ca: CaFile = None) -> None:
    """Remove a site that has no appliances left.

    Example: [bold]headrace site remove ams1[/]
    """
    path = f"/v1/sites/{site_id(site)}"
    ask_control(lambda client: client.raw("DELETE", path), control=control, token_file=token_file, ca=ca)
    err.print(f"site {site} is removed")


async def _put(client: ControlClient, site: Site) -> None:
    await client.call("PUT", f"/v1/sites/{site.site_id}", body=site, answer=Site)


def _read_sites(file: Path) -> tuple[Site, ...]:
    try:
        tables: Any = tomllib.loads(file.read_text(encoding="utf-8")).get("site", [])
        sites = TypeAdapter(tuple[Site, ...]).validate_python(tables)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: not valid TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{file}: site {where}: {first['msg']}") from None
    if not sites:
        raise UsageError(f"{file}: no [[site]] table in it")
    for site in sites:
        site_id(site.site_id)
    return sites


def _place(site: Site) -> str:
    if site.latitude_deg is None or site.longitude_deg is None:
        return "unknown"
    return f"{site.latitude_deg:.2f}, {site.longitude_deg:.2f}"


def _few(prefixes: tuple[str, ...]) -> str:
    return ", ".join(prefixes[:3]) + (f" and {len(prefixes) - 3} more" if len(prefixes) > 3 else "")


def _yes(value: bool) -> str:
    return "yes" if value else ""
