"""Static on-demand MPDs (ISO/IEC 23009-1) with Content Steering (ETSI TS 103 998), written for a client.

One BaseURL with a serviceLocation per pathway, best first; representations name their file relative to it, so that a
synthesised BaseURL (a pathway clone) reaches all of them. dash.js does not resolve the steering server's URL against
the MPD, so it is given as an absolute one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lxml import etree

from headrace.catalog.model import ByteRange, Rendition, Title, TrackKind
from headrace.steering.pathway import Pathway, file_path

NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"
PROFILE = "urn:mpeg:dash:profile:isoff-on-demand:2011"
_ROLE = "urn:mpeg:dash:role:2011"
_CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
_MIME = {TrackKind.VIDEO: "video/mp4", TrackKind.AUDIO: "audio/mp4", TrackKind.TEXT: "text/vtt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MpdFrame:
    """All of a title's MPD that is the same for every client: what stands before and after the pathways."""

    head: bytes
    tail: bytes


def write_mpd(title: Title, pathways: Sequence[Pathway], *, steering_url: str) -> bytes:
    """The MPD.

    Args:
        pathways: best first, at least one.
        steering_url: absolute URL of the steering manifest.
    """
    return fill_frame(write_frame(title), pathways, steering_url=steering_url)


def write_frame(title: Title) -> MpdFrame:
    """The frame of a title's MPD."""
    mpd = etree.Element(f"{{{NAMESPACE}}}MPD", nsmap={None: NAMESPACE})
    _set(
        mpd,
        type="static",
        profiles=PROFILE,
        mediaPresentationDuration=_duration(title.duration_s),
        minBufferTime="PT2S",
    )
    _child(mpd, "Pathways")
    period = _child(mpd, "Period", id="0", start="PT0S")
    for number, members in enumerate(_adaptation_sets(title)):
        _write_adaptation_set(period, number, members)
    head, _, tail = etree.tostring(mpd, xml_declaration=True, encoding="UTF-8").partition(b"<Pathways/>")
    return MpdFrame(head=head, tail=tail)


def fill_frame(frame: MpdFrame, pathways: Sequence[Pathway], *, steering_url: str) -> bytes:
    """The MPD of a frame, its pathways best first and its steering server."""
    parts = [
        f'<BaseURL serviceLocation="{one.pathway_id}">{escape(_clean(one.base_url))}/</BaseURL>' for one in pathways
    ]
    parts.append(
        f'<ContentSteering defaultServiceLocation="{pathways[0].pathway_id}" queryBeforeStart="false">'
        f"{escape(_clean(steering_url))}</ContentSteering>"
    )
    return frame.head + "".join(parts).encode() + frame.tail


def _adaptation_sets(title: Title) -> list[list[Rendition]]:
    """Renditions that a player may switch among: of one kind, group, language, and codec family."""
    sets: dict[tuple[str, ...], list[Rendition]] = {}
    for one in title.renditions:
        family = one.codecs.partition(".")[0]
        sets.setdefault((one.kind, one.group, one.language, family, _distinct(one)), []).append(one)
    return list(sets.values())


def _distinct(rendition: Rendition) -> str:
    """Text and named audio tracks are alternatives, never steps of a ladder."""
    if rendition.kind is TrackKind.TEXT:
        return rendition.rendition_id
    return rendition.name if rendition.kind is TrackKind.AUDIO else ""


def _write_adaptation_set(period: etree._Element, number: int, members: list[Rendition]) -> None:
    first = members[0]
    is_text = first.kind is TrackKind.TEXT
    adaptation = _child(
        period,
        "AdaptationSet",
        id=str(number),
        contentType=str(first.kind),
        mimeType=_MIME[first.kind],
        lang=first.language if first.language != "und" else None,
        subsegmentAlignment=None if is_text else "true",
        subsegmentStartsWithSAP=None if is_text else "1",
    )
    role = "subtitle" if is_text else "main" if first.is_default or first.kind is TrackKind.VIDEO else "alternate"
    _child(adaptation, "Role", schemeIdUri=_ROLE, value=role)
    if first.name:
        _child(adaptation, "Label").text = _clean(first.name)
    for rendition in members:
        _write_representation(adaptation, rendition)


def _write_representation(adaptation: etree._Element, rendition: Rendition) -> None:
    representation = _child(
        adaptation,
        "Representation",
        id=rendition.rendition_id,
        bandwidth=str(max(1, rendition.bandwidth_bps)),
        codecs=rendition.codecs if rendition.kind is not TrackKind.TEXT else None,
        width=str(rendition.width) if rendition.width else None,
        height=str(rendition.height) if rendition.height else None,
        frameRate=rendition.frame_rate or None,
        audioSamplingRate=str(rendition.sample_rate_hz) if rendition.sample_rate_hz else None,
    )
    if rendition.channels:
        _child(
            representation,
            "AudioChannelConfiguration",
            schemeIdUri=_CHANNELS,
            value=str(rendition.channels),
        )
    _child(representation, "BaseURL").text = file_path(rendition).lstrip("/")
    if rendition.index_range is not None and rendition.init_range is not None:
        base = _child(
            representation,
            "SegmentBase",
            indexRange=_range(rendition.index_range),
            indexRangeExact="true",
            timescale=str(rendition.timescale) if rendition.timescale else None,
        )
        _child(base, "Initialization", range=_range(rendition.init_range))


def _child(parent: etree._Element, name: str, **attributes: str | None) -> etree._Element:
    element = etree.SubElement(parent, f"{{{NAMESPACE}}}{name}")
    _set(element, **attributes)
    return element


def _set(element: etree._Element, **attributes: str | None) -> None:
    for name, value in attributes.items():
        if value is not None:
            element.set(name, _clean(value))


_UNFIT = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _clean(text: str) -> str:
    """Characters that XML 1.0 cannot hold in any form are dropped; lxml escapes the rest."""
    return _UNFIT.sub("", text)


def _range(of: ByteRange) -> str:
    return f"{of.first}-{of.last}"


def _duration(duration_s: float) -> str:
    return f"PT{duration_s:.3f}S"
