"""Reading HLS packages, and refusing what cannot be taken over."""

from pathlib import Path

import pytest

from headrace.catalog.model import TrackKind
from headrace.origin.errors import UnsupportedSourceError
from headrace.origin.hls_source import is_master, read_master, read_media
from headrace.origin.model import Piece

ROOT = Path("/package")

MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aud",NAME="English",LANGUAGE="eng",DEFAULT=YES,URI="en.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aud",NAME="Deutsch",LANGUAGE="de",URI="de.m3u8"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="sub",NAME="Français",LANGUAGE="fr",URI="fr.m3u8"
#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="cc",NAME="CC",INSTREAM-ID="CC1"
#EXT-X-STREAM-INF:BANDWIDTH=800000,AVERAGE-BANDWIDTH=700000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=640x360,AUDIO="aud"
v360.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=90000,CODECS="mp4a.40.2",AUDIO="aud"
sound.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=900000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=640x360,AUDIO="aud"
v360.m3u8
"""


def media(*lines: str, end: str = "#EXT-X-ENDLIST") -> str:
    return "\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:4", *lines, end, ""])


def read(*lines: str, end: str = "#EXT-X-ENDLIST"):
    return read_media(media(*lines, end=end), name="v.m3u8", base=ROOT / "video", root=ROOT)


def test_a_master_names_each_rendition_once():
    assert is_master(MASTER)
    found = {one.uri: one for one in read_master(MASTER, name="m")}
    assert {uri: one.kind for uri, one in found.items()} == {
        "v360.m3u8": TrackKind.VIDEO,
        "sound.m3u8": TrackKind.AUDIO,
        "en.m3u8": TrackKind.AUDIO,
        "de.m3u8": TrackKind.AUDIO,
        "fr.m3u8": TrackKind.TEXT,
    }
    assert (found["en.m3u8"].language, found["en.m3u8"].name, found["en.m3u8"].is_default) == ("en", "English", True)
    assert found["v360.m3u8"].bandwidth_bps == 700_000
    assert not found["v360.m3u8"].has_own_audio


def test_segments_become_pieces_after_the_init_section():
    pieces, duration_s = read('#EXT-X-MAP:URI="init.mp4"', "#EXTINF:4,", "1.m4s", "#EXTINF:2.5,", "sub%20dir/2.m4s?x=1")
    assert [piece.path for piece in pieces] == [
        ROOT / "video/init.mp4",
        ROOT / "video/1.m4s",
        ROOT / "video/sub dir/2.m4s",
    ]
    assert duration_s == 6.5


def test_ranges_of_one_file_become_one_piece():
    pieces, _ = read(
        '#EXT-X-MAP:URI="all.mp4",BYTERANGE="800@0"',
        *("#EXTINF:4,", "#EXT-X-BYTERANGE:1000@900", "all.mp4"),
        *("#EXTINF:4,", "#EXT-X-BYTERANGE:500", "all.mp4"),
    )
    whole = ROOT / "video/all.mp4"
    assert pieces == (Piece(path=whole, first=0, length=800), Piece(path=whole, first=900, length=1500))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['#EXT-X-KEY:METHOD=AES-128,URI="k"', "#EXTINF:4,", "1.ts"], "encrypted"),
        (["#EXTINF:4,", "1.ts", "#EXT-X-DISCONTINUITY", "#EXTINF:4,", "2.ts"], "several periods"),
        (['#EXT-X-MAP:URI="a"', "#EXTINF:4,", "1", '#EXT-X-MAP:URI="b"', "#EXTINF:4,", "2"], "several init"),
        (["#EXTINF:4,", "https://elsewhere.example/1.ts"], "elsewhere"),
        (["#EXTINF:4,", "../../etc/passwd"], "leads out"),
        ([], "no segments"),
    ],
)
def test_odd_packages_are_refused_clearly(lines, said):
    with pytest.raises(UnsupportedSourceError, match=said):
        read(*lines)


def test_a_live_playlist_is_refused():
    with pytest.raises(UnsupportedSourceError, match="live"):
        read("#EXTINF:4,", "1.ts", end="")


def test_an_encrypted_master_and_a_text_are_refused():
    with pytest.raises(UnsupportedSourceError, match="encrypted"):
        read_master('#EXTM3U\n#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI="k"\n' + MASTER[8:], name="m")
    with pytest.raises(UnsupportedSourceError, match="not an HLS playlist"):
        read_media("hello", name="x", base=ROOT, root=ROOT)
