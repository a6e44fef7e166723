"""A packaged source: tracks made of pieces, whatever named them (HLS playlists or a DASH MPD). Pure.

Here stand the rules that both share: how URIs become files in the folder, and how tracks become steps.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from headrace.base.ids import RenditionId
from headrace.catalog.model import TrackKind
from headrace.origin.encode import FRAGMENTED, labels
from headrace.origin.errors import NoVideoStreamError, UnsupportedSourceError
from headrace.origin.model import Piece, SideTrack, Source, Step, VideoTrack


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedTrack:
    """One rendition of a packaged source, as its playlist or MPD names it."""

    kind: TrackKind
    pieces: tuple[Piece, ...]
    """Init section first where there is one."""
    duration_s: float
    bandwidth_bps: int = 0
    language: str = "und"
    name: str = ""
    is_default: bool = False
    has_own_audio: bool = False
    """Video: its sound may lie in the same file, as no audio rendition goes with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A track with what ffprobe said of its head; of text, which is not probed, with no streams."""

    track: PackagedTrack
    source: Source


def file_of(uri: str, *, base: Path, root: Path) -> Path:
    """The file that a relative URI names.

    Args:
        base: folder of the playlist or MPD.
        root: the packaged folder; nothing outside it is read.

    Raises:
        UnsupportedSourceError: a remote URI, or one that leads out of the folder.
    """
    parts = urlsplit(uri)
    if parts.scheme or parts.netloc:
        raise UnsupportedSourceError(f"{uri[:200]!r} lies elsewhere: fetch the whole package into one folder first")
    place = (base / unquote(parts.path)).resolve()
    if not place.is_relative_to(root.resolve()):
        raise UnsupportedSourceError(f"{uri[:200]!r} leads out of the folder {root}")
    return place


def joined(pieces: list[Piece]) -> tuple[Piece, ...]:
    """The same bytes in fewer pieces: neighbours in one file become one."""
    found: list[Piece] = []
    for piece in pieces:
        last = found[-1] if found else None
        if last and last.path == piece.path and last.length is not None and last.first + last.length == piece.first:
            length = None if piece.length is None else last.length + piece.length
            found[-1] = Piece(path=piece.path, first=last.first, length=length)
        else:
            found.append(piece)
    return tuple(found)


def plan_packaged_steps(looks: tuple[Look, ...]) -> tuple[Step, ...]:
    """One step for each rendition, all on one time line that starts at zero with the earliest picture or sound.

    Raises:
        NoVideoStreamError: no track has pictures.
    """
    pictures = sorted(
        ((one, one.source.video) for one in looks if one.track.kind is TrackKind.VIDEO and one.source.video),
        key=lambda pair: (_short_side(pair[1]), pair[0].track.bandwidth_bps),
    )
    if not pictures:
        raise NoVideoStreamError("the package has no video rendition")
    base_s = min(one.source.start_s for one in looks if one.track.kind is not TrackKind.TEXT)
    audio = [one for one in looks if one.track.kind is TrackKind.AUDIO]
    best = pictures[-1][0]
    if not audio and best.track.has_own_audio:
        audio = [best]
    text = [one.track for one in looks if one.track.kind is TrackKind.TEXT]
    return (*_video_steps(pictures, base_s), *_audio_steps(audio, base_s), *_text_steps(text, base_s))


def _video_steps(pictures: list[tuple[Look, VideoTrack]], base_s: float) -> list[Step]:
    steps: list[Step] = []
    first_codec = pictures[0][1].codec
    used: dict[str, int] = {}
    for look, video in pictures:
        suffix = "" if video.codec == first_codec else f"-{video.codec}"
        label = f"v{_short_side(video)}{suffix}"
        count = used[label] = used.get(label, 0) + 1
        steps.append(
            Step(
                rendition_id=RenditionId(label if count == 1 else f"{label}-{count}"),
                kind=TrackKind.VIDEO,
                group=f"video{suffix}",
                arguments=_copy_arguments(video.index, look, base_s, video.codec),
                pieces=look.track.pieces,
                cost=max(1.0, look.track.bandwidth_bps * look.track.duration_s),
            )
        )
    return steps


def _audio_steps(looks: list[Look], base_s: float) -> list[Step]:
    tracks = [(look, _named(look, track)) for look in looks for track in look.source.audio]
    first_default = next((number for number, (_, track) in enumerate(tracks) if track.is_default), 0)
    names = labels("a", tuple(track for _, track in tracks))
    used: dict[tuple[str, str], int] = {}
    steps = []
    for number, ((look, track), label) in enumerate(zip(tracks, names, strict=True)):
        # The same track once more is another bit rate of it: each group has every track once.
        count = used[track.language, track.name] = used.get((track.language, track.name), 0) + 1
        steps.append(
            Step(
                rendition_id=RenditionId(label),
                kind=TrackKind.AUDIO,
                group="audio" if count == 1 else f"audio-{count}",
                arguments=_copy_arguments(track.index, look, base_s, track.codec),
                pieces=look.track.pieces,
                cost=max(1.0, 128_000 * look.track.duration_s),
                language=track.language,
                name=track.name,
                is_default=number == first_default,
            )
        )
    return steps


def _text_steps(tracks: list[PackagedTrack], base_s: float) -> list[Step]:
    sides = tuple(
        SideTrack(index=number, language=one.language, name=one.name, is_default=one.is_default)
        for number, one in enumerate(tracks)
    )
    return [
        Step(
            rendition_id=RenditionId(label),
            kind=TrackKind.TEXT,
            group="text",
            arguments=(),
            pieces=track.pieces,
            language=track.language,
            name=track.name,
            is_default=track.is_default,
            text_shift_s=-base_s,
        )
        for track, label in zip(tracks, labels("s", sides), strict=True)
    ]


def _named(look: Look, track: SideTrack) -> SideTrack:
    """The playlist or MPD goes before the file; sound inside a video has only what the file says."""
    if look.track.kind is not TrackKind.AUDIO:
        return track
    language = look.track.language if look.track.language != "und" else track.language
    name = look.track.name if look.track.name not in {"", "und"} else language
    return replace(track, language=language, name=name, is_default=look.track.is_default)


_FORMS = {"hevc": ("-tag:v", "hvc1"), "aac": ("-bsf:a", "aac_adtstoasc")}
"""What a codec needs on its way from a transport stream into MP4; harmless for one that lay in MP4 before."""


def _copy_arguments(index: int, look: Look, base_s: float, codec: str) -> tuple[str, ...]:
    offset = ("-output_ts_offset", f"{look.source.start_s - base_s:.6f}")
    quiet = ("-map_metadata", "-1", "-map_chapters", "-1")
    return ("-map", f"0:{index}", "-c", "copy", *_FORMS.get(codec, ()), *offset, *quiet, *FRAGMENTED, "-f", "mp4")


def _short_side(video: VideoTrack) -> int:
    return min(video.width, video.height)
