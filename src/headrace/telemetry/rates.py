"""Counters over time: sums that survive restarts of what they count, and rates over the last seconds. Pure."""

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Source = TypeVar("Source", bound=Hashable)


class RateWindow:
    """The rate of one counter over the last `window_s` seconds, from readings taken at any times.

    A counter that went back started anew: its whole value is what was counted since. A clock that went back forgets the
    readings that seem to lie in the future.
    """

    def __init__(self, window_s: float, *, most_readings: int = 256) -> None:
        self._window_s = window_s
        self._readings: deque[tuple[float, float]] = deque(maxlen=most_readings)
        self._last: float | None = None
        self._sum = 0.0

    def add(self, value: float, *, now_s: float) -> None:
        """Take a reading."""
        if self._last is not None:
            self._sum += value - self._last if value >= self._last else value
        self._last = value
        while self._readings and self._readings[-1][0] >= now_s:
            self._readings.pop()
        self._readings.append((now_s, self._sum))

    def per_second(self, *, now_s: float) -> float:
        """Amount a second over the window; 0 until there are two readings in it, or when the readings stopped."""
        while len(self._readings) > 2 and self._readings[1][0] <= now_s - self._window_s:
            self._readings.popleft()
        if len(self._readings) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._readings[0], self._readings[-1]
        if last_s <= now_s - self._window_s:
            return 0.0
        return max(0.0, (last - first) / (last_s - first_s))


class Sum(Generic[Source]):
    """The sum of a counter that many sources have (the workers of a server), while sources come and go."""

    def __init__(self) -> None:
        self.total = 0.0
        self._last: dict[Source, float] = {}

    def add(self, readings: Mapping[Source, float]) -> float:
        """Take one reading of every source that is there now; gives the total.

        In the first reading all count as old: what they did before we looked is not ours. A source that appears later
        counts whole; one that went back started anew; one that is gone is forgotten, its part stays in the total.
        """
        is_first = not self._last and self.total == 0.0
        for source, value in readings.items():
            before = self._last.get(source, value if is_first else 0.0)
            self.total += value - before if value >= before else value
        self._last = dict(readings)
        return self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How many different ones there were lately."""

    count: int
    is_full: bool
    """There were more than could be kept: the count is too small."""


class RecentlySeen:
    """Counts different names (sessions) of the last `window_s` seconds, in bounded memory."""

    def __init__(self, window_s: float, *, most: int = 200_000) -> None:
        self._window_s = window_s
        self._most = most
        self._seen_s: dict[bytes, float] = {}
        self._is_full = False

    def add(self, name: bytes, *, at_s: float) -> None:
        """Take one sighting; a late one never makes an earlier one older."""
        seen = self._seen_s
        if name in seen or len(seen) < self._most:
            if seen.get(name, 0.0) < at_s:
                seen[name] = at_s
        else:
            self._is_full = True

    def count(self, *, now_s: float) -> Seen:
        """Those of the window; older ones are forgotten."""
        start_s = now_s - self._window_s
        self._seen_s = {name: seen_s for name, seen_s in self._seen_s.items() if start_s < seen_s <= now_s + 60.0}
        was_full, self._is_full = self._is_full, False
        return Seen(count=len(self._seen_s), is_full=was_full)
