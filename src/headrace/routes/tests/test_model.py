"""Prefixes as bytes."""

import pytest

from headrace.routes.model import Attributes, RouteColumns, RouteError, RouteOrigin, parse_prefix, show_prefix


@pytest.mark.parametrize("text", ["192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0", "198.51.100.7/32"])
def test_a_prefix_there_and_back(text: str) -> None:
    assert show_prefix(parse_prefix(text)) == text


def test_outer_prefixes_come_first() -> None:
    texts = ["10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/24", "10.1.0.0/16", "11.0.0.0/8"]
    assert sorted(map(parse_prefix, reversed(texts))) == [parse_prefix(text) for text in texts]


def test_mapped_ones_are_ipv4() -> None:
    assert parse_prefix("::ffff:192.0.2.0/120") == parse_prefix("192.0.2.0/24")


@pytest.mark.parametrize("text", ["192.0.2.1/24", "192.0.2.0/33", "no", "", "2001:db8::1/32", "1" * 5000])
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(RouteError, match="is no prefix"):
        parse_prefix(text)


def test_a_set_is_one_hop_and_no_origin() -> None:
    route = Attributes(as_path=(64496, (64497, 64498)), origin=RouteOrigin.IGP, next_hop="192.0.2.1")
    assert (route.path_length, route.origin_as) == (2, None)
    assert len(RouteColumns().meds_v4) == 0
