"""Where init section, index and segments lie in a single-file CMAF rendition, read from its boxes (ISO/IEC 14496-12).

Pure: works on the file's first bytes and its size. Refuses anything that does not add up to the file exactly.
"""

import struct

from headrace.catalog.model import ByteRange
from headrace.origin.errors import EncodeError
from headrace.origin.model import MediaIndex, Segment

HEAD_BYTES = 4 * 1024 * 1024
"""Bytes of a file that surely hold moov and sidx: 12 bytes a segment are 2 days of 4 s segments in 0.5 MiB."""


def read_index(head: bytes, *, size_bytes: int) -> MediaIndex:
    """Read ftyp, moov and sidx from the first bytes of a file of `size_bytes`.

    Raises:
        EncodeError: no moov before one sidx, or segments that do not cover the file to its last byte.
    """
    moov_end = 0
    offset = 0
    while offset + 8 <= len(head):
        length, kind = struct.unpack_from(">I4s", head, offset)
        if length < 8 or offset + length > size_bytes:
            raise EncodeError(f"packaged file is broken: box {kind!r} at byte {offset} has length {length}")
        if kind == b"moov":
            moov_end = offset + length
        elif kind == b"sidx":
            return _indexed(head[offset : offset + length], offset, moov_end, size_bytes)
        elif kind == b"moof":
            break
        offset += length
    raise EncodeError("packaged file has no segment index (sidx box)")


def _indexed(box: bytes, offset: int, moov_end: int, size_bytes: int) -> MediaIndex:
    if not moov_end:
        raise EncodeError("packaged file has its segment index before its moov box")
    try:
        timescale, start, gap, count, entries = _sidx_header(box)
        references = [struct.unpack_from(">III", box, entries + 12 * number) for number in range(count)]
    except struct.error:
        raise EncodeError("packaged file has a segment index that is cut short") from None
    if any(size >> 31 for size, _, _ in references) or timescale < 1:
        raise EncodeError("packaged file has a segment index of several levels")
    segments = []
    first, time = offset + len(box) + gap, start
    for size, duration, access in references:
        segments.append(
            Segment(
                first=first,
                length=size,
                start_s=time / timescale,
                duration_s=duration / timescale,
                starts_with_key=bool(access >> 31),
            )
        )
        first, time = first + size, time + duration
    if first != size_bytes or not segments:
        raise EncodeError(f"packaged file has {size_bytes} bytes but its segment index covers {first}")
    return MediaIndex(
        init=ByteRange(first=0, last=moov_end - 1),
        index=ByteRange(first=offset, last=offset + len(box) - 1),
        timescale=timescale,
        segments=tuple(segments),
    )


def _sidx_header(box: bytes) -> tuple[int, int, int, int, int]:
    """Timescale, earliest presentation time, gap before the first segment, count, place of the first entry."""
    version, timescale = struct.unpack_from(">B7xI", box, 8)
    start, gap = struct.unpack_from(">QQ" if version else ">II", box, 20)
    at = 36 if version else 28
    (count,) = struct.unpack_from(">H", box, at + 2)
    return timescale, start, gap, count, at + 4
