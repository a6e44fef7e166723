"""Seeded traces of video on demand, for judging forecast and placement: who played which title when.

Three shapes that fail in different ways, so that a scheme which is tuned to one of them is found out:

- `LAUNCHES`: many titles, few plays each, a fifth of the plays in a title's first week, viewers who come back to what
  they began. Calibrated to figures of a real service (`TARGETS`); `measure` says how near a trace is to them.
- `SERIES`: viewers follow series episode by episode, new episodes come weekly, sizes differ by a factor of ten.
- `DRIFT`: no launches at all; popularity is a steeper Zipf law whose ranks drift, the case that counting does best.

Never reads a clock or a file; the same shape, size and seed give the same trace on every machine.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400.0
HOUR_S = 3_600.0
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class TraceShape(StrEnum):
    """What drives demand in a synthetic trace."""

    LAUNCHES = "launches"
    SERIES = "series"
    DRIFT = "drift"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSize:
    """How much to make."""

    titles: int = 8_000
    days: int = 168
    plays_a_day: int = 400
    """Few for each title, as at one small site: the hard case for a forecast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Plays in the order of time; time 0 is the midnight before a Monday, local time of the site."""

    name: str
    time_s: Floats
    user: Ints
    title: Ints
    """Numbers of titles, dense from 0."""
    asked_bytes: Floats
    size_bytes: Floats
    """By title."""
    announced_s: Floats
    """By title: when it becomes available, known a week ahead; NaN where nobody told."""
    group: Ints
    """By title: titles of one group are alike (kind, maker); -1 where nothing is known."""

    def __len__(self) -> int:
        return len(self.time_s)


TARGETS: dict[str, float] = {
    "top 1 % of titles, share of plays": 0.14,
    "top 5 % of titles, share of plays": 0.38,
    "top 10 % of titles, share of plays": 0.55,
    "top 20 % of titles, share of plays": 0.74,
    "slope of plays over rank, first 500": -0.5,
    "plays 18-24 h": 0.49,
    "plays 02-10 h": 0.11,
    "a weekend day's share of its week": 0.1775,
    "weekly top 200 in common, after 1 week": 0.27,
    "weekly top 200 in common, after 4 weeks": 0.17,
    "plays of titles under 7 days old": 0.20,
    "repeats by the same user": 0.23,
}
"""Figures of a real service that `LAUNCHES` is calibrated to."""

HOUR_WEIGHTS = np.array(
    [
        3.2,
        2.2,
        1.5,
        1.0,
        0.8,
        0.7,
        0.9,
        1.5,
        2.1,
        2.5,
        3.0,
        3.4,
        3.9,
        4.2,
        4.4,
        4.6,
        5.0,
        6.2,
        7.6,
        9.2,
        10.2,
        10.0,
        8.1,
        5.3,
    ]
)
WEEKDAY_WEIGHTS = np.array([0.93, 0.92, 0.93, 0.94, 1.02, 1.36, 1.34])


def make_trace(shape: TraceShape, seed: int, size: TraceSize | None = None) -> Trace:
    """A trace of a shape; its name says shape and seed."""
    size = size or TraceSize()
    rng = np.random.default_rng([seed, list(TraceShape).index(shape)])
    makers = {TraceShape.LAUNCHES: _launches, TraceShape.SERIES: _series, TraceShape.DRIFT: _drift}
    return makers[shape](rng, size, f"{shape}-{seed}")


def _launches(rng: np.random.Generator, size: TraceSize, name: str) -> Trace:
    n = size.titles
    group = rng.integers(0, max(2, n // 40), n)
    strength = np.exp(rng.normal(0, 0.45, group.max() + 1)[group] + rng.normal(0, 0.87, n))
    strength *= np.where(rng.random(n) < 0.65, 0.11, 1.0)
    is_new = rng.random(n) < 0.47 * min(1.0, size.days / 168)
    # Launches come in the morning, half of them on a Friday.
    launch_day = np.where(
        rng.random(n) < 0.5, 7 * rng.integers(0, size.days // 7, n) + 4, rng.integers(0, size.days, n)
    )
    launch_s = np.where(is_new, launch_day * DAY_S + 8 * HOUR_S, -rng.uniform(30, 1500, n) * DAY_S)
    half_life = np.exp(rng.normal(np.log(0.95), 0.5, n))
    # Two moods of each title, one of days and one of weeks, which fade and come back.
    mood, fashion = rng.normal(0, 1, n), rng.normal(0, 1, n)
    today = np.zeros(n)
    rows = []
    for day in range(size.days):
        age = day + 0.5 - launch_s / DAY_S
        yesterday = today
        mood = 0.3 * mood + rng.normal(0, np.sqrt(1 - 0.3**2), n)
        fashion = 0.94 * fashion + rng.normal(0, np.sqrt(1 - 0.94**2), n)
        usual = 0.35 + 14.0 * is_new * 0.5 ** (np.maximum(age, 0) / half_life)
        today = strength * np.exp(1.25 * mood + 0.75 * fashion) * usual
        today = np.where(launch_s < (day + 1) * DAY_S, today, 0.0)
        rows.append((yesterday / max(1.0, yesterday.sum()), today / today.sum()))
    return _from_rates(rng, size, name, rows, launch_s, group, np.full(n, 2e9))


def _series(rng: np.random.Generator, size: TraceSize, name: str) -> Trace:
    """Series of about ten episodes; a viewer plays the next one soon after the one before."""
    n = size.titles
    episodes = 10
    series = np.arange(n) // episodes
    count = int(series.max()) + 1
    place = np.arange(n) % episodes
    appeal = np.exp(rng.normal(0, 1.3, count))
    starts = np.where(rng.random(count) < 0.35, rng.integers(0, size.days, count), -rng.integers(60, 1000, count))
    weekly = rng.random(count) < 0.5
    launch_s = (starts[series] + np.where(weekly[series], 7 * place, 0)) * DAY_S + 6 * HOUR_S
    fresh = max(1, int(size.plays_a_day * 0.22))
    times, users, titles = [], [], []
    for day in range(size.days):
        age = np.maximum(0.0, day - starts)
        rates = np.where(starts <= day, appeal * (0.3 + 2.0 * np.exp(-age / 12)), 0.0)
        begun = rng.choice(count, fresh, p=rates / rates.sum())
        when = day * DAY_S + _hours(rng, fresh)
        who = rng.integers(0, 40 * size.plays_a_day, fresh)
        for index in range(fresh):
            at, first = when[index], begun[index] * episodes
            stays = min(episodes, int(rng.geometric(0.16)))
            for step in range(stays):
                title = first + step
                if title >= n:
                    break
                at = max(at, launch_s[title] + rng.exponential(2 * DAY_S) if launch_s[title] > at else at)
                times.append(at)
                users.append(who[index])
                titles.append(title)
                at += 3000.0 if rng.random() < 0.4 else DAY_S * max(0.3, rng.exponential(1.6))
    time_s = np.array(times)
    kept = time_s < size.days * DAY_S
    size_bytes = np.exp(rng.normal(np.log(1.2e9), 0.7, count))[series]
    return _ordered(name, time_s[kept], np.array(users)[kept], np.array(titles)[kept], size_bytes, launch_s, series)


def _drift(rng: np.random.Generator, size: TraceSize, name: str) -> Trace:
    n = size.titles
    log_weight = -0.85 * np.log(rng.permutation(n) + 3.0)
    center = log_weight.mean()
    rows = []
    for _ in range(size.days):
        log_weight = center + 0.995 * (log_weight - center) + rng.normal(0, 0.09, n)
        shares = np.exp(log_weight) / np.exp(log_weight).sum()
        rows.append((shares, shares))
    nobody = np.full(n, np.nan)
    sizes = np.exp(rng.normal(np.log(2e9), 0.5, n))
    return _from_rates(rng, size, name, rows, nobody, np.full(n, -1), sizes, repeats=0.05)


def _from_rates(  # noqa: PLR0913, PLR0917  one maker for two shapes
    rng: np.random.Generator,
    size: TraceSize,
    name: str,
    rates: list[tuple[Floats, Floats]],
    launch_s: Floats,
    group: Ints,
    size_bytes: Floats,
    repeats: float = 0.22,
) -> Trace:
    """Plays drawn from the shares of yesterday and today, each followed by a repeat of the same user with a chance.

    A title goes from yesterday's share to today's at an hour of its own: what moves demand does not wait for midnight.
    """
    times, titles = [], []
    fresh_a_day = size.plays_a_day * (1 - repeats)
    turn = rng.random(len(size_bytes))
    for day, (before, after) in enumerate(rates):
        count = rng.poisson(fresh_a_day * WEEKDAY_WEIGHTS[day % 7] / WEEKDAY_WEIGHTS.mean())
        shares = np.concatenate([before * turn, after * (1 - turn)])
        drawn = rng.choice(len(shares), count, p=shares / shares.sum())
        title = drawn % len(turn)
        passed = rng.random(count)
        passed = np.where(drawn < len(turn), passed * turn[title], turn[title] + passed * (1 - turn[title]))
        at = day * DAY_S + _hour_of(passed)
        early = at < launch_s[title]
        at[early] = day * DAY_S + 8 * HOUR_S + rng.random(early.sum()) * 15.9 * HOUR_S
        times.append(at)
        titles.append(title)
    time_s, title = np.concatenate(times), np.concatenate(titles)
    activity = np.exp(rng.normal(0, 1.0, 12 * size.plays_a_day))
    user = rng.choice(len(activity), len(time_s), p=activity / activity.sum())
    again = rng.random(len(time_s)) < repeats / (1 - repeats)
    soon = rng.random(again.sum()) < 0.55
    later = np.where(soon, rng.exponential(2.5 * HOUR_S, len(soon)), _evenings(rng, len(soon)))
    time_s = np.concatenate([time_s, time_s[again] + later])
    user = np.concatenate([user, user[again]])
    title = np.concatenate([title, title[again]])
    kept = time_s < len(rates) * DAY_S
    return _ordered(name, time_s[kept], user[kept], title[kept], size_bytes, launch_s, group)


def _evenings(rng: np.random.Generator, count: int) -> Floats:
    """Whole days and a little: people come back at the hour at which they watch."""
    return rng.geometric(0.45, count) * DAY_S + rng.normal(0, 1.5 * HOUR_S, count)


def _hours(rng: np.random.Generator, count: int) -> Floats:
    return _hour_of(rng.random(count))


def _hour_of(passed: Floats) -> Floats:
    """Seconds since midnight at which a share of the day's plays has passed."""
    done = np.concatenate([[0.0], np.cumsum(HOUR_WEIGHTS) / HOUR_WEIGHTS.sum()])
    at_s: Floats = np.interp(passed, done, np.arange(25) * HOUR_S)
    return at_s


def _ordered(
    name: str, time_s: Floats, user: Ints, title: Ints, size_bytes: Floats, launch_s: Floats, group: Ints
) -> Trace:
    order = np.argsort(time_s, kind="stable")
    title = title[order]
    return Trace(
        name=name,
        time_s=time_s[order],
        user=user[order],
        title=title,
        asked_bytes=size_bytes[title],
        size_bytes=size_bytes,
        announced_s=launch_s.astype(np.float64),
        group=group,
    )


def measure(trace: Trace) -> dict[str, float]:
    """What `TARGETS` speaks of, measured on a trace; age of a title counts from its announced date, else first play."""
    plays = np.sort(np.bincount(trace.title, minlength=len(trace.size_bytes)))[::-1]
    played = plays[plays > 0]
    total = played.sum()
    found = {
        f"top {percent} % of titles, share of plays": float(
            played[: max(1, len(played) * percent // 100)].sum() / total
        )
        for percent in (1, 5, 10, 20)
    }
    first = played[:500].astype(np.float64)
    found["slope of plays over rank, first 500"] = float(
        np.polyfit(np.log(np.arange(1, len(first) + 1)), np.log(first), 1)[0]
    )
    hour = trace.time_s % DAY_S / HOUR_S
    found["plays 18-24 h"] = float((hour >= 18).mean())
    found["plays 02-10 h"] = float(((hour >= 2) & (hour < 10)).mean())
    weekday = (trace.time_s // DAY_S).astype(np.int64) % 7
    found["a weekend day's share of its week"] = float((weekday >= 5).mean() / 2)
    found |= {
        f"weekly top 200 in common, after {weeks} week{'s' if weeks > 1 else ''}": _in_common(trace, weeks)
        for weeks in (1, 4)
    }
    first_s = np.full(len(trace.size_bytes), np.inf)
    np.minimum.at(first_s, trace.title, trace.time_s)
    # Titles first seen at the very start may be old: only the second half of the trace is looked at.
    since = np.where(np.isfinite(trace.announced_s), trace.announced_s, first_s)
    late = trace.time_s > trace.time_s[-1] / 2
    age = trace.time_s - since[trace.title]
    found["plays of titles under 7 days old"] = float((age[late] < 7 * DAY_S).mean())
    pairs = trace.user * len(trace.size_bytes) + trace.title
    found["repeats by the same user"] = 1 - len(np.unique(pairs)) / len(pairs)
    return found


def _in_common(trace: Trace, weeks_apart: int) -> float:
    """Mean share of a week's 200 most played titles that are so again some weeks later."""
    week = (trace.time_s // (7 * DAY_S)).astype(np.int64)
    tops = [
        set(
            np.argsort(-np.bincount(trace.title[week == number], minlength=len(trace.size_bytes)), kind="stable")[
                :200
            ].tolist()
        )
        for number in range(int(week.max()))
    ]
    shared = [len(now & then) / 200 for now, then in zip(tops, tops[weeks_apart:], strict=False)]
    return float(np.mean(shared)) if shared else float("nan")
