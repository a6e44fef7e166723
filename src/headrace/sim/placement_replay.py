"""A trace played against stores that are filled by forecast: what they serve, what they fill, and when.

The decisions are those of production (`demand.forecast`, `placement.choose`, `placement.reactive`). All that is learned
is learned from plays before the instant at which it is used. A file that is taken in serves from the next step on.
"""

import itertools
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from headrace.demand import forecast as fc
from headrace.demand.popularity import DAY_S, HOUR_S, Floats, Ints, Popularity
from headrace.placement.choose import choose_files
from headrace.placement.reactive import Ration, victims
from headrace.sim.vod_trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """How the stores are run."""

    warm_days: int = 49
    """The past before the first day that counts."""
    window_hours: tuple[int, int] = (2, 14)
    """Fill window, local time: planned anew each hour in it."""
    step_s: float = 300.0
    """How often logs arrive: between, nothing is learned and nothing is taken in."""
    reactive_share: float = 0.3
    """Of the room, what may be taken in by day until the next window."""
    day_share: float = 0.29
    """Of the fill bytes."""
    fill_price: float = 0.0
    """Plays that a file must be expected to serve more than those that it displaces."""
    learn_days: int = 35
    learn_every_days: int = 14
    ahead_s: tuple[float, float] = (4 * HOUR_S, 12 * HOUR_S)
    """How far forecasts look in the window: for stores that hold little and turn over fast, and for others."""
    little_ratio: float = 0.15
    """Of the catalogue: what is little."""
    day_ahead_s: float = 8 * HOUR_S
    """The same outside the window."""


@dataclass(slots=True)
class Served:
    """Bytes of one store in the days that count."""

    asked_bytes: float = 0.0
    hit_bytes: float = 0.0
    night_fill_bytes: float = 0.0
    day_fill_bytes: float = 0.0
    day_miss_bytes: float = 0.0

    @property
    def hit_ratio(self) -> float:
        """Of the bytes asked."""
        return self.hit_bytes / max(1.0, self.asked_bytes)

    @property
    def night_ratio(self) -> float:
        """Of the fill bytes, those in the window."""
        return self.night_fill_bytes / max(1.0, self.night_fill_bytes + self.day_fill_bytes)


@dataclass(slots=True, eq=False)
class _Store:
    room_bytes: float
    view: int
    """Which of the forecasts it goes by."""
    held: np.ndarray
    taken: np.ndarray
    """Files that were taken in since the last window."""
    ration: Ration
    served: Served = field(default_factory=Served)
    held_bytes: float = 0.0


@dataclass(slots=True)
class _Learner:
    """Examples of the past and what was learned from them, for one part of the day."""

    ahead_s: float
    hours: tuple[int, ...]
    weights: fc.Weights = field(default_factory=fc.untaught)
    open: deque[tuple[float, Ints, fc.Known, Floats]] = field(default_factory=deque)
    closed: deque[tuple[fc.Known, Floats, Floats]] = field(default_factory=deque)


class Replay:
    """One trace, several rooms at once: they share the forecast."""

    def __init__(self, trace: Trace, room_ratios: tuple[float, ...], settings: ReplaySettings) -> None:
        self._trace, self._settings = trace, settings
        count = len(trace.size_bytes)
        self._plays = trace.asked_bytes / trace.size_bytes[trace.title]
        self._popularity = Popularity.empty(count)
        self._facts = fc.Facts(announced_s=trace.announced_s, group=trace.group, since_s=0.0)
        catalog_bytes = trace.size_bytes[np.unique(trace.title)].sum()
        self._stores = [
            _Store(
                room_bytes=ratio * catalog_bytes,
                view=int(ratio > settings.little_ratio),
                held=np.zeros(count, dtype=np.bool_),
                taken=np.zeros(count, dtype=np.bool_),
                ration=Ration(day_share=settings.day_share),
            )
            for ratio in room_ratios
        ]
        self._nights = [_Learner(ahead_s=ahead_s, hours=(2, 12)) for ahead_s in settings.ahead_s]
        self._day = _Learner(ahead_s=settings.day_ahead_s, hours=(17, 21))
        self._known = fc.know(self._popularity, self._facts, now_s=0.0)
        self._expected = [np.zeros(count) for _ in self._nights]

    def run(self, *, until_s: float = np.inf) -> list[Served]:
        """Play the trace, or what of it lies before an instant; one result a room."""
        step_s, times = self._settings.step_s, self._trace.time_s
        edges = np.searchsorted(times, np.arange(0.0, min(until_s, times[-1] + step_s) + step_s, step_s))
        for step, (first, end) in enumerate(itertools.pairwise(edges)):
            now_s = step * step_s
            if now_s % HOUR_S == 0:
                self._hour(now_s)
            if first < end:
                self._serve(slice(first, end), now_s)
        return [store.served for store in self._stores]

    def _hour(self, now_s: float) -> None:
        day, hour = int(now_s // DAY_S), int(now_s % DAY_S // HOUR_S)
        self._known = fc.know(self._popularity, self._facts, now_s=now_s)
        candidates = fc.is_candidate(self._popularity, self._facts, now_s=now_s)
        for learner in (*self._nights, self._day):
            self._collect(learner, candidates, now_s, hour)
            if hour == 2 and day >= 14 and day % self._settings.learn_every_days == 0 and learner.closed:
                known, plays, weights = zip(*learner.closed, strict=True)
                learner.weights = fc.learn(
                    known, np.concatenate(plays), np.concatenate(weights), learner.weights, rounds=5
                )
        self._expected = [
            np.where(candidates, fc.expect(self._known, learner.weights), 0.0) for learner in self._part(hour)
        ]
        if hour == self._settings.window_hours[0]:
            for store in self._stores:
                store.ration.day_ends()
        if self._is_window(hour):
            for store in self._stores:
                self._plan(store, day)

    def _collect(self, learner: _Learner, candidates: np.ndarray, now_s: float, hour: int) -> None:
        if hour in learner.hours:
            known = self._known.rows(np.flatnonzero(candidates))
            chosen, weights = fc.thin(known, keep_one_in=20)
            rows: Ints = np.flatnonzero(candidates)[chosen]
            learner.open.append((now_s, rows, known.rows(chosen), weights))
        while learner.open and learner.open[0][0] + learner.ahead_s <= now_s:
            then_s, asked_of, known, weights = learner.open.popleft()
            first, end = np.searchsorted(self._trace.time_s, [then_s, then_s + learner.ahead_s])
            came = np.bincount(self._trace.title[first:end], self._plays[first:end], len(candidates)).astype(np.float64)
            learner.closed.append((known, came[asked_of], weights))
        while len(learner.closed) > len(learner.hours) * self._settings.learn_days:
            learner.closed.popleft()

    def _plan(self, store: _Store, day: int) -> None:
        """The hourly plan inside the window."""
        wanted = choose_files(
            self._expected[store.view],
            self._trace.size_bytes,
            room_bytes=store.room_bytes,
            held=store.held,
            fill_price=self._settings.fill_price,
        )
        filled_bytes = float(self._trace.size_bytes[wanted & ~store.held].sum())
        store.held = wanted
        store.held_bytes = float(self._trace.size_bytes[wanted].sum())
        store.taken[:] = False
        store.ration.filled_at_night(filled_bytes)
        if day >= self._settings.warm_days:
            store.served.night_fill_bytes += filled_bytes

    def _serve(self, part: slice, now_s: float) -> None:
        """One step: what is held serves; then its logs arrive."""
        title, asked = self._trace.title[part], self._trace.asked_bytes[part]
        hour, counts = int(now_s % DAY_S // HOUR_S), now_s >= self._settings.warm_days * DAY_S
        for store in self._stores if counts else ():
            is_hit = store.held[title]
            hit = float(asked[is_hit].sum())
            store.served.asked_bytes += float(asked.sum())
            store.served.hit_bytes += hit
            store.served.day_miss_bytes += 0.0 if self._is_window(hour) else float(asked.sum()) - hit
        then_s = now_s + self._settings.step_s
        self._popularity.observe(title, self._plays[part], now_s=then_s)
        rows = np.unique(title)
        known = fc.know_again(self._popularity, self._facts, self._known, rows, now_s=then_s)
        for expected, learner in zip(self._expected, self._part(hour), strict=True):
            expected[rows] = fc.expect(known, learner.weights)
        for store in self._stores:
            for row in rows[~store.held[rows]]:
                self._offer(store, int(row), counts, is_night=self._is_window(hour))

    def _offer(self, store: _Store, row: int, counts: bool, *, is_night: bool) -> None:
        """A file that was asked for and is not held."""
        sizes, expected = self._trace.size_bytes, self._expected[store.view]
        size = float(sizes[row])
        taken_bytes = float(sizes[store.taken].sum())
        # What was taken in gives way to what is taken in once it fills its share; before, whatever is least wanted.
        is_full = not is_night and taken_bytes + size > self._settings.reactive_share * store.room_bytes
        among = store.taken if is_full else store.held
        need = size - (store.room_bytes - store.held_bytes)
        if is_full:
            need = max(need, taken_bytes + size - self._settings.reactive_share * store.room_bytes)
        leave = victims(expected, sizes, among, need_bytes=need)
        freed_bytes = float(sizes[leave].sum())
        gain = float(expected[row] - (expected[leave] * sizes[leave]).sum() / size)
        price = self._settings.fill_price
        if freed_bytes < need:
            return
        if gain <= price if is_night else not store.ration.may_admit(gain, size, price=price):
            return
        store.held[leave] = store.taken[leave] = False
        store.held[row], store.taken[row] = True, not is_night
        store.held_bytes += size - freed_bytes
        if is_night:
            store.ration.filled_at_night(size)
            store.served.night_fill_bytes += size * counts
        else:
            store.ration.left_bytes -= size
            store.served.day_fill_bytes += size * counts

    def _part(self, hour: int) -> list[_Learner]:
        """By view."""
        return self._nights if self._is_window(hour) else [self._day] * len(self._nights)

    def _is_window(self, hour: int) -> bool:
        first, end = self._settings.window_hours
        return first <= hour < end
