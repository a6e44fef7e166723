"""Bytes and requests per second of server CPU: our nginx, its peers, and the physical limit, in one interleaved run.

    sudo .venv/bin/python bench/delivery.py [--quick] [--only NAME] [--json] [--write-docs]

What is measured and how to read it: bench/README.md. Ends with 0 when every goal is met, 1 when one is not, 2 when the
bench could not run.
"""

import argparse
import contextlib
import datetime
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from delivery_files import SHAPES, Ask, asks_of, make_content, write_requests
from delivery_report import HEADINGS, OURS, as_markdown, cells, tables_of, verdicts_of
from delivery_run import (
    FOREIGN_MOST_CORES,
    Case,
    Plan,
    Running,
    ServerFailed,
    Taken,
    cells_of,
    fill_cell,
    started,
    verify,
)
from delivery_servers import SERVERS, Kind, Place, Server, version_of
from rig.document import write_section
from rig.load import LoadFailed
from rig.machine import machine_facts
from rig.network import NeedsRoot, Network, veth_network
from rig.tools import CannotBuild, build_tools

REPO = Path(__file__).resolve().parent.parent
BUILD = REPO / ".build/bench"
RESULTS = REPO / "bench/results"
PAGE = REPO / "docs/performance.md"
CONNECTIONS = 32
err = Console(stderr=True)


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that servers and namespaces go in every case
    if options.write_docs and not options.run:
        return _write_docs(_newest_results())
    try:
        with veth_network() as network:
            results = _measure(network, options)
    except KeyboardInterrupt:
        err.print("stopped; nothing kept")
        return 2
    except (NeedsRoot, CannotBuild, ServerFailed, LoadFailed) as error:
        err.print(f"[red]delivery:[/red] {error}", highlight=False)
        return 2
    path = _keep(results, options)
    err.print(f"raw samples: {path.relative_to(REPO)}")
    verdicts = verdicts_of(tables_of(results))
    if options.json:
        sys.stdout.write(json.dumps({**results, "verdicts": [_plain(one) for one in verdicts]}) + "\n")
    else:
        _print(results)
    if options.write_docs:
        _write_docs(path)
    return 0 if all(one.is_met for one in verdicts if one.server == OURS) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 short rounds: to see that it works, not to publish")
    parser.add_argument("--rounds", type=int, default=0, help="rounds (default 9)")
    parser.add_argument("--seconds", type=float, default=0, help="length of one sample (default 1.5)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="only servers whose name holds NAME"
    )
    parser.add_argument("--case", action="append", default=[], metavar="NAME", help="only cases whose name holds NAME")
    parser.add_argument("--foreign", type=float, default=FOREIGN_MOST_CORES, help="most cores that others may use")
    parser.add_argument("--json", action="store_true", help="results on standard output")
    parser.add_argument("--write-docs", action="store_true", help="write the tables into docs/performance.md")
    parser.add_argument(
        "--no-run", dest="run", action="store_false", help="with --write-docs: from the newest results, measure nothing"
    )
    return parser.parse_args()


def _plan(options: argparse.Namespace) -> Plan:
    rounds, seconds = (3, 0.6) if options.quick else (9, 1.5)
    return Plan(
        rounds=options.rounds or rounds,
        seconds=options.seconds or seconds,
        connections=CONNECTIONS,
        foreign_most_cores=options.foreign,
    )


def _measure(network: Network, options: argparse.Namespace) -> dict[str, Any]:
    tools, content = build_tools(BUILD / "tools"), BUILD / "content"
    with err.status("making and warming the files"):
        make_content(content)
    cases = [Case(shape=shape, is_tls=is_tls) for is_tls in (False, True) for shape in SHAPES]
    cases = [case for case in cases if _is_asked(case.name, options.case)]
    servers = [server for server in SERVERS if _is_asked(server.name, options.only)]
    missing = [f"{server.name} ({server.how_to_get})" for server in servers if not server.program()]
    for line in missing:
        err.print(f"[yellow]missing:[/yellow] {line}", highlight=False)
    present = [server for server in servers if server.program()]
    plan = _plan(options)
    with tempfile.TemporaryDirectory(prefix="run-", dir=BUILD) as folder, contextlib.ExitStack() as stack:
        work = Path(folder)
        os.chmod(work, 0o755)
        running = list(_started(network, present, work, content, tools, stack))
        requests = _verified(network, running, cases, content, work)
        taken = _sampled(network, running, requests, plan, tools / "load")
        answers = {one.server.name: one.answers for one in running}
    return {
        "bench": "delivery",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine_facts(),
        "plan": {"rounds": plan.rounds, "seconds": plan.seconds, "connections": plan.connections},
        "cases": [{"name": case.name, "answer_bytes": case.shape.answer_bytes} for case in cases],
        "servers": [_facts_of(server) | {"answers": answers[server.name]} for server in present],
        "missing": missing,
        "samples": [one.as_json() for one in taken],
    }


def _is_asked(name: str, words: list[str]) -> bool:
    return not words or any(word.lower() in name.lower() for word in words)


def _facts_of(server: Server) -> dict[str, Any]:
    return {"name": server.name, "kind": server.kind.value, "version": version_of(server), "note": server.note}


def _started(
    network: Network, servers: list[Server], work: Path, content: Path, tools: Path, stack: contextlib.ExitStack
) -> Iterator[Running]:
    """Start everything, the origin of the caches first; all stay up, idle servers cost nothing."""
    certificate, key = _certificate(work)
    origin = next(server for server in SERVERS if server.kind is Kind.LIMIT and server.has_clear)
    for number, server in enumerate([origin, *servers]):
        place = Place(
            folder=work / f"{number:02d}",
            content=content,
            address=network.server_address,
            port=8000 + 10 * number,
            tls_port=8001 + 10 * number,
            origin_port=8000,
            certificate=certificate,
            key=key,
            tools=tools,
        )
        err.print(f"starting {server.name}" if number else "starting an origin for the caches", highlight=False)
        running = stack.enter_context(started(network, server, place))
        if number:
            yield running


def _certificate(work: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = work / "certificate.pem", work / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path


def _verified(
    network: Network, running: list[Running], cases: list[Case], content: Path, work: Path
) -> dict[Case, Path]:
    """Write each case's requests, once every server has answered some of them rightly."""
    asks: dict[str, list[Ask]] = {shape.name: asks_of(content, shape) for shape in SHAPES}
    requests: dict[Case, Path] = {}
    for number, case in enumerate(cases):
        for one in running:
            if one.takes(case):
                err.print(f"checking answers: {one.server.name}, {case.name}", highlight=False)
                verify(network, one, case, asks[case.shape.name])
        requests[case] = work / f"requests-{number}"
        write_requests(asks[case.shape.name], requests[case])
    return requests


def _sampled(
    network: Network, running: list[Running], requests: dict[Case, Path], plan: Plan, load_tool: Path
) -> list[Taken]:
    cells = cells_of(running, requests, plan.rounds)
    taken: list[Taken] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as progress:
        bar = progress.add_task("sampling", total=len(cells))
        for cell in cells:
            name = f"round {cell.round + 1}, {cell.case.name}, {cell.running.server.name}"
            progress.update(bar, description=name)

            def told(trouble: str, name: str = name) -> None:
                progress.update(bar, description=f"{name}: {trouble}")

            taken += fill_cell(network, cell, plan, load_tool=load_tool, told=told)
            progress.advance(bar)
    return taken


def _keep(results: dict[str, Any], options: argparse.Namespace) -> Path:
    is_whole = not (options.quick or options.only or options.case)
    folder = RESULTS if is_whole else BUILD / "results"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"delivery-{results['date'][:10]}.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return path


def _print(results: dict[str, Any]) -> None:
    out = Console(width=None if sys.stdout.isatty() else 140)
    for table in tables_of(results):
        shown = Table(title=table.case, title_justify="left", title_style="bold")
        for heading in HEADINGS:
            shown.add_column(heading, justify="left" if heading == "server" else "right")
        for row in table.rows:
            shown.add_row(*cells(table, row), style="bold green" if row.server == OURS else None)
        out.print(shown)
    for one in verdicts_of(tables_of(results)):
        out.print(
            f"[{'green' if one.is_met else 'red'}]{'met' if one.is_met else 'missed':6}[/] {one.goal}: {one.said}"
        )


def _plain(verdict: Any) -> dict[str, Any]:
    return {"server": verdict.server, "goal": verdict.goal, "is_met": verdict.is_met, "said": verdict.said}


def _newest_results() -> Path | None:
    return max(RESULTS.glob("delivery-*.json"), default=None)


def _write_docs(path: Path | None) -> int:
    if path is None:
        err.print("no results yet: run the bench first")
        return 2
    write_section(PAGE, "delivery", as_markdown(json.loads(path.read_text(encoding="utf-8")), path.name))
    err.print(f"wrote {PAGE.relative_to(REPO)} from {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
