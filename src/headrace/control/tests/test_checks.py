import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.base.errors import HeadraceError, UsageError
from headrace.control.checks import check_address, check_message, check_site, check_words
from headrace.control.testing import make_site


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"site_id": "Bad Id"}, "site id"),
        ({"prefixes": ("192.0.2.1/24",)}, "CIDR"),
        ({"prefixes": ("nonsense",)}, "CIDR"),
        ({"latitude_deg": 52.0}, "go together"),
        ({"latitude_deg": 91.0, "longitude_deg": 0.0}, "latitude"),
        ({"latitude_deg": 0.0, "longitude_deg": float("nan")}, "longitude"),
    ],
)
def test_bad_sites(fields, named):
    with pytest.raises(HeadraceError, match=named):
        check_site(make_site(**fields))


def test_good_sites():
    check_site(make_site(prefixes=("192.0.2.0/24", "2001:db8::/32"), latitude_deg=52.1, longitude_deg=-4.5))
    check_site(make_site(prefixes=(), is_last_resort=True))


@pytest.mark.parametrize("url", ["http://192.0.2.10", "https://[2001:db8::1]:8443", "http://a1.example.net:8080"])
def test_good_addresses(url):
    check_address("a1", url, 10**9)


@pytest.mark.parametrize(
    ("name", "url", "rate"),
    [
        ("a1", "ftp://x", 1),
        ("a1", "http://", 1),
        ("a1", "http://x/", 1),
        ("a1", "http://x/path", 1),
        ("a1", "http://u@x", 1),
        ("a1", "http://x?q", 1),
        ("a1", "http://x:99999", 1),
        ("a1", "http://x", 0),
        ("a1", "http://x", 10**15),
        ("A_1", "http://x", 1),
        ("a1", "http://[::1", 1),
    ],
)
def test_bad_addresses(name, url, rate):
    with pytest.raises(HeadraceError):
        check_address(name, url, rate)


@given(st.text(max_size=70), st.integers())
def test_boot_ids_hold_no_blanks(boot_id, sequence):
    try:
        check_message(boot_id, sequence)
    except UsageError:
        return
    assert boot_id.split() == [boot_id]
    assert len(boot_id) <= 64
    assert sequence > 0


def test_words():
    check_words("reason", "", may_be_empty=True)
    for bad in ("", "  ", "two\nlines", "x" * 201):
        with pytest.raises(UsageError, match="reason"):
            check_words("reason", bad)
