"""The client of the lab: a program that reads a LoadPlan as JSON from its input and prints a LoadReport.

Run where the client is: `python -m headrace.lab.load.client`. On the way it prints what it has counted so far, one
report a line and second; the last line is the result.
"""

import asyncio
import sys
from contextlib import suppress

from headrace.base.clock import SystemClock
from headrace.base.rng import make_rng
from headrace.base.tasks import Tasks
from headrace.lab.load.link import lab_tls
from headrace.lab.load.model import LoadPlan, LoadReport
from headrace.lab.load.players import Stage, play, sweep, sweep_asks
from headrace.lab.load.tally import Tally
from headrace.wire.codec import decode, encode

_SWEEPERS = 4
_GRACE_S = 2.0
"""After the end, transfers may go on for so long beyond what counts as a stall."""


async def run_plan(plan: LoadPlan) -> LoadReport:
    """Do what the plan says; raises nothing for what the machine does."""
    clock, tally = SystemClock(), Tally()
    began_s = clock.monotonic_s()
    async with Tasks() as tasks:
        teller = tasks.spawn("tell", _tell(tally, began_s, clock))
        if plan.is_sweeping:
            asks = sweep_asks(plan)
            stage = _stage(plan, tally, clock)
            sweepers = [tasks.spawn(f"sweeper {index}", sweep(asks, stage)) for index in range(_SWEEPERS)]
            await asyncio.gather(*sweepers)
        stage = _stage(plan, tally, clock)
        players = [
            tasks.spawn(f"{behaviour} {index}", play(behaviour, stage, make_rng(f"{plan.seed}-{behaviour}-{index}")))
            for behaviour, count in plan.players.items()
            for index in range(count)
        ]
        if players:
            # Every read has its own limit, after which it counts as stalled. Who is still at it is slow, no more.
            await asyncio.wait(players, timeout=plan.seconds + plan.stall_s + _GRACE_S)
        teller.cancel()
        with suppress(asyncio.CancelledError):
            await teller
    return tally.report(clock.monotonic_s() - began_s)


def _stage(plan: LoadPlan, tally: Tally, clock: SystemClock) -> Stage:
    return Stage(
        plan=plan,
        tally=tally,
        clock=clock,
        tls=lab_tls() if plan.is_tls else None,
        until_s=clock.monotonic_s() + plan.seconds,
    )


async def _tell(tally: Tally, began_s: float, clock: SystemClock) -> None:
    while True:
        await clock.sleep(1.0)
        _print(tally.report(clock.monotonic_s() - began_s))


def _print(report: LoadReport) -> None:
    sys.stdout.buffer.write(encode(report) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    plan = decode(LoadPlan, sys.stdin.buffer.read())
    _print(asyncio.run(run_plan(plan)))


if __name__ == "__main__":
    main()
