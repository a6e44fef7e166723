"""Join the WebVTT segments of an HLS rendition into one file. Pure.

Cues that reach over a segment's end stand in both segments and are written once. X-TIMESTAMP-MAP (RFC 8216, 3.5) ties a
segment's times to the time line of picture and sound; without one they count from the title's start.
"""

import re

from headrace.origin.errors import UnsupportedSourceError

_TIMES = re.compile(r"((?:\d+:)?\d\d:\d\d\.\d{3})[ \t]+-->[ \t]+((?:\d+:)?\d\d:\d\d\.\d{3})(.*)")
_MAP = re.compile(r"X-TIMESTAMP-MAP=(.*)")
MPEG_HZ = 90_000


def join_segments(texts: list[str], *, shift_s: float) -> str:
    """One WebVTT file with every cue once, in order.

    Args:
        shift_s: added to times that are tied to the media time line.

    Raises:
        UnsupportedSourceError: a segment that is not WebVTT.
    """
    heads: dict[str, None] = {}
    cues: dict[tuple[float, float, str], str] = {}
    for text in texts:
        blocks = re.split(r"\n{2,}", text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").strip())
        if not blocks[0].startswith("WEBVTT"):
            raise UnsupportedSourceError("a subtitle segment is not WebVTT (it does not start with WEBVTT)")
        offset_s = _offset_s(blocks[0], shift_s)
        for block in blocks[1:]:
            cue = _cue(block, offset_s)
            if cue is not None:
                cues.setdefault(cue[0], cue[1])
            elif block.startswith(("STYLE", "REGION")):
                heads.setdefault(block)
    ordered = [cues[key] for key in sorted(cues, key=lambda key: (key[0], key[1]))]
    return "\n\n".join(["WEBVTT", *heads, *ordered]) + "\n"


def _offset_s(head: str, shift_s: float) -> float:
    found = _MAP.search(head)
    if not found:
        return 0.0
    parts = dict(part.split(":", 1) for part in found[1].split(",") if ":" in part)
    try:
        return int(parts["MPEGTS"]) / MPEG_HZ - _seconds(parts["LOCAL"].strip()) + shift_s
    except (KeyError, ValueError):
        raise UnsupportedSourceError(f"a subtitle segment has a bad X-TIMESTAMP-MAP: {found[1][:100]!r}") from None


def _cue(block: str, offset_s: float) -> tuple[tuple[float, float, str], str] | None:
    lines = block.split("\n")
    for number, line in enumerate(lines[:2]):
        times = _TIMES.fullmatch(line.strip())
        if times:
            start_s, end_s = (max(0.0, _seconds(times[part]) + offset_s) for part in (1, 2))
            body = "\n".join(lines[number + 1 :])
            said = f"{show_time(start_s)} --> {show_time(end_s)}{times[3]}\n{body}"
            return (round(start_s, 3), round(end_s, 3), body), "\n".join([*lines[:number], said])
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
