"""Synthetic traces are the same each time and near their targets; a replay fills and serves by the rules."""

from dataclasses import replace

import numpy as np
import pytest

from headrace.sim.placement_replay import Replay, ReplaySettings
from headrace.sim.vod_trace import TARGETS, TraceShape, TraceSize, make_trace, measure


def test_the_calibrated_shape_is_near_its_targets() -> None:
    found = measure(make_trace(TraceShape.LAUNCHES, 5))
    assert set(found) == set(TARGETS)
    for name, target in TARGETS.items():
        assert found[name] == pytest.approx(target, rel=0.25), name


@pytest.mark.parametrize("shape", list(TraceShape))
def test_a_trace_depends_on_its_seed_alone_and_is_in_order(shape: TraceShape) -> None:
    size = TraceSize(titles=500, days=21, plays_a_day=60)
    one, same, other = make_trace(shape, 1, size), make_trace(shape, 1, size), make_trace(shape, 2, size)
    assert np.array_equal(one.time_s, same.time_s)
    assert np.array_equal(one.title, same.title)
    assert not np.array_equal(one.title[:100], other.title[:100])
    assert (np.diff(one.time_s) >= 0).all()
    told = np.isfinite(one.announced_s[one.title])
    assert (one.time_s[told] >= one.announced_s[one.title][told] - 1).all()


def test_a_replay_serves_more_with_more_room_and_fills_mostly_in_the_window() -> None:
    trace = make_trace(TraceShape.LAUNCHES, 3, TraceSize(titles=600, days=42, plays_a_day=80))
    served = Replay(trace, (0.1, 0.3), replace(ReplaySettings(), warm_days=21)).run()
    assert 0.1 < served[0].hit_ratio < served[1].hit_ratio < 1.0
    assert all(one.night_ratio > 0.6 for one in served)
    assert served[0].asked_bytes == served[1].asked_bytes > 0


def test_the_future_of_a_trace_does_not_change_what_was_served_before_it() -> None:
    trace = make_trace(TraceShape.DRIFT, 3, TraceSize(titles=300, days=30, plays_a_day=60))
    end = int(np.searchsorted(trace.time_s, 24 * 86_400.0))
    settings = replace(ReplaySettings(), warm_days=18)
    catalog = trace.size_bytes[np.unique(trace.title)].sum()
    cut = replace(trace, time_s=trace.time_s[:end], title=trace.title[:end], asked_bytes=trace.asked_bytes[:end])
    other = replace(trace, title=np.where(np.arange(len(trace)) < end, trace.title, trace.title[::-1]))
    ratios = [0.2 * catalog / one.size_bytes[np.unique(one.title)].sum() for one in (cut, other)]
    first = Replay(cut, (ratios[0],), settings).run()[0]
    replay = Replay(other, (ratios[1],), settings)
    second = replay.run(until_s=24 * 86_400.0)[0]
    assert first.hit_bytes == pytest.approx(second.hit_bytes, rel=1e-9)
    assert first.night_fill_bytes == pytest.approx(second.night_fill_bytes, rel=1e-9)
