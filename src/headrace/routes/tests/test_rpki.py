"""Route origin validation, and what is taken from a file."""

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.routes.model import AddressFamily
from headrace.routes.rpki import (
    RpkiRules,
    Validity,
    VrpError,
    VrpStanding,
    VrpState,
    VrpTable,
    build_table,
    judge_age,
    parse_vrps,
)
from headrace.routes.testing_tables import judged, make_routes

ROAS: list[dict[str, Any]] = [
    {"asn": "AS64496", "prefix": "193.0.0.0/16", "maxLength": 24, "ta": "ripe"},
    {"asn": 64497, "prefix": "193.0.0.0/16", "maxLength": 16, "ta": "ripe", "expires": 1_800_000_000},
    {"asn": "AS0", "prefix": "193.9.0.0/16", "maxLength": 16, "ta": "ripe"},
    {"asn": "64496", "prefix": "2001:67c::/32", "maxLength": 48, "ta": "ripe"},
    {"asn": "AS64496", "prefix": "2a00:1:2:3:8000::/65", "maxLength": 128, "ta": "ripe"},
]


def table_of(roas: Any = ROAS, metadata: Any = None) -> VrpTable:
    return parse_vrps(json.dumps({"metadata": metadata or {}, "roas": roas}).encode())


def validity(table: VrpTable, text: str, *as_path: Any) -> int:
    family = AddressFamily.IPV6 if ":" in text else AddressFamily.IPV4
    return int(table.validate(judged(make_routes([text], *as_path), family).columns)[0])


@pytest.mark.parametrize(
    ("text", "as_path", "expected"),
    [
        ("193.0.0.0/16", (1, 64496), Validity.VALID),
        ("193.0.7.0/24", (64496,), Validity.VALID),
        ("193.0.7.0/25", (64496,), Validity.INVALID),
        ("193.0.0.0/16", (64497,), Validity.VALID),
        ("193.0.0.0/17", (64497,), Validity.INVALID),
        ("193.0.0.0/16", (64498,), Validity.INVALID),
        ("193.0.0.0/15", (64498,), Validity.NOT_FOUND),
        ("193.1.0.0/16", (64498,), Validity.NOT_FOUND),
        ("193.9.0.0/16", (64496,), Validity.INVALID),
        ("193.0.0.0/16", (1, (64496, 64497)), Validity.INVALID),
        ("2001:67c:5::/48", (64496,), Validity.VALID),
        ("2001:67c:5::/49", (64496,), Validity.INVALID),
        ("2001:67d::/32", (64496,), Validity.NOT_FOUND),
        ("2a00:1:2:3:8000:1::/96", (64496,), Validity.VALID),
        ("2a00:1:2:3:8000:1::/96", (64497,), Validity.INVALID),
        ("2a00:1:2:3::/64", (64497,), Validity.NOT_FOUND),
    ],
)
def test_states_of_rfc_6811(text: str, as_path: tuple[Any, ...], expected: Validity) -> None:
    assert validity(table_of(), text, *as_path) == expected.code


VRP = st.tuples(st.integers(0, 255), st.integers(0, 8), st.integers(0, 8), st.integers(0, 3))
"""Small worlds, so that things cover each other: 10.0.0.0/8 with 8 more bits."""


@settings(max_examples=100)
@given(st.lists(VRP, max_size=8), st.integers(0, 255), st.integers(0, 8), st.integers(1, 3))
def test_agrees_with_the_words_of_the_rfc(
    vrps: list[tuple[int, int, int, int]], value: int, more: int, asn: int
) -> None:
    def network(byte: int, extra: int) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network((10 << 24 | byte << 16, 8 + extra), strict=False)

    known = [(network(byte, extra), 8 + min(8, extra + longer), number) for byte, extra, longer, number in vrps]
    route = network(value, more)
    covering = [(longest, number) for one, longest, number in known if route.subnet_of(one)]
    is_valid = any(number == asn and route.prefixlen <= longest for longest, number in covering)
    expected = Validity.VALID if is_valid else Validity.INVALID if covering else Validity.NOT_FOUND
    table = build_table([(one.network_address.packed, one.prefixlen, most, number) for one, most, number in known])
    assert validity(table, str(route), asn) == expected.code


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b'{"roas": 1}',
        b'{"roas": []}',
        b'{"roas": [1]}',
        b'{"roas": [{"prefix": "193.0.0.0/16"}]}',
        b'{"roas": [{"prefix": "193.0.0.1/16", "asn": 1}]}',
        b'{"roas": [{"prefix": "193.0.0.0/33", "asn": 1}]}',
        b'{"roas": [{"prefix": "193.0.0.0", "asn": 1}]}',
        b'{"roas": [{"prefix": "193.0.0.0/16", "asn": "ASx"}]}',
        b'{"roas": [{"prefix": "193.0.0.0/16", "asn": -1}]}',
        b'{"roas": [{"prefix": "193.0.0.0/16", "asn": 1, "maxLength": 15}]}',
        b'{"roas": [{"prefix": "193.0.0.0/16", "asn": 1, "maxLength": "16"}]}',
        b'{"roas": [{"prefix": "no/16", "asn": 1}]}',
    ],
)
def test_a_broken_file_is_broken_as_a_whole(text: bytes) -> None:
    with pytest.raises(VrpError, match=r"JSON|entry 0|payloads"):
        parse_vrps(text)


def test_both_programs_say_when_it_was_made() -> None:
    assert table_of(metadata={"generated": 1_700_000_000, "generatedTime": "x"}).built_s == 1_700_000_000
    assert table_of(metadata={"buildtime": "2023-11-14T22:13:20Z"}).built_s == 1_700_000_000
    assert table_of(metadata={"buildtime": "yesterday"}).built_s is None
    assert table_of().count == len(ROAS)


def test_data_get_old_and_then_say_nothing() -> None:
    rules = RpkiRules(file="vrps.json", old_after_s=100, unused_after_s=1000)
    good = VrpStanding(state=VrpState.GOOD, table=table_of(), data_s=0.0)
    broken = VrpStanding(state=VrpState.BROKEN, table=table_of(), data_s=0.0, error="not JSON")
    states = [judge_age(one, rules, now_s=now_s).state for one in (good, broken) for now_s in (50, 500, 5000)]
    assert states == [VrpState.GOOD, VrpState.OLD, VrpState.EXPIRED, VrpState.BROKEN, VrpState.OLD, VrpState.EXPIRED]
    assert judge_age(broken, rules, now_s=50).usable is not None
    assert judge_age(good, rules, now_s=5000).usable is None
    assert judge_age(VrpStanding(state=VrpState.GOOD), rules, now_s=0).state is VrpState.MISSING
    assert judge_age(good, RpkiRules(), now_s=0).usable is None
