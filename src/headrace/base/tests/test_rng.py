from hypothesis import given
from hypothesis import strategies as st

from headrace.base.rng import backoff_s, jittered, make_rng


@given(st.integers(), st.floats(0.1, 1e4))
def test_jitter_stays_within_its_ratio(seed: int, interval_s: float) -> None:
    assert interval_s * 0.79 <= jittered(make_rng(seed), interval_s) <= interval_s * 1.21


@given(st.integers(), st.integers(0, 10_000))
def test_backoff_grows_to_its_bound(seed: int, attempt: int) -> None:
    wait_s = backoff_s(make_rng(seed), attempt, first_s=0.5, most_s=30.0)
    ceiling_s = min(30.0, 0.5 * 2 ** min(attempt, 30))
    assert ceiling_s / 2 <= wait_s <= ceiling_s


def test_the_same_seed_gives_the_same_chance() -> None:
    assert [make_rng(7).random() for _ in range(2)] == [make_rng(7).random()] * 2
