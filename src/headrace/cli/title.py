"""`headrace title`: what is published."""

import time
from typing import Annotated

import typer
from rich.table import Table

from headrace.base.ids import title_id
from headrace.base.units import show_bps, show_bytes, show_count, show_duration
from headrace.catalog.model import Rendition, TrackKind
from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, ask_control, out
from headrace.wire.client import ControlClient
from headrace.wire.codec import encode
from headrace.wire.operator import TitleView

PAGE = 1_000
_Page = tuple[TitleView, ...]
TitleArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the title.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Titles: list, show, withdraw.", no_args_is_help=True)
    group.command("list")(_list)
    group.command("show")(_show)
    group.command("withdraw")(_withdraw)
    app.add_typer(group, name="title")


def _list(
    find: Annotated[str, typer.Option(help="Only those with all these words in id or name.")] = "",
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """List titles, all or those found.

    Example: [bold]headrace title list --find "big film"[/]
    """
    views = ask_control(lambda client: _all(client, find), control=control, token_file=token_file, ca=ca)
    if as_json:
        typer.echo(encode(views, _Page).decode())
        return
    table = Table("title", "name", "version", "length", "size", "renditions", "holders", "published", box=None)
    for view in views:
        table.add_row(
            view.title.title_id,
            view.title.name,
            str(view.version),
            show_duration(view.title.duration_s),
            show_bytes(view.size_bytes),
            str(len(view.title.renditions)),
            str(view.holders),
            _moment(view.published_at_s),
        )
    none = f"no title has {find!r} in its id or name" if find else _NO_TITLES
    out.print(table if views else none)


_NO_TITLES = "no titles yet: publish one with `headrace publish VIDEO --title ID`"


async def _all(client: ControlClient, find: str) -> tuple[TitleView, ...]:
    views: tuple[TitleView, ...] = ()
    while True:
        after = {"after": views[-1].title.title_id} if views else {}
        page: tuple[TitleView, ...] = await client.call(
            "GET", "/v1/titles", answer=_Page, params={"limit": str(PAGE), "q": find, **after}
        )
        views += page
        if len(page) < PAGE:
            return views


def _show(
    title: TitleArgument,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one title with its renditions.

    Example: [bold]headrace title show big-film[/]
    """
    name = title_id(title)
    view = ask_control(
        lambda client: client.call("GET", f"/v1/titles/{name}", answer=TitleView),
        control=control,
        token_file=token_file,
        ca=ca,
    )
    if as_json:
        typer.echo(encode(view).decode())
        return
    out.print(view.title.title_id, style="bold", end=" ")
    out.print(
        f"{view.title.name}: version {view.version} of {_moment(view.published_at_s)}, "
        f"{show_duration(view.title.duration_s)}, {show_bytes(view.size_bytes)}, "
        f"whole on {show_count(view.holders, 'appliance')}"
    )
    if view.title.group:
        out.print(f"group {view.title.group}", markup=False)
    if view.title.launch_s is not None:
        out.print(f"launch {_moment(view.title.launch_s)}")
    table = Table("rendition", "what", "codecs", "bit rate (peak)", "size", "file", box=None)
    sizes = {file.sha256: file.size_bytes for file in view.title.files}
    for one in view.title.renditions:
        rate = f"{show_bps(one.average_bandwidth_bps)} ({show_bps(one.bandwidth_bps)})"
        table.add_row(one.rendition_id, _what(one), one.codecs, rate, show_bytes(sizes[one.file]), one.file[:12])
    out.print(table)


def _withdraw(
    title: TitleArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw a title: it gets no new viewers, and appliances let go of its files. The origin keeps them.

    Example: [bold]headrace title withdraw big-film --yes[/]
    """
    name = title_id(title)
    if not (yes or as_json):
        typer.confirm(f"Withdraw title {name} from all viewers?", abort=True)
    ask_control(
        lambda client: client.raw("DELETE", f"/v1/titles/{name}"), control=control, token_file=token_file, ca=ca
    )
    if as_json:
        typer.echo(f'{{"withdrawn": "{name}"}}')
    else:
        out.print(f"withdrawn: {name}")


def _what(one: Rendition) -> str:
    if one.kind is TrackKind.VIDEO:
        return f"video {one.width}x{one.height} {one.frame_rate} fps"
    words = [one.kind, one.language, one.name if one.name != one.language else ""]
    words += ["(default)" if one.is_default else "", f"{one.channels} ch" if one.channels else ""]
    return " ".join(word for word in words if word)


def _moment(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_s))
