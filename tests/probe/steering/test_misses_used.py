"""`headrace misses explain --batches` on real files: a node's kept snapshots and log, batches by the agents' writer."""

import json
import subprocess
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from headrace.appliance.adapters.batch_file import ClientBits, write_batch
from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.control.testing_process import running
from headrace.fleet.model import SiteKind
from headrace.playback.adapters.disk import HISTORY_NAME, SnapshotFile
from headrace.playback.adapters.history import History
from headrace.playback.adapters.session_log import SessionLog
from headrace.playback.testing_process import HEADRACE
from headrace.steering.testing import file_name, make_appliance, make_site, make_snapshot, make_title, numbers_of
from headrace.telemetry import batch
from headrace.telemetry.batch import BatchName
from headrace.telemetry.testing import log_line
from headrace.wire.batch_store import FolderBatches
from headrace.wire.snapshot import pack_sections, write_table

TITLES = [make_title("film"), make_title("other")]
SITES = [
    make_site("near", "192.0.2.0/24", "2001:db8:1::/48"),
    make_site("far", "192.0.0.0/16", kind=SiteKind.PUBLIC_PEERING),
]
FLEET = [
    make_appliance("n1", "near", holdings=FileSet([1])),
    make_appliance("f1", "far", holdings=numbers_of(TITLES)),
]
SNAPSHOT = make_snapshot(SITES, FLEET, TITLES)


class Day:
    """What lies on the disks an hour after it all began."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.at_s = folder, time.time() - 3600
        self.node, self.log, self.store = folder / "state", folder / "sessions.log", folder / "batches"
        self.store.mkdir()
        history = History(
            self.node / HISTORY_NAME, SnapshotFile(self.node).parts, most_age_s=86_400.0, most_bytes=1 << 30
        )
        (self.node / HISTORY_NAME).mkdir(parents=True)
        history.add(write_table(pack_sections(SNAPSHOT), is_inside=lambda _: True), now_s=self.at_s - 600)
        sessions = SessionLog(str(self.log), most_bytes=1 << 30)
        sessions.add(self.at_s, "192.0.2.5", "film", "n1", 8e6)
        sessions.add(self.at_s, "2001:db8:1::5", "film", "n1", 8e6)
        sessions.add(self.at_s + 1, "192.0.2.5", "other", "f1", 8e6)
        sessions.add(self.at_s + 3000, "192.0.9.9", "film", "f1", 8e6)
        sessions.write()

    def name(self, appliance: str, first: int = 0) -> str:
        day = time.strftime("%Y-%m-%d", time.gmtime(self.at_s))
        log = f"{int(self.at_s * 1000)}-{'a' * 16}"
        return BatchName(day=day, appliance=ApplianceId(appliance), log=log, first=first, end=first + 1000).path

    def ship(self, appliance: str, *lines: dict[str, str], first: int = 0) -> None:
        piece, file = self.folder / "piece.log", self.folder / "batch.parquet"
        piece.write_bytes(b"".join(log_line(**line) + b"\n" for line in lines))
        write_batch(piece, file, appliance=ApplianceId(appliance), bits=ClientBits())
        FolderBatches(self.store).put(self.name(appliance, first), file)

    def asked(
        self, client: str, size: int, *, title: str = "film", after_s: float = 30.0, **more: str
    ) -> dict[str, str]:
        name = file_name(f"{title}/v720")
        return {
            "time": f"{self.at_s + after_s:.3f}",
            "client": client,
            "path": f"/f/{name[:2]}/{name}.mp4",
            "status": "206",
            "body_bytes": str(size),
            **more,
        }

    def explain(self, *arguments: str, batches: str = "") -> subprocess.CompletedProcess[str]:
        command = [HEADRACE, "misses", "explain", str(self.log), "--node", str(self.node)]
        command += ["--batches", batches or str(self.store), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def day(tmp_path: Path) -> Day:
    return Day(tmp_path)


def test_served_bytes_are_classed_by_what_was_given(day: Day) -> None:
    day.ship(
        "n1",
        day.asked("192.0.2.5", 1_000),
        day.asked("192.0.2.5", 500, after_s=95.0),
        day.asked("2001:db8:1::5", 300),
        day.asked("192.0.2.5", 200, upstream="198.51.100.9:80"),
        day.asked("192.0.2.5", 99, status="302"),
    )
    day.ship(
        "f1",
        day.asked("192.0.2.77", 70),
        day.asked("192.0.2.5", 40, title="other"),
        day.asked("192.0.7.7", 8),
        day.asked("192.0.2.5", 4, title="none"),
    )
    done = day.explain("--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["by_class"] == {"best": 1_800, "content": 240, "choice": 70}
    assert found["by_tier"] == {"embedded": 1_800, "fetched": 200, "public-peering": 110}
    assert {name: size for name, size in found["unjoined"].items() if size} == {"no_session": 8, "no_title": 4}
    assert [(row["site_id"], row["title_id"], row["reason"], row["bytes"]) for row in found["rows"]] == [
        ("near", "film", "content", 200),
        ("near", "film", "choice", 70),
        ("near", "other", "content", 40),
    ]
    assert sum(row["bytes"] for row in found["hours"]) == found["bytes"] == 2_110
    table = day.explain("--plot", str(day.folder / "misses.svg"))
    assert (day.folder / "misses.svg").read_text().startswith("<svg")
    assert (table.returncode, table.stderr) == (0, "")
    for text in ("2.1 KiB served", "not judged: 8 B, no session", "choice", "public-peering", "3.3%"):
        assert text in table.stdout


def test_batches_that_cannot_be_read_are_told_and_left_out(day: Day) -> None:
    day.ship("n1", day.asked("192.0.2.5", 1_000))
    (day.store / day.name("n1", first=500)).write_bytes((day.store / day.name("n1")).read_bytes())
    strange, other = day.store / day.name("n1", first=2_000), day.store / day.name("n1", first=3_000)
    strange.write_bytes(b"PAR1, or not")
    table = pyarrow.table({"appliance": ["n1"], "bytes": [5]}).replace_schema_metadata(
        {batch.META_VERSION: str(batch.VERSION)}
    )
    pyarrow.parquet.write_table(table, other)
    # A footer that is well, of pages that are not.
    whole = bytearray((day.store / day.name("n1")).read_bytes())
    whole[8:400] = bytes(392)
    (day.store / day.name("n1", first=4_000)).write_bytes(whole)
    (day.store / "notes.txt").write_text("no batch")
    done = day.explain("--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["by_class"] == {"best": 1_000}
    assert "3 batches, corrupt" in done.stderr
    assert "1 batch, overlap" in done.stderr
    assert "1 thing" in done.stderr


def test_what_cannot_be_answered_is_said(day: Day) -> None:
    for batches, said in ((str(day.folder / "nowhere"), "no such folder"), ("", "no batch of the time")):
        done = day.explain(batches=batches)
        assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (2, True, False)
    day.ship("n1", day.asked("192.0.2.5", 1_000))
    done = day.explain("--plot", str(day.log / "misses.svg"))
    assert (done.returncode, "cannot write" in done.stderr) == (2, True)
    for kept in (day.node / HISTORY_NAME).iterdir():
        kept.unlink()
    done = day.explain()
    assert (done.returncode, "no snapshot in" in done.stderr) == (2, True)
    day.log.write_text("no session\n")
    done = day.explain()
    assert (done.returncode, "no session in" in done.stderr) == (2, True)


def test_the_control_plane_is_told_and_shows_the_sum(day: Day, tmp_path: Path) -> None:
    day.ship("n1", day.asked("192.0.2.5", 1_000), day.asked("192.0.2.5", 200, upstream="198.51.100.9:80"))
    day.ship("f1", day.asked("192.0.2.77", 70))
    folder = tmp_path / "control"
    subprocess.run([HEADRACE, "init", str(folder)], check=True, capture_output=True, timeout=60)
    with running(folder) as node, node.client() as client:
        made = client.post("/v1/tokens", json={"name": "looks", "role": "read"}).json()["token"]
        reader = tmp_path / "read.token"
        reader.write_text(made)
        may_not = ["--control", node.url, "--ca", str(folder / "ca.pem"), "--token-file", str(reader)]
        done = day.explain("--tell", "steer-1", *may_not)
        assert (done.returncode, "use a token of the role operate, or leave out --tell" in done.stderr) == (0, True)
        assert client.get("/v1/misses").json()["nodes"] == []
        done = day.explain("--tell", "steer-1", "--top", "1", "--json", *node.options)
        assert (done.returncode, done.stderr) == (0, "told the control plane, as steer-1\n")
        assert len(json.loads(done.stdout)["rows"]) == 1, "what is told does not change what is printed"
        assert day.explain("--tell", "steer-2", *node.options).returncode == 0
        view = client.get("/v1/misses").json()
        assert [one["node"] for one in view["nodes"]] == ["steer-1", "steer-2"]
        sizes = [hour["bytes_by_class"] for hour in view["hours"]]
        assert sizes == [{"best": 2_000, "content": 400, "choice": 140}]
        assert [(row["reason"], row["bytes"]) for row in view["rows"]] == [("content", 400), ("choice", 140)]
        assert "node 'A b'" in day.explain("--tell", "A b", *node.options).stderr
    done = day.explain("--tell", "steer-1", *node.options)
    assert (done.returncode, "misses is told the next time" in done.stderr) == (0, True)


@pytest.mark.parametrize("others", [["--site", "near"], []])
def test_what_cannot_be_told_is_said(day: Day, others: list[str]) -> None:
    command = [HEADRACE, "misses", "explain", str(day.log), "--node", str(day.node), "--tell", "a", *others]
    command += ["--batches", str(day.store)] if others else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "leave out --site" in done.stderr or "give --batches too" in done.stderr) == (2, True)
