import pytest

from headrace.base.errors import UsageError
from headrace.base.instants import read_duration, read_instant, show_instant

NOON = 1_796_126_400.0  # 2026-12-01T12:00Z


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-12-01T12:00Z", ""),
        ("2026-12-01 13:00+01:00", ""),
        ("2026-12-01T13:00", "Europe/Amsterdam"),
        ("2026-12-01 12:00:00", "UTC"),
        ("2026-12-01T12:00Z", "Europe/Amsterdam"),  # what is written counts, not the zone to show it in
    ],
)
def test_times_with_a_zone(text, zone):
    assert read_instant(text, zone) == NOON


@pytest.mark.parametrize(
    ("text", "zone", "words"),
    [
        ("2026-12-01T12:00", "", "has no time zone: add Z"),
        ("tomorrow", "UTC", "is not a time"),
        ("2026-10-25T02:30", "Europe/Amsterdam", "occurs twice"),
        ("2026-03-29T02:30", "Europe/Amsterdam", "does not exist"),
        ("2026-12-01T12:00", "Mars/Olympus", "is not a time zone"),
        ("2026-12-01T12:00", "../../etc/passwd", "is not a time zone"),
    ],
)
def test_times_that_could_mean_two_things_are_refused(text, zone, words):
    with pytest.raises(UsageError, match=words):
        read_instant(text, zone)


def test_shown_in_the_zone_of_its_planner():
    assert show_instant(NOON, "Europe/Amsterdam") == "2026-12-01 13:00 CET"
    assert show_instant(NOON) == "2026-12-01 12:00 UTC"


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("1h30m", 5400), ("2d", 172_800), ("0.5h", 1800)])
def test_durations(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "3", "h", "-3h", "3h!", "inf"])
def test_what_is_no_duration(text):
    with pytest.raises(UsageError, match="is not a duration"):
        read_duration(text)
