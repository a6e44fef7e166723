import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.telemetry.rates import RateWindow, RecentlySeen, Sum


@pytest.mark.parametrize(
    ("readings", "now_s", "rate"),
    [
        ([], 0.0, 0.0),
        ([(0, 100)], 0.0, 0.0),
        ([(0, 100), (1, 110)], 1.0, 10.0),
        ([(0, 0), (1, 10), (2, 40)], 2.0, 20.0),
        # A counter that went back started anew: 5 were counted since.
        ([(0, 100), (1, 110), (2, 5)], 2.0, 7.5),
        # Readings older than the window fall out.
        ([(0, 0), (1, 1000), (10, 1000), (11, 1000)], 11.0, 0.0),
        # Readings that stopped say nothing about now.
        ([(0, 0), (1, 10)], 7.0, 0.0),
        # A clock set back: the readings from its future are forgotten, their amount is not.
        ([(100, 0), (101, 10), (50, 20), (51, 30)], 51.0, 10.0),
    ],
)
def test_rate(readings: list[tuple[float, float]], now_s: float, rate: float) -> None:
    window = RateWindow(5.0)
    for at_s, value in readings:
        window.add(value, now_s=at_s)
    assert window.per_second(now_s=now_s) == pytest.approx(rate)


@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.integers(0, 10_000)), min_size=2, max_size=60))
def test_rate_never_exceeds_the_steepest_step(steps: list[tuple[float, int]]) -> None:
    window = RateWindow(5.0)
    now_s = total = 0.0
    window.add(0, now_s=0.0)
    for pause_s, amount in steps:
        now_s += pause_s
        total += amount
        window.add(total, now_s=now_s)
    assert 0.0 <= window.per_second(now_s=now_s) <= max(amount / pause_s for pause_s, amount in steps) * (1 + 1e-9)


def test_sum_over_sources_that_come_and_go() -> None:
    amount: Sum[str] = Sum()
    assert amount.add({"a": 1000}) == 0, "before we looked"
    assert amount.add({"a": 1010, "b": 5}) == 15
    assert amount.add({"b": 8}) == 18, "a is gone, its part stays"
    assert amount.add({"b": 2}) == 20, "b started anew"
    assert amount.add({}) == 20
    assert amount.add({"c": 4}) == 24


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 100)), max_size=20))
def test_sum_never_falls(readings: list[dict[str, int]]) -> None:
    amount: Sum[str] = Sum()
    totals = [amount.add(reading) for reading in readings]
    assert totals == sorted(totals)


def test_recently_seen() -> None:
    seen = RecentlySeen(30.0)
    for at_s, name in ((100.0, b"a"), (110.0, b"b"), (125.0, b"a"), (101.0, b"a"), (1e12, b"from the future")):
        seen.add(name, at_s=at_s)
    assert seen.count(now_s=130.0).count == 2
    assert seen.count(now_s=141.0).count == 1
    assert seen.count(now_s=200.0).count == 0


def test_recently_seen_is_bounded_and_says_so() -> None:
    seen = RecentlySeen(30.0, most=3)
    for number in range(10):
        seen.add(b"%d" % number, at_s=100.0)
    assert seen.count(now_s=100.0) == seen.count(now_s=100.0).__class__(count=3, is_full=True)
    assert not seen.count(now_s=100.0).is_full
