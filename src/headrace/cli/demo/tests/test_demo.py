"""A demo empties its own folders only."""

from pathlib import Path

import pytest

from headrace.base.errors import UsageError
from headrace.cli.demo import empty_folder


def test_what_a_demo_left_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "logs").mkdir(parents=True)
    (folder / "video.mkv").touch()
    empty_folder(folder)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["thesis.tex", ".git"])
def test_a_folder_that_holds_anything_else_is_left_alone(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "project"
    (folder / "logs").mkdir(parents=True)
    (folder / name).touch()
    with pytest.raises(UsageError, match=name):
        empty_folder(folder)
    assert (folder / "logs").exists()
