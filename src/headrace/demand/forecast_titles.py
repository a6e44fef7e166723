"""Demand by file, site and hour becomes what each title is expected to be asked for at each site tomorrow. Pure.

Titles, not files: a title is steered to only where all of its files are, so it is placed as a whole. Sites of a region
share a forecast, because one site alone sees too few plays; a site's own share of it is its `scale`. What was counted
is gone through hour by hour, as it happened, and half-days of it are the examples from which weights are learned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.base.ids import Sha256, SiteId, TitleId
from headrace.demand import forecast as fc
from headrace.demand.model import Demand
from headrace.demand.popularity import DAY_S, HOUR_S, Floats, Ints, Popularity

EXAMPLES_EVERY_H = 12
LEARN_FROM_DAYS = 42
LEAST_DAYS = 5
"""With less history than this nothing is learned, and plain counts decide."""
ANY_REGION = "*"
"""The forecast of sites whose region nobody asked in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleFacts:
    """What the catalogue says of a title."""

    title_id: TitleId
    files: tuple[Sha256, ...]
    size_bytes: int
    published_s: float
    """When it came or will come out, UTC epoch seconds."""
    group: str = ""
    """Titles of one group are alike, such as a series; '' for none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionForecast:
    """Plays in the next day at the mean site of a region; rows in the order of `TitleForecast.titles`."""

    plays: Floats
    spread: Floats
    reason: Ints
    newcomer_plays: float
    """What a title is expected to be asked for that came out after the forecast was made."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TitleForecast:
    """What is expected of the next day, everywhere."""

    made_s: float
    """UTC epoch seconds up to which demand was known."""
    titles: tuple[TitleId, ...]
    regions: Mapping[str, RegionForecast]
    scales: Mapping[SiteId, float]
    """A site's plays over those of the mean site of its region."""


def forecast_titles(
    demand: Demand, titles: Sequence[TitleFacts], regions: Mapping[SiteId, str], *, now_s: float
) -> TitleForecast:
    """Foretell the day from `now_s` on.

    Args:
        demand: some weeks of it; hours after `now_s` are not looked at.
        regions: of each site; a site without one counts for `ANY_REGION` alone.
    """
    rows = _rows(demand, titles, now_s)
    facts = _facts(titles, rows.first_s)
    names = np.array([regions.get(site, "") for site in demand.sites] or [""], dtype=object)
    found: dict[str, RegionForecast] = {}
    taught = fc.untaught()
    for region in [ANY_REGION, *sorted({name for name in names if name})]:
        is_in = np.ones(len(names), dtype=np.bool_) if region == ANY_REGION else names == region
        here = is_in[rows.site] if len(rows.site) else np.zeros(0, dtype=np.bool_)
        sites = max(1, len(np.unique(rows.site[here])))
        found[region], learned = _region(rows, here, sites, facts, now_s, taught)
        if region == ANY_REGION:
            taught = learned  # regions are alike: what was learned of all is near what each of them teaches
    return TitleForecast(
        made_s=now_s,
        titles=tuple(one.title_id for one in titles),
        regions=found,
        scales=_scales(demand, rows, names),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    title: Ints
    site: Ints
    hour: Ints
    plays: Floats
    first_s: float


def _rows(demand: Demand, titles: Sequence[TitleFacts], now_s: float) -> _Rows:
    number = {name: at for at, one in enumerate(titles) for name in one.files}
    title = np.array([number.get(name, -1) for name in demand.files], dtype=np.int64)
    size = np.array([max(1, one.size_bytes) for one in titles], dtype=np.float64)
    of_row = title[demand.file] if len(demand.file) else np.zeros(0, dtype=np.int64)
    kept = (of_row >= 0) & ((demand.hour + 1) * HOUR_S <= now_s)
    return _Rows(
        title=of_row[kept],
        site=demand.site[kept],
        hour=demand.hour[kept],
        plays=demand.bytes_asked[kept] / size[of_row[kept]],
        first_s=float(demand.hour[kept].min() * HOUR_S) if kept.any() else now_s,
    )


def _facts(titles: Sequence[TitleFacts], first_s: float) -> fc.Facts:
    groups = {name: at for at, name in enumerate(sorted({one.group for one in titles if one.group}))}
    return fc.Facts(
        announced_s=np.array([one.published_s for one in titles], dtype=np.float64),
        group=np.array([groups.get(one.group, -1) for one in titles], dtype=np.int64),
        since_s=first_s,
    )


def _region(
    rows: _Rows, here: NDArray[np.bool_], sites: int, facts: fc.Facts, now_s: float, taught: fc.Weights
) -> tuple[RegionForecast, fc.Weights]:
    count = len(facts.announced_s)
    popularity = Popularity.empty(count)
    title, hour, plays = rows.title[here], rows.hour[here], rows.plays[here]
    order = np.argsort(hour, kind="stable")
    title, hour, plays = title[order], hour[order], plays[order]
    examples: list[tuple[float, Ints, fc.Known, Floats]] = []
    first = int(rows.first_s // HOUR_S)
    last = int(now_s // HOUR_S)
    edges = np.searchsorted(hour, np.arange(first, last + 1))
    for at in range(last - first):
        part = slice(edges[at], edges[at + 1])
        then_s = (first + at + 1) * HOUR_S
        if part.start < part.stop:
            popularity.observe(title[part], plays[part], now_s=then_s)
        is_due = (at + 1) % EXAMPLES_EVERY_H == 0 and then_s - rows.first_s >= 2 * DAY_S
        if is_due and now_s - LEARN_FROM_DAYS * DAY_S <= then_s <= now_s - DAY_S:
            examples.append(_example(popularity, facts, then_s))
    weights = fc.untaught()
    if examples and now_s - rows.first_s >= LEAST_DAYS * DAY_S:
        came = [_came(one, title, hour, plays, count) for one in examples]
        weights = fc.learn(
            [one[2] for one in examples], np.concatenate(came), np.concatenate([one[3] for one in examples]), taught
        )
    known = fc.know(popularity, facts, now_s=now_s)
    found = fc.forecast(known, weights)
    newcomer = float(fc.expect(fc.know_new(now_s=now_s), weights)[0])
    made = RegionForecast(
        plays=found.plays / sites, spread=found.spread / sites, reason=found.reason, newcomer_plays=newcomer / sites
    )
    return made, weights


def _example(popularity: Popularity, facts: fc.Facts, then_s: float) -> tuple[float, Ints, fc.Known, Floats]:
    candidates = np.flatnonzero(fc.is_candidate(popularity, facts, now_s=then_s))
    known = fc.know(popularity, facts, now_s=then_s).rows(candidates)
    kept, weights = fc.thin(known)
    return then_s, candidates[kept], known.rows(kept), weights


def _came(example: tuple[float, Ints, fc.Known, Floats], title: Ints, hour: Ints, plays: Floats, count: int) -> Floats:
    first = example[0] // HOUR_S
    a, b = np.searchsorted(hour, [first, first + 24])
    came: Floats = np.bincount(title[a:b], plays[a:b], count).astype(np.float64)[example[1]]
    return came


_SCALE_PLAYS = 20.0
"""A site with fewer plays than about this many is taken for a mean one."""


def _scales(demand: Demand, rows: _Rows, names: NDArray[np.object_]) -> dict[SiteId, float]:
    asked = np.bincount(rows.site, rows.plays, len(demand.sites)) if len(rows.site) else np.zeros(len(demand.sites))
    scales = {}
    for at, site in enumerate(demand.sites):
        peers = asked[names == names[at]] if names[at] else asked
        mean = float(peers[peers > 0].mean()) if (peers > 0).any() else 0.0
        scales[site] = float((asked[at] + _SCALE_PLAYS) / (mean + _SCALE_PLAYS))
    return scales
