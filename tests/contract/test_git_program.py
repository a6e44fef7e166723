"""The git program: calls end in time, progress is passed on, nobody's settings get in, the URL stays out of sight."""

from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.workshop.adapters.git import Git
from headrace.workshop.errors import RepositoryError


def program(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Git:
    """A `git` that is this shell script."""
    path = folder / "git"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return Git(url="https://user:secret@example.org/x")


def test_a_call_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = program(tmp_path, "exec sleep 60", monkeypatch)
    with pytest.raises(RepositoryError, match=r"longer than 0 s for https://example\.org/x"):
        git.run("fetch", timeout_s=0.2)


def test_a_silent_fetch_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = program(tmp_path, "echo 'Receiving objects:  5% (1/20)' >&2; exec sleep 60", monkeypatch)
    seen: list[str] = []
    with pytest.raises(RepositoryError, match="said nothing for 0 s"):
        git.run_watched("fetch", "--progress", watch=seen.append, clock=SystemClock(), stall_s=0.3)
    assert seen == ["Receiving objects:  5% (1/20)"]


def test_progress_comes_line_by_line_and_the_fault_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = program(tmp_path, r"printf 'a: 5%%\ra: 9%%\rfatal: it broke' >&2; exit 128", monkeypatch)
    seen: list[str] = []
    with pytest.raises(RepositoryError, match="it broke") as refusal:
        git.run_watched("fetch", "--progress", watch=seen.append, clock=SystemClock())
    assert seen == ["a: 5%", "a: 9%", "fatal: it broke"]
    assert "9%" not in str(refusal.value)


def test_git_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RepositoryError, match="git is not installed"):
        Git().run("version")


def test_the_url_and_settings_go_through_the_environment_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nonsense")
    monkeypatch.setenv("DISPLAY", ":0")
    git = program(tmp_path, 'echo "$@"; env', monkeypatch)
    words, *environment = git.run("fetch", "origin").lines
    assert words == "fetch origin"
    names = dict(line.split("=", 1) for line in environment if "=" in line)
    assert "https://user:secret@example.org/x" in names.values()
    assert (names["GIT_TERMINAL_PROMPT"], names["GIT_CONFIG_GLOBAL"], names["LC_ALL"]) == ("0", "/dev/null", "C")
    assert not {"GIT_DIR", "DISPLAY"} & names.keys()
