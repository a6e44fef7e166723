"""Steering manifests: queries read and bounded, clones that both player dialects understand."""

import json
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.steering.compile import compile_snapshot
from headrace.steering.manifest import (
    Protocol,
    QueryError,
    SteeringQuery,
    read_query,
    read_session,
    steering_query,
    write_manifest,
)
from headrace.steering.pathway import Pathway, pathway_of
from headrace.steering.testing import make_appliance, make_site, make_snapshot, make_title, numbers_of

TITLE = make_title("film", subtitles=("fr",))
URLS = {
    "a": "http://192.0.2.1:8080",
    "b": "http://192.0.2.2:8080",
    "other-port": "http://192.0.2.3:9090",
    "other-scheme": "https://192.0.2.4:8080",
    "other-path": "http://192.0.2.5:8080/store",
}
COMPILED = compile_snapshot(
    make_snapshot(
        [make_site("s", "10.0.0.0/8")],
        [make_appliance(name, "s", numbers_of([TITLE]), content_url=url) for name, url in URLS.items()],
        [TITLE],
    )
)
FILM = COMPILED.library.titles["film"]


def manifest(protocol: Protocol, pathways: list[str], query: SteeringQuery) -> dict:
    rows = [
        pathway_of(COMPILED.appliances[name])
        if name in URLS
        else Pathway(pathway_id=name, base_url="http://origin.example")
        for name in pathways
    ]
    return json.loads(write_manifest(protocol, COMPILED, FILM, rows, query, ttl_s=30))


def query_of(*written: str) -> SteeringQuery:
    return SteeringQuery(written=written, fingerprint=FILM.fingerprint)


def test_written_pathways_need_no_clone() -> None:
    answer = manifest(Protocol.HLS, ["b", "a", "_origin"], query_of("a", "b", "_origin"))
    assert answer == {
        "VERSION": 1,
        "TTL": 30,
        "RELOAD-URI": f"film?p=a.b._origin&v={FILM.fingerprint}",
        "PATHWAY-PRIORITY": ["b", "a", "_origin"],
    }
    url = urljoin("http://steer.example/x/v1/steering/hls/film?p=z", answer["RELOAD-URI"])
    assert urlsplit(url).path == "/x/v1/steering/hls/film"


def test_a_newcomer_on_the_same_port_is_a_host() -> None:
    for protocol, host in ((Protocol.HLS, "192.0.2.2"), (Protocol.DASH, "192.0.2.2:8080")):
        answer = manifest(protocol, ["b", "a"], query_of("a"))
        assert answer["PATHWAY-PRIORITY"] == ["b", "a"]
        assert answer["PATHWAY-CLONES"] == [{"BASE-ID": "a", "ID": "b", "URI-REPLACEMENT": {"HOST": host}}]


@pytest.mark.parametrize("name", ["other-port", "other-scheme", "other-path"])
def test_hls_names_every_uri_where_a_host_is_not_enough(name: str) -> None:
    answer = manifest(Protocol.HLS, [name, "a"], query_of("a"))
    replacement = answer["PATHWAY-CLONES"][0]["URI-REPLACEMENT"]
    assert set(replacement["PER-VARIANT-URIS"]) == {"v240", "v360", "v480", "v720", "v1080"}
    assert set(replacement["PER-RENDITION-URIS"]) == {"a-en", "s-fr"}
    uris = [*replacement["PER-VARIANT-URIS"].values(), *replacement["PER-RENDITION-URIS"].values()]
    assert all(uri.startswith(URLS[name] + "/f/") for uri in uris)


def test_dash_clones_over_ports_but_not_over_schemes_and_paths() -> None:
    answer = manifest(Protocol.DASH, ["other-port", "other-scheme", "other-path", "a"], query_of("a"))
    assert answer["PATHWAY-PRIORITY"] == ["other-port", "a"]
    assert [one["URI-REPLACEMENT"] for one in answer["PATHWAY-CLONES"]] == [{"HOST": "192.0.2.3:9090"}]


def test_no_clone_for_a_playlist_of_another_publish() -> None:
    answer = manifest(Protocol.HLS, ["b", "a"], query_of("a")._replace(fingerprint="00000000"))
    assert answer["PATHWAY-PRIORITY"] == ["a"]
    assert "PATHWAY-CLONES" not in answer


def test_a_base_that_left_the_fleet_still_allows_a_clone_in_hls() -> None:
    clone = manifest(Protocol.HLS, ["b"], query_of("gone"))["PATHWAY-CLONES"][0]
    assert clone["BASE-ID"] == "gone"
    assert len(clone["URI-REPLACEMENT"]["PER-VARIANT-URIS"]) == 5
    assert manifest(Protocol.DASH, ["b"], query_of("gone"))["PATHWAY-PRIORITY"] == ["gone"]


def test_a_query_that_is_not_ours_gets_the_ranking_alone() -> None:
    answer = manifest(Protocol.HLS, ["b", "a"], SteeringQuery())
    assert answer == {"VERSION": 1, "TTL": 30, "PATHWAY-PRIORITY": ["b", "a"]}


def test_what_hls_js_sends() -> None:
    query = read_query("p=a.b._origin&v=12345678&_HLS_pathway=b&_HLS_throughput=600000")
    assert query == SteeringQuery(written=("a", "b", "_origin"), fingerprint="12345678", reported=(("b", 600_000),))
    session = read_session(query, FILM, slow_ratio=1.0)
    assert (session.written, session.current, session.slow) == (("a", "b"), "b", ("b",))
    assert read_session(query, FILM, slow_ratio=0.5).slow == ()


def test_what_dash_js_sends() -> None:
    query = read_query("p=a.b&v=1&_DASH_pathway=%22b,a%22&_DASH_throughput=9000000,")
    assert query.reported == (("b", 9_000_000), ("a", None))
    assert read_query("_DASH_pathway=%22b%2Ca%22&_DASH_throughput=1%2C2").reported == (("b", 1), ("a", 2))


@pytest.mark.parametrize(
    ("query", "reported"),
    [
        ("", ()),
        ("_HLS_pathway=.&_HLS_throughput=5", ()),
        ("_HLS_pathway=a", (("a", None),)),
        ("_HLS_throughput=5", ()),
        ("_HLS_pathway=a&_HLS_throughput=-5", (("a", None),)),
        ("_HLS_pathway=a&_HLS_throughput=1e99", (("a", None),)),
        ("_HLS_pathway=a&_HLS_throughput=1234.5", (("a", 1234),)),
        ("CMCD=sid%3D%22x%22&token=&_HLS_pathway=a", (("a", None),)),
        ("_HLS_pathway=_origin&_HLS_throughput=5", (("_origin", 5),)),
        ("_HLS_pathway=a&_HLS_throughput=500000", (("a", None),)),  # what hls.js says before it measured
    ],
)
def test_reports_in_other_forms(query: str, reported: tuple) -> None:
    assert read_query(query).reported == reported


@pytest.mark.parametrize(
    "query",
    [
        "p=" + ".".join(f"a{number}" for number in range(17)),
        "p=A.b",
        "p=a%2e%2e",
        "_HLS_pathway=<script>",
        "_HLS_pathway=a&_HLS_throughput=fast",
        "_HLS_pathway=a&_HLS_throughput=nan" + "x" * 100,
        "_DASH_pathway=" + ",".join(f"a{number}" for number in range(17)),
    ],
)
def test_refused(query: str) -> None:
    with pytest.raises(QueryError):
        read_query(query)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        query = read_query(text)
    except QueryError:
        return
    assert len(query.written) <= 16
    assert len(query.reported) <= 16
    read_session(query, FILM, slow_ratio=1.2)


@given(
    written=st.lists(st.sampled_from([*URLS, "gone", "_origin"]), unique=True, max_size=6),
    ranked=st.lists(st.sampled_from([*URLS, "_origin"]), unique=True, min_size=1),
    protocol=st.sampled_from(Protocol),
)
def test_every_pathway_of_an_answer_is_reachable(written: list[str], ranked: list[str], protocol: Protocol) -> None:
    """PATHWAY-PRIORITY names only what the playlist has or a clone adds; ids are not repeated; order is kept."""
    answer = manifest(protocol, ranked, query_of(*written))
    priority = answer["PATHWAY-PRIORITY"]
    clones = answer.get("PATHWAY-CLONES", [])
    assert priority
    assert len(set(priority)) == len(priority)
    if not written:
        assert priority == ranked
        return
    assert set(priority) <= set(written) | {one["ID"] for one in clones}
    assert all(one["BASE-ID"] in written and one["ID"] not in written for one in clones)
    if priority != written:
        assert [name for name in ranked if name in priority] == priority


def test_the_query_that_we_write_is_the_query_that_we_read() -> None:
    pathways = [pathway_of(COMPILED.appliances["a"]), Pathway(pathway_id="_origin", base_url="x")]
    query = read_query(steering_query(pathways, FILM))
    assert query == SteeringQuery(written=("a", "_origin"), fingerprint=FILM.fingerprint)
