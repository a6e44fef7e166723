"""Progress never goes back and ends at one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.origin.progress import Ledger


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-1, 2)), max_size=30))
def test_it_never_goes_back(moves):
    ledger = Ledger(costs={"a": 1.0, "b": 5.0, "c": 0.5}, started_s=0.0)
    last = 0.0
    for step, ratio in moves:
        ledger.advance(step, ratio)
        assert last <= ledger.ratio() <= 1.0
        last = ledger.ratio()


def test_time_left_is_told_from_the_work_of_this_run():
    ledger = Ledger(costs={"old": 50.0, "new": 50.0}, started_s=100.0)
    ledger.keep("old")
    assert ledger.left_s(100.0) is None
    ledger.advance("new", 0.5)
    assert ledger.left_s(110.0) == pytest.approx(10.0)
    ledger.advance("new", 1.0)
    assert ledger.left_s(120.0) == 0.0
