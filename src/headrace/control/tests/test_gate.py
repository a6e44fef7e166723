import pytest

from headrace.base.clock import ManualClock
from headrace.control.gate import MOST_ADDRESSES, WINDOW_S, FailureCount, network_of


def test_failures_are_counted_by_address_and_forgotten():
    clock = ManualClock()
    count = FailureCount(clock, 3)
    for _ in range(3):
        assert not count.is_over("192.0.2.1")
        count.add("192.0.2.1")
    assert count.is_over("192.0.2.1")
    assert not count.is_over("192.0.2.2")
    clock.advance(WINDOW_S)
    assert not count.is_over("192.0.2.1")


def test_memory_is_bounded():
    count = FailureCount(ManualClock(), 1)
    for number in range(MOST_ADDRESSES + 2):
        count.add(f"client-{number}")
    assert not count.is_over("client-0")


@pytest.mark.parametrize(
    ("address", "network"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::/64"), ("unknown", "unknown")],
)
def test_networks(address, network):
    assert network_of(address) == network
