"""Read the samples of fragmented MP4 (ISO/IEC 14496-12), as packagers cut subtitles for DASH and HLS. Pure."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.origin.errors import UnsupportedSourceError

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample of a track; times in units of the track's timescale."""

    start: int
    duration: int
    body: bytes


def is_mp4_of(codec: bytes, head: bytes) -> bool:
    """Whether the first bytes of a file say that it is MP4 with samples of `codec`, such as b"wvtt"."""
    return head[4:8] in {b"ftyp", b"styp"} and codec in head


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first and last byte (exclusive) of each box's body; raises IndexError and struct.error."""
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
    for kind, body, stop in boxes(data, start, end):
        if kind in _CONTAINERS:
            for found, inner, inner_stop, _ in _leaves(data, body, stop):
                yield found, inner, inner_stop, body - 8
        else:
            yield kind, body, stop, body - 8


def read_samples(data: bytes) -> tuple[int, list[Sample]]:
    """The timescale and the samples of an init section and its fragments, joined.

    Raises:
        UnsupportedSourceError: broken, or cut short.
    """
    try:
        return _read(data)
    except (struct.error, IndexError):
        raise UnsupportedSourceError("a subtitle rendition in MP4 is broken or cut short") from None


def _read(data: bytes) -> tuple[int, list[Sample]]:
    timescale = trex_duration = trex_size = duration = size = time = base = 0
    samples: list[Sample] = []
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


def _run(data: bytes, body: int, time: int, base: int, defaults: tuple[int, int]) -> list[Sample]:
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
        samples.append(Sample(start=time, duration=duration, body=data[place : place + size]))
        time, place = time + duration, place + size
    return samples
