"""What a steering node does with snapshots: without control plane, broken, older, in parts, exchanged under load."""

import threading
from dataclasses import replace
from pathlib import Path

import httpx

from headrace.fleet.model import HealthState
from headrace.playback.testing_process import FLEET, HELD, MASTER, SNAPSHOT, SnapshotServer, SteeringNode, at
from headrace.steering.testing import HEALTHY, make_appliance


def test_from_the_first_pull_to_a_dead_appliance(node: SteeringNode, control: SnapshotServer) -> None:
    control.status = 503
    node.start()
    assert node.get("/healthz").status_code == 503
    assert node.get(MASTER).headers["retry-after"] == "60"
    control.status = 200
    node.wait(lambda: node.version() == 5)
    assert control.tokens[-1] == "Bearer read-token"
    playlist = node.get(MASTER)
    assert playlist.status_code == 200
    assert playlist.headers["headrace-snapshot"].startswith("version=5; age=")
    node.wait(lambda: control.not_modified > 1)

    query = playlist.text.partition("hls/film?")[2].partition('"')[0]
    before = node.get(f"/v1/steering/hls/film?{query}").json()
    assert set(before["PATHWAY-PRIORITY"]) == {"a", "b", "c", "_origin"}
    dead = replace(FLEET[0], health=replace(HEALTHY, state=HealthState.LOST))
    new = make_appliance("new", "here", HELD, content_url="http://127.0.1.9:8081")
    control.give(at(6, appliances=(dead, *FLEET[1:], new)))
    node.wait(lambda: node.version() == 6)
    after = node.get(f"/v1/steering/hls/film?{query}").json()
    assert set(after["PATHWAY-PRIORITY"]) == {"new", "b", "c", "_origin"}
    assert [one["ID"] for one in after["PATHWAY-CLONES"]] == ["new"]
    control.give(at(7, titles=SNAPSHOT.titles[1:]))
    node.wait(lambda: node.get(f"/v1/steering/hls/film?{query}").status_code == 410)
    metrics = node.get("/metrics").text
    assert 'headrace_steering_answers_total{kind="hls-steering",reason="withdrawn",status="410"}' in metrics
    assert 'headrace_steering_pulls_total{result="unchanged"}' in metrics


def test_a_restart_without_control_plane_answers_from_disk(node: SteeringNode, control: SnapshotServer) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)
    control.stop()
    node.wait(lambda: "snapshot_pull_failed" in node.log())
    assert node.get(MASTER).status_code == 200
    assert node.stop() == 0
    node.start()
    assert node.get("/healthz").status_code == 200
    playlist = node.get(MASTER)
    assert "http://127.0.1.1:8080/f/" in playlist.text
    assert int(playlist.headers["headrace-snapshot"].partition("age=")[2]) > 0
    control.give(at(6))
    control.start()
    node.wait(lambda: node.version() == 6)


def test_a_broken_file_is_refused_and_mended_by_the_next_pull(node: SteeringNode, control: SnapshotServer) -> None:
    node.start()
    file = node.state / "snapshot.bin"
    node.wait(lambda: node.version() == 5 and file.exists())  # It answers before it has written.
    good = file.read_bytes()
    for damage in (good[:-7], b"", b"not a snapshot", good[:60] + b"\0" + good[61:]):
        file.write_bytes(damage)
        node.wait(lambda: node.log().count("snapshot_file_broken") >= 1)
        assert node.version() == 5
    node.stop()
    control.stop()
    node.start()
    assert node.get("/healthz").status_code == 503
    assert node.get(MASTER).status_code == 503
    control.start()
    node.wait(lambda: node.version() == 5 and file.read_bytes() == good)
    assert 'loads_total{result="broken"}' in node.get("/metrics").text


def test_broken_answers_of_the_control_plane_change_nothing(node: SteeringNode, control: SnapshotServer) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)
    control.body = control.body[:-3] + b"xyz"
    node.wait(lambda: 'pulls_total{result="broken"}' in node.get("/metrics").text)
    control.status = 401
    node.wait(lambda: 'pulls_total{result="refused"}' in node.get("/metrics").text)
    assert node.version() == 5
    assert node.get(MASTER).status_code == 200
    assert "read-token" not in node.log()


def test_an_older_snapshot_or_another_store_waits_for_the_operator(node: SteeringNode, control: SnapshotServer) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)
    control.give(at(4))
    node.wait(lambda: "reason=older" in node.log())
    control.give(at(90, control_id="rebuilt"))
    node.wait(lambda: "reason=other-store" in node.log())
    assert node.version() == 5
    control.give(at(1, control_id="rebuilt"))
    node.stop()
    node.start()
    node.wait(lambda: node.log().count("reason=other-store") >= 2)
    assert node.version() == 5
    node.stop()
    node.start("--accept-older")
    node.wait(lambda: node.version() == 1)
    control.give(at(2, control_id="rebuilt"))
    node.wait(lambda: node.version() == 2)
    control.give(at(1, control_id="rebuilt"))
    node.wait(lambda: "reason=older held_version=2" in node.log())


def test_no_answer_fails_while_snapshots_are_exchanged(tmp_path: Path, control: SnapshotServer) -> None:
    node = SteeringNode(tmp_path, control.port, workers=2).start()
    try:
        node.wait(lambda: all(node.version() == 5 for _ in range(20)))  # Each request meets either worker.
        failures: list[object] = []
        versions: set[str] = set()
        is_over = threading.Event()

        def load() -> None:
            with httpx.Client(base_url=node.url, timeout=5.0, trust_env=False) as client:
                while not is_over.is_set():
                    for path in (MASTER, "/v1/titles/other/manifest.mpd", "/v1/steering/hls/film?p=a.b"):
                        answer = client.get(path)
                        versions.add(answer.headers.get("headrace-snapshot", "").partition(";")[0])
                        if answer.status_code != 200:
                            failures.append((path, answer.status_code, answer.text))

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        for version in range(6, 16):
            control.give(at(version, appliances=tuple(FLEET[: 1 + version % 3])))
            node.wait(lambda version=version: node.version() == version)
        is_over.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(versions) > 3
    finally:
        node.close()


def test_large_sections_are_fetched_once_and_kept(node: SteeringNode, control: SnapshotServer) -> None:
    control.give(SNAPSHOT, has_parts=True)
    node.start()
    node.wait(lambda: node.version() == 5)
    assert node.get(MASTER).status_code == 200
    asked = len(control.parts_asked)
    assert asked == len(set(control.parts_asked)) > 0
    busier = tuple(replace(one, tx_bps=1e9) for one in SNAPSHOT.appliances)
    control.give(replace(SNAPSHOT, version=6, appliances=busier), has_parts=True)
    node.wait(lambda: node.version() == 6)
    assert len(control.parts_asked) == asked, "only loads changed"
    node.stop()
    control.stop()
    node.start()
    node.wait(lambda: node.version() == 6)
    assert node.get(MASTER).status_code == 200
    part = next(iter((node.state / "parts").iterdir()))
    node.stop()
    part.write_bytes(b"changed")
    node.start()
    node.wait(lambda: "snapshot_file_broken" in node.log())
    assert node.get(MASTER).status_code == 503


def test_a_part_that_was_changed_on_the_way_changes_nothing(node: SteeringNode, control: SnapshotServer) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)
    control.give(replace(SNAPSHOT, version=6), has_parts=True)
    control.parts = dict.fromkeys(control.parts, b"nonsense")
    node.wait(lambda: "snapshot_pull_failed" in node.log())
    assert node.version() == 5
    control.give(replace(SNAPSHOT, version=7), has_parts=True)
    node.wait(lambda: node.version() == 7)
