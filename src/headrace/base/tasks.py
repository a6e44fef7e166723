"""Named tasks that are always awaited. A service owns one Tasks; when it ends, all its tasks have ended."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any

from headrace.base.clock import Clock
from headrace.base.logs import event
from headrace.base.rng import Rng, jittered

_log = logging.getLogger(__name__)


class Tasks:
    """A group of named tasks: leaving the `async with` cancels and awaits them all.

    A task that dies of an error ends the wait in `until_first_failure`, so that no loop is dead unnoticed.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failed: asyncio.Future[BaseException] | None = None

    async def __aenter__(self) -> "Tasks":
        self._failed = asyncio.get_running_loop().create_future()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start `work` as a task named `name`."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def until_first_failure(self) -> None:
        """Wait until a task fails, and raise its error; returns only by error or cancellation."""
        assert self._failed is not None
        raise await asyncio.shield(self._failed)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        assert error is not None
        event(_log, "task_failed", level=logging.ERROR, task=task.get_name(), error=repr(error))
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(error)


async def run_every(
    name: str, interval_s: float, turn: Callable[[], Awaitable[None]], *, clock: Clock, rng: Rng
) -> None:
    """Run `turn` for ever at a jittered interval. The top of a loop: an error is logged and counted, never fatal."""
    failures = 0
    while True:
        try:
            await turn()
            failures = 0
        except Exception:
            failures += 1
            _log.exception("turn_failed loop=%s failures_in_a_row=%d", name, failures)
        await clock.sleep(jittered(rng, interval_s))
