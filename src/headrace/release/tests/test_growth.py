"""Growth per unit of work: the slope after warm-up, whatever single samples say."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.release.growth import growth_per_work


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([(work, 1000.0) for work in range(20)], 0.0),
        ([(work * 100.0, 5000 + work * 800.0) for work in range(20)], 8.0),
        ([(work * 100.0, min(work, 4) * 900.0) for work in range(20)], 0.0),
        ([(work, 10.0 * work + (5e6 if work in {9, 14} else 0)) for work in range(20)], 10.0),
        ([(work, math.nan if work == 11 else 3.0 * work) for work in range(20)], 3.0),
        ([(7.0, float(value)) for value in range(20)], None),
        ([(work, 1.0) for work in range(4)], None),
        ([], None),
    ],
    ids=["flat", "leak", "warm-up only", "outliers", "nan", "no work", "too few", "nothing"],
)
def test_growth(samples: list, expected: float | None) -> None:
    growth = growth_per_work(samples)
    assert growth == expected if expected is None else growth == pytest.approx(expected, rel=0.02, abs=1e-9)


@given(slope=st.floats(-100, 100), start=st.floats(-1e6, 1e6), count=st.integers(12, 600))
def test_a_straight_line_gives_its_slope(slope: float, start: float, count: int) -> None:
    found = growth_per_work([(work * 10.0, start + slope * work * 10.0) for work in range(count)])
    assert found == pytest.approx(slope, abs=1e-6)
