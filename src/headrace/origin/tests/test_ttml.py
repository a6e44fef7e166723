"""TTML into WebVTT. Real packagers' and ffmpeg's files are read in tests/probe/test_publish.py."""

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.origin.errors import UnsupportedSourceError
from headrace.origin.tests.test_wvtt import box, fragment
from headrace.origin.ttml import is_stpp, is_ttml, read_stpp, read_ttml


def document(*paragraphs: str, head: str = "") -> bytes:
    marks = 'xmlns="http://www.w3.org/ns/ttml" xmlns:tts="http://www.w3.org/ns/ttml#styling" xml:lang="en"'
    return f"<tt {marks}><head>{head}</head><body><div>{''.join(paragraphs)}</div></body></tt>".encode()


def words(begin: str, end: str, said: str = "Hé &lt; ho") -> str:
    return f'<p begin="{begin}" end="{end}">{said}</p>'


def init() -> bytes:
    mdhd = box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, 1000, 0, 0, 0))
    return box(b"ftyp", b"cmfc") + box(b"moov", box(b"trak", box(b"mdia", mdhd, box(b"stpp"))))


def test_times_of_every_form_and_lines():
    said = read_ttml(
        [
            document(
                words("00:00:01.500", "00:00:02.500"),
                words("3s", "4s", "one<br/>two"),
                words("01:00:00", "01:00:01", '<span tts:fontStyle="italic">leans</span>'),
            )
        ]
    )
    assert said == (
        "WEBVTT\n\n00:00:01.500 --> 00:00:02.500\nHé &lt; ho\n\n00:00:03.000 --> 00:00:04.000\none\ntwo\n\n"
        "01:00:00.000 --> 01:00:01.000\n<i>leans</i>\n"
    )


def test_a_document_in_utf_16_is_known_and_read():
    body = document(words("1s", "2s")).decode()
    data = f'<?xml version="1.0" encoding="utf-16"?>{body}'.encode("utf-16")
    assert is_ttml(data[:400])
    assert "Hé" in read_ttml([data])


def test_what_lasts_over_two_samples_is_one_cue_on_the_tracks_own_times():
    both = document(words("0.5s", "1.7s"))
    data = init() + fragment(0, (1000, both)) + fragment(1000, (1000, both), (1000, b""))
    assert is_stpp(data[:200])
    assert not is_ttml(data[:4000])
    assert read_stpp(data, shift_s=0.25) == "WEBVTT\n\n00:00:00.750 --> 00:00:01.950\nHé &lt; ho\n"


def test_a_sample_shows_nothing_outside_its_own_time():
    early = document(words("0s", "0.9s", "before"), words("1.2s", "9s", "during"), words("5s", "6s", "after"))
    said = read_stpp(init() + fragment(1000, (1000, early)), shift_s=0.0)
    assert said == "WEBVTT\n\n00:00:01.200 --> 00:00:02.000\nduring\n"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"<tt", "broken"),
        (b"<html/>", "no TTML"),
        (b'<!DOCTYPE tt [<!ENTITY a "aaaa">]><tt xmlns="http://www.w3.org/ns/ttml">&a;</tt>', "document type"),
        (b'<tt xmlns="http://www.w3.org/ns/ttml"><body><div><image src="1.png"/></div></body></tt>', "pictures"),
    ],
)
def test_what_is_no_text_is_refused_with_the_reason(data: bytes, why: str):
    with pytest.raises(UnsupportedSourceError, match=why):
        read_ttml([data])


@settings(max_examples=60)
@given(st.integers(0, 900))
def test_cut_anywhere_it_is_read_or_refused(length: int):
    data = (init() + fragment(0, (500, document(words("0s", "1s"))), (500, document(words("1s", "2s")))))[:length]
    with contextlib.suppress(UnsupportedSourceError):
        assert read_stpp(data, shift_s=0.0).startswith("WEBVTT")


@settings(max_examples=60)
@given(st.text(max_size=60), st.text(max_size=8), st.text(max_size=8))
def test_any_words_and_times_are_read_or_refused(said: str, begin: str, end: str):
    attributes = f"begin={begin!r} end={end!r}"
    with contextlib.suppress(UnsupportedSourceError):
        assert read_ttml([document(f"<p {attributes}>{said}</p>")]).startswith("WEBVTT")
