"""The segment index of a packaged file: exact, or refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.catalog.model import ByteRange
from headrace.origin.boxes import read_index
from headrace.origin.errors import EncodeError


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def sidx(entries: list[tuple[int, int]], *, version: int = 0, start: int = 0, gap: int = 0) -> bytes:
    head = bytes([version, 0, 0, 0]) + struct.pack(">II", 1, 1000)
    head += struct.pack(">QQ" if version else ">II", start, gap) + struct.pack(">HH", 0, len(entries))
    return box(b"sidx", head + b"".join(struct.pack(">III", size, duration, 1 << 31) for size, duration in entries))


def head_of(entries: list[tuple[int, int]], **fields) -> bytes:
    return box(b"ftyp", b"cmfc") + box(b"moov", b"\0" * 40) + sidx(entries, **fields)


@given(
    st.lists(st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 10**6)), min_size=1, max_size=20), st.integers(0, 1)
)
def test_segments_are_contiguous_to_the_end(entries, version):
    head = head_of(entries, version=version, start=500)
    size = len(head) + sum(length for length, _ in entries)
    index = read_index(head, size_bytes=size)
    assert index.init == ByteRange(first=0, last=59)
    assert index.index == ByteRange(first=60, last=len(head) - 1)
    assert index.segments[0].first == len(head)
    assert index.segments[0].start_s == 0.5
    assert index.segments[-1].first + index.segments[-1].length == size
    assert index.duration_s == pytest.approx(sum(duration for _, duration in entries) / 1000)


@pytest.mark.parametrize(
    ("head", "size", "said"),
    [
        (head_of([(100, 1)]), 9999, "covers"),
        (head_of([]), None, "covers"),
        (box(b"ftyp", b"cmfc") + sidx([(10, 1)]), None, "before its moov"),
        (box(b"ftyp", b"cmfc") + box(b"moov", b"") + box(b"moof", b""), None, "no segment index"),
        (struct.pack(">I4s", 4, b"ftyp"), 100, "broken"),
        (box(b"moov", b"") + box(b"sidx", b"\0" * 14), None, "cut short"),
        (b"", 0, "no segment index"),
    ],
)
def test_what_does_not_add_up_is_refused(head, size, said):
    with pytest.raises(EncodeError, match=said):
        read_index(head, size_bytes=len(head) if size is None else size)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(noise):
    with pytest.raises(EncodeError):
        read_index(box(b"moov", b"") + box(b"sidx", noise), size_bytes=10**6)
