"""How soon an agent that held many files serves and reports again: the real `headrace agent` with nginx, started anew.

    .venv/bin/python bench/warm_start.py [--files 100000] [--starts 5] [--json]

From the start of the process (Python and its imports included) to the first whole answer of nginx and to the first
exchange, which reports all files as held. The control plane is a small one in this process. Files are of one byte; what
a start does depends on their number only. The first start, which finds nothing in memory, is not counted.
"""

import argparse
import asyncio
import hashlib
import json
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from headrace.appliance.adapters.disk import Disk
from headrace.appliance.adapters.ledger import Holding, Ledger
from headrace.appliance.adapters.serve_tree import ServeTree
from headrace.appliance.plan import FillPlan, make_plan
from headrace.appliance.testing_peers import Asked, FakeControl, Told, serving
from headrace.base.ids import FileNo, RenditionId, Sha256, TitleId
from headrace.catalog.model import CatalogFile, FileSuffix, content_path
from headrace.wire.agent import ExchangeRequest
from headrace.wire.codec import decode
from rig.machine import machine_facts
from rig.processes import read_cpu
from rig.summary import spread

COMMAND = [sys.executable, "-c", "from headrace.cli.main import main; main()", "agent", "--config"]
GOAL_S = 1.0
LIMIT_S = 60.0
DISKS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start, in seconds since the process was begun."""

    serves_s: float
    reports_s: float
    cpu_s: float
    """Of the agent until it reported."""


class Appliance:
    """Its folders, and a control plane that notes when it hears of all files."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self.control = FakeControl()
        self.reported = asyncio.Event()
        self.address = _free_address()
        self._some_path = ""

    def lay(self) -> None:
        """Files, ledger and links, as an agent leaves them."""
        state, folders = self.folder / "state", [self.folder / f"d{number}" for number in range(DISKS)]
        state.mkdir()
        disks = [Disk(folder) for folder in folders]
        for folder in folders:
            folder.mkdir()
        ids = [disk.set_up("bench") for disk in disks]
        holdings: list[Holding] = []
        for number in range(self.count):
            name = Sha256(hashlib.sha256(str(number).encode()).hexdigest())
            disks[number % DISKS].object_path(name, FileSuffix.MP4).write_bytes(b"x")
            holdings.append(Holding(name, FileSuffix.MP4, 1, ids[number % DISKS], 1_800_000_000.0))
        plan = make_plan(1, {FileNo(number + 1): _planned(number, one) for number, one in enumerate(holdings)})
        ledger = Ledger(state / "ledger.db")
        for disk, disk_id in zip(disks, ids, strict=True):
            ledger.know_disk(str(disk.folder), disk_id, is_mount=False)
        ledger.keep(holdings)
        ledger.replace_plan(FillPlan(), plan)
        ledger.close()
        tree = ServeTree(state)
        for disk, disk_id in zip(disks, ids, strict=True):
            tree.show_disk(disk_id, disk.folder)
        tree.show_all(holdings)
        self._some_path = content_path(holdings[-1].sha256, FileSuffix.MP4)
        self.control.want(list(plan.files.values()), sources=[])
        (self.folder / "join").write_text(self.control.join_token)

    def configure(self, control_url: str) -> Path:
        """The agent's configuration; verification is off, because it is no part of a start."""
        path = self.folder / "agent.toml"
        folders = ", ".join(f'"{self.folder}/d{number}"' for number in range(DISKS))
        path.write_text(
            f'[appliance]\nid = "bench"\ncontent_url = "http://{self.address}"\nstate = "{self.folder}/state"\n'
            f'[control]\nurls = ["{control_url}"]\njoin_token_file = "{self.folder}/join"\n'
            f"[store]\nfolders = [{folders}]\nreserve_bytes = 0\nverify_bps = 0\n"
            f'[nginx]\nlisten = ["{self.address}"]\nworkers = 1\nstop_timeout_s = 0.1\n[metrics]\nlisten = ""\n'
        )
        return path

    async def handle(self, asked: Asked) -> Told:
        """The control plane's answer."""
        if asked.path == "/v1/agent/exchange" and decode(ExchangeRequest, asked.body).holdings.count == self.count:
            self.reported.set()
        return await self.control.handle(asked)

    async def serves(self) -> None:
        """Return when nginx gives a held file."""
        host, port = self.address.split(":")
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(f"GET {self._some_path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                answer = await reader.read(20)
                writer.close()
                if answer.startswith(b"HTTP/1.1 200"):
                    return
            await asyncio.sleep(0.005)


async def start_once(appliance: Appliance, config: Path) -> Start:
    """One start and a clean stop."""
    appliance.reported.clear()
    with (appliance.folder / "agent.log").open("ab") as log:
        begun_s = time.monotonic()
        process = await asyncio.create_subprocess_exec(*COMMAND, str(config), stderr=log)
    try:
        async with asyncio.timeout(LIMIT_S):
            serving = asyncio.create_task(_took(appliance.serves(), begun_s))
            reports_s = await _took(appliance.reported.wait(), begun_s)
            cpu_s = read_cpu(servers=[process.pid], clients=[]).servers
            return Start(serves_s=await serving, reports_s=reports_s, cpu_s=cpu_s)
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), LIMIT_S)


async def measure(count: int, starts: int) -> list[Start]:
    """Lay the files and start again and again."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    try:
        appliance = Appliance(folder, count)
        appliance.lay()
        async with serving(appliance.handle) as control_url:
            config = appliance.configure(control_url)
            return [await start_once(appliance, config) for _ in range(starts + 1)][1:]
    finally:
        shutil.rmtree(folder)


async def _took(work, begun_s: float) -> float:
    await work
    return round(time.monotonic() - begun_s, 4)


def _planned(number: int, held: Holding) -> CatalogFile:
    return CatalogFile(
        file_no=FileNo(number + 1),
        sha256=held.sha256,
        size_bytes=held.size_bytes,
        suffix=held.suffix,
        title_id=TitleId(f"title-{number // 20}"),
        rendition_id=RenditionId(f"v{number % 20}"),
    )


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer files and starts: to see that it works")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    count, starts = (5_000, 2) if arguments.quick else (arguments.files, arguments.starts)
    samples = asyncio.run(measure(count, starts))
    figures = {name: spread([getattr(one, name) for one in samples]) for name in ("serves_s", "reports_s", "cpu_s")}
    if arguments.json:
        print(json.dumps({"files": count, "machine": machine_facts(), "samples": [asdict(one) for one in samples]}))
    else:
        for name, one in figures.items():
            print(f"{name:10} median {one.median:.2f} s, spread {one.iqr_ratio / 2:.0%}, {one.samples} starts")
    sys.exit(0 if max(figures[name].median for name in ("serves_s", "reports_s")) < GOAL_S else 1)


if __name__ == "__main__":
    main()
