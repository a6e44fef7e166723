"""What ffmpeg is told to do for each rendition. Pure: gives argument lists, runs nothing.

All renditions of a video come from the same grid of frames (constant rate) and have a closed group of pictures at
the same frame numbers, so that segments line up whatever the codec. Codecs are an explicit registry.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from headrace.base.errors import ConfigError
from headrace.base.ids import RenditionId
from headrace.catalog.model import TrackKind
from headrace.origin.config import AudioConfig, PublishConfig, VideoConfig
from headrace.origin.ladder import choose_rungs
from headrace.origin.model import Rung, SideTrack, Source, Step, VideoTrack

C = TypeVar("C")

FRAGMENTED = ("-movflags", "+frag_keyframe+empty_moov+default_base_moof+delay_moov")
"""Interim files are fragmented: a killed ffmpeg needs no second pass, and memory does not grow with the film."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoCodec:
    """How one video codec is made."""

    encoder: str
    preset_option: str
    preset: str
    crf: int
    bit_ratio: float
    """Share of H.264's ceiling that gives the same look."""
    closed_gops: Callable[[int], tuple[str, ...]]
    """Arguments that make groups of pictures closed and `gop` frames long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioCodec:
    """How one audio codec is made."""

    encoder: str


VIDEO_CODECS = {
    "h264": VideoCodec(
        encoder="libx264",
        preset_option="-preset",
        preset="medium",
        crf=21,
        bit_ratio=1.0,
        closed_gops=lambda gop: (
            "-profile:v",
            "high",
            "-x264-params",
            f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0",
        ),
    ),
    "h265": VideoCodec(
        encoder="libx265",
        preset_option="-preset",
        preset="medium",
        crf=24,
        bit_ratio=0.7,
        closed_gops=lambda gop: (
            "-tag:v",
            "hvc1",
            "-x265-params",
            f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:log-level=error",
        ),
    ),
    "av1": VideoCodec(
        encoder="libsvtav1",
        preset_option="-preset",
        preset="8",
        crf=30,
        bit_ratio=0.6,
        closed_gops=lambda gop: ("-g", str(gop), "-svtav1-params", "scd=0:irefresh-type=2"),
    ),
    "vp9": VideoCodec(
        encoder="libvpx-vp9",
        preset_option="-cpu-used",
        preset="4",
        crf=31,
        bit_ratio=0.75,
        closed_gops=lambda gop: ("-g", str(gop), "-keyint_min", str(gop), "-row-mt", "1"),
    ),
}

AUDIO_CODECS = {"aac": AudioCodec(encoder="aac"), "opus": AudioCodec(encoder="libopus")}


def plan_steps(source: Source, video: VideoTrack, config: PublishConfig) -> tuple[Step, ...]:
    """Every rendition of an unpackaged source: video by codec and rung, then audio, then subtitles.

    Raises:
        ConfigError: a codec that is not in the registry.
    """
    pictures = [
        _video_step(video, rung, name, is_first=number == 0, config=config)
        for number, name in enumerate(config.video.codecs)
        for rung in choose_rungs(video, config.ladder)
    ]
    audio = [
        _audio_step(track, name, label, is_first=number == 0, audio=config.audio)
        for number, name in enumerate(config.audio.codecs)
        for track, label in zip(source.audio, labels("a", source.audio), strict=True)
    ]
    text = [
        Step(
            rendition_id=RenditionId(label),
            kind=TrackKind.TEXT,
            group="text",
            arguments=("-map", f"0:{track.index}", *(_TTML_OUT if track.codec == "ttml" else _TEXT_OUT)),
            cost=_AUDIO_COST / 4,
            language=track.language,
            name=track.name,
            is_default=track.is_default,
            is_ttml=track.codec == "ttml",
        )
        for track, label in zip(source.text, labels("s", source.text), strict=True)
    ]
    return (*pictures, *audio, *text)


def labels(prefix: str, tracks: tuple[SideTrack, ...]) -> list[str]:
    """Rendition ids by language: a-en, a-fr, a-fr-2; stable for the same tracks in the same order."""
    seen: dict[str, int] = {}
    found = []
    for track in tracks:
        count = seen[track.language] = seen.get(track.language, 0) + 1
        found.append(f"{prefix}-{track.language.lower()}" + (f"-{count}" if count > 1 else ""))
    return found


def gop_frames(frame_rate: Fraction, segment_s: float) -> int:
    """Frames of a group of pictures: the first whole number that lasts at least a segment."""
    return max(1, math.ceil(frame_rate * Fraction(segment_s).limit_denominator(1000)))


def grid_rate(video: VideoTrack, max_frame_rate: int) -> Fraction:
    """The constant frame rate of all renditions; a faster source is divided by the smallest whole number that fits."""
    return video.frame_rate / math.ceil(video.frame_rate / max_frame_rate)


_TEXT_OUT = ("-c:s", "webvtt", "-f", "webvtt")
_TTML_OUT = ("-c:s", "copy", *FRAGMENTED, "-f", "mp4")
_AUDIO_COST = 20_000.0
"""In pixels: what an audio track costs beside a picture."""
_READ_COST = 0.35
"""What decoding and scaling one pixel of the source costs beside encoding one (measured at 720p, preset medium)."""


def _video_step(video: VideoTrack, rung: Rung, codec_name: str, *, is_first: bool, config: PublishConfig) -> Step:
    codec = _known(VIDEO_CODECS, codec_name, "video.codecs")
    rate = grid_rate(video, config.ladder.max_frame_rate)
    suffix = "" if is_first else f"-{codec_name}"
    return Step(
        rendition_id=RenditionId(f"v{rung.height}{suffix}"),
        kind=TrackKind.VIDEO,
        group=f"video{suffix}",
        arguments=_video_arguments(video, rung, rate, codec, config.video, config.ladder.segment_s),
        cost=rung.out_width * rung.out_height * (1 if is_first else 2) + _READ_COST * video.width * video.height,
    )


def _video_arguments(
    video: VideoTrack, rung: Rung, rate: Fraction, codec: VideoCodec, settings: VideoConfig, segment_s: float
) -> tuple[str, ...]:
    gop = gop_frames(rate, segment_s)
    ceiling = round(rung.max_bps * codec.bit_ratio)
    filters = [
        *(["bwdif=mode=send_frame:deint=interlaced"] if video.is_interlaced else []),
        f"fps=fps={rate.numerator}/{rate.denominator}:start_time=0",
        f"scale={rung.out_width}:{rung.out_height}:flags=bicubic",
        "setsar=1",
        "format=yuv420p",
    ]
    return (
        *("-map", f"0:{video.index}", "-an", "-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1"),
        *("-vf", ",".join(filters), "-c:v", codec.encoder),
        *(codec.preset_option, settings.preset or codec.preset),
        *("-crf", str(settings.crf or codec.crf)),
        *_ceiling(codec.encoder, ceiling),
        *codec.closed_gops(gop),
        *("-force_key_frames", f"expr:eq(mod(n,{gop}),0)"),
        *(*FRAGMENTED, "-f", "mp4"),
    )


def _ceiling(encoder: str, bps: int) -> tuple[str, ...]:
    if encoder == "libvpx-vp9":
        return ("-b:v", str(bps))
    return ("-maxrate", str(bps), "-bufsize", str(bps * 2))


def _audio_step(track: SideTrack, codec_name: str, label: str, *, is_first: bool, audio: AudioConfig) -> Step:
    codec = _known(AUDIO_CODECS, codec_name, "audio.codecs")
    channels = max(1, min(track.channels, audio.max_channels))
    suffix = "" if is_first else f"-{codec_name}"
    return Step(
        rendition_id=RenditionId(label + suffix),
        kind=TrackKind.AUDIO,
        group=f"audio{suffix}",
        arguments=(
            *("-map", f"0:{track.index}", "-vn", "-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1"),
            # Silence fills a late start and gaps, so that sound stays with the picture, which starts at zero too.
            *("-af", "aresample=async=1:first_pts=0", "-c:a", codec.encoder),
            *("-ac", str(channels), "-ar", "48000", "-b:a", str(audio.bps_per_channel * channels)),
            *(*FRAGMENTED, "-f", "mp4"),
        ),
        cost=_AUDIO_COST,
        language=track.language,
        name=track.name,
        is_default=track.is_default,
    )


def _known(registry: dict[str, C], name: str, key: str) -> C:
    if name not in registry:
        raise ConfigError(f"setting {key}: {name!r} is not known, use one of {', '.join(registry)}")
    return registry[name]
