"""Master playlists, line by line; tests/contract reads them with a foreign parser."""

from dataclasses import replace

from headrace.catalog.model import TrackKind
from headrace.steering.hls import variants, write_master
from headrace.steering.pathway import Pathway
from headrace.steering.testing import make_rendition, make_title

PATHWAYS = (
    Pathway(pathway_id="edge-1", base_url="http://192.0.2.1:8080"),
    Pathway(pathway_id="_origin", base_url="https://origin.example/store"),
)


def lines(title: object, pathways: tuple[Pathway, ...] = PATHWAYS) -> list[str]:
    return write_master(title, pathways, steering_uri="../s?p=x").decode().splitlines()  # type: ignore[arg-type]


def test_the_whole_of_a_small_one() -> None:
    title = make_title("film")
    small = replace(title, renditions=(title.renditions[0], title.renditions[5]))
    video, audio = small.renditions
    assert lines(small, PATHWAYS[:1]) == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-CONTENT-STEERING:SERVER-URI="../s?p=x",PATHWAY-ID="edge-1"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio.edge-1",NAME="EN",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,'
        'STABLE-RENDITION-ID="a-en",CHANNELS="2",'
        f'URI="http://192.0.2.1:8080/f/{audio.playlist[:2]}/{audio.playlist}.m3u8"',
        '#EXT-X-STREAM-INF:BANDWIDTH=608000,AVERAGE-BANDWIDTH=520000,CODECS="avc1.64001f,mp4a.40.2",'
        'RESOLUTION=426x240,FRAME-RATE=29.970,STABLE-VARIANT-ID="v240",PATHWAY-ID="edge-1",AUDIO="audio.edge-1",'
        "CLOSED-CAPTIONS=NONE",
        f"http://192.0.2.1:8080/f/{video.playlist[:2]}/{video.playlist}.m3u8",
    ]


def test_each_pathway_has_its_own_groups_and_the_same_stable_ids() -> None:
    text = lines(make_title("film", languages=("en", "de"), subtitles=("fr",)))
    for pathway in PATHWAYS:
        own = [line for line in text if f'PATHWAY-ID="{pathway.pathway_id}"' in line and "STREAM-INF" in line]
        assert len(own) == 5
        assert all(f'AUDIO="audio.{pathway.pathway_id}"' in line for line in own)
        assert all(f'SUBTITLES="subs.{pathway.pathway_id}"' in line for line in own)
    for stable in ("a-en", "a-de", "s-fr"):
        assert sum(f'STABLE-RENDITION-ID="{stable}"' in line for line in text) == len(PATHWAYS)


def test_two_audio_groups_double_the_variants() -> None:
    title = make_title("film")
    surround = make_rendition("film", "a-51", TrackKind.AUDIO, group="surround", codecs="ec-3", bandwidth_bps=640_000)
    both = replace(title, renditions=(*title.renditions, surround))
    stable = [one.stable_id for one in variants(both)]
    assert len(stable) == len(set(stable)) == 10
    assert {"v240.audio", "v240.surround"} <= set(stable)


def test_no_audio_no_rate_no_size() -> None:
    bare = make_rendition("film", "v", TrackKind.VIDEO, codecs="", width=0, height=0, frame_rate="0/0")
    text = lines(replace(make_title("film"), renditions=(bare,)), PATHWAYS[:1])
    assert text[4] == (
        '#EXT-X-STREAM-INF:BANDWIDTH=128000,AVERAGE-BANDWIDTH=120000,STABLE-VARIANT-ID="v",PATHWAY-ID="edge-1",'
        "CLOSED-CAPTIONS=NONE"
    )


def test_hostile_names_stay_inside_their_quotes() -> None:
    name = 'Director\'s "cut"\r\n#EXT-X-ENDLIST\x00'
    audio = make_rendition("film", "a", TrackKind.AUDIO, name=name)
    same = make_rendition("film", "b", TrackKind.AUDIO, name=name)
    title = make_title("film")
    text = lines(replace(title, renditions=(title.renditions[0], audio, same)), PATHWAYS[:1])
    media = [line for line in text if line.startswith("#EXT-X-MEDIA")]
    assert len(media) == 2
    assert '''NAME="Director's 'cut'  #EXT-X-ENDLIST "''' in media[0]
    assert media[0].count("DEFAULT=YES") == 1
    assert media[1].count("DEFAULT=NO") == 1
    assert "(b)" in media[1]


def test_marks_in_names_and_urls_are_not_filled() -> None:
    title = make_title("film")
    audio = make_rendition("film", "a", TrackKind.AUDIO, name="\ue000\ue001", group="\ue001", language="\ue000")
    hostile = (Pathway(pathway_id="a", base_url='http://x"\n#EXT\ue000'),)
    text = lines(replace(title, renditions=(title.renditions[0], audio)), hostile)
    assert sum("#EXT-X" in line for line in text) == len(text) - 2
    assert 'NAME="  "' in text[4]
    assert "\ue000" not in "".join(text)
    assert "\ue001" not in "".join(text)
