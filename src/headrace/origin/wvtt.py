"""Read WebVTT out of fragmented MP4 (ISO/IEC 14496-30, 'wvtt'), as packagers cut subtitles for DASH and HLS. Pure.

A cue that lasts over several samples stands in each of them; equal cues that touch are one again.
"""

import struct
from collections.abc import Iterator

from headrace.origin.errors import UnsupportedSourceError
from headrace.origin.fragments import boxes, is_mp4_of, read_samples
from headrace.origin.webvtt import Cue, moved, touching_as_one, write_webvtt


def is_wvtt(head: bytes) -> bool:
    """Whether the first bytes of a file say that it is MP4 with WebVTT samples."""
    return is_mp4_of(b"wvtt", head)


def read_wvtt(data: bytes, *, shift_s: float) -> str:
    """One WebVTT file from an init section and its fragments, joined.

    Args:
        shift_s: added to every time.

    Raises:
        UnsupportedSourceError: not such a file, or cut short.
    """
    timescale, samples = read_samples(data)
    try:
        cues = [
            cue
            for sample in samples
            for cue in _cues(sample.body, sample.start / timescale, (sample.start + sample.duration) / timescale)
        ]
    except (struct.error, IndexError):
        raise UnsupportedSourceError("a subtitle rendition in MP4 is broken or cut short") from None
    return write_webvtt([], moved(touching_as_one(cues), shift_s))


def _cues(sample: bytes, start_s: float, end_s: float) -> Iterator[Cue]:
    for kind, body, stop in boxes(sample, 0, len(sample)):
        if kind == b"vttc":
            parts = {k: sample[b:s].decode("utf-8", "replace") for k, b, s in boxes(sample, body, stop)}
            settings = parts.get(b"sttg", "")
            yield Cue(start_s, end_s, parts.get(b"payl", ""), parts.get(b"iden", ""), settings and f" {settings}")
