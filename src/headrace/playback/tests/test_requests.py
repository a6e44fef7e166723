"""Paths and the query of redirects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.playback.requests import Asked, Kind, read_not, read_path

SHA = "ab" + "0" * 62


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/titles/film/master.m3u8", Asked(kind=Kind.MASTER, is_for_players=True, title_id="film")),
        ("/v1/titles/a.b_c-1/manifest.mpd", Asked(kind=Kind.MPD, is_for_players=True, title_id="a.b_c-1")),
        ("/v1/steering/hls/film", Asked(kind=Kind.HLS_STEERING, is_for_players=True, title_id="film")),
        ("/v1/steering/dash/film", Asked(kind=Kind.DASH_STEERING, is_for_players=True, title_id="film")),
        (f"/f/ab/{SHA}.mp4", Asked(kind=Kind.FILE, is_for_players=True, sha256=SHA)),
        ("/healthz", Asked(kind=Kind.HEALTH)),
        ("/metrics", Asked(kind=Kind.METRICS)),
        ("/v1/explain", Asked(kind=Kind.EXPLAIN)),
        ("/v1/titles/a/b/master.m3u8", Asked(kind=Kind.MASTER, is_for_players=True, title_id=None)),
        ("/v1/titles/../x/master.m3u8", Asked(kind=Kind.MASTER, is_for_players=True, title_id=None)),
        ("/v1/steering/hls/\ufffd", Asked(kind=Kind.HLS_STEERING, is_for_players=True, title_id=None)),
        ("/v1/titles/master.m3u8", Asked(kind=Kind.OTHER)),
        ("/v1/steering/hls/", Asked(kind=Kind.OTHER)),
        (f"/f/ac/{SHA}.mp4", Asked(kind=Kind.OTHER)),
        (f"/f/ab/{SHA}.exe", Asked(kind=Kind.OTHER)),
        (f"/f/ab/{SHA}.mp4\n", Asked(kind=Kind.OTHER)),
        (f"/f/ab/{SHA.upper()}.mp4", Asked(kind=Kind.OTHER)),
        ("/", Asked(kind=Kind.OTHER)),
        ("", Asked(kind=Kind.OTHER)),
    ],
)
def test_paths(path: str, asked: Asked) -> None:
    assert read_path(path) == asked


@given(st.text(max_size=200))
def test_any_path_is_read(path: str) -> None:
    read_path(path)
    assert read_path(f"/v1/titles/{path}/master.m3u8").kind in (Kind.MASTER, Kind.OTHER)


def test_sources_of_a_redirect() -> None:
    assert read_not("not=a&x=1&not=b") == ("a", "b")
    assert read_not("not=A%00&not=&not=ok") == ("ok",)
    assert read_not("") == ()
    with pytest.raises(ValueError, match="Max number of fields"):
        read_not("&".join(["not=a"] * 100))
