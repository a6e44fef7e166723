"""Starting the servers of bench/delivery.py, checking that each answers rightly, and the interleaved rounds."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from delivery_files import Ask, Shape
from delivery_servers import Place, Server
from rig import ask as ask_script
from rig.load import Sample, Target, as_json, take_sample
from rig.network import Network

READY_WITHIN_S = 30.0
STOP_WITHIN_S = 10.0
FOREIGN_MOST_CORES = 0.12
"""A sample during which others used more CPU than this is thrown away and taken again."""
TRIES_MOST = 6
PAUSE_S = 0.1
"""After the first thrown sample; it doubles with each further one."""


class ServerFailed(Exception):
    """A server did not start or answered wrongly; the message holds its own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One table: a shape of requests, clear or over TLS."""

    shape: Shape
    is_tls: bool

    @property
    def name(self) -> str:
        return f"{self.shape.name}, {'TLS 1.3' if self.is_tls else 'clear'}"


@dataclass(slots=True, kw_only=True)
class Running:
    """A started server."""

    server: Server
    place: Place
    processes: list["subprocess.Popen[bytes]"]
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    """By case: what its verified answer looked like (headers), for the results file."""

    def port(self, *, is_tls: bool) -> int:
        return self.place.tls_port if is_tls else self.place.port

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def takes(self, case: Case) -> bool:
        return self.server.has_tls if case.is_tls else self.server.has_clear


@contextlib.contextmanager
def started(network: Network, server: Server, place: Place) -> Iterator[Running]:
    """The server, listening, for the time of the block.

    Raises:
        ServerFailed: it ended, or did not listen in time.
    """
    place.folder.mkdir(parents=True, exist_ok=True)
    log = open(place.folder / "start.log", "ab")  # noqa: SIM115 closed below, after its processes
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for argv in server.prepare(place):
            command = network.at_server(argv)
            processes.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            )
        running = Running(server=server, place=place, processes=processes)
        _wait_until_listening(network, running)
        yield running
    finally:
        for process in processes:
            _end(process)
        log.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOP_WITHIN_S)
            return


def _wait_until_listening(network: Network, running: Running) -> None:
    wanted = {running.port(is_tls=is_tls) for is_tls in (False, True) if _listens(running.server, is_tls=is_tls)}
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        if any(process.poll() is not None for process in running.processes):
            break
        if wanted <= _listening_ports(network):
            return
        time.sleep(0.1)
    words = (running.place.folder / "start.log").read_text(errors="replace").strip()
    raise ServerFailed(f"{running.server.name} did not start: {words[-1500:] or 'it said nothing'}")


def _listens(server: Server, *, is_tls: bool) -> bool:
    return server.has_tls if is_tls else server.has_clear


def _listening_ports(network: Network) -> set[int]:
    done = subprocess.run(
        network.at_server(["cat", "/proc/net/tcp", "/proc/net/tcp6"]), check=False, capture_output=True, timeout=20
    )
    lines = (line.split() for line in done.stdout.decode().splitlines())
    return {int(words[1].rpartition(":")[2], 16) for words in lines if len(words) > 3 and words[3] == "0A"}


def verify(network: Network, running: Running, case: Case, asks: list[Ask]) -> None:
    """Ask a few times and compare status, bytes, TLS version; caches are filled on the way.

    Raises:
        ServerFailed: names server, request and difference.
    """
    sample = asks[:3]
    for ask in sample:
        facts = _ask(network, running, case, ask)
        wanted = {"status": 200 if ask.first is None else 206, "length": ask.length, "sha256": ask.sha256}
        wrong = {key: facts[key] for key, value in wanted.items() if facts[key] != value}
        if case.is_tls and facts["tls"] != "TLSv1.3":
            wrong["tls"] = facts["tls"]
        if wrong:
            raise ServerFailed(f"{running.server.name}, {case.name}: {ask.path}: wanted {wanted}, got {wrong}")
    running.answers[case.name] = facts["headers"]


def _ask(network: Network, running: Running, case: Case, ask: Ask) -> dict[str, Any]:
    first, last = ("-", "-") if ask.first is None else (str(ask.first), str(ask.first + ask.length - 1))
    argv = [sys.executable, str(ask_script.__file__), network.server_address, str(running.port(is_tls=case.is_tls))]
    argv += [ask.path, first, last, "tls" if case.is_tls else "clear"]
    done = subprocess.run(network.at_client(argv), check=False, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise ServerFailed(f"{running.server.name}, {case.name}: {done.stderr.strip()[-500:]}")
    return dict(json.loads(done.stdout))


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One sample with where it belongs; those not kept stay in the results file too."""

    case: str
    server: str
    round: int
    is_kept: bool
    sample: Sample

    def as_json(self) -> dict[str, object]:
        head = {"case": self.case, "server": self.server, "round": self.round, "is_kept": self.is_kept}
        return head | as_json(self.sample)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much to measure."""

    rounds: int
    seconds: float
    connections: int
    foreign_most_cores: float = FOREIGN_MOST_CORES


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One server in one case in one round: what one kept sample fills."""

    round: int
    case: Case
    running: Running
    requests: Path

    def target(self) -> Target:
        return Target(
            name=f"{self.running.server.name}, {self.case.name}",
            port=self.running.port(is_tls=self.case.is_tls),
            is_tls=self.case.is_tls,
            requests=self.requests,
            pids=self.running.pids,
        )


def cells_of(servers: list[Running], requests: dict[Case, Path], rounds: int) -> list[Cell]:
    """All servers of a case one after the other, in a new order each round, so that drift meets all alike."""
    chance = random.Random(rounds)
    cells: list[Cell] = []
    for number in range(rounds):
        for case, path in requests.items():
            able = [running for running in servers if running.takes(case)]
            order = chance.sample(able, len(able))
            cells += [Cell(round=number, case=case, running=running, requests=path) for running in order]
    return cells


def fill_cell(
    network: Network, cell: Cell, plan: Plan, *, load_tool: Path, told: Callable[[str], None]
) -> Iterator[Taken]:
    """Sample until one sample is clean, or give up; each pause is longer, for a burst of foreign work to pass.

    Raises:
        LoadFailed: the server answered wrongly under load.
    """
    for attempt in range(TRIES_MOST):
        sample = take_sample(network, load_tool, cell.target(), connections=plan.connections, seconds=plan.seconds)
        forget_logs(cell.running.place.folder)
        is_clean = sample.foreign_cores <= plan.foreign_most_cores
        yield Taken(
            case=cell.case.name,
            server=cell.running.server.name,
            round=cell.round,
            is_kept=is_clean,
            sample=sample,
        )
        if is_clean:
            return
        told(f"{sample.foreign_cores:.2f} cores used by others, try {attempt + 1} of {TRIES_MOST}")
        time.sleep(PAUSE_S * 2**attempt)


def forget_logs(folder: Path) -> None:
    """Empty the access logs between samples: they would fill the disk, and their write-back would disturb the next."""
    for path in folder.rglob("*.log*"):
        if path.is_file() and path.stat().st_size > 1 << 20:
            os.truncate(path, 0)
