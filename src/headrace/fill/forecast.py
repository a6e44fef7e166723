"""When the fills of a site will have ended, and what will not have come when the window closes. Pure.

What is reckoned with are bounds: an appliance fetches no faster than its own bound, a site takes in no more than its
bound from outside. So a forecast that says "will not fit" is certain, one that says "fits" is not: sources may be slow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.base.ids import ApplianceId, TitleId
from headrace.fill.windows import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What is missing at one site."""

    by_appliance: Mapping[ApplianceId, int]
    """Bytes that each appliance lacks of its plan."""
    inbound_bytes: int
    """Bytes of files that nobody of the site holds, each counted once: with fill masters they cross the edge once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Bits per second; 0 for no bound."""

    appliance_bps: int
    site_bps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What is to be expected."""

    ends_s: float | None
    """When all is there; None when nothing is missing."""
    left_over_bytes: int
    """What is missing when the first window closes, summed over the appliances."""


def forecast_fill(backlog: Backlog, pace: Pace, windows: Sequence[Window], *, now_s: float) -> Forecast:
    """Reckon when a backlog is filled.

    Args:
        windows: from now on, in order; none where there is no window. A backlog that outlasts them ends with their
            last, plus what is left at the full rate.
    """
    needed_s = max((seconds_for(backlog, name, pace) for name in backlog.by_appliance), default=0.0)
    if needed_s <= 0.0:
        return Forecast(ends_s=None, left_over_bytes=0)
    if not windows:
        return Forecast(ends_s=now_s + needed_s, left_over_bytes=0)
    first_s = windows[0].closes_s - max(now_s, windows[0].opens_s)
    left = sum(
        _left_after(size, seconds_for(backlog, name, pace), first_s) for name, size in backlog.by_appliance.items()
    )
    return Forecast(ends_s=end_after(needed_s, windows, now_s=now_s), left_over_bytes=left)


def seconds_for(backlog: Backlog, name: ApplianceId, pace: Pace) -> float:
    """How long an open window must be until this appliance has all: its own bound, or the site's for what it shares."""
    size = backlog.by_appliance[name]
    own_s = size * 8 / pace.appliance_bps if pace.appliance_bps else 0.0
    most = max(backlog.by_appliance.values(), default=0)
    shared = backlog.inbound_bytes * (size / most if most else 0.0)
    site_s = shared * 8 / pace.site_bps if pace.site_bps else 0.0
    return max(own_s, site_s)


def end_after(needed_s: float, windows: Sequence[Window], *, now_s: float) -> float:
    """The instant at which windows have been open for `needed_s` from now on."""
    left_s, at_s = needed_s, now_s
    for window in windows:
        start_s = max(now_s, window.opens_s)
        if window.closes_s - start_s >= left_s:
            return start_s + left_s
        left_s -= max(0.0, window.closes_s - start_s)
        at_s = window.closes_s
    return at_s + left_s


def titles_that_fit(titles: Sequence[tuple[TitleId, int]], *, rate_bps: int, open_s: float) -> dict[TitleId, bool]:
    """Which titles come within `open_s` seconds of fill, in the order in which they are fetched (bytes each)."""
    room = rate_bps * open_s / 8 if rate_bps else float("inf")
    fits: dict[TitleId, bool] = {}
    for name, size in titles:
        room -= size
        fits[name] = room >= 0
    return fits


def _left_after(size: int, needed_s: float, open_s: float) -> int:
    return 0 if needed_s <= open_s else int(size * (1.0 - max(0.0, open_s) / needed_s))
