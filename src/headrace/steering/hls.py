"""Master playlists (draft-pantos-hls-rfc8216bis), written for a client from a title and ranked pathways.

Each pathway has its own variants and its own rendition groups with absolute URIs, best pathway first, so that a player
without Content Steering starts on the best one and finds the others as redundant streams. STABLE-VARIANT-ID and
STABLE-RENDITION-ID are the same on all pathways, so that a pathway clone can name each URI.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from headrace.catalog.model import Rendition, Title, TrackKind
from headrace.steering.pathway import Pathway, playlist_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A video rendition with the audio group that it plays with."""

    stable_id: str
    video: Rendition
    audio: tuple[Rendition, ...]
    """One group; () where the title has no separate audio."""


def variants(title: Title) -> tuple[Variant, ...]:
    """Every video rendition with every audio group, in the order of the ladder."""
    groups = list(_groups(title, TrackKind.AUDIO).items()) or [("", [])]
    found = []
    for video in (one for one in title.renditions if one.kind is TrackKind.VIDEO):
        for group, audio in groups:
            suffix = f".{group}" if len(groups) > 1 else ""
            found.append(Variant(stable_id=_stable(f"{video.rendition_id}{suffix}"), video=video, audio=tuple(audio)))
    return tuple(found)


def stable_rendition_id(rendition: Rendition) -> str:
    """STABLE-RENDITION-ID of an audio or text rendition."""
    return _stable(rendition.rendition_id)


def write_master(title: Title, pathways: Sequence[Pathway], *, steering_uri: str) -> bytes:
    """The master playlist.

    Args:
        pathways: best first, at least one.
        steering_uri: SERVER-URI of the steering manifest; may be relative to the playlist.
    """
    return fill_template(write_template(title), pathways, steering_uri=steering_uri)


def write_template(title: Title) -> bytes:
    """The part of a title's master playlists that one pathway is, with marks for its id and its base URL."""
    lines = list(_media_lines(title, _MARKS))
    for variant in variants(title):
        lines.append(f"#EXT-X-STREAM-INF:{_attributes(_variant_attributes(title, variant, _MARKS))}")
        lines.append(_MARKS.base_url + playlist_path(variant.video))
    return ("\n".join(lines) + "\n").encode()


def fill_template(template: bytes, pathways: Sequence[Pathway], *, steering_uri: str) -> bytes:
    """The master playlist of a title's template, as `write_master` writes it."""
    first = _quoted(pathways[0].pathway_id)
    steering = _attributes([("SERVER-URI", _quoted(steering_uri)), ("PATHWAY-ID", first)])
    parts = [_HEAD, f"#EXT-X-CONTENT-STEERING:{steering}\n".encode()]
    for one in pathways:
        name, base_url = _clean(one.pathway_id).encode(), _clean(one.base_url).encode()
        parts.append(template.replace(_ID_MARK, name).replace(_BASE_MARK, base_url))
    return b"".join(parts)


_ID_MARK, _BASE_MARK = b"\x01", b"\x02"
"""Single bytes, as those are found fastest; `_clean` takes them out of everything else."""
_MARKS = Pathway(pathway_id="\x01", base_url="\x02")
_HEAD = b"#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n"


def _media_lines(title: Title, pathway: Pathway) -> Iterator[str]:
    for kind, name in ((TrackKind.AUDIO, "AUDIO"), (TrackKind.TEXT, "SUBTITLES")):
        for group, members in _groups(title, kind).items():
            names = _distinct_names(members)
            for number, rendition in enumerate(members):
                is_default = rendition.is_default or (
                    kind is TrackKind.AUDIO and number == 0 and not any(one.is_default for one in members)
                )
                attributes = [
                    ("TYPE", name),
                    ("GROUP-ID", _group_id(group, pathway)),
                    ("NAME", _quoted(names[number])),
                    ("LANGUAGE", _quoted(rendition.language)),
                    ("DEFAULT", "YES" if is_default else "NO"),
                    ("AUTOSELECT", "YES"),
                    ("STABLE-RENDITION-ID", _quoted(stable_rendition_id(rendition))),
                    ("CHANNELS", _quoted(str(rendition.channels)) if rendition.channels else ""),
                    ("URI", f'"{pathway.base_url}{playlist_path(rendition)}"'),
                ]
                yield f"#EXT-X-MEDIA:{_attributes(attributes)}"


def _variant_attributes(title: Title, variant: Variant, pathway: Pathway) -> Iterator[tuple[str, str]]:
    video, audio = variant.video, variant.audio
    codecs = dict.fromkeys(part for one in (video, *audio) for part in one.codecs.split(",") if part)
    texts = list(_groups(title, TrackKind.TEXT))
    yield "BANDWIDTH", str(video.bandwidth_bps + max((one.bandwidth_bps for one in audio), default=0))
    average = video.average_bandwidth_bps + max((one.average_bandwidth_bps for one in audio), default=0)
    yield "AVERAGE-BANDWIDTH", str(average) if average else ""
    yield "CODECS", _quoted(",".join(codecs)) if codecs else ""
    yield "RESOLUTION", f"{video.width}x{video.height}" if video.width and video.height else ""
    yield "FRAME-RATE", _frame_rate(video.frame_rate)
    yield "STABLE-VARIANT-ID", _quoted(variant.stable_id)
    yield "PATHWAY-ID", f'"{pathway.pathway_id}"'
    yield "AUDIO", _group_id(audio[0].group, pathway) if audio else ""
    yield "SUBTITLES", _group_id(texts[0], pathway) if texts else ""
    yield "CLOSED-CAPTIONS", "NONE"


def _groups(title: Title, kind: TrackKind) -> dict[str, list[Rendition]]:
    groups: dict[str, list[Rendition]] = {}
    for rendition in title.renditions:
        if rendition.kind is kind:
            groups.setdefault(rendition.group, []).append(rendition)
    return groups


def _distinct_names(members: Sequence[Rendition]) -> list[str]:
    """NAME must be unique in a group (RFC 8216, 4.3.4.1.1)."""
    names: list[str] = []
    for rendition in members:
        name = rendition.name or rendition.language
        names.append(name if name not in names else f"{name} ({rendition.rendition_id})")
    return names


def _group_id(group: str, pathway: Pathway) -> str:
    return f'"{_clean(group)}.{pathway.pathway_id}"'


def _frame_rate(rational: str) -> str:
    try:
        return f"{float(Fraction(rational)):.3f}" if rational else ""
    except (ValueError, ZeroDivisionError):
        return ""


def _stable(text: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "+/=.-_") else "_" for c in text)


def _quoted(text: str) -> str:
    """A quoted-string: it may hold neither line breaks nor double quotes, and has no escape for them."""
    return f'"{_clean(text)}"'


def _clean(text: str) -> str:
    text = text.replace('"', "'")
    if text.isprintable():  # Of white space only the plain space is.
        return text
    return "".join(c if c.isprintable() else " " for c in text)


def _attributes(pairs: Iterable[tuple[str, str]]) -> str:
    return ",".join(f"{name}={value}" for name, value in pairs if value)
