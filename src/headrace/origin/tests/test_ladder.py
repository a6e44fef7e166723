"""The ladder: never upscaled, from the lowest rung to the source's own height."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.origin.config import parse_publish_config
from headrace.origin.ladder import choose_rungs
from headrace.origin.model import VideoTrack

LADDER = parse_publish_config("", source="defaults").ladder


def video(width: int, height: int, rate: Fraction = Fraction(25)) -> VideoTrack:
    return VideoTrack(index=0, width=width, height=height, frame_rate=rate)


@pytest.mark.parametrize(
    ("width", "height", "heights"),
    [
        (1920, 1080, [240, 360, 480, 720, 1080]),
        (1280, 720, [240, 360, 480, 720]),
        (1920, 1088, [240, 360, 480, 720, 1080]),
        (720, 576, [240, 360, 480, 576]),
        (320, 240, [240]),
        (160, 120, [120]),
        (161, 121, [120]),
        (1080, 1920, [240, 360, 480, 720, 1080]),
        (3840, 2160, [240, 360, 480, 720, 1080, 1440, 2160]),
        (7680, 4320, [240, 360, 480, 720, 1080, 1440, 2160, 4320]),
    ],
)
def test_heights(width, height, heights):
    assert [rung.height for rung in choose_rungs(video(width, height), LADDER)] == heights


def test_sizes_keep_the_shape_and_ceilings_follow_the_rungs():
    rungs = choose_rungs(video(1080, 1920), LADDER)
    assert [(rung.out_width, rung.out_height) for rung in rungs][:2] == [(240, 426), (360, 640)]
    assert [(rung.out_width, rung.out_height) for rung in choose_rungs(video(1280, 720), LADDER)][2] == (854, 480)
    assert rungs[-1].max_bps == 5_000_000
    assert choose_rungs(video(1920, 1080, Fraction(60)), LADDER)[-1].max_bps == 7_500_000


def test_a_height_between_two_rungs_gets_a_ceiling_between_theirs():
    assert 1_400_000 < choose_rungs(video(720, 576), LADDER)[-1].max_bps < 2_800_000


@given(
    st.integers(2, 8000),
    st.integers(2, 8000),
    st.lists(
        st.tuples(st.integers(2, 4320), st.integers(10_000, 10**8)), min_size=1, max_size=8, unique_by=lambda r: r[0]
    ),
)
def test_rules_that_every_ladder_keeps(width, height, table):
    rungs_text = ", ".join(f"{{height={h}, max_bps={bps}}}" for h, bps in table)
    ladder = parse_publish_config(f"[ladder]\nrungs = [{rungs_text}]", source="test").ladder
    rungs = choose_rungs(video(width, height), ladder)
    assert rungs
    assert [rung.height for rung in rungs] == sorted({rung.height for rung in rungs})
    for rung in rungs:
        assert rung.out_width % 2 == rung.out_height % 2 == 0
        assert min(rung.out_width, rung.out_height) <= max(2, min(width, height))
        assert max(rung.out_width, rung.out_height) <= max(2, width, height)
        assert rung.max_bps >= 1
    assert rungs[-1].height * 1.1 + 2 >= min(width, height), "the best rendition is near the source"
