"""Read TTML (IMSC, EBU-TT-D), as a document or in fragmented MP4 (ISO/IEC 14496-30, 'stpp'), into WebVTT. Pure.

Times of documents in MP4 count on the track's time line, and only what lies in a sample's own time is shown of it. A
cue that lasts over several samples stands in each of them; equal cues that touch are one again.
"""

import logging
from html import escape
from xml.etree import ElementTree

from lxml import etree
from ttconv.imsc import reader
from ttconv.model import Text
from ttconv.vtt import writer
from ttconv.vtt.config import VTTWriterConfiguration

from headrace.origin.errors import UnsupportedSourceError
from headrace.origin.fragments import is_mp4_of, read_samples
from headrace.origin.webvtt import Cue, moved, read_webvtt, touching_as_one, write_webvtt

_NAMESPACE = "http://www.w3.org/ns/ttml"
_MARKS = tuple(_NAMESPACE.encode(code) for code in ("utf-8", "utf-16-le", "utf-16-be"))
logging.getLogger("ttconv").setLevel(logging.ERROR)  # it warns whenever it joins two paragraphs
_WRITING = VTTWriterConfiguration(cue_id=False)


def is_ttml(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a TTML document."""
    return head[4:8] not in {b"ftyp", b"styp"} and any(mark in head for mark in _MARKS)


def is_stpp(head: bytes) -> bool:
    """Whether the first bytes of a file say that it is MP4 with TTML samples."""
    return is_mp4_of(b"stpp", head)


def read_ttml(documents: list[bytes]) -> str:
    """One WebVTT file from documents whose times count from the title's start.

    Raises:
        UnsupportedSourceError: not TTML, or pictures instead of text.
    """
    heads: dict[str, None] = {}
    cues: list[Cue] = []
    for document in documents:
        more, found = _read(document)
        heads.update(dict.fromkeys(more))
        cues += found
    return write_webvtt(heads, touching_as_one(cues))


def read_stpp(data: bytes, *, shift_s: float) -> str:
    """One WebVTT file from an init section and its fragments, joined.

    Args:
        shift_s: added to every time.

    Raises:
        UnsupportedSourceError: not such a file, cut short, or pictures instead of text.
    """
    timescale, samples = read_samples(data)
    heads: dict[str, None] = {}
    cues: list[Cue] = []
    for sample in samples:
        if not sample.body.strip():
            continue
        first_s, end_s = sample.start / timescale, (sample.start + sample.duration) / timescale
        more, found = _read(sample.body)
        heads.update(dict.fromkeys(more))
        shown = (cue._replace(start_s=max(cue.start_s, first_s), end_s=min(cue.end_s, end_s)) for cue in found)
        cues += (cue for cue in shown if cue.start_s < cue.end_s)
    return write_webvtt(heads, moved(touching_as_one(cues), shift_s))


def _read(document: bytes) -> tuple[list[str], list[Cue]]:
    try:
        model = reader.to_model(_tree(document))
        for element in model.get_body().dfs_iterator() if model.get_body() else ():
            if isinstance(element, Text):
                element.set_text(escape(element.get_text(), quote=False))  # what ttconv writes would be read as marks
        text = writer.from_model(model, _WRITING)
    except (etree.XMLSyntaxError, ElementTree.ParseError) as error:
        raise UnsupportedSourceError(f"a subtitle document in TTML is broken: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError) as error:
        raise UnsupportedSourceError(f"a subtitle document in TTML cannot be read: {str(error)[:200]}") from None
    heads, cues = read_webvtt(text, shift_s=0.0)
    if not cues and any(mark in document for mark in (b"backgroundImage", b"imsc1/image", b"<image")):
        raise UnsupportedSourceError("subtitles in TTML hold pictures, not text: remove them")
    return heads, cues


def _tree(document: bytes) -> "ElementTree.ElementTree[ElementTree.Element[str]]":
    """Read by a parser that expands nothing and fetches nothing, and again by the one that ttconv knows."""
    root = etree.fromstring(document, etree.XMLParser(resolve_entities=False, no_network=True))
    if root.getroottree().docinfo.internalDTD is not None:
        raise UnsupportedSourceError("a subtitle document in TTML declares a document type: remove it")
    if root.tag != f"{{{_NAMESPACE}}}tt":
        raise UnsupportedSourceError(f"a subtitle document is no TTML: its root is {str(root.tag)[:100]!r}")
    return ElementTree.ElementTree(ElementTree.fromstring(etree.tostring(root)))  # noqa: S314  # it declares nothing
