"""`headrace control`: run a control node."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from headrace.base.clock import SystemClock
from headrace.base.errors import HeadraceError, UsageError
from headrace.base.logs import set_up_logging
from headrace.cli.console import err, fail
from headrace.control.config import ControlConfig, beside, located_store, read_config

Config = Annotated[Path, typer.Option(help="TOML settings of this control node; `headrace init` writes one.")]
LogLevel = Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("control")(_control)


def _control(
    config: Config,
    migrate_only: Annotated[
        bool, typer.Option("--migrate-only", help="Bring the database's schema up to date and leave.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Check settings, store, TLS and tokens; leave.")] = False,
    log_level: LogLevel = "INFO",
) -> None:
    """Run a control node: the API, the pages, the loops. Ends with SIGTERM or Ctrl-C.

    Several nodes may run on one PostgreSQL. The database's schema is brought up to date at each start.

    Example: [bold]headrace control --config /etc/headrace/control.toml[/]
    """
    settings = _read(config)
    if check:
        _check(settings, config)
        return
    set_up_logging(log_level)
    if migrate_only:
        _migrate(settings, config)
        return
    _run(settings, config)


def _read(config: Path) -> ControlConfig:
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {config}: {error}; `headrace init` writes one") from None
    return read_config(text, source=str(config))


def _check(settings: ControlConfig, config: Path) -> None:
    """Say what a start would find; each fault is named, the first one gives the exit code."""
    from headrace.control.preflight import inspect_node

    findings = inspect_node(settings, config, now_s=SystemClock().now_s())
    for finding in findings:
        if not isinstance(finding, HeadraceError):
            err.print(f"  {finding}", soft_wrap=True)
    codes = [fail(finding) for finding in findings if isinstance(finding, HeadraceError)]
    if codes:
        raise typer.Exit(codes[0])
    err.print(f"{config}: can be used", soft_wrap=True)


def _migrate(settings: ControlConfig, config: Path) -> None:
    from headrace.control.adapters.database import Database
    from headrace.control.adapters.migrate import migrate

    database = Database(located_store(settings.store.url, config.parent))
    try:
        before, after = migrate(database)
    finally:
        database.close()
    err.print(f"the database's schema is {after}" + (" already" if before == after else f", was {before or 'empty'}"))


def _run(settings: ControlConfig, config: Path) -> None:
    import uvloop

    from headrace.control.adapters.store import open_store
    from headrace.control.api.app import make_app
    from headrace.control.api.parts import make_parts
    from headrace.control.bootstrap import take_tokens
    from headrace.control.service import serve
    from headrace.web.pages import mount

    clock = SystemClock()
    store = open_store(located_store(settings.store.url, config.parent))
    try:
        files = (beside(config, settings.auth.admin_token_file), beside(config, settings.auth.read_token_file))
        take_tokens(store, *files, now_s=clock.now_s())
        parts = make_parts(settings, store, clock, folder=config.parent)
        app = make_app(parts)
        mount(app, demo_url=settings.web.demo_url, steering_urls=settings.urls.steering)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(app, parts, config))
    finally:
        store.close()
