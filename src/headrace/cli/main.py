"""The `headrace` command: an explicit list of subcommands, and the one place where errors become exit codes."""

import sys

import typer

from headrace import __version__
from headrace.base.errors import HeadraceError
from headrace.cli import agent, appliance, control, demo, init, origin, publish, site, status, steer, title, token
from headrace.cli.console import fail

app = typer.Typer(
    name="headrace",
    help="Run a video delivery network of caches: publish, fill, steer, watch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS = (init, control, agent, origin, steer, publish, title, site, appliance, token, status, demo)
"""Each module has `register(app)`, which adds its command or command group."""

for _module in COMMANDS:
    _module.register(app)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
    if version:
        typer.echo(f"headrace {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: no traceback reaches a user; each kind of error has its exit code."""
    try:
        app()
    except HeadraceError as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
