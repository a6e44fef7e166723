"""`headrace log`: an appliance's access log as records, each with the title and rendition that were asked for."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from headrace.appliance.adapters.ledger import read_titles
from headrace.appliance.adapters.log_tail import LogTail
from headrace.appliance.config import read_config
from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.base.ids import RenditionId, TitleId
from headrace.base.units import show_bytes, show_count
from headrace.cli.console import AsJson, err
from headrace.telemetry.access_log import LogRecord, parse_line, record_title
from headrace.wire.codec import encode

_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRecord:
    """One line of the log and what it was about; both names None for what is not in the fill plan."""

    title: TitleId | None
    rendition: RenditionId | None
    request: LogRecord


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("log")(_log)


def _log(
    config: Annotated[Path, typer.Option(help="TOML settings of the appliance, as its agent has them.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read this appliance's access log: what was asked, of which title and rendition, with CMCD and TCP figures.

    With --json one record a line, with every field. Lines that are no records are counted, not shown.

    Example: [bold]headrace log --config /etc/headrace/agent.toml --follow[/]
    """
    try:
        settings = read_config(config.read_text(encoding="utf-8"), source=str(config))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the configuration {config}: {error}") from None
    path = settings.state / "nginx" / "access.log"
    if not path.exists():
        raise UsageError(f"{path}: no access log yet; has `headrace agent` run with {config}?")
    _Reader(path, settings.state / "ledger.db", as_json=as_json).run(is_following=follow)


class _Reader:
    """Prints what the log holds; files that are new in the plan are learnt when they are first met."""

    def __init__(self, path: Path, ledger: Path, *, as_json: bool) -> None:
        self._tail = LogTail(path, from_start=True)
        self._ledger = ledger
        self._as_json = as_json
        self._names = read_titles(ledger)
        self._clock = SystemClock()
        self._flaws = 0

    def run(self, *, is_following: bool) -> None:
        try:
            while True:
                lines = self._tail.read(now_s=self._clock.now_s())
                for line in lines.splitlines():
                    self._print(line)
                if not lines and not is_following:
                    break
                if not lines:
                    self._clock.block(_PAUSE_S)
                    self._names = read_titles(self._ledger)
        finally:
            self._tail.close()
            if self._flaws:
                err.print(f"left out, not a record: {show_count(self._flaws, 'line')}")

    def _print(self, line: bytes) -> None:
        record = parse_line(line)
        if not isinstance(record, LogRecord):
            self._flaws += 1
            return
        title, rendition = record_title(record, self._names) or (None, None)
        named = NamedRecord(title=title, rendition=rendition, request=record)
        typer.echo(encode(named).decode() if self._as_json else _for_people(named))


def _for_people(named: NamedRecord) -> str:
    request = named.request
    at = datetime.fromtimestamp(request.time_s, UTC).strftime("%H:%M:%S.%f")[:-3]
    what = f"{named.title}/{named.rendition}" if named.title else request.path[:60]
    asked = request.range or "whole"
    took_ms = request.duration_s * 1000
    return (
        f"{at} {request.client:<15} {request.status} {request.outcome:<5} {what:<24} {asked:<28} "
        f"{show_bytes(request.body_bytes):>10} {took_ms:7.0f} ms"
    )
