"""Counters of several workers as one text."""

from headrace.playback.counters import Counters, add_up, exposition, to_record
from headrace.steering.compile import compile_snapshot
from headrace.steering.testing import make_snapshot


def test_workers_are_added_up() -> None:
    one, other = Counters(), Counters()
    one.answers["master 200 pathways"] = 3
    other.answers["master 200 pathways"] = 4
    other.answers["mpd 404 unknown-title"] = 1
    one.pulled("follow")
    one.contact_at_s = 105.0
    other.loaded("loaded")
    one.took(3e-6)
    one.took(0.5)
    compiled = compile_snapshot(make_snapshot([], [], [], version=9, built_at_s=100.0))
    text = exposition(add_up([to_record(one), to_record(other)]), compiled, kept_bytes=2, now_s=107.5).decode()
    for line in (
        'headrace_steering_answers_total{kind="master",reason="pathways",status="200"} 7.0',
        'headrace_steering_answers_total{kind="mpd",reason="unknown-title",status="404"} 1.0',
        'headrace_steering_pulls_total{result="follow"} 1.0',
        'headrace_steering_loads_total{result="loaded"} 1.0',
        'headrace_steering_answer_seconds_bucket{le="5e-06"} 1.0',
        'headrace_steering_answer_seconds_bucket{le="+Inf"} 2.0',
        "headrace_steering_contact_age_seconds 2.5",
        "headrace_steering_snapshot_version 9.0",
        "headrace_steering_snapshot_age_seconds 7.5",
        "headrace_steering_kept_bytes 2.0",
    ):
        assert line in text.splitlines()


def test_no_snapshot_yet() -> None:
    text = exposition(Counters(), None, kept_bytes=0, now_s=0.0).decode()
    assert "headrace_steering_has_snapshot 0.0" in text
    assert "snapshot_version" not in text
