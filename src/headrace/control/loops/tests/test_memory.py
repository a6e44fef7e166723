from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.loops.memory import Memory, is_drained, read_memory, write_memory
from headrace.fleet.health import HealthTrack
from headrace.fleet.lifecycle import Drain, DrainState
from headrace.fleet.model import Health
from headrace.fleet.testing import make_track

moments = st.none() | st.floats(0, 2e9)


@given(
    st.builds(HealthTrack, relapses=st.integers(0, 99), healthy_since_s=moments, unreachable_since_s=moments),
    st.builds(Drain, state=st.sampled_from(DrainState), quiet_since_s=moments),
)
def test_what_is_written_is_read_beside_the_stored_health(track, drain):
    health = make_track().health
    memory = Memory(track=replace(track, health=health), drain=drain)
    text = write_memory(memory)
    assert read_memory(health, text) == memory
    assert is_drained(text) is (drain.state is DrainState.DRAINED)


def test_how_long_it_has_been_good_is_forgotten():
    memory = Memory(track=HealthTrack(good_since_s=5.0))
    assert read_memory(Health(), write_memory(memory)).track.good_since_s is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"track": {"relapses": "many"}}'])
def test_unreadable_memory_is_none(text):
    health = make_track().health
    assert read_memory(health, text) == Memory(track=HealthTrack(health=health))
    assert not is_drained(text)
