"""From packaged tracks to steps: ids, groups, one time line."""

from fractions import Fraction
from pathlib import Path

import pytest

from headrace.catalog.model import TrackKind
from headrace.origin.errors import NoVideoStreamError
from headrace.origin.model import Piece, SideTrack, Source, VideoTrack
from headrace.origin.packaged import Look, PackagedTrack, joined, plan_packaged_steps

FILE = Path("/package/v.mp4")


def look(
    kind: TrackKind, *, start_s: float = 0.0, height: int = 0, codec: str = "h264", sounds: int = 0, **fields
) -> Look:
    track = PackagedTrack(kind=kind, pieces=(Piece(path=FILE),), duration_s=60.0, **fields)
    video = (
        VideoTrack(index=0, width=height * 2, height=height, frame_rate=Fraction(25), codec=codec) if height else None
    )
    audio = tuple(
        SideTrack(index=number + 1, language="en", name="en", is_default=False, channels=2, codec="aac")
        for number in range(sounds)
    )
    return Look(track=track, source=Source(duration_s=60.0, start_s=start_s, video=video, audio=audio))


def test_all_tracks_are_moved_by_the_same_time():
    steps = plan_packaged_steps(
        (
            look(TrackKind.VIDEO, height=360, start_s=10.08),
            look(TrackKind.AUDIO, sounds=1, start_s=10.0, language="en"),
            look(TrackKind.TEXT, language="fr"),
        )
    )
    offsets = [s.arguments[s.arguments.index("-output_ts_offset") + 1] for s in steps if s.arguments]
    assert offsets == ["0.080000", "0.000000"]
    assert steps[-1].text_shift_s == -10.0


def test_ids_and_groups():
    steps = plan_packaged_steps(
        (
            look(TrackKind.VIDEO, height=720, bandwidth_bps=3),
            look(TrackKind.VIDEO, height=360, bandwidth_bps=1),
            look(TrackKind.VIDEO, height=720, bandwidth_bps=2),
            look(TrackKind.VIDEO, height=720, bandwidth_bps=9, codec="hevc"),
            look(TrackKind.AUDIO, sounds=1, language="en", name="English", is_default=True),
            look(TrackKind.AUDIO, sounds=1, language="en", name="English"),
            look(TrackKind.AUDIO, sounds=1, language="fr", name="Français"),
        )
    )
    assert [(step.rendition_id, step.group) for step in steps] == [
        ("v360", "video"),
        ("v720", "video"),
        ("v720-2", "video"),
        ("v720-hevc", "video-hevc"),
        ("a-en", "audio"),
        ("a-en-2", "audio-2"),
        ("a-fr", "audio"),
    ]
    assert [step.is_default for step in steps if step.kind is TrackKind.AUDIO] == [True, False, False]


def test_sound_inside_the_best_video_is_taken_when_there_is_no_other():
    inside = look(TrackKind.VIDEO, height=360, sounds=2, has_own_audio=True)
    steps = plan_packaged_steps((inside,))
    assert [step.rendition_id for step in steps] == ["v360", "a-en", "a-en-2"]
    beside = look(TrackKind.AUDIO, sounds=1, language="fr")
    assert [step.rendition_id for step in plan_packaged_steps((inside, beside))] == ["v360", "a-fr"]


def test_a_package_without_pictures_is_refused():
    with pytest.raises(NoVideoStreamError):
        plan_packaged_steps((look(TrackKind.AUDIO, sounds=1),))


def test_pieces_join_only_where_bytes_follow_each_other():
    def part(first: int, length: int | None) -> Piece:
        return Piece(path=FILE, first=first, length=length)

    assert joined([part(0, 10), part(10, 5), part(20, 5)]) == (part(0, 15), part(20, 5))
    assert joined([part(0, None), part(0, None)]) == (part(0, None), part(0, None))
    assert joined([part(0, 10), part(10, None)]) == (part(0, None),)
