"""What a fill costs players: time to the first byte with and without one, at an appliance of real parts.

    .venv/bin/python bench/fill.py [--rate 200M] [--rounds 4] [--seconds 4] [--json]

The real `headrace agent` with nginx fills from a second nginx at a bounded rate while a client asks for ranges of
files that are held. Phases with and without a fill take turns, so that slow drift of the machine cancels out. All of it
shares the cores of this machine: agent, both servers, client. The control plane is a small one in this process.
"""

import argparse
import asyncio
import hashlib
import json
import signal
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from headrace.appliance.testing_nginx import NginxRig
from headrace.appliance.testing_peers import FakeControl, serving
from headrace.base.ids import FileNo, RenditionId, Sha256, TitleId
from headrace.base.rng import make_rng
from headrace.base.units import parse_amount, show_bps
from headrace.catalog.model import CatalogFile, FileSuffix, content_path
from rig.machine import machine_facts

COMMAND = [sys.executable, "-c", "from headrace.cli.main import main; main()", "agent", "--config"]
FILE_BYTES = 16 * 1024 * 1024
HELD = 4
RANGE_BYTES = 256 * 1024
CONNECTIONS = 4
PAUSE_S = 0.01
GOAL_RATIO = 1.1
"""First-byte p99 with a fill over without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What one phase gave; seconds."""

    is_filling: bool
    requests: int
    p50_s: float
    p99_s: float
    filled_bps: float


async def ask_for_ranges(address: tuple[str, int], paths: list[str], seconds: float) -> list[float]:
    """Time to the first byte of each answer, on a few connections that pause between requests as players do."""
    took: list[float] = []
    ends_s = time.perf_counter() + seconds

    async def one(number: int) -> None:
        rng = make_rng(number)
        reader, writer = await asyncio.open_connection(*address)
        while time.perf_counter() < ends_s:
            first = rng.randrange(FILE_BYTES - RANGE_BYTES)
            head = (
                f"GET {rng.choice(paths)} HTTP/1.1\r\nhost: x\r\nrange: bytes={first}-{first + RANGE_BYTES - 1}\r\n\r\n"
            )
            began_s = time.perf_counter()
            writer.write(head.encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            took.append(time.perf_counter() - began_s)
            assert answer.startswith(b"HTTP/1.1 206"), answer[:100]
            await reader.readexactly(RANGE_BYTES)
            await asyncio.sleep(PAUSE_S)
        writer.close()

    await asyncio.gather(*(one(number) for number in range(CONNECTIONS)))
    return took


def make_file(number: int, rig: NginxRig) -> CatalogFile:
    """A file of random bytes, laid where the origin serves it."""
    body = make_rng(number).randbytes(FILE_BYTES)
    rig.put(body)
    return CatalogFile(
        file_no=FileNo(number + 1),
        sha256=Sha256(hashlib.sha256(body).hexdigest()),
        size_bytes=FILE_BYTES,
        suffix=FileSuffix.MP4,
        title_id=TitleId(f"film{number}"),
        rendition_id=RenditionId("v"),
    )


def free_address() -> tuple[str, int]:
    """An address nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1", int(probe.getsockname()[1])


def write_config(folder: Path, control_url: str, address: tuple[str, int]) -> Path:
    """The agent's configuration."""
    listen = f"{address[0]}:{address[1]}"
    config = folder / "agent.toml"
    (folder / "join").write_text("join-1")
    config.write_text(
        f'[appliance]\nid = "a1"\ncontent_url = "http://{listen}"\nstate = "{folder}/state"\n'
        f'[control]\nurls = ["{control_url}"]\njoin_token_file = "{folder}/join"\n[metrics]\nlisten = ""\n'
        f'[nginx]\nlisten = ["{listen}"]\nworkers = 1\nstop_timeout_s = 1.0\n[fill]\nturn_interval_s = 0.1\n'
        f'[store]\nfolders = ["{folder}/disk"]\nreserve_bytes = 0\nverify_bps = 0\n'
    )
    return config


async def until(is_so: object, what: str) -> None:
    """Wait for a condition for a minute."""
    assert callable(is_so)
    try:
        async with asyncio.timeout(60):
            while not is_so():  # noqa: ASYNC110 - another process makes no events
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise SystemExit(f"bench/fill.py: {what}: not within a minute") from None


async def run(folder: Path, *, rate_bps: int, rounds: int, seconds: float) -> list[Phase]:
    """All phases, in turns."""
    control, address = FakeControl(), free_address()
    (folder / "origin").mkdir()
    phases: list[Phase] = []
    async with NginxRig(folder / "origin") as origin, serving(control.handle) as control_url:
        held = [make_file(number, origin) for number in range(HELD)]
        each = max(1, int(rate_bps / 8 * seconds * 1.3 // FILE_BYTES) + 1)
        new = [[make_file(HELD + turn * each + at, origin) for at in range(each)] for turn in range(rounds)]
        control.want(held, sources=[], origin_url=origin.url)
        config = write_config(folder, control_url, address)
        log = (folder / "agent.log").open("wb")
        agent = await asyncio.create_subprocess_exec(*COMMAND, str(config), stderr=log, stdout=log)
        try:
            await until(control.has_all, "filled")
            paths = [content_path(one.sha256, one.suffix) for one in held]
            await ask_for_ranges(address, paths, 1.0)
            for turn in range(rounds):
                for is_filling in (False, True):
                    control.want([*held, *(new[turn] if is_filling else [])], sources=[], origin_url=origin.url,
                                 rate_bps=rate_bps)  # fmt: skip
                    await asyncio.sleep(0.7)
                    began = filled_bytes(control)
                    took = sorted(await ask_for_ranges(address, paths, seconds))
                    phases.append(
                        Phase(
                            is_filling=is_filling,
                            requests=len(took),
                            p50_s=took[len(took) // 2],
                            p99_s=took[int(len(took) * 0.99)],
                            filled_bps=(filled_bytes(control) - began) * 8 / seconds,
                        )
                    )
        finally:
            agent.send_signal(signal.SIGTERM)
            await agent.wait()
    return phases


def filled_bytes(control: FakeControl) -> int:
    """As the agent last reported."""
    return control.last.report.fill.done_bytes if control.last else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", default="200M", help="bound of the fill, bits per second")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rate_bps = parse_amount(asked.rate, unit="b/s")
    with tempfile.TemporaryDirectory(prefix="bench-fill-") as folder:
        phases = asyncio.run(run(Path(folder), rate_bps=rate_bps, rounds=asked.rounds, seconds=asked.seconds))
    quiet = [one.p99_s for one in phases if not one.is_filling]
    filling = [one.p99_s for one in phases if one.is_filling]
    ratio = statistics.median(with_it / without for without, with_it in zip(quiet, filling, strict=True))
    if asked.json:
        print(json.dumps({"machine": machine_facts(), "ratio": ratio, "phases": [asdict(one) for one in phases]}))
    else:
        for one in phases:
            kind = f"filling at {show_bps(one.filled_bps)}" if one.is_filling else "no fill"
            times = f"p50 {one.p50_s * 1e3:.2f} ms, p99 {one.p99_s * 1e3:.2f} ms"
            print(f"{kind:>28}: {one.requests} requests, first byte {times}")
        middle = [statistics.median(values) * 1e3 for values in (quiet, filling)]
        print(f"p99 without {middle[0]:.2f} ms, with {middle[1]:.2f} ms; median ratio of neighbours {ratio:.2f}")
    return 0 if ratio <= GOAL_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
