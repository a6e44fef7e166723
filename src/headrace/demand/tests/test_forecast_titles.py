"""Demand as it is counted becomes plays of titles in regions: what is asked for, what launches, what nobody counted."""

import numpy as np

from headrace.base.ids import Sha256, SiteId, TitleId
from headrace.demand.forecast import ForecastReason
from headrace.demand.forecast_titles import ANY_REGION, TitleFacts, forecast_titles
from headrace.demand.model import Demand

DAYS = 20
START_H = 480_000
SIZE = 1_000


def _titles(count: int = 30) -> list[TitleFacts]:
    return [
        TitleFacts(
            title_id=TitleId(f"t{number}"),
            files=(Sha256(f"{number:064x}"),),
            size_bytes=SIZE,
            published_s=(START_H - 24 * 100) * 3600.0,
        )
        for number in range(count)
    ]


def _demand(titles: list[TitleFacts], rates: np.ndarray, *, hours: int = DAYS * 24) -> Demand:
    """`rates`: plays a day, shape (n_sites, n_titles)."""
    rng = np.random.default_rng(8)
    plays = rng.poisson(np.repeat(rates[None] / 24, hours, axis=0))
    hour, site, file = np.nonzero(plays)
    return Demand(
        files=tuple(one.files[0] for one in titles),
        sizes=np.full(len(titles), SIZE),
        sites=tuple(SiteId(f"s{number}") for number in range(len(rates))),
        file=file,
        site=site,
        hour=hour + START_H,
        bytes_asked=plays[hour, site, file] * SIZE,
        bytes_served=np.zeros(len(hour), dtype=np.int64),
        requests=plays[hour, site, file],
    )


def test_plays_are_foretold_by_region_and_sites_have_their_share() -> None:
    titles = _titles()
    rank = np.arange(len(titles))
    north, south = 40.0 / (rank + 1), 40.0 / (rank[::-1] + 1)
    demand = _demand(titles, np.array([north, 3 * north, south]))
    regions = {SiteId("s0"): "north", SiteId("s1"): "north", SiteId("s2"): "south"}
    now_s = (START_H + DAYS * 24) * 3600.0
    found = forecast_titles(demand, titles, regions, now_s=now_s)
    assert 50 < found.regions["north"].plays[0] < 120
    assert found.regions["south"].plays[0] < 5
    assert found.regions["south"].plays[-1] > 20
    assert found.scales[SiteId("s1")] > 2.5 * found.scales[SiteId("s0")]
    assert set(found.regions) == {ANY_REGION, "north", "south"}


def test_what_comes_after_now_is_not_looked_at() -> None:
    titles = _titles()
    rates = np.full((1, len(titles)), 2.0)
    whole = _demand(titles, rates, hours=DAYS * 24)
    now_s = (START_H + 10 * 24) * 3600.0
    kept = whole.hour < START_H + 10 * 24
    past = Demand(
        files=whole.files,
        sizes=whole.sizes,
        sites=whole.sites,
        file=whole.file[kept],
        site=whole.site[kept],
        hour=whole.hour[kept],
        bytes_asked=whole.bytes_asked[kept],
        bytes_served=whole.bytes_served[kept],
        requests=whole.requests[kept],
    )
    one, other = (forecast_titles(demand, titles, {}, now_s=now_s) for demand in (whole, past))
    assert np.array_equal(one.regions[ANY_REGION].plays, other.regions[ANY_REGION].plays)


def test_without_any_demand_all_are_unknown_and_an_announced_title_is_a_launch() -> None:
    titles = _titles(3)
    now_s = START_H * 3600.0
    soon = TitleFacts(title_id=TitleId("new"), files=(Sha256("f" * 64),), size_bytes=SIZE, published_s=now_s - 3600)
    empty = _demand(titles, np.zeros((0, 3)))
    found = forecast_titles(empty, [*titles, soon], {}, now_s=now_s)
    reasons = [ForecastReason(one) for one in found.regions[ANY_REGION].reason]
    assert reasons == [ForecastReason.NO_HISTORY] * 3 + [ForecastReason.LAUNCH]
    assert np.isfinite(found.regions[ANY_REGION].plays).all()
