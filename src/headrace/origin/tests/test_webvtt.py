"""Joining subtitle segments: every cue once, on the title's time line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.origin.errors import UnsupportedSourceError
from headrace.origin.webvtt import join_segments

MAP = "X-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000"


def test_a_cue_over_a_border_is_written_once():
    first = "WEBVTT\n\n00:01.000 --> 00:03.000\nHello\n\n00:04.000 --> 00:07.000 line:0\nOver\n"
    second = "WEBVTT\r\n\r\n00:04.000 --> 00:07.000 line:0\r\nOver\r\n\r\nid\r\n00:08.000 --> 00:09.000\r\nBye\r\n"
    said = join_segments([first, second], shift_s=-99.0)
    assert said.count("Over") == 1
    assert "00:00:04.000 --> 00:00:07.000 line:0\nOver" in said
    assert "id\n00:00:08.000 --> 00:00:09.000\nBye" in said


def test_the_time_stamp_map_ties_cues_to_the_pictures():
    text = f"WEBVTT\n{MAP}\n\n00:01.000 --> 00:02.000\nHello\n"
    assert "00:00:01.000 --> 00:00:02.000" in join_segments([text], shift_s=-10.0)


def test_styles_are_kept_once_and_notes_are_not():
    text = "\ufeffWEBVTT\n\nSTYLE\n::cue { color: red }\n\nNOTE x\n\n01:00:01.000 --> 01:00:02.000\nHello\n"
    said = join_segments([text, text], shift_s=0.0)
    assert said.count("STYLE") == 1
    assert "NOTE" not in said
    assert "01:00:01.000 --> 01:00:02.000" in said


@pytest.mark.parametrize("text", ["", "1\n00:00:01,000 --> 00:00:02,000\nHello", "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:x\n"])
def test_what_is_not_webvtt_is_refused(text):
    with pytest.raises(UnsupportedSourceError):
        join_segments([text], shift_s=0.0)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**4)), max_size=20, unique=True), st.integers(1, 4))
def test_joining_any_split_gives_the_same_cues(times, parts):
    def clock(ms: int) -> str:
        return f"{ms // 60000:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"

    cues = [f"{clock(at)} --> {clock(at + lasts)}\ncue {number}" for number, (at, lasts) in enumerate(times)]
    split = ["\n\n".join(["WEBVTT", *cues[part::parts]]) for part in range(parts)]
    said = join_segments(split, shift_s=0.0)
    assert said.count("-->") == len(cues)
    assert said == join_segments([said], shift_s=0.0)
