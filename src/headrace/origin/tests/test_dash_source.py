"""Reading DASH packages, and refusing what cannot be taken over."""

from pathlib import Path

import pytest

from headrace.catalog.model import TrackKind
from headrace.origin.dash_source import read_mpd
from headrace.origin.errors import UnsupportedSourceError
from headrace.origin.model import Piece

ROOT = Path("/package")


def mpd(
    inner: str, *, attributes: str = 'type="static" mediaPresentationDuration="PT1M0.5S"', periods: int = 1
) -> bytes:
    period = f"<Period>{inner}</Period>" * periods
    return f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" {attributes}>{period}</MPD>'.encode()


def video(inner: str, *, group: str = "") -> str:
    return (
        f'<AdaptationSet mimeType="video/mp4" {group}><Representation id="v1" bandwidth="500000" codecs="avc1.64001f">'
        f"{inner}</Representation></AdaptationSet>"
    )


def read(text: bytes):
    return read_mpd(text, name="m.mpd", base=ROOT, root=ROOT)


def paths(pieces) -> list[str]:
    return [str(piece.path.relative_to(ROOT)) for piece in pieces]


def test_numbered_segments():
    inner = (
        '<SegmentTemplate timescale="1000" duration="20000" initialization="$RepresentationID$/i.mp4" '
        'media="$RepresentationID$/$Number%03d$.m4s" startNumber="5"/>'
    )
    (track,) = read(mpd(video(inner)))
    assert paths(track.pieces) == ["v1/i.mp4", "v1/005.m4s", "v1/006.m4s", "v1/007.m4s", "v1/008.m4s"]
    assert (track.kind, track.duration_s, track.bandwidth_bps) == (TrackKind.VIDEO, 60.5, 500_000)


def test_segments_of_a_timeline():
    inner = (
        '<SegmentTemplate timescale="10" media="$Time$-$Bandwidth$-$$.m4s"><SegmentTimeline>'
        '<S t="0" d="40" r="1"/><S d="20"/><S d="250" r="-1"/></SegmentTimeline></SegmentTemplate>'
    )
    (track,) = read(mpd(video(inner)))
    assert paths(track.pieces) == [f"{time}-500000-$.m4s" for time in (0, 40, 80, 100, 350, 600)]


def test_a_single_file_and_listed_ranges():
    single = video('<BaseURL>v/1.mp4</BaseURL><SegmentBase indexRange="800-900"/>')
    (track,) = read(mpd("<BaseURL>media/</BaseURL>" + single))
    assert track.pieces == (Piece(path=ROOT / "media/v/1.mp4"),)
    listed = (
        '<BaseURL>a.mp4</BaseURL><SegmentList><Initialization range="0-99"/>'
        '<SegmentURL mediaRange="100-199"/><SegmentURL mediaRange="200-299"/></SegmentList>'
    )
    (track,) = read(mpd(video(listed)))
    assert track.pieces == (Piece(path=ROOT / "a.mp4", first=0, length=300),)


def test_sound_and_text_with_language_label_and_role():
    inner = (
        '<AdaptationSet contentType="audio" lang="fra"><Label>Français</Label><Role schemeIdUri="r" value="main"/>'
        '<Representation id="a" mimeType="audio/mp4"><BaseURL>a.mp4</BaseURL></Representation></AdaptationSet>'
        '<AdaptationSet mimeType="text/vtt" lang="en"><Representation id="t"><BaseURL>t.vtt</BaseURL></Representation>'
        '</AdaptationSet><AdaptationSet mimeType="image/jpeg"><Representation id="i"><BaseURL>i.jpg</BaseURL>'
        "</Representation></AdaptationSet>"
    )
    sound, text = read(mpd(inner))
    assert (sound.kind, sound.language, sound.name, sound.is_default) == (TrackKind.AUDIO, "fr", "Français", True)
    assert (text.kind, text.language) == (TrackKind.TEXT, "en")


SINGLE = video("<BaseURL>v.mp4</BaseURL>")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (mpd(SINGLE, attributes='type="dynamic"'), "live"),
        (mpd(SINGLE, periods=2), "2 periods"),
        (mpd(SINGLE, periods=0), "0 periods"),
        (mpd(SINGLE.replace("<Rep", '<ContentProtection schemeIdUri="x"/><Rep', 1)), "encrypted"),
        (mpd(video("<BaseURL>https://elsewhere.example/v.mp4</BaseURL>")), "elsewhere"),
        (mpd(video("<BaseURL>../v.mp4</BaseURL>")), "leads out"),
        (mpd(video('<SegmentTemplate media="$Number$.m4s"/>')), "without durations"),
        (b"<MPD", "XML"),
    ],
)
def test_odd_packages_are_refused_clearly(text, said):
    with pytest.raises(UnsupportedSourceError, match=said):
        read(text)


def test_entities_are_not_read_from_disk(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("v.mp4")
    text = f'<!DOCTYPE MPD [<!ENTITY x SYSTEM "file://{secret}">]>'.encode() + mpd(video("<BaseURL>&x;</BaseURL>"))
    (track,) = read(text)
    assert "v.mp4" not in str(track.pieces)
