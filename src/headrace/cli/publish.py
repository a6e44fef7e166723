"""`headrace publish`: a video file or a packaged folder becomes a title."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.base.ids import title_id
from headrace.base.instants import read_instant
from headrace.base.logs import set_up_logging
from headrace.base.units import show_bytes, show_count, show_duration
from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, ask_control, err, out

if TYPE_CHECKING:
    from headrace.origin.config import PublishConfig
    from headrace.origin.progress import Progress as Report
    from headrace.origin.publish import Outcome
    from headrace.wire.client import ControlClient

STAGES = {"check": "checking", "encode": "encoding", "store": "storing", "register": "registering"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("publish", help=_HELP)(_publish)


_HELP = """Publish a video: encode a ladder of renditions, store them in the origin, register the title.

VIDEO is any file that ffmpeg reads, or a folder that holds an HLS or DASH package (taken over without encoding).
Run it again after a failure or a kill: it goes on where it stopped. A title that is registered already from the same
source and settings is not made again; another name, group or launch is registered at once.

Example: [bold]headrace publish film.mkv --title big-film --origin /srv/origin[/]
"""


def _publish(
    video: Annotated[
        Path, typer.Argument(metavar="VIDEO", help="A video file, or a folder with an HLS or DASH package.")
    ],
    title: Annotated[str, typer.Option("--title", metavar="ID", help="Id of the title: letters, digits, inner . _ -")],
    name: Annotated[str, typer.Option(help="Name for people; else the registered one, else the file's.")] = "",
    group: Annotated[
        str | None, typer.Option(help="Titles of a group are alike, as those of a series: one foretells the others.")
    ] = None,
    launch: Annotated[
        str, typer.Option(help="From when it is to be watched, 2026-12-01T20:00Z; else from when it is published.")
    ] = "",
    origin: Annotated[
        str, typer.Option(envvar="HEADRACE_ORIGIN", help="Where files go: a folder, or s3://bucket/prefix.")
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option("--config", "--ladder", help="TOML with ladder, codecs and more; see docs/publish.md."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Publish over a title that is registered already.")
    ] = False,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    from headrace.origin.adapters.registry import ControlRegistry
    from headrace.origin.adapters.stores import open_store
    from headrace.origin.adapters.tools import Tools
    from headrace.origin.publish import Job, Ports, publish

    job = Job(
        source=video.absolute(),
        title_id=title_id(title),
        name=name.strip(),
        may_replace=replace,
        group=None if group is None else group.strip(),
        launch_s=read_instant(launch) if launch else None,
    )
    settings = _settings(config, origin)
    store = open_store(settings.store)
    clock = SystemClock()
    tools = Tools(settings.tools, clock)
    set_up_logging("WARNING")

    with _watching(as_json) as watch:

        async def work(client: "ControlClient") -> "Outcome":
            ports = Ports(store=store, registry=ControlRegistry(client), tools=tools, clock=clock)
            return await publish(job, settings, ports, watch)

        outcome = ask_control(work, control=control, token_file=token_file, ca=ca)
    _show(outcome, as_json)


def _settings(config: Path | None, origin: str) -> "PublishConfig":
    from headrace.origin.config import parse_publish_config

    try:
        text = config.read_text(encoding="utf-8") if config else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the configuration {config}: {error}") from None
    settings = parse_publish_config(text, source=str(config or "defaults"))
    if origin:
        settings = dataclasses.replace(settings, store=dataclasses.replace(settings.store, url=origin))
    return settings


@contextmanager
def _watching(as_json: bool) -> Iterator[Callable[["Report"], None]]:
    if as_json:
        yield _print_line
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("checking", total=1.0, left="")

        def watch(report: "Report") -> None:
            left = "" if report.left_s is None else f"{show_duration(report.left_s)} left"
            text = " ".join([STAGES[report.stage], report.rendition]).strip()
            bar.update(task, completed=report.ratio, description=f"{text:<20}", left=left)

        yield watch


def _print_line(report: "Report") -> None:
    fields = dataclasses.asdict(report)
    fields["ratio"] = round(report.ratio, 4)
    fields["left_s"] = None if report.left_s is None else round(report.left_s, 1)
    _line({"event": "progress", **fields})


def _line(fields: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def _show(outcome: "Outcome", as_json: bool) -> None:
    view = outcome.view
    size_bytes = sum(file.size_bytes for file in view.title.files)
    if as_json:
        _line(
            {
                "event": "published" if outcome.was_published else "unchanged",
                "title": view.title.title_id,
                "version": view.version,
                "renditions": len(view.title.renditions),
                "files": len(view.title.files),
                "size_bytes": size_bytes,
                "duration_s": view.title.duration_s,
                "source_digest": view.title.source_digest,
            }
        )
        return
    what = "published" if outcome.was_published else "unchanged, registered already from this source:"
    out.print(what, style="bold green", end=" ")
    out.print(
        f"{view.title.title_id} version {view.version}: {show_count(len(view.title.renditions), 'rendition')}, "
        f"{show_bytes(size_bytes)}, {show_duration(view.title.duration_s)}"
    )
