"""`headrace agent`: run one appliance."""

import asyncio
import dataclasses
import os
import signal
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.appliance.adapters.log_rotation import LogLimits, LogRotation
from headrace.appliance.adapters.metrics_http import MetricsServer
from headrace.appliance.adapters.nginx import NginxSupervisor, Watch, fit_settings
from headrace.appliance.adapters.nginx_binary import NginxBinary
from headrace.appliance.adapters.occupants import find_occupant
from headrace.appliance.adapters.server_usage import ServerUsage
from headrace.appliance.adapters.state_folder import check_state
from headrace.appliance.assembly import only_agent, open_agent, open_ledger
from headrace.appliance.bgp.speaker import BgpSpeaker, check_speaker
from headrace.appliance.config import AgentConfig, read_config
from headrace.appliance.control_link import check_enrolment
from headrace.appliance.log_reader import LoadMeter
from headrace.appliance.metrics import exposition
from headrace.appliance.nginx_conf import render_nginx_conf
from headrace.appliance.web_settings import nginx_settings
from headrace.base.clock import Clock, SystemClock
from headrace.base.errors import UsageError
from headrace.base.logs import set_up_logging
from headrace.base.rng import Rng, make_rng
from headrace.base.tasks import Tasks
from headrace.cli.console import AsJson, out

if TYPE_CHECKING:
    from headrace.appliance.ship import LogShipper


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("agent")(_agent)


def _agent(
    config: Annotated[Path, typer.Option(help="TOML settings of this appliance; see docs/appliance.md.")],
    check: Annotated[bool, typer.Option("--check", help="Check the configuration and leave.")] = False,
    new_disk: Annotated[
        Path | None, typer.Option(help="Take the empty folder of a replaced disk as a new disk, and leave.")
    ] = None,
    bgp_retry: Annotated[
        bool, typer.Option("--bgp-retry", help="Speak again now with BGP peers closed over their limit, and leave.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
    as_json: AsJson = False,
) -> None:
    """Run one appliance: keep its disks filled as planned and nginx serving. Ends with SIGTERM or Ctrl-C.

    It dials out only; nothing but nginx listens for clients. Without control plane it serves and fills on.

    Example: [bold]headrace agent --config /etc/headrace/agent.toml[/]
    """
    settings = _read(config)
    if check:
        _say_checked(settings, config, as_json=as_json)
        return
    if bgp_retry:
        _retry_bgp(settings, as_json=as_json)
        return
    set_up_logging(log_level)
    with only_agent(settings.state, settings.nginx.user):
        if new_disk is not None:
            _forget_disk(settings, new_disk)
            return
        asyncio.run(_serve(settings))


def _read(path: Path) -> AgentConfig:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the configuration {path}: {error}") from None
    return read_config(text, source=str(path))


def _say_checked(settings: AgentConfig, path: Path, *, as_json: bool) -> None:
    check_state(settings.state)
    check_enrolment(settings)
    check_speaker(settings.bgp)
    if settings.ship.url:
        from headrace.wire.batch_store import open_batch_store

        open_batch_store(settings.ship.url, timeout_s=settings.ship.timeout_s)
    occupant = find_occupant(settings.nginx.listen + settings.nginx.tls_listen, settings.state / "nginx")
    if occupant:
        raise UsageError(f"address {occupant}: end it or set nginx.listen")
    with tempfile.TemporaryDirectory() as folder:
        web = dataclasses.replace(nginx_settings(settings), run_folder=folder, access_log=f"{folder}/access.log")
        binary = NginxBinary(settings.nginx.binary, Path(folder))
        build = asyncio.run(binary.build())
        candidate = Path(folder) / "nginx.conf"
        candidate.write_text(render_nginx_conf(fit_settings(web, Path(folder)), build), encoding="utf-8")
        asyncio.run(binary.test(candidate))
    if as_json:
        out.print_json(data={"is_ok": True, "appliance": settings.appliance.id, "nginx": build.version_text})
        return
    folders = ", ".join(settings.store.folders)
    out.print(f"{path} is fine: appliance {settings.appliance.id}, disks {folders}, nginx {build.version_text}")


def _retry_bgp(settings: AgentConfig, *, as_json: bool) -> None:
    speaker = BgpSpeaker(settings.state / "bgp", settings.bgp, clock=SystemClock(), rng=make_rng(os.getpid()))
    sessions = [table.session for table in asyncio.run(speaker.retry())]
    if as_json:
        out.print_json(data={"sessions": [{"session": each.session_id, "state": each.state} for each in sessions]})
        return
    for each in sessions:
        out.print(f"{each.session_id}: {each.state} {each.detail}".rstrip())


def _forget_disk(settings: AgentConfig, folder: Path) -> None:
    if str(folder) not in settings.store.folders:
        raise UsageError(f"{folder} is not one of store.folders: {', '.join(settings.store.folders)}")
    with open_ledger(settings.state) as ledger:
        ledger.forget_disk(str(folder))
    out.print(f"{folder} will be set up as a new disk when the agent starts")


async def _serve(settings: AgentConfig) -> None:
    clock, rng = SystemClock(), make_rng(f"{settings.appliance.id} {os.getpid()}")
    watch = Watch(stop_timeout_s=settings.nginx.stop_timeout_s)
    web = NginxSupervisor(nginx_settings(settings), clock=clock, rng=rng, binary=settings.nginx.binary, watch=watch)
    run_folder = settings.state / "nginx"
    meter = LoadMeter(
        run_folder / "access.log",
        usage=ServerUsage(web.processes, settings.nginx.listen + settings.nginx.tls_listen, settings.store.folders),
        rotation=LogRotation(run_folder, web.reopen_logs, LogLimits(**dataclasses.asdict(settings.log))),
        clock=clock,
        rng=rng,
    )
    speaker = BgpSpeaker(settings.state / "bgp", settings.bgp, clock=clock, rng=rng)
    with open_ledger(settings.state) as ledger:
        async with open_agent(
            settings, ledger=ledger, web=web, load=meter, heard=speaker, clock=clock, rng=rng
        ) as agent:
            works = {"agent": agent.run(), "load": meter.run(), "bgp": speaker.run()}
            shipper = _shipper(settings, clock, rng) if settings.ship.url else None
            shipped = shipper.counts if shipper is not None else None
            if settings.metrics.listen:
                metrics = MetricsServer(
                    settings.metrics.listen,
                    lambda: exposition(agent.status(), meter.traffic, shipped),
                    clock=clock,
                )
                works["metrics"] = metrics.run()
            if shipper is not None:
                works["ship"] = shipper.run()
            await _until_told_to_end(works, refused=agent.was_refused)
    if agent.refusal is not None or not settings.nginx.keep_on_exit:
        await web.stop()
    if (
        agent.refusal is not None
        or not settings.bgp.keep_s
        or (settings.bgp.announce and not settings.nginx.keep_on_exit)
    ):
        # An address at which nobody answers any more must not stay announced.
        await speaker.stop()
    if agent.refusal is not None:
        raise agent.refusal


def _shipper(settings: AgentConfig, clock: Clock, rng: Rng) -> "LogShipper":
    # Only here, because an agent that ships nothing must not wait for DuckDB to load.
    from headrace.appliance.ship import LogShipper
    from headrace.wire.batch_store import open_batch_store

    return LogShipper(
        settings.appliance_id,
        open_batch_store(settings.ship.url, timeout_s=settings.ship.timeout_s),
        settings.ship,
        logs=settings.state / "nginx",
        folder=settings.state / "ship",
        clock=clock,
        rng=rng,
    )


async def _until_told_to_end(works: dict[str, Coroutine[Any, Any, None]], *, refused: asyncio.Event) -> None:
    """Run all of it until SIGTERM, Ctrl-C or a refusal; the failure of a part is raised."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with Tasks() as tasks:
        for name, work in works.items():
            tasks.spawn(name, work)
        ends = {tasks.spawn("signal", told.wait()), tasks.spawn("refusal", refused.wait())}
        failing = tasks.spawn("failure", tasks.until_first_failure())
        await asyncio.wait({*ends, failing}, return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            await failing
