"""MPDs: structure, and texts that XML cannot take as they are."""

from dataclasses import replace

from lxml import etree

from headrace.catalog.model import TrackKind
from headrace.steering.dash import NAMESPACE, write_mpd
from headrace.steering.pathway import Pathway
from headrace.steering.testing import make_rendition, make_title

PATHWAYS = (
    Pathway(pathway_id="edge-1", base_url="http://192.0.2.1:8080"),
    Pathway(pathway_id="_origin", base_url="https://origin.example/store?a=1&b=<2>"),
)
NS = {"m": NAMESPACE}


def parsed(title: object) -> etree._Element:
    body = write_mpd(title, PATHWAYS, steering_url="https://steer.example/v1/steering/dash/film?p=a.b&v=1")  # type: ignore[arg-type]
    return etree.fromstring(body)


def test_base_urls_are_the_pathways_in_order() -> None:
    mpd = parsed(make_title("film"))
    bases = mpd.findall("m:BaseURL", NS)
    assert [base.get("serviceLocation") for base in bases] == ["edge-1", "_origin"]
    assert bases[0].text == "http://192.0.2.1:8080/"
    assert bases[1].text == "https://origin.example/store?a=1&b=<2>/"
    steering = mpd.find("m:ContentSteering", NS)
    assert steering.text == "https://steer.example/v1/steering/dash/film?p=a.b&v=1"
    assert dict(steering.attrib) == {"defaultServiceLocation": "edge-1", "queryBeforeStart": "false"}


def test_adaptation_sets_by_kind_language_and_codec() -> None:
    title = make_title("film", languages=("en", "de"), subtitles=("fr", "it"))
    hevc = make_rendition("film", "v-hevc", TrackKind.VIDEO, codecs="hvc1.1.6.L120.90")
    mpd = parsed(replace(title, renditions=(*title.renditions, hevc)))
    sets = mpd.findall("m:Period/m:AdaptationSet", NS)
    kinds = [(one.get("contentType"), one.get("lang"), len(one.findall("m:Representation", NS))) for one in sets]
    assert kinds == [
        ("video", None, 5),
        ("audio", "en", 1),
        ("audio", "de", 1),
        ("text", "fr", 1),
        ("text", "it", 1),
        ("video", None, 1),
    ]
    roles = [one.find("m:Role", NS).get("value") for one in sets]
    assert roles == ["main", "main", "alternate", "subtitle", "subtitle", "main"]


def test_a_representation_names_its_file_and_ranges() -> None:
    title = make_title("film", subtitles=("fr",))
    mpd = parsed(title)
    video = mpd.find(".//m:Representation[@id='v240']", NS)
    name = title.renditions[0].file
    assert video.find("m:BaseURL", NS).text == f"f/{name[:2]}/{name}.mp4"
    base = video.find("m:SegmentBase", NS)
    assert (base.get("indexRange"), base.get("timescale")) == ("800-1199", "12800")
    assert base.find("m:Initialization", NS).get("range") == "0-799"
    text = mpd.find(".//m:Representation[@id='s-fr']", NS)
    assert text.find("m:BaseURL", NS).text.endswith(".vtt")
    assert text.find("m:SegmentBase", NS) is None
    assert text.get("codecs") is None


def test_hostile_texts_are_escaped_or_dropped() -> None:
    audio = make_rendition("film", "a", TrackKind.AUDIO, name='</Label>&"\x00\ud800', language='e"<n')
    title = make_title("film")
    mpd = parsed(replace(title, renditions=(title.renditions[0], audio)))
    assert mpd.findtext(".//m:Label", namespaces=NS) == '</Label>&"'
    assert mpd.find(".//m:AdaptationSet[@contentType='audio']", NS).get("lang") == 'e"<n'
