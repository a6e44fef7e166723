from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.base.errors import UsageError
from headrace.fill.model import FillError
from headrace.fill.windows import FillHours, next_window, read_hours, windows_from

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",  # half an hour
    "Asia/Kathmandu",  # no change, an odd offset
    "Africa/Casablanca",  # twice a year around Ramadan
    "Pacific/Apia",  # skipped the whole of 2011-12-30
    "America/Havana",  # at midnight
)
DAY_S = 86_400.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def window_on(hours: str, zone: str, day: str) -> tuple[str, str]:
    """The window that is next at that instant, in UTC."""
    read = read_hours(hours)
    assert read is not None
    window = next_window(read, zone, at(day))
    return tuple(f"{datetime.fromtimestamp(one, tz=UTC):%m-%d %H:%M}" for one in (window.opens_s, window.closes_s))


@pytest.mark.parametrize(
    ("hours", "zone", "asked", "expected"),
    [
        ("02:00-14:00", "Europe/Berlin", "2026-01-10T00:30Z", ("01-10 01:00", "01-10 13:00")),
        ("02:00-14:00", "Europe/Berlin", "2026-01-10T12:59Z", ("01-10 01:00", "01-10 13:00")),
        ("02:00-14:00", "Europe/Berlin", "2026-01-10T13:00Z", ("01-11 01:00", "01-11 13:00")),
        # 02:00 does not exist on 29 March: clocks go from 02:00 to 03:00 at 01:00 UTC.
        ("02:00-14:00", "Europe/Berlin", "2026-03-29T00:00Z", ("03-29 01:00", "03-29 12:00")),
        # 02:00 occurs twice on 25 October, at 00:00 and at 01:00 UTC: between both it is before 03:00 anew.
        ("02:00-14:00", "Europe/Berlin", "2026-10-25T00:30Z", ("10-25 01:00", "10-25 13:00")),
        ("22:00-02:30", "Europe/Berlin", "2026-10-24T21:00Z", ("10-24 20:00", "10-25 00:30")),
        ("02:10-02:50", "Europe/Berlin", "2026-10-25T00:00Z", ("10-25 00:10", "10-25 00:50")),
        # Skipped altogether: the next day's.
        ("02:10-02:50", "Europe/Berlin", "2026-03-29T00:00Z", ("03-30 00:10", "03-30 00:50")),
        ("22:00-06:00", "America/New_York", "2026-07-01T03:00Z", ("07-01 02:00", "07-01 10:00")),
        ("02:00-14:00", "Pacific/Apia", "2011-12-30T08:00Z", ("12-30 12:00", "12-31 00:00")),
    ],
)
def test_windows_are_local_hours(hours: str, zone: str, asked: str, expected: tuple[str, str]) -> None:
    assert window_on(hours, zone, asked) == expected


_MINUTES = st.integers(0, 24 * 60 - 1).map(lambda one: time(one // 60, one % 60))
_INSTANTS = st.integers(int(at("2008-01-01T00:00Z")), int(at("2037-01-01T00:00Z")))


@given(start=_MINUTES, end=_MINUTES, zone=st.sampled_from(ZONES), now_s=_INSTANTS)
@example(start=time(2, 30), end=time(2, 10), zone="Europe/Berlin", now_s=int(at("2026-10-24T10:00Z")))
def test_no_instant_of_a_window_is_outside_its_hours(start: time, end: time, zone: str, now_s: int) -> None:
    if start == end:
        return
    hours, place = FillHours(start=start, end=end), ZoneInfo(zone)
    windows = windows_from(hours, zone, now_s, count=4)
    assert len(windows) == 4
    planned_s = ((end.hour - start.hour) * 3600 + (end.minute - start.minute) * 60) % DAY_S
    for before, after in zip(windows, windows[1:], strict=False):
        assert before.closes_s <= after.opens_s
        assert after.opens_s - before.opens_s <= 3.1 * DAY_S
    for window in windows:
        length_s = window.closes_s - window.opens_s
        assert 0 < length_s <= planned_s + 7200
        for share in (0.0, 0.1, 0.37, 0.5, 0.93, 0.999999):
            instant = datetime.fromtimestamp(window.opens_s + share * length_s, tz=place)
            local = instant.time().replace(fold=0)
            inside = start <= local < end if start < end else (local >= start or local < end)
            assert inside, (instant, window)


@given(zone=st.sampled_from(ZONES), now_s=_INSTANTS)
def test_on_days_without_a_change_the_default_window_is_open_for_twelve_hours(zone: str, now_s: int) -> None:
    hours = read_hours("02:00-14:00")
    assert hours is not None
    window, place = next_window(hours, zone, now_s), ZoneInfo(zone)
    opens = datetime.fromtimestamp(window.opens_s, tz=place)
    around = {(opens + timedelta(hours=h)).astimezone(UTC).astimezone(place).utcoffset() for h in range(-14, 24)}
    if len(around) == 1:
        assert window.closes_s - window.opens_s == 12 * 3600
        assert opens.time() == time(2, 0)
    assert window.is_open(window.opens_s)
    assert not window.is_open(window.closes_s)


@pytest.mark.parametrize("text", ["", "2-14", "02:00-24:00", "02:00-02:00", "2:00-14:00", "02:00 - 14:00", "x" * 500])
def test_what_is_no_window_is_named(text: str) -> None:
    with pytest.raises(FillError, match="fill window"):
        read_hours(text)


def test_always_is_no_window_and_zones_must_exist() -> None:
    assert read_hours("always") is None
    with pytest.raises(UsageError, match="Middle/Earth"):
        next_window(FillHours(start=time(2), end=time(14)), "Middle/Earth", 0.0)
