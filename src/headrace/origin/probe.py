"""What a source is, from ffprobe's JSON, and whether it is whole, from a scan of its packets. Pure."""

import json
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from headrace.origin.errors import NotVideoError, NoVideoStreamError, TruncatedError
from headrace.origin.languages import language_tag
from headrace.origin.model import SideTrack, Source, VideoTrack

TEXT_CODECS = frozenset(
    (
        *("subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text", "microdvd", "subviewer", "subviewer1", "sami"),
        *("realtext", "stl", "mpl2", "jacosub", "pjs", "vplayer", "ttml", "eia_608"),
    )
)
PICTURE_CODECS = frozenset(("hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle", "xsub"))
PICTURE_FORMATS = re.compile(r"image2|.*_pipe|tty|gif|apng|ico|.*subtitle.*|srt|webvtt|ass")
"""Formats that ffmpeg reads but that are a still picture, a text or subtitles."""
CUT_SHORT = re.compile(
    r"partial file|ended prematurely|moov atom not found|truncat|unexpected end|end of file", re.IGNORECASE
)
MP4_OPENINGS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")
SHORTFALL_S = 1.0
SHORTFALL_RATIO = 0.02
"""A scan may end this much before the container's duration: subtitles and rounding last longer than pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What reading every packet once, without decoding, gave."""

    end_s: float
    """Time of the last packet; 0 when packets carry no time."""
    frames: int
    messages: tuple[str, ...]


def read_probe(text: str, *, source: str) -> Source:
    """Read `ffprobe -show_format -show_streams` JSON.

    Raises:
        NotVideoError: a picture, a text or nothing that ffmpeg knows.
    """
    try:
        document: dict[str, Any] = json.loads(text)
    except ValueError:
        raise NotVideoError(f"{source}: ffprobe gave no answer that can be read") from None
    streams: list[dict[str, Any]] = document.get("streams", [])
    container: dict[str, Any] = document.get("format", {})
    if not streams or PICTURE_FORMATS.fullmatch(container.get("format_name", "")):
        raise NotVideoError(f"{source} is not a video: ffmpeg reads it as {container.get('format_name', 'nothing')!r}")
    subtitles = [one for one in streams if one.get("codec_type") == "subtitle"]
    return Source(
        duration_s=_number(container.get("duration")),
        start_s=min((_number(one["start_time"]) for one in streams if "start_time" in one), default=0.0),
        video=_video(streams),
        audio=_sides([one for one in streams if one.get("codec_type") == "audio" and _number(one.get("channels"))]),
        text=_sides([one for one in subtitles if one.get("codec_name") in TEXT_CODECS]),
        dropped=tuple(
            f"subtitle stream {one['index']} ({one.get('codec_name', 'unknown')}) "
            + (
                "holds pictures, not text"
                if one.get("codec_name") in PICTURE_CODECS
                else "is of a kind nothing here reads"
            )
            for one in subtitles
            if one.get("codec_name") not in TEXT_CODECS
        ),
    )


def need_video(source: Source, *, name: str) -> VideoTrack:
    """The video track.

    Raises:
        NoVideoStreamError: there is none.
    """
    if source.video is None:
        raise NoVideoStreamError(f"{name} has no video stream, only {'sound' if source.audio else 'data'}")
    return source.video


def check_whole(source: Source, video: VideoTrack, scan: Scan, *, name: str) -> float:
    """The duration of a source that is whole, in seconds.

    Raises:
        TruncatedError: it ends before it says it does.
    """
    cut = [line for line in scan.messages if CUT_SHORT.search(line)]
    if cut:
        raise TruncatedError(
            f"{name} is cut short: ffmpeg says {cut[0][-160:]!r}; get the whole file and publish again"
        )
    end_s = scan.end_s or float(scan.frames / video.frame_rate)
    if end_s <= 0 or scan.frames == 0:
        raise TruncatedError(f"{name} holds no picture; get the whole file and publish again")
    if source.duration_s - end_s > max(SHORTFALL_S, source.duration_s * SHORTFALL_RATIO):
        raise TruncatedError(
            f"{name} is cut short: it says {source.duration_s:.1f} s but ends after {end_s:.1f} s; "
            "get the whole file and publish again"
        )
    return max(end_s, source.duration_s)


def explain_unreadable(messages: str, *, head: bytes, source: str) -> NotVideoError | TruncatedError:
    """The error for a file that ffprobe refused: an MP4 without its index was cut short, all else is not a video.

    Args:
        head: the first bytes of the file; ffmpeg takes any noise for an MP4 if its name ends so.
    """
    if CUT_SHORT.search(messages) and head[4:8] in MP4_OPENINGS:
        return TruncatedError(f"{source} is cut short: its index is missing; get the whole file and publish again")
    return NotVideoError(f"{source} is not a video: ffmpeg cannot read it")


def _video(streams: list[dict[str, Any]]) -> VideoTrack | None:
    pictures = [
        one
        for one in streams
        if one.get("codec_type") == "video" and not one.get("disposition", {}).get("attached_pic") and one.get("width")
    ]
    if not pictures:
        return None
    chosen = next((one for one in pictures if one.get("disposition", {}).get("default")), pictures[0])
    width, height = _shown_size(chosen)
    return VideoTrack(
        index=int(chosen["index"]),
        width=width,
        height=height,
        frame_rate=_frame_rate(chosen),
        codec=str(chosen.get("codec_name", "")),
        is_interlaced=chosen.get("field_order") in {"tt", "bb", "tb", "bt"},
    )


def _shown_size(stream: dict[str, Any]) -> tuple[int, int]:
    width, height = int(stream["width"]), int(stream["height"])
    aspect = _ratio(str(stream.get("sample_aspect_ratio", "1:1")).replace(":", "/"))
    if aspect and Fraction(1, 4) < aspect < 4:
        width = max(2, round(width * aspect))
    turns = [_number(one.get("rotation")) for one in stream.get("side_data_list", []) if "rotation" in one]
    return (height, width) if turns and round(turns[0]) % 180 == 90 else (width, height)


def _frame_rate(stream: dict[str, Any]) -> Fraction:
    """The real rate; where it is no rate of a film (a variable-rate recording), the average one."""
    rate, average = _ratio(stream.get("r_frame_rate", "")), _ratio(stream.get("avg_frame_rate", ""))
    if rate and 1 <= rate <= 120 and (not average or rate <= average * 2):
        return rate
    return average.limit_denominator(1001) if average and 1 <= average <= 1000 else Fraction(25)


def _sides(streams: list[dict[str, Any]]) -> tuple[SideTrack, ...]:
    has_default = any(one.get("disposition", {}).get("default") for one in streams)
    found = []
    for number, one in enumerate(streams):
        tags = {key.lower(): value for key, value in one.get("tags", {}).items()}
        language = language_tag(str(tags.get("language", "")))
        wanted = bool(one.get("disposition", {}).get("default"))
        is_audio = one.get("codec_type") == "audio"
        found.append(
            SideTrack(
                index=int(one["index"]),
                language=language,
                name=str(tags.get("title", "")).strip()[:120] or language,
                is_default=wanted or (is_audio and not has_default and number == 0),
                channels=int(_number(one.get("channels"))),
                codec=str(one.get("codec_name", "")),
            )
        )
    return _one_default(found)


def _one_default(tracks: list[SideTrack]) -> tuple[SideTrack, ...]:
    first = next((track.index for track in tracks if track.is_default), None)
    return tuple(replace(track, is_default=track.index == first) for track in tracks)


def _ratio(text: str) -> Fraction | None:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
