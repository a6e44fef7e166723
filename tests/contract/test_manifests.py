"""Playlists, MPDs and clones as foreign parsers and as the players' own code understand them."""

import json
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import m3u8
import pytest
from lxml import etree

from headrace.catalog.model import Title, TrackKind
from headrace.steering.compile import compile_snapshot
from headrace.steering.dash import NAMESPACE, write_mpd
from headrace.steering.hls import write_master
from headrace.steering.manifest import Protocol, SteeringQuery, write_manifest
from headrace.steering.pathway import Pathway, file_path, pathway_of, playlist_path
from headrace.steering.testing import make_appliance, make_site, make_snapshot, make_title, numbers_of

TITLE = make_title("film", languages=("en", "de"), subtitles=("fr",))
PATHWAYS = (
    Pathway(pathway_id="a", base_url="http://192.0.2.1:8080"),
    Pathway(pathway_id="b", base_url="https://edge.example"),
    Pathway(pathway_id="_origin", base_url="http://[2001:db8::1]:9000/store"),
)
MASTER_URL = "https://steer.example/v1/titles/film/master.m3u8"
NS = {"m": NAMESPACE}


@pytest.fixture(scope="module")
def master() -> m3u8.M3U8:
    body = write_master(TITLE, PATHWAYS, steering_uri="../../steering/hls/film?p=a.b._origin&v=1")
    return m3u8.loads(body.decode(), uri=MASTER_URL)


def test_hls_every_variant_on_every_pathway(master: m3u8.M3U8) -> None:
    assert master.is_variant
    found = {(one.stream_info.pathway_id, one.stream_info.stable_variant_id): one for one in master.playlists}
    video = [one for one in TITLE.renditions if one.kind is TrackKind.VIDEO]
    assert len(found) == len(master.playlists) == len(PATHWAYS) * len(video)
    for pathway in PATHWAYS:
        for rendition in video:
            one = found[(pathway.pathway_id, rendition.rendition_id)]
            assert one.uri == pathway.base_url + playlist_path(rendition)
            assert one.stream_info.resolution == (rendition.width, rendition.height)
            assert one.stream_info.codecs == "avc1.64001f,mp4a.40.2"
            assert one.stream_info.bandwidth == rendition.bandwidth_bps + 128_000
            assert one.stream_info.average_bandwidth == rendition.average_bandwidth_bps + 120_000
            assert one.stream_info.frame_rate == pytest.approx(29.97)


def test_hls_steering_tag_resolves_against_the_playlist(master: m3u8.M3U8) -> None:
    steering = master.content_steering
    assert steering.pathway_id == "a"
    assert urljoin(MASTER_URL, steering.uri) == "https://steer.example/v1/steering/hls/film?p=a.b._origin&v=1"


def test_hls_groups_hold_together(master: m3u8.M3U8) -> None:
    """Every group that a variant names exists, on the variant's own pathway, with one default and distinct names."""
    groups: dict[tuple[str, str], list[m3u8.Media]] = {}
    for media in master.media:
        groups.setdefault((media.type, media.group_id), []).append(media)
    bases = {pathway.pathway_id: pathway.base_url for pathway in PATHWAYS}
    for variant in master.playlists:
        info = variant.stream_info
        for kind, group in (("AUDIO", info.audio), ("SUBTITLES", info.subtitles)):
            members = groups[(kind, group)]
            assert all(member.uri.startswith(bases[info.pathway_id] + "/f/") for member in members)
            assert len({member.name for member in members}) == len(members)
            if kind == "AUDIO":
                assert [member.default for member in members].count("YES") == 1
                assert {member.language for member in members} == {"en", "de"}


def test_hls_survives_a_round_trip(master: m3u8.M3U8) -> None:
    again = m3u8.loads(master.dumps(), uri=MASTER_URL)
    assert [one.uri for one in again.playlists] == [one.uri for one in master.playlists]


def test_dash_every_representation_is_a_file_on_every_pathway() -> None:
    mpd = etree.fromstring(write_mpd(TITLE, PATHWAYS, steering_url="https://steer.example/v1/steering/dash/film?p=a"))
    assert mpd.get("type") == "static"
    assert "isoff-on-demand" in mpd.get("profiles")
    assert mpd.get("mediaPresentationDuration") == "PT60.000S"
    order = [etree.QName(child).localname for child in mpd]
    assert order == ["BaseURL", "BaseURL", "BaseURL", "ContentSteering", "Period"]
    bases = [base.text for base in mpd.findall("m:BaseURL", NS)]
    expected = {one.rendition_id: one for one in TITLE.renditions}
    found = mpd.findall(".//m:Representation", NS)
    assert {one.get("id") for one in found} == set(expected)
    for one in found:
        rendition = expected[one.get("id")]
        for base, pathway in zip(bases, PATHWAYS, strict=True):
            assert urljoin(base, one.findtext("m:BaseURL", namespaces=NS)) == pathway.base_url + file_path(rendition)
        assert int(one.get("bandwidth")) == rendition.bandwidth_bps
        if rendition.kind is TrackKind.AUDIO:
            assert one.find("m:AudioChannelConfiguration", NS).get("value") == "2"
    ids = [one.get("id") for one in mpd.findall(".//m:AdaptationSet", NS)]
    assert len(set(ids)) == len(ids)


def hls_js_clone(uri: str, stable_id: str, replacement: dict, key: str) -> str:
    """What hls.js 1.7 makes of a URI: `performUriReplacement`, with the rule of `URL.hostname` (no port)."""
    named = replacement.get(key, {}).get(stable_id)
    if named:
        return str(named)
    parts = urlsplit(uri)
    assert ":" not in replacement["HOST"].rpartition("]")[2], "URL.hostname ignores a host with a port"
    netloc = replacement["HOST"] + (f":{parts.port}" if parts.port else "")
    return parts._replace(netloc=netloc).geturl()


def dash_js_clone(base: str, replacement: dict) -> str:
    """What dash.js 5.2 makes of a BaseURL: `_getSynthesizedElements`."""
    host, parts = replacement["HOST"], urlsplit(base)
    return f"{host if '//' in host else f'{parts.scheme}://{host}'}{parts.path}"


NEWCOMERS = {
    "same-port": "http://192.0.2.9:8080",
    "other-port": "http://192.0.2.9:8081",
    "default-port": "http://192.0.2.9",
    "ipv6": "http://[2001:db8::9]:8080",
    "tls": "https://192.0.2.9:8443",
    "below-a-path": "http://192.0.2.9:9000/store",
}


@pytest.mark.parametrize("newcomer", sorted(NEWCOMERS))
def test_a_clone_reaches_the_newcomers_files(newcomer: str) -> None:
    fleet = [make_appliance(one.pathway_id, "s", numbers_of([TITLE]), content_url=one.base_url) for one in PATHWAYS[:2]]
    fleet.append(make_appliance("new", "s", numbers_of([TITLE]), content_url=NEWCOMERS[newcomer]))
    snapshot = make_snapshot([make_site("s", "10.0.0.0/8")], fleet, [TITLE], origin_url=PATHWAYS[2].base_url)
    compiled = compile_snapshot(snapshot)
    film = compiled.library.titles["film"]
    query = SteeringQuery(written=tuple(one.pathway_id for one in PATHWAYS), fingerprint=film.fingerprint)
    new = pathway_of(compiled.appliances["new"])
    for protocol in Protocol:
        body = write_manifest(protocol, compiled, film, [new, *PATHWAYS], query, ttl_s=30)
        manifest = json.loads(body)
        assert manifest["VERSION"] == 1
        assert manifest["PATHWAY-PRIORITY"] == ["new", *query.written]
        (clone,) = manifest["PATHWAY-CLONES"]
        base = next(one for one in PATHWAYS if one.pathway_id == clone["BASE-ID"])
        if protocol is Protocol.DASH:
            assert dash_js_clone(base.base_url + "/", clone["URI-REPLACEMENT"]) == new.base_url + "/"
        else:
            check_hls_clone(TITLE, base, new, clone["URI-REPLACEMENT"])


def check_hls_clone(title: Title, base: Pathway, new: Pathway, replacement: dict) -> None:
    for rendition in title.renditions:
        key = "PER-VARIANT-URIS" if rendition.kind is TrackKind.VIDEO else "PER-RENDITION-URIS"
        path = playlist_path(rendition)
        assert hls_js_clone(base.base_url + path, rendition.rendition_id, replacement, key) == new.base_url + path


def test_the_players_still_work_as_the_clones_assume() -> None:
    """The facts above are read from the players' sources; a new version that differs shows here."""
    modules = Path(__file__).parents[2] / ".build/web/node_modules"
    hls = (modules / "hls.js/src/controller/content-steering-controller.ts").read_text(encoding="utf-8")
    assert "url.hostname = host;" in hls
    assert "'PER-VARIANT-URIS'" in hls
    dash = (modules / "dashjs/dist/modern/esm/dash.all.debug.js").read_text(encoding="utf-8")
    assert "synthesizedUrl: `${host}${referenceUrl.pathname}`" in dash
    assert "entry.serverUrl = element.__text;" in dash
    assert "PATHWAY_PRIORITY: 'PATHWAY-PRIORITY'" in dash
