"""Read HLS playlists of a packaged source (RFC 8216). Pure: works on texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import m3u8

from headrace.catalog.model import TrackKind
from headrace.origin.errors import UnsupportedSourceError
from headrace.origin.languages import language_tag
from headrace.origin.model import Piece
from headrace.origin.packaged import file_of, joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A media playlist that a master playlist names."""

    uri: str
    kind: TrackKind
    bandwidth_bps: int = 0
    language: str = "und"
    name: str = ""
    is_default: bool = False
    has_own_audio: bool = False


def is_master(text: str) -> bool:
    """A master playlist names variants; a media playlist names segments."""
    return "#EXT-X-STREAM-INF" in text


def read_master(text: str, *, name: str) -> tuple[Named, ...]:
    """Every rendition that the master playlist names, each media playlist once.

    Raises:
        UnsupportedSourceError: encrypted, or not a playlist.
    """
    master = _parsed(text, name)
    if any(key and key.method != "NONE" for key in master.session_keys):
        raise UnsupportedSourceError(f"{name}: the package is encrypted; publish the clear one")
    sound = {one.group_id for one in master.media if one.type == "AUDIO" and one.uri}
    found: dict[str, Named] = {}
    for variant in master.playlists:
        info = variant.stream_info
        found.setdefault(
            variant.uri,
            Named(
                uri=variant.uri,
                kind=TrackKind.AUDIO if _is_sound_only(info.codecs or "", info.resolution) else TrackKind.VIDEO,
                bandwidth_bps=int(info.average_bandwidth or info.bandwidth or 0),
                has_own_audio=info.audio not in sound,
            ),
        )
    media = {one.uri: one for one in master.media if one.uri and one.type in {"AUDIO", "SUBTITLES"}}
    for uri, one in media.items():
        language = language_tag(one.language or "")
        found[uri] = Named(
            uri=uri,
            kind=TrackKind.AUDIO if one.type == "AUDIO" else TrackKind.TEXT,
            language=language,
            name=(one.name or language)[:120],
            is_default=one.default == "YES",
        )
    return tuple(found.values())


def read_media(text: str, *, name: str, base: Path, root: Path) -> tuple[tuple[Piece, ...], float]:
    """The bytes of a media playlist in order, init section first, and their duration in seconds.

    Raises:
        UnsupportedSourceError: live, encrypted, discontinuous, of several init sections, or not a playlist.
    """
    playlist = _parsed(text, name)
    _check_media(playlist, name)
    pieces: list[Piece] = []
    init = playlist.segments[0].init_section
    if init is not None:
        pieces.append(_piece(init.uri, init.byterange, {}, base, root))
    ends: dict[str, int] = {}
    pieces += [_piece(segment.uri, segment.byterange, ends, base, root) for segment in playlist.segments]
    return joined(pieces), sum(segment.duration or 0.0 for segment in playlist.segments)


def _check_media(playlist: Any, name: str) -> None:
    if not playlist.segments:
        raise UnsupportedSourceError(f"{name}: the playlist names no segments")
    if not playlist.is_endlist:
        raise UnsupportedSourceError(f"{name}: the playlist is live (no EXT-X-ENDLIST); publish it when it has ended")
    if any(key and key.method != "NONE" for key in playlist.keys):
        raise UnsupportedSourceError(f"{name}: the package is encrypted; publish the clear one")
    if any(segment.discontinuity for segment in playlist.segments[1:]):
        raise UnsupportedSourceError(
            f"{name}: the playlist has several periods (EXT-X-DISCONTINUITY); publish the film"
        )
    inits = {(s.init_section.uri, s.init_section.byterange) for s in playlist.segments if s.init_section}
    if len(inits) > 1:
        raise UnsupportedSourceError(f"{name}: the playlist has several init sections (EXT-X-MAP); publish the film")


def _piece(uri: str, byte_range: str | None, ends: dict[str, int], base: Path, root: Path) -> Piece:
    """EXT-X-BYTERANGE is length[@first]; without a first byte it goes on where the same file was left."""
    path = file_of(uri, base=base, root=root)
    if not byte_range:
        return Piece(path=path)
    length, _, first = byte_range.strip('"').partition("@")
    start = int(first) if first else ends.get(uri, 0)
    ends[uri] = start + int(length)
    return Piece(path=path, first=start, length=int(length))


def _is_sound_only(codecs: str, resolution: object) -> bool:
    sounds = ("mp4a", "ac-3", "ec-3", "opus", "flac", "mp3")
    names = [one.strip().lower() for one in codecs.split(",") if one.strip()]
    return bool(names) and not resolution and all(one.startswith(sounds) for one in names)


def _parsed(text: str, name: str) -> Any:
    if not text.lstrip("\ufeff").startswith("#EXTM3U"):
        raise UnsupportedSourceError(f"{name} is not an HLS playlist: it does not start with #EXTM3U")
    try:
        return m3u8.loads(text.lstrip("\ufeff"))
    except (ValueError, KeyError, IndexError, m3u8.ParseError) as error:
        raise UnsupportedSourceError(f"{name} cannot be read as an HLS playlist: {error}") from None
