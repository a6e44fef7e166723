"""`headrace lab`: a candidate kernel and nginx behind a network of one's choice, on this machine."""

import json
import os
import re
import select
import sys
import termios
import tty
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.base.ids import site_id
from headrace.base.units import show_bps, show_bytes, show_duration
from headrace.cli.console import AsJson, err, out
from headrace.lab.adapters.records import LabRecord, LabState, find_record, list_records, sweep
from headrace.lab.assembly import LabSetup
from headrace.lab.errors import LabError
from headrace.lab.keeper import Answer, Request
from headrace.lab.load.model import ALL_PLAYERS, Behaviour, LoadReport
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.profiles import choose_profile, read_profiles
from headrace.lab.remote import ask, end_lab, start_keeper

_DEFAULT_FOLDER = Path("~/.local/share/headrace/release")
_CONSOLE_MARK = re.compile(r"(?:console 2 assigned device '|char device redirected to )(/dev/pts/\d+)")
"""As User-Mode Linux and as QEMU say where the terminal for people is."""
_LEAVE = b"\x1d"
"""Ctrl-], as in telnet."""
_TELLING = (
    ("cpu.seconds", "CPU seconds of the machine"),
    ("tcp.out_segs", "TCP segments sent"),
    ("tcp.retrans_segs", "sent again"),
    ("tcpext.timeouts", "TCP time-outs"),
    ("tcpext.spurious_rtos", "of them in vain"),
    ("sock.tcp_inuse", "TCP sockets now"),
    ("fd.count", "descriptors of nginx now"),
    ("proc.rss_bytes", "memory of nginx now"),
    ("mem.slab_bytes", "kernel's slabs now"),
    ("nginx.error_lines", "lines in nginx's error log"),
)

Folder = Annotated[
    Path, typer.Option("--folder", envvar="HEADRACE_RELEASE_FOLDER", help="Where candidates, runs and labs live.")
]
Name = Annotated[str, typer.Option("--name", help="Which lab, where several run.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="Run a kernel and nginx behind a network of your choice, here.")
    group.command("up")(_up)
    group.command("run")(_run)
    group.command("shell")(_shell)
    group.command("status")(_status)
    group.command("down")(_down)
    app.add_typer(group, name="lab")


def _up(
    machine: Annotated[
        MachineKind, typer.Option("--machine", "--kind", help="What nginx runs on.")
    ] = MachineKind.PROCESS,
    nginx: Annotated[Path | None, typer.Option(help="Another nginx than the one that comes with Headrace.")] = None,
    kernel: Annotated[Path | None, typer.Option(help="For uml: one built with ARCH=um; for qemu: a bzImage.")] = None,
    modules: Annotated[Path | None, typer.Option(help="Folder of that kernel's modules, if it has any.")] = None,
    profile: Annotated[str, typer.Option(help="The network: lan, cable, dsl, wifi, bufferbloat, satellite.")] = "lan",
    profiles: Annotated[Path | None, typer.Option(help="TOML file with networks of your own.")] = None,
    road_kernel: Annotated[Path | None, typer.Option(help="Kernel of the guest that impairs the network.")] = None,
    memory: Annotated[int, typer.Option(help="For uml and qemu: MiB of memory.", min=96, max=65_536)] = 512,
    name: Annotated[str, typer.Option("--name", help="What to call it.")] = "lab",
    folder: Folder = _DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Start a lab; it goes on until `headrace lab down`. Needs root, or user namespaces.

    Example: [bold]headrace lab up --machine uml --kernel /usr/bin/linux.uml --profile dsl[/]
    """
    site_id(name)
    setup = LabSetup(
        machine=MachineSpec(
            kind=machine,
            nginx=_file(nginx, "--nginx"),
            kernel=_file(kernel, "--kernel"),
            modules=modules.absolute() if modules else None,
            memory_mib=memory,
        ),
        profile=choose_profile(profile, read_profiles(profiles)),
        road_kernel=_file(road_kernel, "--road-kernel"),
    )
    clock = SystemClock()
    began_s = clock.monotonic_s()
    record = start_keeper(_labs(folder), name, setup, clock)
    if as_json:
        out.print_json(json.dumps(_facts(record)))
    else:
        _show_started(record, setup, clock.monotonic_s() - began_s)


def _run(
    name: Name = "",
    seconds: Annotated[float, typer.Option(help="How long the players play.", min=0.5, max=86_400)] = 10.0,
    tls: Annotated[bool, typer.Option("--tls", help="Over TLS.")] = False,
    sweep_borders: Annotated[
        bool, typer.Option("--sweep", help="First every range around page and 2 MiB borders of every file.")
    ] = False,
    player: Annotated[
        list[str] | None, typer.Option(help="Kind of player and how many, such as abort=8; again for more.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the players' chance.")] = 1,
    folder: Folder = _DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Let players play against the machine and check every byte. Exit code 1 when anything was wrong.

    Example: [bold]headrace lab run --seconds 20 --tls --player segments=16 --player abort=4[/]
    """
    labs = _labs(folder)
    record = find_record(labs, name)
    request = Request(
        do="load", seconds=seconds, is_tls=tls, is_sweeping=sweep_borders, players=_players(player), seed=seed
    )
    last = _follow(ask(labs, record, request), is_quiet=as_json)
    report = last.report
    assert report is not None
    if as_json:
        facts = {"report": asdict(report), "counters": last.counters, "is_right": report.is_right}
        out.print_json(json.dumps(facts | {"samples": str(labs / record.name / "lab" / "samples.jsonl")}))
    else:
        _show_report(record, report, last)
        out.print(f"each second: {labs / record.name / 'lab' / 'samples.jsonl'}", style="dim", soft_wrap=True)
    raise typer.Exit(0 if report.is_right and _lives(last) else 1)


def _shell(
    command: Annotated[list[str] | None, typer.Argument(help="Command; without one, a shell.")] = None,
    name: Name = "",
    client: Annotated[bool, typer.Option("--client", help="Where the client is, instead of the machine.")] = False,
    folder: Folder = _DEFAULT_FOLDER,
) -> None:
    """A shell, or one command, in the machine or at the client.

    Example: [bold]headrace lab shell -- cat /proc/net/sockstat[/]   and   [bold]headrace lab shell --client[/]
    """
    labs = _labs(folder)
    record = find_record(labs, name)
    if MachineKind(record.kind).has_kernel and not client:
        _guest_shell(labs, record, command or [])
        return
    door = record.doors["client" if client else "machine"]
    argv = door.enter(command or [os.environ.get("SHELL", "/bin/sh")])
    try:
        os.execvp(argv[0], argv)  # noqa: S606  a list of arguments, no shell
    except OSError as error:
        raise LabError(f"cannot run {argv[0]}: {error}") from None


def _status(folder: Folder = _DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Which labs there are.

    Example: [bold]headrace lab status[/]
    """
    records = list_records(_labs(folder))
    if as_json:
        out.print_json(json.dumps([_facts(record) for record in records]))
        return
    if not records:
        out.print("no lab is running: start one with `headrace lab up`")
        return
    now_s = SystemClock().now_s()
    table = Table()
    for column in ("lab", "state", "machine", "network", "address", "since"):
        table.add_column(column)
    for record in records:
        style = "green" if record.state is LabState.RUNNING else "yellow"
        since = show_duration(now_s - record.started_s) if record.started_s else ""
        where = f"{record.address}:{record.port}" if record.address else ""
        table.add_row(record.name, Text(record.state, style=style), record.kind, record.profile, where, since)
    out.print(table)


def _down(
    name: Name = "",
    everything: Annotated[bool, typer.Option("--all", help="Every lab, those of dead owners too.")] = False,
    folder: Folder = _DEFAULT_FOLDER,
) -> None:
    """End a lab and remove what it wrote.

    Example: [bold]headrace lab down --all[/]
    """
    labs, clock = _labs(folder), SystemClock()
    swept = sweep(labs)
    records = list_records(labs) if everything else [] if name in swept else [find_record(labs, name)]
    for record in records:
        end_lab(labs, record, clock)
    for ended in [*swept, *(record.name for record in records)]:
        err.print(Text("•", style="bold cyan"), f"{ended} is down")
    if not swept and not records:
        err.print("no lab was there")


def _labs(folder: Path) -> Path:
    return folder.expanduser().absolute() / "labs"


def _file(path: Path | None, option: str) -> Path | None:
    if path is not None and not path.is_file():
        raise UsageError(f"{option} {path}: no such file")
    return path.absolute() if path else None


def _players(words: list[str] | None) -> dict[Behaviour, int] | None:
    if not words:
        return None
    players = {}
    for word in words:
        kind, _, count = word.partition("=")
        if kind not in set(Behaviour) or not (count or "1").isdigit():
            raise UsageError(f"--player {word!r}: write one of {', '.join(ALL_PLAYERS)} with a number, as abort=4")
        players[Behaviour(kind)] = int(count or "1")
    return players


def _facts(record: LabRecord) -> dict[str, object]:
    return asdict(record) | {"is_owned": record.is_owned}


def _show_started(record: LabRecord, setup: LabSetup, took_s: float) -> None:
    out.print(Text.assemble((f"Lab {record.name} is up", "bold green"), f" after {took_s:.1f} s.\n"))
    option = f" --name {record.name}" if record.name != "lab" else ""
    rows = (
        ("Machine", f"{record.kind}, kernel {setup.machine.kernel or 'of this machine'}"),
        ("Network", f"{record.profile}: {setup.profile.about}"),
        ("Address", f"http://{record.address}:{record.port} and https://{record.address}:{record.tls_port}"),
        ("", "(reached from the lab's client only, as the next line does)"),
        ("Ask it", f"headrace lab shell{option} --client -- curl -sI http://{record.address}{record.paths[0]}"),
        ("Load", f"headrace lab run{option} --seconds 10"),
        ("Inside", f"headrace lab shell{option}"),
        ("End it", f"headrace lab down{option}"),
    )
    for name, value in rows:
        out.print(Text(f"{name:<9}", style="bold"), value, soft_wrap=True)


def _follow(answers: Iterator[Answer], *, is_quiet: bool) -> Answer:
    """Show what comes until the last one."""
    if is_quiet:
        return [*answers][-1]
    with Live(console=err, transient=True) as live:
        for answer in answers:
            if answer.is_last:
                return answer
            if answer.report:
                live.update(_line(answer.report))
    raise LabError("the lab gave no result")


def _line(report: LoadReport) -> Text:
    faults = report.wrong + report.stalled + report.failed
    return Text.assemble(
        f"{report.seconds:5.0f} s  {report.requests} answers right  {show_bps(report.throughput_bps)}  ",
        (f"{faults} wrong", "bold red" if faults else "dim"),
    )


def _show_report(record: LabRecord, report: LoadReport, last: Answer) -> None:
    table = Table(title=f"{record.kind} behind {record.profile}, {report.seconds:.1f} s", show_header=False)
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_row("answers right", str(report.requests))
    for what, count in (("wrong", report.wrong), ("stalled", report.stalled), ("failed", report.failed)):
        table.add_row(what, Text(str(count), style="bold red" if count else "green"))
    table.add_row("ended by the client on purpose", str(report.aborted))
    table.add_row("bytes", show_bytes(report.bytes))
    table.add_row("throughput", show_bps(report.throughput_bps))
    if report.ttfb_ms:
        first = " / ".join(f"{report.ttfb_ms[share]:.1f}" for share in ("p50", "p99", "max"))
        table.add_row("first byte p50 / p99 / max", f"{first} ms")
    table.add_section()
    for key, title in _TELLING:
        if key in last.counters:
            value = last.counters[key]
            table.add_row(title, show_bytes(value) if key.endswith("_bytes") else f"{value:,.10g}")
    out.print(table)
    for wrong in report.wrongs[:5]:
        where = f"({wrong.behaviour}, {wrong.asked}, {wrong.path[:24]}...)"
        out.print(Text("wrong", style="bold red"), wrong.what, where)
    for what, count in report.failures.items():
        out.print(Text("failed", style="bold red"), f"{count} x {what}")
    if not _lives(last) and last.condition:
        out.print(Text(f"the machine is {last.condition.state}:", style="bold red"), last.condition.reason)


def _lives(last: Answer) -> bool:
    return last.condition is None or last.condition.state == "running"


def _guest_shell(labs: Path, record: LabRecord, command: list[str]) -> None:
    if command:
        answer = next(iter(ask(labs, record, Request(do="run", argv=tuple(command), seconds=600.0))))
        assert answer.ran is not None
        sys.stdout.write(answer.ran.output)
        raise typer.Exit(answer.ran.exit_code)
    answer = next(iter(ask(labs, record, Request(do="look"))))
    marks = [found[1] for line in answer.console if (found := _CONSOLE_MARK.search(line))]
    if not marks:
        raise LabError("this guest has no console for people; run single commands: headrace lab shell -- COMMAND")
    if not sys.stdin.isatty():
        raise UsageError("a shell needs a terminal; run single commands: headrace lab shell -- uname -a")
    err.print("in the guest; Ctrl-] leaves", style="dim")
    _join_terminal(Path(marks[-1]))


def _join_terminal(device: Path) -> None:
    """Join this terminal with a guest's until Ctrl-]."""
    ours = sys.stdin.fileno()
    before = termios.tcgetattr(ours)
    theirs = os.open(device, os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(ours)
        tty.setraw(theirs)
        os.write(theirs, b"\n")
        while True:
            ready, _, _ = select.select([ours, theirs], [], [])
            if theirs in ready:
                os.write(sys.stdout.fileno(), os.read(theirs, 4096))
            if ours in ready:
                typed = os.read(ours, 4096)
                if not typed or _LEAVE in typed:
                    return
                os.write(theirs, typed)
    finally:
        termios.tcsetattr(ours, termios.TCSADRAIN, before)
        os.close(theirs)
