"""What a soak measures is what the checks of level 3 ask for; its client does an exact number of visits."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.lab.adapters.churner import KINDS, in_order
from headrace.lab.load.churn import Visit
from headrace.lab.qualify.soak import BY_RELOAD, GROWTHS, RELOADS, SLICES
from headrace.release.config import parse_release_config
from headrace.release.growth import growth_per_work
from headrace.release.model import Level

visits = st.dictionaries(st.sampled_from([kind.value for kind in Visit]), st.integers(0, 50))


def test_every_growth_has_a_check_and_every_check_its_growth() -> None:
    asked = {one.metric.name for one in parse_release_config().definitions if one.level is Level.SOAK}
    assert asked == {*GROWTHS, BY_RELOAD}


def test_the_client_knows_every_kind_of_visit() -> None:
    assert set(KINDS) == {kind.value for kind in Visit}


@pytest.mark.parametrize("samples", [SLICES, RELOADS])
def test_enough_samples_are_left_after_warm_up(samples: int) -> None:
    assert growth_per_work([(float(number), 3.0 * number) for number in range(samples)]) == pytest.approx(3.0)


@given(asked=visits, seed=st.integers(0, 1 << 40))
def test_all_visits_are_made_in_an_order_that_the_seed_gives(asked: dict[str, int], seed: int) -> None:
    order = in_order(asked, seed)
    assert Counter(order) == Counter({kind: count for kind, count in asked.items() if count})
    assert order == in_order(dict(reversed(asked.items())), seed)


def test_kinds_are_scattered() -> None:
    order = in_order({"short": 500, "abort": 100}, 7)
    tenths = [order[first : first + 60].count("abort") for first in range(0, 600, 60)]
    assert min(tenths) >= 5
    assert max(tenths) <= 15
