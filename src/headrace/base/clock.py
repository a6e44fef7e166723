"""The only reader of clocks. Loops get a Clock handed in; decisions get `now_s`."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Time for loops: wall time for records, monotonic time for waits and ages."""

    def now_s(self) -> float:
        """UTC epoch seconds; may jump when the machine's clock is set."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an unknown start; never goes back."""
        ...

    async def sleep(self, duration_s: float) -> None:
        """Wait `duration_s` seconds (0 yields once)."""
        ...

    def block(self, duration_s: float) -> None:
        """Wait in this thread; for command-line programs without an event loop."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(max(0.0, duration_s))

    def block(self, duration_s: float) -> None:
        time.sleep(max(0.0, duration_s))


class ManualClock:
    """A clock that tests turn by hand; sleeping turns it."""

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self._now_s = now_s
        self._monotonic_s = 0.0

    def now_s(self) -> float:
        return self._now_s

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, duration_s: float) -> None:
        """Turn both clocks forward."""
        self._now_s += duration_s
        self._monotonic_s += duration_s

    def jump(self, by_s: float) -> None:
        """Set the wall clock off, as an operator or a bad time server would."""
        self._now_s += by_s

    async def sleep(self, duration_s: float) -> None:
        self.advance(max(0.0, duration_s))
        await asyncio.sleep(0)

    def block(self, duration_s: float) -> None:
        self.advance(max(0.0, duration_s))
