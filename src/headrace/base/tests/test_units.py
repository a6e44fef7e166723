import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.base.errors import UsageError
from headrace.base.units import parse_amount, show_bps, show_bytes, show_count, show_duration


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 2**30, "5.0 GiB"), (2**60, "1024.0 PiB")]
)
def test_bytes(value: int, shown: str) -> None:
    assert show_bytes(value) == shown


def test_rates_and_durations() -> None:
    assert show_bps(2_500_000) == "2.5 Mb/s"
    assert [show_duration(s) for s in (4.2, 65, 3725, 3 * 86400)] == ["4.2s", "1m 05s", "1h 02m", "3d 00h"]


def test_counts() -> None:
    assert [show_count(count, "title") for count in (0, 1, 2)] == ["0 titles", "1 title", "2 titles"]
    assert [show_count(count, "prefix", "prefixes") for count in (1, 2)] == ["1 prefix", "2 prefixes"]


@pytest.mark.parametrize(
    ("text", "amount"), [("1.2G", 1_200_000_000), ("64MiB", 64 * 2**20), ("500 Mb/s", 500_000_000), ("7", 7)]
)
def test_amounts_are_read(text: str, amount: int) -> None:
    assert parse_amount(text, unit="bytes") == amount


@given(st.text(alphabet="0123456789.kMGi b/s-xé", max_size=12))
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    try:
        assert parse_amount(text, unit="bits per second") >= 0
    except UsageError as error:
        assert "write for example" in str(error)
