"""Offload from sums by tier."""

import pytest

from headrace.demand.offload import Tier, shares, sum_tiers
from headrace.fleet.model import SiteKind

ROWS = [
    {"hour": 1, "tier": "own", "bytes_served": 60, "bytes_through": 5},
    {"hour": 1, "tier": "public-peering", "bytes_served": 35, "bytes_through": 0},
    {"hour": 2, "tier": "no-home", "bytes_served": 0, "bytes_through": 7},
]


def test_each_kind_of_site_is_a_tier() -> None:
    assert {kind.value for kind in SiteKind} < {tier.value for tier in Tier}


def test_what_was_fetched_through_counts_apart_wherever_it_was() -> None:
    assert sum_tiers(ROWS, ("hour",)) == {
        (1,): {Tier.OWN: 60, Tier.PUBLIC_PEERING: 35, Tier.THROUGH: 5},
        (2,): {Tier.THROUGH: 7},
    }
    assert sum_tiers(ROWS, ())[()][Tier.THROUGH] == 12
    assert sum_tiers([], ("hour",)) == {}


def test_shares_are_of_all_bytes() -> None:
    found = shares(sum_tiers(ROWS, ("hour",))[1,])
    assert list(found) == list(Tier)
    assert (found[Tier.OWN], found[Tier.PUBLIC_PEERING], found[Tier.EMBEDDED]) == (0.6, 0.35, 0.0)
    assert sum(found.values()) == pytest.approx(1)
    assert sum(shares({}).values()) == 0
