"""What an operator asks: explanations by a node and from a file, now and at a past moment, and replay."""

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from headrace.fleet.model import HealthState
from headrace.playback.testing_process import (
    HEADRACE,
    MASTER,
    SNAPSHOT,
    SnapshotServer,
    SteeringNode,
)
from headrace.steering.testing import HEALTHY


def test_explain_by_a_node_and_from_its_file_agree(node: SteeringNode) -> None:
    node.start()
    node.wait(lambda: node.version() == 5)

    def explain(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [HEADRACE, "steer", "explain", "--client", "127.0.0.1", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    asked = explain("--title", "film", "--steer", node.url, "--json")
    read = explain("--title", "film", "--snapshot", str(node.state / "snapshot.bin"), "--json")
    assert asked.returncode == read.returncode == 0, asked.stderr + read.stderr
    assert json.loads(asked.stdout)["appliances"] == json.loads(read.stdout)["appliances"]
    table = explain("--title", "film", "--steer", node.url)
    assert "chosen" in table.stdout
    assert "no-route" not in table.stdout
    unknown = explain("--title", "nope", "--steer", node.url)
    assert (unknown.returncode, "unknown-title" in unknown.stderr) == (44, True)
    nobody = explain("--title", "film", "--steer", "http://127.0.0.1:1")
    assert nobody.returncode == 44


def test_a_past_answer_is_explained_and_sessions_are_replayed(tmp_path: Path, control: SnapshotServer) -> None:
    log = tmp_path / "sessions.log"
    node = SteeringNode(tmp_path, control.port, extra=f'[log]\nfile = "{log}"')
    try:
        node.start()
        node.wait(lambda: node.version() == 5)
        for _ in range(5):
            assert node.get(MASTER).status_code == 200
        between_s = time.time()
        time.sleep(0.05)
        lost = replace(HEALTHY, state=HealthState.LOST)
        dead = tuple(replace(one, health=lost) for one in SNAPSHOT.appliances)
        control.give(replace(SNAPSHOT, version=6, appliances=dead))
        node.wait(lambda: node.version() == 6)

        def steer(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [HEADRACE, "steer", *arguments], capture_output=True, text=True, timeout=20, check=False
            )

        explain = ("explain", "--client", "127.0.0.1", "--title", "film", "--steer", node.url, "--json")
        now = json.loads(steer(*explain).stdout)
        then = json.loads(steer(*explain, "--at", f"{between_s:.3f}").stdout)
        assert {row["reason"] for row in now["appliances"]} == {"lost"}
        assert (then["snapshot_version"], then["appliances"][0]["reason"]) == (5, "chosen")
        never = steer(*explain, "--at", "2001-01-01T00:00")
        assert (never.returncode, "not-kept" in never.stderr) == (44, True)
        assert steer(*explain, "--at", "soon").returncode == 2
        node.wait(lambda: log.exists() and len(log.read_text().splitlines()) == 5)
        replayed = steer("replay", str(log), "--snapshot", str(node.state / "snapshot.bin"), "--json")
        found = json.loads(replayed.stdout)
        assert (found["sessions"], found["moved_ratio"], found["tiers_after"]) == (5, 1.0, {"origin": 1.0})
        table = steer("replay", str(log), "--snapshot", str(node.state / "snapshot.bin"))
        assert "100.0% would have begun" in table.stdout
        misses = (HEADRACE, "misses", "explain", str(log), "--step", "1", "--json", "--node")
        of_day = subprocess.run([*misses, str(node.state)], capture_output=True, text=True, timeout=20, check=True)
        found = json.loads(of_day.stdout)
        assert (found["sessions"] + found["skipped"], found["by_class"]) == (5, {"best": 1.0})
        elsewhere = subprocess.run([*misses, str(tmp_path)], capture_output=True, text=True, timeout=20, check=False)
        assert (elsewhere.returncode, "keeps no past snapshots" in elsewhere.stderr) == (43, True)
    finally:
        node.close()
