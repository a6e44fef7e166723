"""Bodies of kept parts are the bodies that steering writes."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from headrace.playback.bodies import Bodies
from headrace.steering.dash import write_mpd
from headrace.steering.hls import write_master
from headrace.steering.pathway import Pathway
from headrace.steering.testing import make_title

TITLES = [make_title("film"), replace(make_title("film"), duration_s=61.0), make_title("other", subtitles=("fr",))]
PATHWAYS = [Pathway(pathway_id=name, base_url=f"http://{name}.example") for name in "abc"]
PATHWAYS.append(Pathway(pathway_id="a", base_url="http://moved.example"))

STEPS = st.lists(
    st.tuples(st.integers(0, len(TITLES) - 1), st.lists(st.sampled_from(PATHWAYS), min_size=1, max_size=4)), max_size=12
)


@given(steps=STEPS, most_bytes=st.sampled_from([0, 3000, 10**9]))
def test_as_written_anew(steps: list, most_bytes: int) -> None:
    bodies = Bodies(most_bytes)
    for title_no, pathways in steps:
        title = replace(TITLES[title_no])  # As after an unpacked snapshot: equal, but another object.
        assert bodies.master(title, pathways, steering_uri="u?a&b") == write_master(
            title, pathways, steering_uri="u?a&b"
        )
        assert bodies.mpd(title, pathways, steering_url="u?a&b") == write_mpd(title, pathways, steering_url="u?a&b")


def test_a_template_outlives_a_snapshot_but_not_another_publish() -> None:
    bodies = Bodies(10**9)
    film, longer = TITLES[0], TITLES[1]
    bodies.mpd(film, PATHWAYS[:1], steering_url="u")
    frame = bodies._by_title["film"].frame
    bodies.mpd(replace(film), PATHWAYS[:1], steering_url="u")
    assert bodies._by_title["film"].frame is frame
    bodies.mpd(longer, PATHWAYS[:1], steering_url="u")
    assert bodies._by_title["film"].frame is not frame
