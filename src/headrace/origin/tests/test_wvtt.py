"""WebVTT out of fragmented MP4. The real packager's files are read in tests/probe/test_publish.py."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.origin.errors import UnsupportedSourceError
from headrace.origin.wvtt import is_wvtt, read_wvtt


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def init() -> bytes:
    mdhd = box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, 1000, 0, 0, 0))
    return box(b"ftyp", b"cmfc") + box(b"moov", box(b"trak", box(b"mdia", mdhd, box(b"wvtt"))))


def cue(text: str) -> bytes:
    return box(b"vttc", box(b"iden", b"n1"), box(b"sttg", b"line:0"), box(b"payl", text.encode()))


def fragment(start: int, *samples: tuple[int, bytes]) -> bytes:
    def moof(offset: int) -> bytes:
        entries = b"".join(struct.pack(">II", duration, len(body)) for duration, body in samples)
        trun = box(b"trun", struct.pack(">IIi", 0x301, len(samples), offset), entries)
        tfdt = box(b"tfdt", struct.pack(">BxxxQ", 1, start))
        return box(b"moof", box(b"traf", box(b"tfhd", struct.pack(">II", 0x020000, 1)), tfdt, trun))

    head = moof(len(moof(0)) + 8)
    return head + box(b"mdat", *(body for _, body in samples))


def test_a_cue_over_two_fragments_is_one_again():
    data = init() + fragment(0, (500, box(b"vtte")), (500, cue("Hé"))) + fragment(1000, (700, cue("Hé")), (300, b""))
    assert is_wvtt(data[:200])
    assert read_wvtt(data, shift_s=0.25) == "WEBVTT\n\nn1\n00:00:00.750 --> 00:00:01.950 line:0\nHé\n"


def test_the_same_words_later_are_another_cue():
    data = init() + fragment(0, (500, cue("A")), (500, box(b"vtte")), (500, cue("A")))
    assert read_wvtt(data, shift_s=0.0).count("-->") == 2


@given(st.integers(0, 400))
def test_cut_anywhere_it_is_read_or_refused(length):
    data = (init() + fragment(0, (500, cue("A" * 50)), (500, cue("B" * 50))))[:length]
    with contextlib.suppress(UnsupportedSourceError):
        assert read_wvtt(data, shift_s=0.0).startswith("WEBVTT")


@given(st.binary(max_size=300))
def test_noise_is_refused(noise):
    with pytest.raises(UnsupportedSourceError):
        read_wvtt(init() + noise, shift_s=0.0)
