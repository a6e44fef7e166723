"""What the service says to operators: explanations, metrics, ages."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.playback.testing_node import FLEET, SNAPSHOT, Node
from headrace.steering.compile import compile_snapshot


def test_explain_is_for_this_machine_or_for_a_token(tmp_path: Path, node: Node) -> None:
    query = "client=192.0.2.1&title=film"
    assert node.ask("/v1/explain", query).status == 403
    reply = node.ask("/v1/explain", query, client="127.0.0.1")
    assert [row["appliance_id"] for row in json.loads(reply.body)["appliances"] if row["rank"]][2:] == ["c"]
    proxied = (("x-forwarded-for", "127.0.0.1"),)
    assert node.ask("/v1/explain", query, client="127.0.0.1", header_lines=proxied).status == 403
    guarded = Node(tmp_path, token="secret").install()
    assert guarded.ask("/v1/explain", query, client="127.0.0.1").status == 401
    right = (("authorization", "Bearer secret"),)
    assert guarded.ask("/v1/explain", query, header_lines=right).status == 200
    wrong = (("authorization", "Bearer s\u00e9cret"),)
    assert guarded.ask("/metrics", header_lines=wrong).status == 401


@pytest.mark.parametrize(
    ("query", "status"),
    [("client=nonsense&title=film", 400), ("client=192.0.2.1&title=gone", 404), ("", 404), ("&" * 99, 400)],
)
def test_explain_refuses_clearly(node: Node, query: str, status: int) -> None:
    assert node.ask("/v1/explain", query, client="::1").status == status


def test_metrics_count_answers(node: Node) -> None:
    node.ask("/v1/titles/film/master.m3u8")
    node.ask("/v1/titles/film/master.m3u8")
    text = node.ask("/metrics", client="127.0.0.1").body.decode()
    assert 'headrace_steering_answers_total{kind="master",reason="pathways",status="200"} 2.0' in text
    assert "headrace_steering_snapshot_age_seconds 4.0" in text


def test_age_goes_on_without_new_snapshots(node: Node) -> None:
    node.clock.advance(3600)
    node.service.new_second()
    reply = node.ask("/v1/titles/film/master.m3u8")
    assert reply.header("headrace-snapshot") == "version=3; age=3604"
    assert json.loads(node.ask("/healthz").body) == {
        "status": "ok",
        "snapshot_version": 3,
        "snapshot_age_s": 3604.0,
    }


def test_explain_at_a_past_moment(node: Node) -> None:
    past = compile_snapshot(replace(SNAPSHOT, version=2, appliances=FLEET[2:]))
    node.service.past = {1_700_000_000.0: past}.get
    query, here = "client=192.0.2.1&title=film&at=", {"client": "127.0.0.1"}
    found = json.loads(node.ask("/v1/explain", query + "1700000000", **here).body)
    assert (found["snapshot_version"], [row["appliance_id"] for row in found["appliances"]]) == (2, ["c"])
    assert node.ask("/v1/explain", query + "1600000000", **here).status == 404
    for bad in ("nan", "-1", "yesterday", "1e99"):
        assert node.ask("/v1/explain", query + bad, **here).status in (400, 404)
    row = json.loads(node.ask("/v1/explain", "client=192.0.2.1&title=film", **here).body)["appliances"][0]
    assert (row["prefix"], row["path_length"], row["med"]) == ("192.0.2.0/24", 0, 0)
