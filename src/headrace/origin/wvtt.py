"""Read WebVTT out of fragmented MP4 (ISO/IEC 14496-30, 'wvtt'), as packagers cut subtitles for DASH and HLS. Pure.

A cue that lasts over several samples stands in each of them; equal cues that touch are one again.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.origin.errors import UnsupportedSourceError
from headrace.origin.webvtt import show_time

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    start: int
    duration: int
    body: bytes


def is_wvtt(head: bytes) -> bool:
    """Whether the first bytes of a file say that it is MP4 with WebVTT samples."""
    return head[4:8] in {b"ftyp", b"styp"} and b"wvtt" in head


def read_wvtt(data: bytes, *, shift_s: float) -> str:
    """One WebVTT file from an init section and its fragments, joined.

    Args:
        shift_s: added to every time.

    Raises:
        UnsupportedSourceError: not such a file, or cut short.
    """
    try:
        timescale, samples = _samples(data)
        cues = _cues(samples)
    except (struct.error, IndexError, ZeroDivisionError):
        raise UnsupportedSourceError("a subtitle rendition in MP4 is broken or cut short") from None
    blocks = ["WEBVTT"]
    for start, end, name, settings, text in cues:
        times = f"{show_time(start / timescale + shift_s)} --> {show_time(end / timescale + shift_s)}"
        head = f"{name}\n" if name else ""
        blocks.append(f"{head}{times}{' ' + settings if settings else ''}\n{text}")
    return "\n\n".join(blocks) + "\n"


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first and last byte (exclusive) of each box's body."""
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, body)
            body += 8
        length = length or end - start
        if length < body - start or start + length > end:
            raise IndexError(start)
        yield kind, body, start + length
        start += length


def _leaves(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Every box that holds no boxes: kind, body, end, and where its top-level box begins."""
    for kind, body, stop in _boxes(data, start, end):
        if kind in _CONTAINERS:
            for found, inner, inner_stop, _ in _leaves(data, body, stop):
                yield found, inner, inner_stop, body - 8
        else:
            yield kind, body, stop, body - 8


def _samples(data: bytes) -> tuple[int, list[_Sample]]:
    timescale = trex_duration = trex_size = duration = size = time = base = 0
    samples: list[_Sample] = []
    for kind, body, _stop, top in _leaves(data, 0, len(data)):
        if kind == b"mdhd":
            (timescale,) = struct.unpack_from(">I", data, body + (20 if data[body] else 12))
        elif kind == b"trex":
            trex_duration, trex_size = struct.unpack_from(">II", data, body + 12)
        elif kind == b"tfhd":
            duration, size = _fragment_defaults(data, body, trex_duration, trex_size)
            base = top
        elif kind == b"tfdt":
            (time,) = struct.unpack_from(">Q" if data[body] else ">I", data, body + 4)
        elif kind == b"trun":
            run = _run(data, body, time, base, (duration, size))
            samples += run
            time = run[-1].start + run[-1].duration if run else time
    if not timescale or not samples:
        raise IndexError(0)
    return timescale, samples


def _fragment_defaults(data: bytes, body: int, duration: int, size: int) -> tuple[int, int]:
    (flags,) = struct.unpack_from(">I", data, body)
    at = body + 8 + (8 if flags & 0x01 else 0) + (4 if flags & 0x02 else 0)
    if flags & 0x08:
        (duration,) = struct.unpack_from(">I", data, at)
        at += 4
    if flags & 0x10:
        (size,) = struct.unpack_from(">I", data, at)
    return duration, size


def _run(data: bytes, body: int, time: int, base: int, defaults: tuple[int, int]) -> list[_Sample]:
    flags, count, offset = struct.unpack_from(">IIi", data, body)
    if not flags & 0x01:
        raise IndexError(body)
    at, place = body + 12 + (4 if flags & 0x04 else 0), base + offset
    samples = []
    for _ in range(count):
        duration, size = defaults
        for bit in (0x100, 0x200, 0x400, 0x800):
            if flags & bit:
                (value,) = struct.unpack_from(">I", data, at)
                at += 4
                duration, size = (value if bit == 0x100 else duration), (value if bit == 0x200 else size)
        if place + size > len(data):
            raise IndexError(place)
        samples.append(_Sample(start=time, duration=duration, body=data[place : place + size]))
        time, place = time + duration, place + size
    return samples


def _cues(samples: list[_Sample]) -> list[tuple[int, int, str, str, str]]:
    """Start, end, name, settings and text of each cue, in order."""
    found: list[tuple[int, int, str, str, str]] = []
    latest: dict[tuple[str, str, str], int] = {}
    for sample in samples:
        end = sample.start + sample.duration
        for kind, body, stop in _boxes(sample.body, 0, len(sample.body)):
            if kind != b"vttc":
                continue
            parts = {k: sample.body[b:s].decode("utf-8", "replace") for k, b, s in _boxes(sample.body, body, stop)}
            said = (parts.get(b"iden", ""), parts.get(b"sttg", ""), parts.get(b"payl", ""))
            at = latest.get(said)
            if at is not None and found[at][1] >= sample.start:
                found[at] = (found[at][0], max(end, found[at][1]), *said)
            else:
                latest[said] = len(found)
                found.append((sample.start, end, *said))
    return found
