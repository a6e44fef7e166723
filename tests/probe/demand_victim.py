"""Ships or counts in children that kill themselves (SIGKILL) before the n-th line they run, until one ends.

`demand_victim.py ship FOLDER STORE LOG_LINES` appends to the log of a1 before each child, `demand_victim.py count
TOTALS STORE` counts; n grows from child to child. Prints how many were killed. It imports what they need, and forks
before anything has threads, so that a child costs little.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import ibis.backends.duckdb
import ibis.backends.duckdb.converter
import pandas

from headrace.appliance.config import ShipSettings
from headrace.appliance.ship import LogShipper
from headrace.base.clock import ManualClock, SystemClock
from headrace.base.rng import make_rng
from headrace.metering.adapters.duckdb_engine import DuckDbEngine
from headrace.metering.count import Meter
from headrace.metering.folder import hold_totals
from headrace.metering.model import MeterLimits
from headrace.metering.surroundings import last_surroundings
from headrace.metering.testing import A1
from headrace.wire.batch_store import open_batch_store

CHILD_S = 60
NEEDED = (ibis.backends.duckdb, ibis.backends.duckdb.converter, pandas)
"""What children would import."""
OURS = ("/headrace/metering/", "/headrace/appliance/", "/headrace/wire/")


def die_at(number: int) -> None:
    """Die before the n-th line of our own code."""
    left = number

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        elif event == "call" and not any(part in frame.f_code.co_filename for part in OURS):
            return None
        return trace

    threading.settrace(trace)
    sys.settrace(trace)


def ship(folder: Path, store: str) -> None:
    settings = ShipSettings(
        url=store, batch_bytes=3_000, batch_s=60.0, timeout_s=10.0, client_bits_ipv4=24, client_bits_ipv6=48
    )
    clock = ManualClock(SystemClock().now_s())
    shipper = LogShipper(
        A1,
        open_batch_store(store),
        settings,
        logs=folder / A1 / "nginx",
        folder=folder / A1 / "ship",
        clock=clock,
        rng=make_rng(1),
    )

    async def turns() -> None:
        await shipper.open()
        await shipper.turn()
        clock.advance(120.0)
        await shipper.turn()

    asyncio.run(turns())


def count(totals: Path, store: str) -> None:
    limits = MeterLimits(run_batches=10, merge_at=3, late_s=1e9, skew_s=1e9, keep_s=-1e9)
    with hold_totals(totals) as folder:
        engine = DuckDbEngine(totals / "scratch", memory_bytes=256 << 20, threads=1)
        meter = Meter(open_batch_store(store), folder, engine, limits, clock=SystemClock())
        meter.count(last_surroundings(totals))
        engine.close()


def kill_until_done(work: Callable[[], None], *, before: Callable[[], bool], step: int) -> int:
    """Run `work` in children; `before` each it may be made harder, and says whether it still was."""
    killed = 0
    number = 1
    while True:
        is_harder = before()
        child = os.fork()
        if not child:
            signal.alarm(CHILD_S)
            try:
                die_at(number)
                work()
                sys.settrace(None)
            except BaseException as error:
                os.write(2, f"child: {error!r}\n".encode())
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                sys.exit(f"a child failed, killed before: {killed}")
            if not is_harder:
                return killed
        elif os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"a child ended with signal {os.WTERMSIG(status)}")
        else:
            killed += 1
        number += step + number // 25


def main() -> None:
    mode, first, store = sys.argv[1:4]
    if mode == "count":
        print(kill_until_done(lambda: count(Path(first), store), before=lambda: False, step=100))
        return
    lines = Path(sys.argv[4]).read_bytes().splitlines(keepends=True)
    log = Path(first) / A1 / "nginx" / "access.log"

    def grow() -> bool:
        some = [lines.pop(0) for _ in range(min(7, len(lines)))]
        with log.open("ab") as file:
            file.writelines(some)
        if len(lines) % 5 == 1:
            os.rename(log, log.with_name(f"access-{1_800_000_000_000 + len(lines):013d}.log"))
            log.touch()
        return bool(some)

    print(kill_until_done(lambda: ship(Path(first), store), before=grow, step=60))


if __name__ == "__main__":
    main()
