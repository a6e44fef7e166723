"""The `process` machine: a candidate nginx in namespaces, on the kernel of this machine. The quickest kind."""

import asyncio
import contextlib
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path

from headrace.base.clock import Clock
from headrace.lab.adapters.cell import Cell
from headrace.lab.adapters.certificates import make_certificate
from headrace.lab.adapters.nginx_program import find_nginx, read_build
from headrace.lab.adapters.process_trees import cpu_seconds
from headrace.lab.content import KnownFile
from headrace.lab.counters import collect_command, parse_counters
from headrace.lab.errors import MachineError
from headrace.lab.machines.place import Place
from headrace.lab.ports import Condition, MachineSpec, MachineState, Ran
from headrace.lab.serving import MACHINE_ADDRESS, PORT, TLS_PORT, ServingFolders, lab_nginx_conf

_START_TIMEOUT_S = 10.0
_STEP_S = 0.02
_MOST_LOG_BYTES = 4_000_000


class ProcessMachine:
    """Made by `start_process_machine`."""

    address = MACHINE_ADDRESS
    port = PORT
    tls_port = TLS_PORT

    def __init__(self, cell: Cell, space: str, server: Process, run_folder: Path) -> None:
        self._cell = cell
        self._space = space
        self._server = server
        self._run_folder = run_folder

    @property
    def pids(self) -> tuple[int, ...]:
        """The server's tree."""
        return (self._server.pid,)

    async def read_counters(self) -> dict[str, float]:
        """Those of its namespace and processes; memory of this machine's kernel is not its own and left out."""
        command = collect_command(files="", errors=str(self._run_folder / "error.log"))
        ran = await self._cell.run(self._space, ["sh", "-c", command], timeout_s=10.0)
        self._trim_log()
        return parse_counters(ran.output) | {"cpu.seconds": cpu_seconds(self.pids)}

    def console(self) -> list[str]:
        """nginx's error log and what it wrote before that was open."""
        lines: list[str] = []
        for name in ("output.log", "error.log"):
            with contextlib.suppress(FileNotFoundError):
                lines += (self._run_folder / name).read_text(errors="replace").splitlines()
        return lines

    def condition(self) -> Condition:
        """Ended when the master has ended."""
        if self._server.returncode is None:
            return Condition(state=MachineState.RUNNING)
        said = self.console()[-1:] or ["it said nothing"]
        return Condition(
            state=MachineState.ENDED, reason=f"nginx ended with code {self._server.returncode}: {said[0][:400]}"
        )

    async def run(self, argv: Sequence[str], *, timeout_s: float = 30.0) -> Ran:
        """Run a command beside nginx."""
        return await self._cell.run(self._space, argv, timeout_s=timeout_s)

    async def stop(self) -> None:
        """End nginx."""
        if self._server.returncode is None:
            await self._cell.run(self._space, ["sh", "-c", f"kill -QUIT $(cat {self._run_folder}/nginx.pid)"])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait(), 3.0)

    def _trim_log(self) -> None:
        # nginx opens its log to append, so that it goes on at the new end.
        log = self._run_folder / "access.log"
        with contextlib.suppress(FileNotFoundError):
            if log.stat().st_size > _MOST_LOG_BYTES:
                log.open("w").close()


async def start_process_machine(spec: MachineSpec, place: Place, content: tuple[KnownFile, ...]) -> ProcessMachine:
    """Write content and configuration and start nginx.

    Raises:
        NotPossibleHereError: no such nginx.
        MachineError: it did not start; quotes it.
    """
    program = find_nginx(spec.nginx)
    folders = await asyncio.to_thread(lay_out, place.folder, content)
    conf = place.folder / "nginx.conf"
    conf.write_text(lab_nginx_conf(folders, await read_build(program), workers=spec.workers), encoding="utf-8")
    run = Path(folders.run)
    argv = [str(program), "-p", f"{run}/", "-c", str(conf), "-e", str(run / "error.log"), "-g", "daemon off;"]
    with (run / "output.log").open("wb") as output:
        server = await place.cell.start(place.space, argv, folder=run, stdout=output.fileno())
    machine = ProcessMachine(place.cell, place.space, server, run)
    await _until_serving(machine, run, place.clock)
    return machine


def lay_out(folder: Path, content: tuple[KnownFile, ...]) -> ServingFolders:
    """Write content, certificate and the folders of an nginx below `folder`; says where everything is."""
    run = folder / "run"
    run.mkdir(parents=True)
    for file in content:
        path = folder / "content" / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.body)
    certificate, key = make_certificate(MACHINE_ADDRESS)
    (folder / "certificate.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(key)
    return ServingFolders(
        content=str(folder / "content"),
        run=str(run),
        certificate=str(folder / "certificate.pem"),
        key=str(folder / "key.pem"),
    )


async def _until_serving(machine: ProcessMachine, run: Path, clock: Clock) -> None:
    deadline_s = clock.monotonic_s() + _START_TIMEOUT_S
    while not (run / "nginx.pid").exists():  # nginx writes it when it has its sockets
        condition = machine.condition()
        if condition.state is not MachineState.RUNNING:
            raise MachineError(condition.reason)
        if clock.monotonic_s() > deadline_s:
            raise MachineError(f"nginx did not listen within {_START_TIMEOUT_S:g} s")
        await clock.sleep(_STEP_S)
