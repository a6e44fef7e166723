"""Media playlists: ranges cover the file, durations add up, rates are honest."""

import m3u8
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.base.ids import Sha256
from headrace.catalog.model import ByteRange, FileSuffix, content_path
from headrace.origin.model import MediaIndex, Segment
from headrace.origin.playlists import (
    average_bps,
    media_playlist,
    peak_bps,
    relative_uri,
    target_duration,
    text_playlist,
)

FILE = Sha256("ab" + "0" * 62)


def index_of(parts: list[tuple[int, float]]) -> MediaIndex:
    segments, first, start_s = [], 900, 0.0
    for length, duration_s in parts:
        segments.append(
            Segment(first=first, length=length, start_s=start_s, duration_s=duration_s, starts_with_key=True)
        )
        first, start_s = first + length, start_s + duration_s
    return MediaIndex(
        init=ByteRange(first=0, last=799),
        index=ByteRange(first=800, last=899),
        timescale=1000,
        segments=tuple(segments),
    )


parts = st.lists(st.tuples(st.integers(1, 10**7), st.floats(0.04, 10.0)), min_size=1, max_size=50)


@given(parts)
def test_ranges_cover_the_file_and_durations_add_up(segments):
    playlist = m3u8.loads(media_playlist(index_of(segments), FILE))
    assert playlist.is_endlist
    at = 900
    for segment, (length, duration_s) in zip(playlist.segments, segments, strict=True):
        size, first = (int(part) for part in segment.byterange.split("@"))
        assert (size, first) == (length, at)
        assert segment.duration == pytest.approx(duration_s, abs=1e-6)
        assert round(segment.duration) <= playlist.target_duration
        at += length
    assert playlist.segments[0].init_section.byterange == "800@0"


@given(parts)
def test_peak_is_no_lower_than_average_and_no_higher_than_the_densest_segment(segments):
    found = index_of(segments).segments
    densest = max(*(one.length * 8 / one.duration_s for one in found), average_bps(found))
    assert average_bps(found) <= peak_bps(found) <= densest + 1


def test_a_short_last_segment_does_not_blow_up_the_peak():
    segments = index_of([(500_000, 4.0), (500_000, 4.0), (100_000, 0.04)]).segments
    assert peak_bps(segments) == pytest.approx(1_188_119, rel=0.01)


def test_a_uri_is_relative_to_any_published_file():
    assert relative_uri(FILE, FileSuffix.MP4) == f"../ab/{FILE}.mp4"
    assert content_path(FILE, FileSuffix.MP4).endswith(relative_uri(FILE, FileSuffix.MP4).removeprefix(".."))


def test_subtitles_are_one_segment():
    playlist = m3u8.loads(text_playlist(FILE, 61.5))
    assert [segment.duration for segment in playlist.segments] == [61.5]
    assert playlist.target_duration == 62


@pytest.mark.parametrize(("longest_s", "target"), [(4.0, 4), (4.49, 4), (4.5, 5), (0.1, 1)])
def test_target_duration(longest_s, target):
    assert target_duration(longest_s) == target
