"""What all commands share: the console, errors for people or programs, the client of the control plane."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from headrace.base.errors import HeadraceError, UsageError
from headrace.wire.client import ControlClient, open_client

T = TypeVar("T")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ControlUrl = Annotated[
    list[str] | None,
    typer.Option("--control", envvar="HEADRACE_CONTROL", help="URL of a control node; give it again for more nodes."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(envvar="HEADRACE_TOKEN_FILE", help="File that holds the operator's token (else HEADRACE_TOKEN)."),
]
CaFile = Annotated[
    Path | None, typer.Option("--ca", envvar="HEADRACE_CA", help="The private CA's certificate, for https URLs.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def fail(error: HeadraceError) -> int:
    """Say what went wrong on standard error (as a JSON line where --json was asked) and give the exit code."""
    if "--json" in sys.argv:
        sys.stderr.write(json.dumps({"error": type(error).__name__, "detail": str(error)}) + "\n")
    else:
        err.print(f"[bold red]error:[/] {_escaped(str(error))}", soft_wrap=True)
    return error.exit_code


def ask_control(
    work: Callable[[ControlClient], Awaitable[T]],
    *,
    control: list[str] | None,
    token_file: Path | None,
    ca: Path | None,
) -> T:
    """Run `work` with a client of the control plane."""

    async def run() -> T:
        async with open_client(
            tuple(control or ["http://127.0.0.1:8400"]), read_token(token_file), ca_file=ca
        ) as client:
            return await work(client)

    return asyncio.run(run())


def read_token(token_file: Path | None) -> str:
    """The operator's token, from a file or the environment; never from the command line, where others can read it."""
    if token_file is not None:
        try:
            return token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the token file {token_file}: {error}") from None
    token = os.environ.get("HEADRACE_TOKEN", "").strip()
    if not token:
        raise UsageError("no token: set HEADRACE_TOKEN_FILE (or HEADRACE_TOKEN), see `headrace init --help`")
    return token


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
