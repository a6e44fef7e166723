"""A demo empties its own folders only, and never one in which another runs."""

from pathlib import Path

import pytest

from headrace.base.errors import UsageError
from headrace.cli.demo.folder import hold_folder


def test_what_a_demo_left_is_removed_when_asked(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "logs").mkdir(parents=True)
    (folder / "video.mkv").touch()
    with hold_folder(folder, is_emptied=False):
        assert (folder / "video.mkv").exists()
    with hold_folder(folder, is_emptied=True):
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["thesis.tex", ".git"])
def test_a_folder_that_holds_anything_else_is_left_alone(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "project"
    (folder / "logs").mkdir(parents=True)
    (folder / name).touch()
    with pytest.raises(UsageError, match=name), hold_folder(folder, is_emptied=True):
        pass
    assert (folder / "logs").exists()


@pytest.mark.parametrize("is_emptied", [False, True])
def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path, is_emptied: bool) -> None:
    (tmp_path / "logs").mkdir()
    with (
        hold_folder(tmp_path, is_emptied=False),
        pytest.raises(UsageError, match="runs in"),
        hold_folder(tmp_path, is_emptied=is_emptied),
    ):
        pass
    assert (tmp_path / "logs").exists()
    with hold_folder(tmp_path, is_emptied=True):
        assert not (tmp_path / "logs").exists()
