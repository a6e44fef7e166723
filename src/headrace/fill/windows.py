"""When a site may fill: one stretch of hours a day in the site's local time, as instants. Pure.

What is promised to a network is wall time (its planners speak of 02:00 to 14:00), so a window never holds an instant
whose local time is outside of its hours, also on the days on which clocks are set:

1. A start that the clocks skip is the end of the skipped time; so is a skipped end. The window is shorter that day.
2. A start that occurs twice is the second one and a doubled end the first one, since between both the local time goes
   back before the start, or goes on past the end. Where both are doubled, the first pass counts.
3. Hours that the clocks skip altogether give no window that day.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from headrace.base.instants import read_zone
from headrace.fill.model import FillError

ALWAYS = "always"
DEFAULT_HOURS = "02:00-14:00"
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_LOOKED_DAYS = 10
"""Days without a window are rare and never follow each other; a calendar change skips one at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillHours:
    """Local hours: `start` counts, `end` does not. An end that is not after the start is on the next day."""

    start: time
    end: time


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """UTC epoch seconds; `closes_s` is outside."""

    opens_s: float
    closes_s: float

    def is_open(self, now_s: float) -> bool:
        """Whether `now_s` is in it."""
        return self.opens_s <= now_s < self.closes_s


def read_hours(text: str) -> FillHours | None:
    """Hours as `02:00-14:00`; None for `always`.

    Raises:
        FillError: neither of both, or no time at all between start and end.
    """
    if text == ALWAYS:
        return None
    found = _HOURS.fullmatch(text)
    if found is None:
        raise FillError(f"fill window {text[:60]!r}: write 02:00-14:00, or {ALWAYS}")
    hours = FillHours(start=time(int(found[1]), int(found[2])), end=time(int(found[3]), int(found[4])))
    if hours.start == hours.end:
        raise FillError(f"fill window {text!r} is empty: write {ALWAYS} for the whole day")
    return hours


def next_window(hours: FillHours, zone: str, now_s: float) -> Window:
    """The window that is open now, else the next one.

    Raises:
        UsageError: no such time zone.
    """
    return windows_from(hours, zone, now_s, count=1)[0]


def windows_from(hours: FillHours, zone: str, now_s: float, *, count: int) -> tuple[Window, ...]:
    """The `count` windows that have not closed yet, in order; the first may be open. Raises UsageError: no such zone.

    Asked for outside of the years that a calendar knows, whatever is found.
    """
    place = read_zone(zone)
    found: list[Window] = []
    day = datetime.fromtimestamp(now_s, tz=place).date() - timedelta(days=2)
    for _ in range(count + _LOOKED_DAYS):
        window = _window_of(hours, place, day)
        if window is not None and window.closes_s > now_s:
            found.append(window)
        if len(found) == count:
            break
        day += timedelta(days=1)
    return tuple(found)


def _window_of(hours: FillHours, zone: tzinfo, day: date) -> Window | None:
    starts = _instants(datetime.combine(day, hours.start), zone)
    last = day if hours.end > hours.start else day + timedelta(days=1)
    ends = _instants(datetime.combine(last, hours.end), zone)
    both_doubled = len(starts) == len(ends) == 2 and starts[1] >= ends[0]
    opens_s, closes_s = starts[0] if both_doubled else starts[-1], ends[0]
    return Window(opens_s=opens_s, closes_s=closes_s) if opens_s < closes_s else None


def _instants(local: datetime, zone: tzinfo) -> tuple[float, ...]:
    """When clocks show a time: once, twice, or, when they skip it, the instant at which they do."""
    first = local.replace(tzinfo=zone, fold=0).timestamp()
    second = local.replace(tzinfo=zone, fold=1).timestamp()
    if first == second:
        return (first,)
    return (first, second) if first < second else (_change_between(second, first, zone),)


def _change_between(before_s: float, after_s: float, zone: tzinfo) -> float:
    """The instant at which the offset changes, by halving; zones change on whole seconds."""
    low, high = int(before_s), int(after_s)
    offset = _offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == offset:
            low = middle
        else:
            high = middle
    return float(high)


def _offset(at_s: int, zone: tzinfo) -> timedelta | None:
    return datetime.fromtimestamp(at_s, tz=UTC).astimezone(zone).utcoffset()
