"""`headrace upstream` as its user meets it: the whole way once, JSON, errors without traceback or secret."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.upstream.report import RegressionReport
from headrace.upstream.testing import commit_named
from headrace.wire.codec import encode
from headrace.workshop.testing_git import SourceRepository, numbered


def headrace(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace.cli.main", "upstream", *words],
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HEADRACE_RELEASE_FOLDER": str(root),
            "COLUMNS": "100",
            "HOME": str(root),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def source(tmp_path: Path) -> SourceRepository:
    source = SourceRepository(folder=tmp_path / "source")
    source.commit("base", {"tcp.c": numbered(200)})
    return source


def test_the_whole_way(tmp_path: Path, source: SourceRepository) -> None:
    root = tmp_path / "release"
    source.branch("local")
    source.commit("tcp: ours", {"tcp.c": numbered(200, {20: "ours"})})
    patch = tmp_path / "made.patch"
    patch.write_bytes(source.git.run("format-patch", "--stdout", "-1").out)
    source.switch("main")

    assert "branch main" in headrace(root, "add", "up", str(source.folder)).stdout
    assert "the queue is empty" in headrace(root, "patches", "up").stdout
    added = headrace(root, "patches", "up", "add", str(patch), "--reason", "generalise", "--since", "2026-09-01")
    assert added.returncode == 0, added.stderr
    twice = headrace(root, "patches", "up", "add", str(patch), "--reason", "generalise")
    assert (twice.returncode, "already: 0001-tcp-ours.patch" in twice.stderr) == (61, True)
    (listed,) = json.loads(headrace(root, "patches", "up", "list", "--json").stdout)["patches"]
    assert (listed["file_name"], listed["reason"], listed["since"]) == (
        "0001-tcp-ours.patch",
        "generalise",
        "2026-09-01",
    )

    synced = headrace(root, "sync", "up")
    assert synced.returncode == 0, synced.stderr
    assert "1 patches on" in synced.stdout
    explained = headrace(root, "patches", "up", "explain", "0001").stdout
    assert "has to be made general" in explained
    assert headrace(root, "patches", "up", "sent", "0001", "no url").returncode == 61
    assert headrace(root, "patches", "up", "sent", "0001", "https://lists.example.org/1").returncode == 0
    assert "https://lists.example.org/1" in headrace(root, "patches", "up").stdout
    assert "of the candidate" in explained

    source.commit("tcp: clash", {"tcp.c": numbered(200, {20: "theirs"})})
    conflict = headrace(root, "sync", "up", "--json")
    assert conflict.returncode == 62
    assert json.loads(conflict.stdout)["conflict"]["places"][0]["hunk"] == 1
    assert json.loads(conflict.stderr)["error"] == "ConflictError"

    plot = tmp_path / "up.svg"
    shown = headrace(root, "status", "up", "--plot", str(plot))
    assert "1 commits" in shown.stdout
    assert "hunk 1 (line" in shown.stdout
    assert plot.read_text().startswith("<svg")
    (status,) = json.loads(headrace(root, "status", "--json").stdout)
    assert (status["lag_commits"], status["queue"]["patches"], status["conflicts_per_sync"]) == (1, 1, 0.5)
    assert [one["stage"] for one in status["stages"]] == ["candidate", "qualified", "fleet"]


def test_the_report_is_written_and_not_sent(tmp_path: Path) -> None:
    report = RegressionReport(
        upstream="up",
        summary="it got slow",
        what="Slower.",
        good=commit_named("good"),
        bad=commit_named("bad"),
        culprit=None,
        effect=None,
        local_patches=(),
        seen_without_patches=True,
        script="#!/bin/sh\ntrue\n",
        environment=(),
    )
    (tmp_path / "report.json").write_bytes(encode(report))
    mail = headrace(tmp_path, "report", str(tmp_path / "report.json"), "--from", "Ann <ann@example.org>")
    assert mail.stdout.startswith("From: Ann <ann@example.org>\n")
    assert "Subject: [REGRESSION] it got slow\n" in mail.stdout
    output = tmp_path / "mail.txt"
    said = headrace(tmp_path, "report", str(tmp_path / "report.json"), "--output", str(output)).stdout
    assert "not sent" in said
    assert output.read_text().endswith("\n")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("add", "Up", "x"), 61),
        (("add", "up", "https://user:secret@127.0.0.1:9/x"), 63),
        (("sync", "up"), 61),
        (("status", "up"), 61),
        (("status", "--plot", "x.svg"), 2),
        (("patches", "up"), 61),
        (("report", "nothing.json"), 2),
    ],
)
def test_errors_are_a_sentence(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    ended = headrace(tmp_path / "release", *words)
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.startswith("error: ")
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stderr + ended.stdout


def test_an_upstream_is_removed_but_no_patch_is_lost(tmp_path: Path, source: SourceRepository) -> None:
    root = tmp_path / "release"
    assert headrace(root, "add", "up", str(source.folder)).returncode == 0
    assert headrace(root, "sync", "up").returncode == 0
    kept = root / "upstreams/up/patches/0001-kept.patch"
    kept.write_text("not looked at")
    refused = headrace(root, "remove", "up")
    assert (refused.returncode, "--discard-patches" in refused.stderr) == (61, True)
    assert kept.exists()
    assert headrace(root, "remove", "up", "--discard-patches").returncode == 0
    assert list((root / "upstreams").iterdir()) == []
    assert "no upstream 'up'" in headrace(root, "sync", "up").stderr
    assert headrace(root, "add", "up", str(source.folder)).returncode == 0
