"""Days on real parts, small: what was watched in the evening is at the site on the next one, filled in the night."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.base.rng import make_rng
from headrace.cli.demo.network import free_port_base
from headrace.cli.demo.testing_day import DayLayout, DayNetwork

pytestmark = pytest.mark.root


@pytest.fixture
def network(tmp_path: Path) -> Iterator[DayNetwork]:
    layout = DayLayout(folder=tmp_path / "network", port=free_port_base(21_000))
    net = DayNetwork(layout, titles=12, room_ratio=0.4, rng=make_rng(3))
    try:
        yield net
    finally:
        net.stop()


@pytest.mark.timeout(400)
def test_what_was_watched_is_at_the_site_on_the_next_evening(network: DayNetwork) -> None:
    network.bring_up()
    first, second = network.live(40), network.live(40)
    assert sum(first.served.values()) == pytest.approx(sum(second.served.values()), rel=0.05)
    assert second.own_ratio > first.own_ratio + 0.15, (first, second)
    assert second.own_ratio > 0.4, (first, second)
    # In the night, from a peer at the exchange; the origin gave each title once, to the exchange.
    assert second.night_filled
    assert "origin" not in second.night_filled
    assert second.day_filled == {}
    asked = network.command("demand", "demand", "show", "--totals", str(network.layout.totals), "--by", "site")
    assert "metro" in asked
    assert "campus" in asked
    assert "exchange" not in asked, "demand is of the site whose clients asked"
