"""Which routes count at all."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.routes.effective import Judge
from headrace.routes.hygiene import (
    BOGONS_V4,
    BOGONS_V6,
    FILTER_REASONS,
    FilterReason,
    HygieneRules,
    count_reasons,
)
from headrace.routes.model import AddressFamily, parse_prefix
from headrace.routes.rpki import build_table
from headrace.routes.testing_tables import heard, judged, make_routes


def reason_of(text: str, *as_path: int, rules: HygieneRules | None = None, judge: Judge | None = None) -> str:
    family = AddressFamily.IPV6 if ":" in text else AddressFamily.IPV4
    used = judge or Judge(rules=rules or HygieneRules(), vrps=None)
    table = judged(make_routes([text], *as_path), family, judge=used)
    code = int(table.reasons[0])
    return FILTER_REASONS[code - 1] if code else ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0.0.0.0/0", FilterReason.DEFAULT_ROUTE),
        ("::/0", FilterReason.DEFAULT_ROUTE),
        ("128.0.0.0/1", FilterReason.TOO_SHORT),
        ("2000::/3", FilterReason.TOO_SHORT),
        ("10.1.0.0/16", FilterReason.BOGON),
        ("192.0.2.0/24", FilterReason.BOGON),
        ("2001:db8:1::/48", FilterReason.BOGON),
        ("fd00::/16", FilterReason.BOGON),
        ("4000::/16", FilterReason.BOGON),
        ("3fff:12::/32", FilterReason.BOGON),
        ("193.0.0.0/24", ""),
        ("193.0.0.0/25", FilterReason.TOO_LONG),
        ("193.0.0.1/32", FilterReason.TOO_LONG),
        ("2001:67c::/48", ""),
        ("2001:67c::/49", FilterReason.TOO_LONG),
        ("12.0.0.0/8", ""),
        ("2a00::/16", ""),
    ],
)
def test_reasons(text: str, reason: str) -> None:
    assert reason_of(text) == reason


def test_bounds_are_settings() -> None:
    rules = HygieneRules(longest_v4=26, longest_v6=64, takes_bogons=True, shortest_v4=1)
    assert [reason_of(text, rules=rules) for text in ("10.0.0.0/26", "10.0.0.0/27", "2001:db8::/64", "64.0.0.0/2")] == [
        "",
        FilterReason.TOO_LONG,
        "",
        "",
    ]


def test_own_as_anywhere_in_the_path_is_a_loop() -> None:
    assert reason_of("193.0.0.0/24", 64496, 64500, 64497) == FilterReason.OWN_AS
    assert reason_of("193.0.0.0/24", 64496, 64501) == ""


def test_one_reason_each_the_first_that_fits() -> None:
    vrps = build_table([(bytes([193, 0, 0, 0]), 16, 16, 64496)])
    judge = Judge(rules=HygieneRules(), vrps=vrps)
    assert reason_of("193.0.0.0/24", 64497, judge=judge) == FilterReason.RPKI_INVALID
    assert reason_of("193.0.0.0/24", 64500, judge=judge) == FilterReason.OWN_AS
    assert reason_of("193.0.0.0/25", 64500, judge=judge) == FilterReason.TOO_LONG
    kept = Judge(rules=HygieneRules(drops_rpki_invalid=False), vrps=vrps)
    assert reason_of("193.0.0.0/24", 64497, judge=kept) == ""


def test_counts_leave_out_what_counts() -> None:
    table = judged(make_routes(["193.0.0.0/24", "193.0.0.0/25", "193.0.1.0/25"]), rules=HygieneRules())
    assert count_reasons(table.reasons) == {FilterReason.TOO_LONG: 2}


@settings(max_examples=150)
@given(st.integers(0, 2**32 - 1), st.integers(8, 24))
def test_bogons_agree_with_a_plain_look(value: int, length: int) -> None:
    network = ipaddress.ip_network((value, length), strict=False)
    is_bogon = any(network.subnet_of(ipaddress.ip_network(text)) for text, _ in BOGONS_V4)
    assert (reason_of(str(network)) == FilterReason.BOGON) is is_bogon


def test_lists_are_prefixes_with_a_source() -> None:
    for text, source in (*BOGONS_V4, *BOGONS_V6):
        assert parse_prefix(text)
        assert "RFC " in source


def test_a_route_is_judged_by_its_own_attributes() -> None:
    routes = {parse_prefix("193.0.0.0/24"): heard(64496), parse_prefix("193.0.1.0/24"): heard(64500)}
    assert sorted(judged(routes).reasons.tolist()) == [0, FILTER_REASONS.index(FilterReason.OWN_AS) + 1]
