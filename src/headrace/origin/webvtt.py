"""Read and write WebVTT, and join the segments of an HLS rendition into one file. Pure.

Cues that reach over a segment's end stand in both segments and are written once. X-TIMESTAMP-MAP (RFC 8216, 3.5) ties a
segment's times to the time line of picture and sound; without one they count from the title's start.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from headrace.origin.errors import UnsupportedSourceError

_TIMES = re.compile(r"((?:\d+:)?\d\d:\d\d\.\d{3})[ \t]+-->[ \t]+((?:\d+:)?\d\d:\d\d\.\d{3})(.*)")
_MAP = re.compile(r"X-TIMESTAMP-MAP=(.*)")
MPEG_HZ = 90_000
_TOUCH_S = 0.001


class Cue(NamedTuple):
    """What is shown from one time to another, in seconds of the title."""

    start_s: float
    end_s: float
    body: str
    name: str = ""
    """The line above the times."""
    settings: str = ""
    """What stands behind the times, with the space before it."""


def join_segments(texts: list[str], *, shift_s: float) -> str:
    """One WebVTT file with every cue once, in order.

    Args:
        shift_s: added to times that are tied to the media time line.

    Raises:
        UnsupportedSourceError: a segment that is not WebVTT.
    """
    heads: dict[str, None] = {}
    cues: dict[tuple[float, float, str], Cue] = {}
    for text in texts:
        more, found = read_webvtt(text, shift_s=shift_s)
        heads.update(dict.fromkeys(more))
        for cue in found:
            cues.setdefault((round(cue.start_s, 3), round(cue.end_s, 3), cue.body), cue)
    return write_webvtt(heads, cues.values())


def read_webvtt(text: str, *, shift_s: float) -> tuple[list[str], list[Cue]]:
    """Blocks of style and of regions, and the cues, of one file or segment.

    Raises:
        UnsupportedSourceError: not WebVTT.
    """
    blocks = re.split(r"\n{2,}", text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").strip())
    if not blocks[0].startswith("WEBVTT"):
        raise UnsupportedSourceError("a subtitle segment is not WebVTT (it does not start with WEBVTT)")
    offset_s = _offset_s(blocks[0], shift_s)
    heads = [block for block in blocks[1:] if block.startswith(("STYLE", "REGION"))]
    return heads, moved([cue for block in blocks[1:] if (cue := _cue(block))], offset_s)


def write_webvtt(heads: Iterable[str], cues: Iterable[Cue]) -> str:
    """A WebVTT file, its cues in order of time."""
    blocks = ["WEBVTT", *heads]
    for cue in sorted(cues, key=lambda cue: (cue.start_s, cue.end_s)):
        times = f"{show_time(cue.start_s)} --> {show_time(cue.end_s)}{cue.settings}"
        blocks.append("\n".join([*([cue.name] if cue.name else []), times, cue.body]))
    return "\n\n".join(blocks) + "\n"


def moved(cues: Iterable[Cue], by_s: float) -> list[Cue]:
    """The same cues that much later; none begins before zero."""
    return [cue._replace(start_s=max(0.0, cue.start_s + by_s), end_s=max(0.0, cue.end_s + by_s)) for cue in cues]


def touching_as_one(cues: Iterable[Cue]) -> list[Cue]:
    """Equal cues of which one ends where the next begins, as one: what lasts over several samples stands in each."""
    found: list[Cue] = []
    latest: dict[tuple[str, str, str], int] = {}
    for cue in cues:
        said = (cue.name, cue.settings, cue.body)
        at = latest.get(said)
        if at is not None and found[at].end_s >= cue.start_s - _TOUCH_S:
            found[at] = found[at]._replace(end_s=max(cue.end_s, found[at].end_s))
        else:
            latest[said] = len(found)
            found.append(cue)
    return found


def _offset_s(head: str, shift_s: float) -> float:
    found = _MAP.search(head)
    if not found:
        return 0.0
    parts = dict(part.split(":", 1) for part in found[1].split(",") if ":" in part)
    try:
        return int(parts["MPEGTS"]) / MPEG_HZ - _seconds(parts["LOCAL"].strip()) + shift_s
    except (KeyError, ValueError):
        raise UnsupportedSourceError(f"a subtitle segment has a bad X-TIMESTAMP-MAP: {found[1][:100]!r}") from None


def _cue(block: str) -> Cue | None:
    lines = block.split("\n")
    for number, line in enumerate(lines[:2]):
        times = _TIMES.fullmatch(line.strip())
        if times:
            body = "\n".join(lines[number + 1 :])
            return Cue(_seconds(times[1]), _seconds(times[2]), body, "\n".join(lines[:number]), times[3])
    return None


def _seconds(text: str) -> float:
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def is_webvtt(head: bytes) -> bool:
    """Whether the first bytes of a file are those of WebVTT text."""
    return head.removeprefix(b"\xef\xbb\xbf").startswith(b"WEBVTT")


def show_time(at_s: float) -> str:
    """Seconds as a WebVTT time; never before zero."""
    millis = max(0, round(at_s * 1000))
    minutes, millis = divmod(millis, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{millis // 1000:02d}.{millis % 1000:03d}"
