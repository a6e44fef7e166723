import asyncio

import pytest

from headrace.base.clock import ManualClock
from headrace.base.rng import make_rng
from headrace.base.tasks import Tasks, run_every


async def test_leaving_ends_every_task() -> None:
    async def for_ever() -> None:
        await asyncio.Event().wait()

    async with Tasks() as tasks:
        task = tasks.spawn("waiter", for_ever())
        await asyncio.sleep(0)
        assert task.get_name() == "waiter"
    assert task.cancelled()


async def test_the_first_failure_is_raised() -> None:
    async def broken() -> None:
        raise ValueError("no disk")

    async with Tasks() as tasks:
        tasks.spawn("broken", broken())
        with pytest.raises(ValueError, match="no disk"):
            await asyncio.wait_for(tasks.until_first_failure(), 1)


async def test_a_failing_turn_is_not_the_end_of_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    turns: list[float] = []

    async def turn() -> None:
        turns.append(clock.monotonic_s())
        if len(turns) == 2:
            raise RuntimeError("once")

    async with Tasks() as tasks:
        tasks.spawn("loop", run_every("test", 10.0, turn, clock=clock, rng=make_rng(1)))
        while len(turns) < 4:
            await asyncio.sleep(0)
    gaps = [later - earlier for earlier, later in zip(turns, turns[1:], strict=False)]
    assert all(8.0 <= gap <= 12.0 for gap in gaps)
    assert "failures_in_a_row=1" in caplog.text
