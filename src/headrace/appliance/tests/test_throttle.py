"""The rate of all fills together, on a clock turned by hand."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.appliance.throttle import Throttle


def test_without_a_rate_nothing_waits():
    assert Throttle(0).take(10**9, now_s=0.0) == 0.0


@given(
    st.integers(100_000, 10_000_000_000),
    st.lists(st.integers(1, 65_536), min_size=200, max_size=400),
    st.floats(0, 0.001),
)
def test_keeps_within_a_few_percent(rate_bps, sizes, work_s):
    throttle, now_s = Throttle(rate_bps), 1000.0
    for size in sizes:
        now_s += throttle.take(size, now_s=now_s) + work_s
    least_s = sum(sizes) * 8 / rate_bps
    burst_s = max(0.1, 65_536 * 8 / rate_bps)
    took_s = now_s - 1000.0
    assert took_s >= least_s - burst_s - 1e-6
    assert took_s <= max(least_s, work_s * len(sizes) * 1.001) + work_s + burst_s + 1e-6


def test_an_idle_time_earns_no_credit_beyond_the_burst():
    throttle = Throttle(8_000_000)
    throttle.take(1_000_000, now_s=0.0)
    assert throttle.take(1_000_000, now_s=3600.0) >= 0.9 - 1e-9


def test_a_new_rate_holds_at_once():
    throttle = Throttle(8_000)
    throttle.take(65_536, now_s=0.0)
    throttle.rate_bps = 0
    assert throttle.take(65_536, now_s=0.0) == 0.0
