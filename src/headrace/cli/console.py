"""What all commands share: the console, errors for people or programs, the client of the control plane."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from headrace.base.errors import HeadraceError, UsageError
from headrace.wire.client import ControlClient, open_client
from headrace.wire.codec import encode

T = TypeVar("T")

# Without tab and line feed. The last ones turn the direction of writing.
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """The text with every control character replaced: what other machines say must not steer this terminal."""
    return _UNSHOWN.sub("\N{REPLACEMENT CHARACTER}", text)


class PlainConsole(Console):
    """Shows strings as they are: names and errors come from elsewhere, and brackets in them are no markup.

    What is to be coloured is a `Text`, or printed with `style`; a `Text` of foreign words goes through `plain`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(plain(text), **options)


out = PlainConsole()
err = PlainConsole(stderr=True)

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
        err.print(Text.assemble(("error:", "bold red"), " ", plain(str(error))), soft_wrap=True)
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


def look(
    path: str,
    shape: type[T],
    *,
    control: list[str] | None,
    token_file: Path | None,
    ca: Path | None,
    as_json: bool,
) -> T | None:
    """What the control plane has at a path, to show it to people; None when it was printed as JSON for programs."""
    found = ask_control(
        lambda client: client.call("GET", path, answer=shape), control=control, token_file=token_file, ca=ca
    )
    if not as_json:
        return found
    typer.echo(encode(found, shape).decode())
    return None


def read_token(token_file: Path | None) -> str:
    """The operator's token, from a file or the environment; never from the command line, where others can read it."""
    if token_file is not None:
        try:
            return _one_word(token_file.read_text(encoding="utf-8"), str(token_file))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the token file {token_file}: {error}") from None
    token = _one_word(os.environ.get("HEADRACE_TOKEN", ""), "HEADRACE_TOKEN")
    if not token:
        raise UsageError("no token: set HEADRACE_TOKEN_FILE (or HEADRACE_TOKEN), see `headrace init --help`")
    return token


def _one_word(text: str, source: str) -> str:
    # What is no token cannot be sent in a header; the words themselves are not repeated, they may be another secret.
    token = text.strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise UsageError(f"{source} does not hold a token: one word of ASCII characters")
    return token
