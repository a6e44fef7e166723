"""`headrace origin`: serve the origin folder."""

import asyncio
import dataclasses
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.base.logs import set_up_logging
from headrace.base.rng import make_rng
from headrace.cli.console import err

if TYPE_CHECKING:
    from headrace.origin.server_config import OriginConfig


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("origin")(_origin)


def _origin(
    config: Annotated[Path | None, typer.Option(help="TOML settings; see docs/publish.md.")] = None,
    folder: Annotated[Path | None, typer.Option(help="The folder that publish stores into.")] = None,
    listen: Annotated[
        list[str] | None, typer.Option(help="Address to listen on, 0.0.0.0:8600 or [::]:8600; again for more.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Serve the origin folder by nginx, in the foreground, without root. Ends with Ctrl-C or SIGTERM.

    Any web server or an S3-compatible store does as well; this one needs no set-up.

    Example: [bold]headrace origin --folder /srv/origin --listen 0.0.0.0:8600[/]
    """
    settings = _settings(config)
    if folder is not None:
        settings = dataclasses.replace(settings, folder=str(folder))
    if listen:
        settings = dataclasses.replace(settings, listen=tuple(listen))
    set_up_logging(log_level)
    asyncio.run(_serve(settings))


def _settings(config: Path | None) -> "OriginConfig":
    from headrace.origin.server_config import parse_origin_config

    try:
        text = config.read_text(encoding="utf-8") if config else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the configuration {config}: {error}") from None
    return parse_origin_config(text, source=str(config or "defaults"))


async def _serve(settings: "OriginConfig") -> None:
    from headrace.origin.adapters.nginx import serve_origin

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    scheme = "https" if settings.tls_certificate else "http"
    where = ", ".join(f"{scheme}://{address}" for address in settings.listen)
    await serve_origin(
        settings,
        clock=SystemClock(),
        rng=make_rng(id(stop)),
        stop=stop,
        on_serving=lambda: err.print(f"serving {settings.folder} at {where}/f/", highlight=False),
    )
