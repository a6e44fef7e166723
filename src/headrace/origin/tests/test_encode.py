"""What ffmpeg is told: the same grid of frames and the same key frames for every rendition."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.base.errors import ConfigError
from headrace.catalog.model import TrackKind
from headrace.origin.config import parse_publish_config
from headrace.origin.encode import gop_frames, grid_rate, labels, plan_steps
from headrace.origin.model import SideTrack, Source, VideoTrack

VIDEO = VideoTrack(index=0, width=1280, height=720, frame_rate=Fraction(30000, 1001))


def side(language: str, index: int = 1, **fields) -> SideTrack:
    return SideTrack(index=index, language=language, name=language, is_default=False, **fields)


SOURCE = Source(
    duration_s=60.0,
    video=VIDEO,
    audio=(side("en", 1, channels=6), side("fr", 2, channels=1), side("en", 3, channels=2)),
    text=(side("fr", 4),),
)


def test_every_track_becomes_a_rendition():
    steps = plan_steps(SOURCE, VIDEO, parse_publish_config("", source="defaults"))
    assert [step.rendition_id for step in steps] == ["v240", "v360", "v480", "v720", "a-en", "a-fr", "a-en-2", "s-fr"]
    assert {step.group for step in steps} == {"video", "audio", "text"}


def test_renditions_share_key_frames_and_frame_grid():
    steps = plan_steps(SOURCE, VIDEO, parse_publish_config("", source="defaults"))
    video = [step.arguments for step in steps if step.kind is TrackKind.VIDEO]
    assert len({arguments[arguments.index("-force_key_frames") + 1] for arguments in video}) == 1
    filters = [arguments[arguments.index("-vf") + 1] for arguments in video]
    assert all("fps=fps=30000/1001:start_time=0" in one for one in filters)
    assert all("open-gop=0" in arguments[arguments.index("-x264-params") + 1] for arguments in video)


def test_more_codecs_are_more_ladders_in_groups_of_their_own():
    config = parse_publish_config('[video]\ncodecs=["h264","av1"]\n[audio]\ncodecs=["aac","opus"]', source="t")
    steps = plan_steps(SOURCE, VIDEO, config)
    assert next(step.rendition_id for step in steps if step.group == "video-av1") == "v240-av1"
    assert [step.rendition_id for step in steps if step.group == "audio-opus"] == [
        "a-en-opus",
        "a-fr-opus",
        "a-en-2-opus",
    ]


def test_channels_are_mixed_down_never_up():
    steps = plan_steps(SOURCE, VIDEO, parse_publish_config("", source="defaults"))
    channels = [s.arguments[s.arguments.index("-ac") + 1] for s in steps if s.kind is TrackKind.AUDIO]
    assert channels == ["2", "1", "2"]


def test_interlaced_pictures_are_made_whole():
    video = VideoTrack(index=0, width=720, height=576, frame_rate=Fraction(25), is_interlaced=True)
    step = plan_steps(SOURCE, video, parse_publish_config("", source="defaults"))[0]
    assert step.arguments[step.arguments.index("-vf") + 1].startswith("bwdif")


@pytest.mark.parametrize("text", ['[video]\ncodecs=["mpeg2"]', '[audio]\ncodecs=["mp3"]'])
def test_an_unknown_codec_names_the_known_ones(text):
    with pytest.raises(ConfigError, match="use one of"):
        plan_steps(SOURCE, VIDEO, parse_publish_config(text, source="t"))


@given(st.fractions(1, 120), st.floats(0.5, 30))
def test_a_group_of_pictures_is_the_least_that_lasts_a_segment(rate, segment_s):
    frames = gop_frames(rate, segment_s)
    assert frames / rate >= segment_s - 0.001
    assert (frames - 1) / rate < segment_s + 0.001


@given(st.fractions(1, 1000), st.integers(1, 120))
def test_the_grid_is_never_over_the_limit_and_a_whole_share_of_the_source(rate, most):
    grid = grid_rate(VideoTrack(index=0, width=2, height=2, frame_rate=rate), most)
    assert grid <= most
    assert (rate / grid).denominator == 1


@given(st.lists(st.sampled_from(["en", "fr", "und", "pt-BR"]), max_size=6))
def test_labels_are_unique(languages):
    found = labels("a", tuple(side(language) for language in languages))
    assert len(set(found)) == len(languages)
