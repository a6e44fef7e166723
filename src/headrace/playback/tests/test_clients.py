"""Clients' addresses: whom to believe, and what to make of hostile headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.playback.clients import ClientReader, is_loopback, packed_address, without_port

READER = ClientReader(["10.0.0.0/8", "2001:db8:ffff::/48"])


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["192.0.2.1"], "192.0.2.1"),
        (["203.0.113.9, 192.0.2.1"], "192.0.2.1"),
        (["203.0.113.9, 192.0.2.1, 10.0.0.7"], "192.0.2.1"),
        (["203.0.113.9", "192.0.2.1, 10.1.1.1"], "192.0.2.1"),
        (["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        (["192.0.2.1:4711"], "192.0.2.1"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["2001:db8::1, 2001:db8:ffff::2"], "2001:db8::1"),
        (["192.0.2.1, nonsense"], None),
        (["192.0.2.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        (["unknown"], None),
        ([""], None),
        ([], None),
        ([","], None),
        (["\u0661.2.3.4"], None),
    ],
)
def test_x_forwarded_for_is_read_from_its_end(lines: list[str], client: str | None) -> None:
    assert READER.from_x_forwarded_for(", ".join(lines)) == client


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["for=192.0.2.1"], "192.0.2.1"),
        (['for="[2001:db8::1]:4711";proto=https;by=10.0.0.1'], "2001:db8::1"),
        (["for=203.0.113.9, For=192.0.2.1;proto=http, for=10.0.0.3"], "192.0.2.1"),
        (["proto=https;for=192.0.2.1"], "192.0.2.1"),
        (["for=_hidden"], None),
        (["for=unknown"], None),
        (["fortune=192.0.2.1"], None),
        (['for="'], None),
    ],
)
def test_forwarded(lines: list[str], client: str | None) -> None:
    assert READER.from_forwarded(", ".join(lines)) == client


def test_proxies() -> None:
    assert READER.is_proxy("10.200.0.1")
    assert READER.is_proxy("::ffff:10.200.0.1")
    assert READER.is_proxy("2001:db8:ffff::9")
    assert not READER.is_proxy("192.0.2.1")
    assert not READER.is_proxy("nonsense")
    assert not ClientReader([]).is_proxy("127.0.0.1")


@given(st.lists(st.text(max_size=80), max_size=4))
def test_any_header_is_survived(lines: list[str]) -> None:
    for found in (READER.from_x_forwarded_for(", ".join(lines)), READER.from_forwarded(", ".join(lines))):
        assert found is None or packed_address(found) is not None


def test_a_long_chain_is_cut() -> None:
    assert READER.from_x_forwarded_for("192.0.2.1," + "10.0.0.1," * 10_000 + "10.0.0.2") == "10.0.0.1"


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.4.5", "0x7f.1", "fe80::1%eth0", "host", "1.2.3.4\0", " 1.2.3.4"])
def test_what_is_no_address(text: str) -> None:
    assert packed_address(text) is None


def test_loopback_and_ports() -> None:
    assert is_loopback("127.0.9.1")
    assert is_loopback("::1")
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("10.0.0.1")
    assert not is_loopback("")
    assert without_port("2001:db8::1") == "2001:db8::1"
    assert without_port("host:80") == "host:80"
