"""Which summaries of offload are taken."""

import math
from dataclasses import replace

import pytest

from headrace.base.errors import HeadraceError
from headrace.base.ids import SiteId
from headrace.control.offload import check_offload
from headrace.demand.offload import Tier
from headrace.wire.offload import MOST_SITES, OffloadHour, OffloadSite, OffloadSummary

NOW_S = 1_800_000_000.0
HOUR = int(NOW_S // 3_600)
SITE = OffloadSite(site_id=SiteId("ams"), own_bytes=70, total_bytes=100)
GOOD = OffloadSummary(
    made_s=NOW_S,
    hours=tuple(OffloadHour(hour=HOUR - at, bytes_by_tier={Tier.OWN: 7}) for at in reversed(range(48))),
    sites=(SITE,),
)


def hour(number: int, size: int = 1) -> tuple[OffloadHour, ...]:
    return (OffloadHour(hour=number, bytes_by_tier={Tier.OWN: size}),)


def many_sites(count: int) -> tuple[OffloadSite, ...]:
    return tuple(replace(SITE, site_id=SiteId(f"s{number}")) for number in range(count))


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        replace(GOOD, hours=(), sites=()),
        replace(GOOD, made_s=NOW_S + 299),
        replace(GOOD, sites=many_sites(MOST_SITES)),
    ],
)
def test_what_counting_makes_is_taken(good: OffloadSummary) -> None:
    check_offload(good, now_s=NOW_S)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (replace(GOOD, made_s=NOW_S + 301), "clock"),
        (replace(GOOD, made_s=-1.0), "made_s"),
        (replace(GOOD, made_s=math.nan), "made_s"),
        (replace(GOOD, made_s=math.inf), "made_s"),
        (replace(GOOD, hours=GOOD.hours * 2), "limit of 48"),
        (replace(GOOD, hours=GOOD.hours[::-1]), "ascending"),
        (replace(GOOD, hours=hour(HOUR) + hour(HOUR)), "ascending"),
        (replace(GOOD, hours=hour(HOUR + 1)), "none of the 48"),
        (replace(GOOD, hours=hour(HOUR - 48)), "none of the 48"),
        (replace(GOOD, hours=hour(HOUR, -1)), "own: -1"),
        (replace(GOOD, hours=hour(HOUR, 2**61)), "not between"),
        (replace(GOOD, sites=(SITE, SITE)), "twice"),
        (replace(GOOD, sites=(replace(SITE, site_id=SiteId("<b>")),)), "not allowed"),
        (replace(GOOD, sites=(replace(SITE, own_bytes=101),)), "own_bytes"),
        (replace(GOOD, sites=many_sites(MOST_SITES + 1)), "limit of 5000"),
    ],
)
def test_what_it_does_not_make_is_refused(bad: OffloadSummary, words: str) -> None:
    with pytest.raises(HeadraceError, match=words):
        check_offload(bad, now_s=NOW_S)
