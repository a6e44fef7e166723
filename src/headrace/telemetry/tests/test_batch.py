"""Names of batches: read back as written, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.base.ids import ApplianceId
from headrace.telemetry.batch import BatchName, parse_name

NAME = BatchName(
    day="2027-01-15", appliance=ApplianceId("metro-1"), log="1800000000000-0123456789abcdef", first=0, end=4_096
)


@given(st.integers(0, 10**15 - 2), st.integers(1, 10**6))
def test_a_name_is_read_back_and_sorts_by_its_piece(first: int, size: int) -> None:
    name = BatchName(
        day=NAME.day, appliance=NAME.appliance, log=NAME.log, first=first, end=min(10**15 - 1, first + size)
    )
    assert parse_name(name.path) == name
    assert (name.path < NAME.path) == ((name.first, name.end) < (NAME.first, NAME.end))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("v1/", "v2/"),
        ("v1/", "../v1/"),
        ("metro-1", "metro-"),
        ("metro-1", "a/b"),
        ("metro-1", ".."),
        ("-000000000004096", "-000000000000000"),
        ("2027-01-15", "today"),
        (".parquet", ".parquet.tmp"),
        ("0123456789abcdef", "0123456789ABCDEF"),
    ],
)
def test_what_is_no_name_is_not_taken_for_one(good: str, bad: str) -> None:
    assert good in NAME.path
    assert parse_name(NAME.path.replace(good, bad, 1)) is None
