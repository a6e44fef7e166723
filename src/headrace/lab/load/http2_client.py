"""The HTTP/2 client of the lab: a program that reads a LoadPlan as JSON from its input and prints a LoadReport.

Run where the client is: `python -m headrace.lab.load.http2_client`. Each round is one connection: every range around a
border, whole files at once with priorities, windows down to one byte, windows that open in mid-transfer, streams given
up in mid-transfer beside others that must stay right. Of a plan only address, files, seed and stall count.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from headrace.base.clock import Clock, SystemClock
from headrace.base.rng import Rng, make_rng
from headrace.lab.content import LARGE_PAGE_BYTES, KnownFile, border_ranges
from headrace.lab.load.checking import Ask, conditions, open_ranges, part, whole
from headrace.lab.load.http2 import LARGE_WINDOW, Http2Connection, Priority, connect
from headrace.lab.load.link import Gone
from headrace.lab.load.model import LoadPlan, LoadReport
from headrace.lab.load.tally import Tally
from headrace.wire.codec import decode, encode

_STREAMS = 64
"""At a time; the server allows 128."""
_SMALL_WINDOWS = (1, 100, 4096, 16_383, 65_535)
_MOST_UPDATES = 400
"""Of a window, for one answer: each is a round trip."""
_SMALL_FILE_BYTES = 150_000
_MOST_RANGE_BYTES = 1 << 20

Round = Callable[[Http2Connection], Awaitable[None]]


async def run_plan(plan: LoadPlan) -> LoadReport:
    """Make all rounds, one after the other; raises nothing for what the machine does."""
    clock, tally = SystemClock(), Tally()
    began_s = clock.monotonic_s()
    for window, one in rounds(plan.files, make_rng(f"http2-{plan.seed}")):
        await _connected(plan, tally, clock, window, one)
    return tally.report(clock.monotonic_s() - began_s)


def rounds(files: Sequence[KnownFile], rng: Rng) -> list[tuple[int, Round]]:
    """Every round with the window of its streams."""
    spans = [(file, first, end) for file in files for first, end in border_ranges(file.size_bytes)]
    # Long ones are asked over HTTP/1.1; here borders are what counts, and each byte is read twice by slow code.
    ranges = [part(file, first, end) for file, first, end in spans if end - first <= _MOST_RANGE_BYTES]
    ranges += [ask for file in files for ask in (*open_ranges(file), *conditions(file)) if _is_short(ask)]
    ranges += [_several_ranges(file) for file in files if file.size_bytes > 1000]
    large = [file for file in files if file.size_bytes > LARGE_PAGE_BYTES][:2]
    made: list[tuple[int, Round]] = [
        (LARGE_WINDOW, partial(_in_turn, asks=ranges)),
        (LARGE_WINDOW, partial(_with_priorities, asks=[whole(file) for file in files])),
        (65_535, partial(_at_once, asks=[whole(file) for file in large])),
        (LARGE_WINDOW, partial(_given_up, files=large, rng=rng)),
        (65_535, partial(_given_up, files=large, rng=rng)),
        (0, partial(_opened_later, asks=[whole(file) for file in files if file.size_bytes < LARGE_PAGE_BYTES])),
    ]
    for window in _SMALL_WINDOWS:
        asks = [part(file, first, min(file.size_bytes, first + window * _MOST_UPDATES))
                for file in files if file.size_bytes <= _SMALL_FILE_BYTES
                for first in sorted({0, max(0, file.size_bytes - 4097)})]  # fmt: skip
        made.append((window, partial(_at_once, asks=asks)))
    return made


async def _connected(plan: LoadPlan, tally: Tally, clock: Clock, window: int, one: Round) -> None:
    try:
        connection = await connect(plan.address, plan.port, tally, stall_s=plan.stall_s, clock=clock, window=window)
    except Gone:
        return
    try:
        await one(connection)
    except Gone:
        return
    finally:
        await connection.close()


async def _in_turn(connection: Http2Connection, *, asks: Sequence[Ask]) -> None:
    """So many streams at a time as the server takes."""
    for at in range(0, len(asks), _STREAMS):
        await connection.ask(asks[at : at + _STREAMS], "http2 ranges")
        await connection.read_all()


async def _at_once(connection: Http2Connection, *, asks: Sequence[Ask]) -> None:
    await connection.ask(asks, "http2 streams")
    await connection.read_all()


async def _with_priorities(connection: Http2Connection, *, asks: Sequence[Ask]) -> None:
    weights = (1, 16, 128, 256)
    priorities = [Priority(weight=weight, is_exclusive=weight == 128) for weight in weights]
    await connection.ask(asks, "http2 priorities", priorities=priorities)
    await connection.read_all()


async def _given_up(connection: Http2Connection, *, files: Sequence[KnownFile], rng: Rng) -> None:
    """Half of the streams are reset in mid-transfer, at bytes around borders; the others stay right, and so do those
    that follow on the same connection.
    """
    asks = [whole(file) for file in files for _ in range(2)]
    for _ in range(2):
        cancel_at = {
            number: rng.choice([1, 4096, LARGE_PAGE_BYTES - 1, rng.randint(1, asks[number].file.size_bytes - 1)])
            for number in range(0, len(asks), 2)
        }
        await connection.ask(asks, "http2 resets", cancel_at=cancel_at)
        await connection.read_all()
    await connection.ask([whole(file) for file in files], "http2 after resets")
    await connection.read_all()


async def _opened_later(connection: Http2Connection, *, asks: Sequence[Ask]) -> None:
    """Streams begin with no window at all; it opens step by step while they run. It never shrinks: the library does not
    know windows below zero, which are right then (RFC 9113, 6.9.2).
    """
    await connection.ask(asks, "http2 windows")
    for window in (1, 5000, 65_535, LARGE_WINDOW):
        await connection.change_window(window)
        await connection.read_some()
    await connection.read_all()


def _is_short(ask: Ask) -> bool:
    return ask.body is not None and len(ask.body) <= _MOST_RANGE_BYTES


def _several_ranges(file: KnownFile) -> Ask:
    step = file.size_bytes // 3
    return Ask(file=file, ranges=tuple((at * step, at * step + min(step, 5000)) for at in range(3)), status=206)


def main() -> None:
    plan = decode(LoadPlan, sys.stdin.buffer.read())
    sys.stdout.buffer.write(encode(asyncio.run(run_plan(plan))) + b"\n")


if __name__ == "__main__":
    main()
