"""What players do: each behaviour is one round on the network, repeated until the time is over."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headrace.base.clock import Clock
from headrace.base.rng import Rng
from headrace.lab.content import border_ranges, remainder_ranges
from headrace.lab.load.checking import Ask, conditions, open_ranges, part, whole
from headrace.lab.load.http1 import Connection, connect
from headrace.lab.load.link import Gone
from headrace.lab.load.model import Behaviour, LoadPlan
from headrace.lab.load.tally import Tally
from headrace.lab.load.unread import ShortAnswerError, drain_once, draw_drain, draw_reset, reset_once

_BITRATES_BPS = (600_000, 2_400_000, 8_000_000)
_SEGMENT_S = 4.0
_PAUSE_S = 0.2
"""Between the segments of a player whose buffer is full; shorter than life, so that a short run sees many."""
_SLOW_BPS = 4_000_000
_AFTER_FAULT_S = 0.1
_MOST_STALLS = 6
"""Of a sweep: each is waited for, and a few tell as much as hundreds."""
_DEPTH = 6
"""Requests sent at once by a player that pipelines."""
_LARGE_BYTES = 1_000_000
_BRIEF_BYTES = 30_000
_BRIEF_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What every player needs."""

    plan: LoadPlan
    tally: Tally
    clock: Clock
    tls: ssl.SSLContext | None
    until_s: float
    """Monotonic."""

    async def connect(self) -> Connection:
        """A new connection to the machine."""
        plan = self.plan
        return await connect(plan.address, plan.port, self.tls, self.tally, stall_s=plan.stall_s, clock=self.clock)

    @property
    def is_over(self) -> bool:
        return self.clock.monotonic_s() >= self.until_s


async def play(behaviour: Behaviour, stage: Stage, rng: Rng) -> None:
    """Behave so until the time is over. Faults are counted and the player comes back."""
    if behaviour in _UNREAD:
        await _UNREAD[behaviour](stage, rng)
    while not stage.is_over:
        try:
            connection = await stage.connect()
        except Gone:
            await stage.clock.sleep(_AFTER_FAULT_S)
            continue
        try:
            await _ROUNDS[behaviour](connection, stage, rng)
            await connection.close()
        except Gone:
            await connection.close(is_abrupt=True)


async def _resets(stage: Stage, rng: Rng) -> None:
    largest = sorted(stage.plan.files, key=lambda file: -file.size_bytes)[:3]
    paths = tuple(file.path for file in [*largest, rng.choice(stage.plan.files)])
    plan = stage.plan
    while not stage.is_over:
        try:
            await asyncio.to_thread(
                reset_once, (plan.address, plan.port), draw_reset(paths, rng), stage.clock, stall_s=plan.stall_s
            )
            stage.tally.aborted += 1
        except OSError as error:
            stage.tally.failure(f"connect: {type(error).__name__}")
            await stage.clock.sleep(_AFTER_FAULT_S)


async def _drains(stage: Stage, rng: Rng) -> None:
    plan, largest = stage.plan, max(stage.plan.files, key=lambda file: file.size_bytes)
    while not stage.is_over:
        drain = draw_drain(largest, rng)
        try:
            came = await asyncio.to_thread(
                drain_once, (plan.address, plan.port), drain, stage.clock, stall_s=plan.stall_s
            )
            stage.tally.bytes += came
            stage.tally.requests += len(drain.ranges)
        except TimeoutError:
            stage.tally.stalled += 1
        except ShortAnswerError as error:
            stage.tally.is_wrong(Ask(file=largest, ranges=drain.ranges), str(error), Behaviour.DRAIN)
        except OSError as error:
            stage.tally.failure(type(error).__name__)
            await stage.clock.sleep(_AFTER_FAULT_S)


async def sweep(asks: list[Ask], stage: Stage) -> None:
    """Take requests from the common list until none is left, or too many have stalled; `until_s` does not count."""
    while asks and stage.tally.stalled < _MOST_STALLS:
        try:
            connection = await stage.connect()
        except Gone:
            return
        try:
            while asks:
                ask = asks.pop()
                await connection.send([ask])
                await connection.receive(ask, "sweep")
            await connection.close()
        except Gone:
            await connection.close(is_abrupt=True)


def sweep_asks(plan: LoadPlan) -> list[Ask]:
    """Every range around a border, every open one and every condition of every file; all remainders of the longest."""
    asks = [part(file, first, end) for file in plan.files for first, end in border_ranges(file.size_bytes)]
    asks += [whole(file) for file in plan.files]
    asks += [ask for file in plan.files for ask in open_ranges(file)]
    longest = max(plan.files, key=lambda file: file.size_bytes)
    asks += [part(longest, first, end) for first, end in remainder_ranges(longest.size_bytes)]
    return asks + [ask for file in plan.files for ask in conditions(file)]


async def _segments(connection: Connection, stage: Stage, rng: Rng) -> None:
    file = rng.choice([file for file in stage.plan.files if file.size_bytes >= _LARGE_BYTES] or stage.plan.files)
    step = int(rng.choice(_BITRATES_BPS) * _SEGMENT_S / 8)
    for first in range(0, file.size_bytes, step):
        ask = part(file, first, min(file.size_bytes, first + step))
        await connection.send([ask])
        await connection.receive(ask, Behaviour.SEGMENTS)
        if stage.is_over:
            return
        await stage.clock.sleep(_PAUSE_S)


async def _short(connection: Connection, stage: Stage, rng: Rng) -> None:
    ask = _any_part(stage, rng, most_bytes=20_000)
    await connection.send([ask])
    await connection.receive(ask, Behaviour.SHORT)


async def _abort(connection: Connection, stage: Stage, rng: Rng) -> None:
    file = max(rng.sample(stage.plan.files, min(3, len(stage.plan.files))), key=lambda file: file.size_bytes)
    ask = whole(file)
    await connection.send([ask])
    await connection.receive(ask, Behaviour.ABORT, most_bytes=rng.randint(1, max(1, file.size_bytes // 2)))


async def _brief(connection: Connection, stage: Stage, rng: Rng) -> None:
    file = rng.choice([file for file in stage.plan.files if file.size_bytes > _BRIEF_BYTES] or stage.plan.files)
    while not stage.is_over:
        first = rng.randrange(max(1, file.size_bytes - _BRIEF_BYTES))
        ask = part(file, first, min(file.size_bytes, first + _BRIEF_BYTES))
        await connection.send([ask])
        await connection.receive(ask, Behaviour.BRIEF)
        await stage.clock.sleep(rng.uniform(0, 2 * _BRIEF_PAUSE_S))


async def _slow(connection: Connection, stage: Stage, rng: Rng) -> None:
    ask = _any_part(stage, rng, most_bytes=_LARGE_BYTES)
    await connection.send([ask])
    await connection.receive(ask, Behaviour.SLOW, pace_bps=_SLOW_BPS)


async def _pipeline(connection: Connection, stage: Stage, rng: Rng) -> None:
    for _ in range(10):
        asks = [_any_part(stage, rng, most_bytes=200_000) for _ in range(_DEPTH)]
        await connection.send(asks)
        for ask in asks:
            await connection.receive(ask, Behaviour.PIPELINE)
        if stage.is_over:
            return


async def _multi(connection: Connection, stage: Stage, rng: Rng) -> None:
    file = rng.choice([file for file in stage.plan.files if file.size_bytes > 1_000])
    step = file.size_bytes // 4
    ranges = tuple((index * step, index * step + rng.randint(1, min(step, 50_000))) for index in range(4))
    ask = Ask(file=file, ranges=ranges, status=206)
    await connection.send([ask])
    await connection.receive(ask, Behaviour.MULTI)


async def _conditional(connection: Connection, stage: Stage, rng: Rng) -> None:
    for ask in conditions(rng.choice(stage.plan.files)):
        await connection.send([ask])
        await connection.receive(ask, Behaviour.CONDITIONAL)


async def _borders(connection: Connection, stage: Stage, rng: Rng) -> None:
    file = rng.choice(stage.plan.files)
    ranges = border_ranges(file.size_bytes)
    for first, end in rng.sample(ranges, min(20, len(ranges))):
        ask = part(file, first, end)
        await connection.send([ask])
        await connection.receive(ask, Behaviour.BORDERS)
        if stage.is_over:
            return


def _any_part(stage: Stage, rng: Rng, *, most_bytes: int) -> Ask:
    file = rng.choice(stage.plan.files)
    first = rng.randrange(file.size_bytes)
    return part(file, first, rng.randint(first + 1, min(file.size_bytes, first + most_bytes)))


_ROUNDS: dict[Behaviour, Callable[[Connection, Stage, Rng], Awaitable[None]]] = {
    Behaviour.SEGMENTS: _segments,
    Behaviour.SHORT: _short,
    Behaviour.ABORT: _abort,
    Behaviour.SLOW: _slow,
    Behaviour.PIPELINE: _pipeline,
    Behaviour.MULTI: _multi,
    Behaviour.CONDITIONAL: _conditional,
    Behaviour.BORDERS: _borders,
    Behaviour.BRIEF: _brief,
}
_UNREAD: dict[Behaviour, Callable[[Stage, Rng], Awaitable[None]]] = {
    Behaviour.RESET: _resets,
    Behaviour.DRAIN: _drains,
}
"""Those that need no checked connection, and go on until the time is over."""
