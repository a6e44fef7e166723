"""Read the MPD of a packaged source (ISO/IEC 23009-1): on demand, one period, clear. Pure: works on text."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from headrace.catalog.model import TrackKind
from headrace.origin.errors import UnsupportedSourceError
from headrace.origin.languages import language_tag
from headrace.origin.model import Piece
from headrace.origin.packaged import PackagedTrack, file_of, joined

_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?")
_PLACE = re.compile(r"\$(RepresentationID|Number|Time|Bandwidth)?(?:%0(\d+)d)?\$")
MAX_SEGMENTS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """An MPD element chain: period, adaptation set, representation."""

    chain: tuple[etree._Element, ...]
    period_s: float
    base: Path
    root: Path
    name: str

    def attribute(self, key: str) -> str:
        """Inherited: the innermost wins."""
        return next((str(one.get(key)) for one in reversed(self.chain) if one.get(key)), "")

    def element(self, tag: str) -> etree._Element | None:
        return next((found for one in reversed(self.chain) if (found := one.find(f"{{*}}{tag}")) is not None), None)

    def uri(self, text: str) -> str:
        """`text` under the BaseURLs of the chain."""
        parts = [(one.findtext("{*}BaseURL") or "").strip() for one in self.chain]
        whole = ""
        for part in (*parts, text):
            whole = part if "://" in part else whole[: whole.rfind("/") + 1] + part if part else whole
        return whole

    def piece(self, text: str, byte_range: str | None = None) -> Piece:
        path = file_of(self.uri(text), base=self.base, root=self.root)
        if not byte_range:
            return Piece(path=path)
        first, _, last = byte_range.partition("-")
        return Piece(path=path, first=int(first), length=int(last) - int(first) + 1)


def read_mpd(text: bytes, *, name: str, base: Path, root: Path) -> tuple[PackagedTrack, ...]:
    """Every representation of the MPD.

    Raises:
        UnsupportedSourceError: live, several periods, encrypted, remote, or nothing that can be read.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
    try:
        mpd = etree.fromstring(text, parser)
    except etree.XMLSyntaxError as error:
        raise UnsupportedSourceError(f"{name} cannot be read as XML: {error}") from None
    periods = mpd.findall("{*}Period")
    _check_mpd(mpd, len(periods), name)
    period_s = _seconds(periods[0].get("duration") or mpd.get("mediaPresentationDuration") or "")
    tracks = []
    for group in periods[0].findall("{*}AdaptationSet"):
        for one in group.findall("{*}Representation"):
            scope = _Scope(chain=(mpd, periods[0], group, one), period_s=period_s, base=base, root=root, name=name)
            track = _track(scope)
            if track is not None:
                tracks.append(track)
    return tuple(tracks)


def _check_mpd(mpd: etree._Element, periods: int, name: str) -> None:
    if mpd.get("type", "static") != "static":
        raise UnsupportedSourceError(f"{name}: the MPD is live (type dynamic); publish it when it has ended")
    if periods != 1:
        raise UnsupportedSourceError(f"{name}: the MPD has {periods} periods; only packages of one can be taken over")
    if mpd.find(".//{*}ContentProtection") is not None:
        raise UnsupportedSourceError(f"{name}: the package is encrypted; publish the clear one")
    if any("href" in key for one in mpd.iter() for key in map(str, one.attrib)):
        raise UnsupportedSourceError(f"{name}: the MPD refers to other documents (xlink); resolve them first")


def _track(scope: _Scope) -> PackagedTrack | None:
    kind = _kind(scope)
    if kind is None:
        return None
    language = language_tag(scope.attribute("lang"))
    label = next((one.text for one in scope.chain[2].findall("{*}Label") if one.text), "")
    roles = {one.get("value") for one in scope.chain[2].findall("{*}Role")}
    return PackagedTrack(
        kind=kind,
        pieces=joined(list(_pieces(scope))),
        duration_s=scope.period_s,
        bandwidth_bps=int(scope.attribute("bandwidth") or 0),
        language=language,
        name=(label or language).strip()[:120],
        is_default=kind is TrackKind.AUDIO and "main" in roles,
        has_own_audio=kind is TrackKind.VIDEO and "mp4a" in scope.attribute("codecs"),
    )


def _kind(scope: _Scope) -> TrackKind | None:
    says = f"{scope.attribute('contentType')} {scope.attribute('mimeType')} {scope.attribute('codecs')}"
    if "video" in says:
        return TrackKind.VIDEO
    if "audio" in says:
        return TrackKind.AUDIO
    return TrackKind.TEXT if re.search(r"text|vtt|ttml|stpp", says) else None


def _pieces(scope: _Scope) -> Iterator[Piece]:
    template, listed = scope.element("SegmentTemplate"), scope.element("SegmentList")
    if template is not None:
        yield from _template_pieces(scope, template)
    elif listed is not None:
        init = listed.find("{*}Initialization")
        if init is not None:
            yield scope.piece(init.get("sourceURL") or "", init.get("range"))
        for one in listed.findall("{*}SegmentURL"):
            yield scope.piece(one.get("media") or "", one.get("mediaRange"))
    else:
        yield scope.piece("")


def _template_pieces(scope: _Scope, template: etree._Element) -> Iterator[Piece]:
    def filled(pattern: str, number: int, time: int) -> str:
        values = {
            "RepresentationID": scope.attribute("id"),
            "Number": number,
            "Time": time,
            "Bandwidth": int(scope.attribute("bandwidth") or 0),
        }

        def value(match: re.Match[str]) -> str:
            if match[1] is None:
                return "$"
            found = values[match[1]]
            return str(found).zfill(int(match[2])) if match[2] else str(found)

        return _PLACE.sub(value, pattern)

    media = template.get("media") or ""
    if not media:
        raise UnsupportedSourceError(f"{scope.name}: a SegmentTemplate without media")
    if template.get("initialization"):
        yield scope.piece(filled(str(template.get("initialization")), 0, 0))
    number = int(template.get("startNumber", "1"))
    for count, time in enumerate(_times(scope, template)):
        if count >= MAX_SEGMENTS:
            raise UnsupportedSourceError(f"{scope.name}: more than {MAX_SEGMENTS} segments")
        yield scope.piece(filled(media, number + count, time))


def _times(scope: _Scope, template: etree._Element) -> Iterator[int]:
    """Start of each segment in the template's timescale."""
    scale = int(template.get("timescale", "1"))
    timeline = template.find("{*}SegmentTimeline")
    if timeline is None:
        length = float(template.get("duration") or 0)
        if length <= 0 or scope.period_s <= 0:
            raise UnsupportedSourceError(f"{scope.name}: a SegmentTemplate without durations")
        # Rounding of the stated duration must not ask for a segment that is not there.
        yield from (round(n * length) for n in range(max(1, math.ceil(scope.period_s * scale / length - 0.01))))
        return
    time = 0
    for run in timeline.findall("{*}S"):
        time = int(run.get("t") or time)
        length, repeat = int(run.get("d") or 0), int(run.get("r") or 0)
        if length <= 0:
            raise UnsupportedSourceError(f"{scope.name}: a segment without duration")
        if repeat < 0:
            repeat = max(0, math.ceil((scope.period_s * scale - time) / length - 0.01) - 1)
        for _ in range(repeat + 1):
            yield time
            time += length


def _seconds(text: str) -> float:
    match = _DURATION.fullmatch(text.strip())
    if not match:
        return 0.0
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds
