"""What a source is, and whether it is whole."""

import json
from fractions import Fraction

import pytest

from headrace.origin.errors import NotVideoError, NoVideoStreamError, TruncatedError
from headrace.origin.probe import Scan, check_whole, explain_unreadable, need_video, read_probe

PICTURE = {
    "index": 0,
    "codec_type": "video",
    "codec_name": "h264",
    "width": 1920,
    "height": 1080,
    "r_frame_rate": "25/1",
    "avg_frame_rate": "25/1",
    "start_time": "0.040",
}


def read(*streams: dict, form: str = "matroska,webm", duration: str = "60.0"):
    document = {"format": {"format_name": form, "duration": duration}, "streams": list(streams)}
    return read_probe(json.dumps(document), source="film")


def sound(index: int, *, default: int = 0, **tags) -> dict:
    return {
        "index": index,
        "codec_type": "audio",
        "codec_name": "aac",
        "channels": 2,
        "start_time": "0.021",
        "disposition": {"default": default},
        "tags": tags,
    }


def test_tracks_with_language_name_and_default():
    source = read(PICTURE, sound(1, language="fra", title="Français"), sound(2, default=1, LANGUAGE="eng"))
    assert [(t.language, t.name, t.is_default) for t in source.audio] == [("fr", "Français", False), ("en", "en", True)]
    assert source.start_s == 0.021


def test_the_first_sound_is_the_default_where_none_says_so():
    assert [track.is_default for track in read(PICTURE, sound(1), sound(2)).audio] == [True, False]


def test_only_one_default():
    assert [track.is_default for track in read(PICTURE, sound(1, default=1), sound(2, default=1)).audio] == [
        True,
        False,
    ]


def test_text_is_kept_and_picture_subtitles_are_named():
    text = {"index": 1, "codec_type": "subtitle", "codec_name": "subrip", "tags": {"language": "deu"}}
    bitmap = {"index": 2, "codec_type": "subtitle", "codec_name": "hdmv_pgs_subtitle"}
    source = read(PICTURE, text, bitmap)
    assert [track.language for track in source.text] == ["de"]
    assert "hdmv_pgs_subtitle" in source.dropped[0]


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (1920, 1080)),
        ({"side_data_list": [{"rotation": -90}]}, (1080, 1920)),
        ({"side_data_list": [{"rotation": 180}]}, (1920, 1080)),
        ({"width": 720, "height": 576, "sample_aspect_ratio": "64:45"}, (1024, 576)),
        ({"sample_aspect_ratio": "0:1"}, (1920, 1080)),
    ],
)
def test_the_picture_as_it_is_shown(fields, size):
    video = read({**PICTURE, **fields}).video
    assert (video.width, video.height) == size


@pytest.mark.parametrize(
    ("real", "average", "rate"),
    [
        ("30000/1001", "30000/1001", Fraction(30000, 1001)),
        ("90000/1", "24/1", Fraction(24)),
        ("0/0", "0/0", Fraction(25)),
        ("60/1", "20/1", Fraction(20)),
    ],
)
def test_frame_rate(real, average, rate):
    assert read({**PICTURE, "r_frame_rate": real, "avg_frame_rate": average}).video.frame_rate == rate


@pytest.mark.parametrize("form", ["png_pipe", "image2", "tty", "gif", "srt"])
def test_a_picture_or_text_is_not_a_video(form):
    with pytest.raises(NotVideoError, match="not a video"):
        read(PICTURE, form=form)


def test_no_streams_is_not_a_video():
    with pytest.raises(NotVideoError):
        read()
    with pytest.raises(NotVideoError):
        read_probe("not json", source="film")


def test_sound_with_a_cover_has_no_video_stream():
    cover = {**PICTURE, "disposition": {"attached_pic": 1}}
    with pytest.raises(NoVideoStreamError, match="no video stream"):
        need_video(read(cover, sound(1)), name="song.mp3")


@pytest.mark.parametrize(
    "scan",
    [
        Scan(end_s=30.0, frames=750, messages=()),
        Scan(end_s=60.0, frames=1500, messages=("stream 1, offset 0x6202d: partial file",)),
        Scan(end_s=60.0, frames=1500, messages=("[in#0/matroska] File ended prematurely",)),
        Scan(end_s=0.0, frames=0, messages=()),
    ],
)
def test_a_source_that_ends_early_is_cut_short(scan):
    source = read(PICTURE)
    with pytest.raises(TruncatedError):
        check_whole(source, source.video, scan, name="film")


def test_a_whole_source_has_a_duration():
    source = read(PICTURE)
    assert (
        check_whole(source, source.video, Scan(end_s=59.9, frames=1500, messages=("odd but fine",)), name="f") == 60.0
    )
    raw = read(PICTURE, duration="N/A")
    assert check_whole(raw, raw.video, Scan(end_s=0.0, frames=100, messages=()), name="f") == 4.0


def test_why_a_file_cannot_be_read():
    mp4, noise = b"\0\0\0\x20ftypisom", b"some words"
    assert isinstance(explain_unreadable("moov atom not found", head=mp4, source="f"), TruncatedError)
    assert isinstance(explain_unreadable("moov atom not found", head=noise, source="f"), NotVideoError)
    assert isinstance(explain_unreadable("Invalid data found", head=mp4, source="f"), NotVideoError)
