"""`headrace release`: the group, and the modules that hold its commands."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

PARTS = ("release_builds", "release_qualify", "release_calibrate", "release_bisect", "release_where")
"""Modules of this package, in the order of the help; each has `add_commands(group)`."""

ReleaseFolder = Annotated[
    Path,
    typer.Option(
        "--folder",
        envvar="HEADRACE_RELEASE_FOLDER",
        help="Where upstreams, builds, candidates and runs are kept.",
        show_default="~/.local/share/headrace/release",
    ),
]
DEFAULT_FOLDER = Path("~/.local/share/headrace/release")


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Build the appliance's software from source, and qualify it.",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    for part in PARTS:
        import_module(f"headrace.cli.{part}").add_commands(group)
    app.add_typer(group, name="release")
