"""The `headrace` command: an explicit list of subcommands, and the one place where errors become exit codes."""

import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from headrace import __version__
from headrace.base.errors import HeadraceError
from headrace.cli.console import fail

COMMANDS = (
    "init",
    "control",
    "agent",
    "origin",
    "steer",
    "publish",
    "title",
    "site",
    "appliance",
    "maintenance",
    "fill",
    "routes",
    "token",
    "status",
    "log",
    "demand",
    "plan",
    "misses",
    "lab",
    "upstream",
    "release",
    "demo",
)
"""Modules of this package, in the order of the help; each has `register(app)`, which adds its command or group."""


def build_app(words: Sequence[str]) -> typer.Typer:
    """The application for these words of the command line.

    Only the module of the command asked for is imported: imports are most of the time that a short command takes.
    """
    app = typer.Typer(
        name="headrace",
        help="Run a video delivery network of caches: publish, fill, steer, watch.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    asked = next((word for word in words if not word.startswith("-")), "")
    for name in (asked,) if asked in COMMANDS else COMMANDS:
        import_module(f"headrace.cli.{name}").register(app)
    return app


def _root(version: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
    if version:
        typer.echo(f"headrace {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: no traceback reaches a user; each kind of error has its exit code."""
    try:
        build_app(sys.argv[1:])()
    except HeadraceError as error:
        sys.exit(fail(error))
    except OSError as error:  # such as standard output on a full disk; adapters map those that they know
        sys.exit(fail(HeadraceError(str(error))))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
