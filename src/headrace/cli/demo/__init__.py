"""`headrace demo`: a whole delivery network on this machine, on real parts."""

import json
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.cli.console import AsJson, err, out
from headrace.cli.demo.check import Check, StepResult
from headrace.cli.demo.folder import hold_folder
from headrace.cli.demo.layout import SITES, TITLE, Layout, appliances
from headrace.cli.demo.network import Network, free_port_base
from headrace.cli.demo.video import make_video

_VIDEO_S = 48


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", help=_demo.__doc__)(_demo)


def _demo(
    check: Annotated[bool, typer.Option("--check", help="Empty the folder, play by itself; exit 0 or 1.")] = False,
    video: Annotated[Path | None, typer.Option(help="Your own video instead of the test picture.")] = None,
    folder: Annotated[Path, typer.Option(help="Where everything of the demo lives.")] = Path("demo-run"),
    port: Annotated[int, typer.Option(help="First port to try.", min=1024, max=60_000)] = 8400,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin with an empty folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a whole delivery network here: control plane, origin, five appliances at three sites, two steering nodes.

    Needs no root. Ctrl-C ends it. Example: headrace demo --video film.mkv
    """
    if video is not None and not video.is_file():
        raise UsageError(f"--video {video}: no such file")
    with hold_folder(folder, is_emptied=fresh or check):
        _play(Layout(folder=folder.resolve(), port=free_port_base(port)), video, is_check=check, as_json=as_json)


def _play(layout: Layout, video: Path | None, *, is_check: bool, as_json: bool) -> None:
    clock = SystemClock()
    network = Network(layout, clock)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _bring_up(network, video, is_quiet=as_json)
        if is_check:
            raise typer.Exit(0 if _run_check(Check(network, clock), as_json=as_json) else 1)
        _show_addresses(network)
        _wait(network, clock)
    except KeyboardInterrupt:
        err.print("\nending the demo ...")
    finally:
        network.stop()


def _bring_up(network: Network, video: Path | None, *, is_quiet: bool) -> None:
    def say(text: str) -> None:
        if not is_quiet:
            err.print(Text("•", style="bold cyan"), text)

    layout = network.layout
    say("the test video")
    source = video or make_video(layout.folder / "video.mkv", duration_s=_VIDEO_S)
    say("control plane, origin and sites")
    network.switch.start()
    network.start_control()
    network.start_origin()
    network.declare_sites()
    say(f"{len(appliances())} appliances at {len(SITES)} sites, two steering nodes")
    for appliance in appliances():
        network.start_appliance(appliance)
    for index in (0, 1):
        network.start_steering(index)
    say("publish: encode, package, store, register")
    network.publish(source, show=not is_quiet)
    for index in (0, 1):
        network.wait_for_steering(index)


def _run_check(check: Check, *, as_json: bool) -> bool:
    rows: list[StepResult] = []

    def report(row: StepResult) -> None:
        rows.append(row)
        if not as_json:
            err.print(_mark(row), row.step, Text(f"({row.took_s:.1f} s)", style="dim"))

    is_ok = check.run(report)
    if as_json:
        out.print_json(json.dumps({"passed": is_ok, "steps": [asdict(row) for row in rows]}))
        return is_ok
    table = Table(title="What happened", show_lines=True)
    for column in ("step", "result", "seen", "seconds"):
        table.add_column(column, justify="right" if column == "seconds" else "left", overflow="fold")
    for row in rows:
        table.add_row(row.step, _mark(row), row.seen, f"{row.took_s:.1f}")
    out.print(table)
    out.print(f"{sum(row.is_ok for row in rows)} passed, {sum(not row.is_ok for row in rows)} failed")
    return is_ok


def _mark(row: StepResult) -> Text:
    return Text("pass", style="green") if row.is_ok else Text("FAIL", style="bold red")


def _show_addresses(network: Network) -> None:
    layout = network.layout
    token = layout.admin_token_file.read_text().strip()
    steer = layout.steer_urls[0]
    demo = f"&demo={network.switch_token}"
    rows = (
        ("Fleet page", f"{layout.control_url}/#token={token}"),
        ("Player page", f"{layout.control_url}/player?title={TITLE}&steer={steer}#token={token}{demo}"),
        ("HLS", f"{steer}/v1/titles/{TITLE}/master.m3u8"),
        ("DASH", f"{steer}/v1/titles/{TITLE}/manifest.mpd"),
        ("API", f"{layout.control_url}/docs"),
        ("Terminal", "headrace status --watch, with these two variables set:"),
        ("", f"HEADRACE_CONTROL={layout.control_url}"),
        ("", f"HEADRACE_TOKEN_FILE={layout.admin_token_file}"),
        ("Logs", str(layout.folder / "logs")),
    )
    out.print(Text.assemble("\n", ("The network is running.", "bold green"), " Ctrl-C ends it.\n"))
    for name, value in rows:
        # Addresses are never folded: they are there to be copied.
        out.print(Text(f"{name:<12}", style="bold"), value, soft_wrap=True)


def _wait(network: Network, clock: SystemClock) -> None:
    seen: dict[str, bool] = {}
    while True:
        for name in ("control", "origin", "steer-1", "steer-2", *appliances()):
            is_running = network.processes.is_running(name)
            if seen.get(name, True) != is_running:
                err.print(Text("•", style="yellow"), name, "runs again" if is_running else "is down")
            seen[name] = is_running
        clock.block(0.5)
