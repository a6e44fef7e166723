"""Records come back as they were written, whole or not at all; other people's files in the queue are named."""

from pathlib import Path

import pytest

from headrace.upstream.errors import PatchError, UpstreamError
from headrace.upstream.model import Reached, Stage, UpstreamName
from headrace.upstream.testing import NOW_S, commit_named, make_candidate, make_entry, make_landed, make_record
from headrace.workshop.adapters.records import UpstreamFolder, read_queue, upstream_names


def place(root: Path) -> UpstreamFolder:
    return UpstreamFolder(root=root, name=UpstreamName("linux"))


def test_a_record_comes_back(tmp_path: Path) -> None:
    record = make_record(
        candidate=make_candidate(1),
        history=(make_entry(1), make_entry(2, conflicts=("a",))),
        reached=(Reached(commit=commit_named("c"), stage=Stage.FLEET, at_s=NOW_S, landed=make_landed(NOW_S)),),
    )
    place(tmp_path).create(make_record())
    place(tmp_path).write(record)
    assert place(tmp_path).read() == record
    assert (tmp_path / "upstreams" / "linux" / "record.json").stat().st_mode & 0o777 == 0o600
    assert upstream_names(tmp_path) == ("linux",)


def test_what_an_interrupted_add_left_is_no_upstream(tmp_path: Path) -> None:
    left = tmp_path / "upstreams" / ".linux.77.new"
    left.mkdir(parents=True)
    (left / "record.json").write_text("{}")
    assert upstream_names(tmp_path) == ()
    place(tmp_path).create(make_record())
    assert upstream_names(tmp_path) == ("linux",)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    place(tmp_path).create(make_record())
    with pytest.raises(UpstreamError, match="already"):
        place(tmp_path).create(make_record())
    assert [path.name for path in (tmp_path / "upstreams").iterdir()] == ["linux"]


@pytest.mark.parametrize("name", ["a.diff", "a.mbox", "a.eml"])
def test_a_file_that_would_be_left_out_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    upstream = make_record().upstream
    with pytest.raises(PatchError, match=name):
        read_queue(type(upstream)(name=upstream.name, url="u", branch="b", patches=str(tmp_path)))


def test_notes_beside_the_queue_are_no_patches(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("notes")
    (tmp_path / ".hidden.patch").write_text("notes")
    (tmp_path / "taken").mkdir()
    upstream = make_record().upstream
    there = read_queue(type(upstream)(name=upstream.name, url="u", branch="b", patches=str(tmp_path)))
    assert there.queue.patches == ()
