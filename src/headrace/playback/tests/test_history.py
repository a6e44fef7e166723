"""The kept past: what was in force when, bounded in age and bytes; parts shared and removed."""

from pathlib import Path

import pytest

from headrace.playback.adapters.history import History, PartFolder
from headrace.steering.testing import make_site, make_snapshot, make_title
from headrace.wire.errors import MalformedError
from headrace.wire.snapshot import pack_sections, unpack_snapshot, write_table


def put(parts: PartFolder, version: int, titles: list[str]) -> bytes:
    """A snapshot whose sections of titles lie beside it."""
    snapshot = make_snapshot([make_site("a", "10.0.0.0/8")], [], [make_title(one) for one in titles], version=version)
    sections = pack_sections(snapshot)
    for one in sections:
        if one.name == "titles":
            parts.put(one.digest, bytes(one.body))
    return write_table(sections, is_inside=lambda one: one.name != "titles")


@pytest.fixture
def parts(tmp_path: Path) -> PartFolder:
    return PartFolder(tmp_path / "parts")


def history(tmp_path: Path, parts: PartFolder, **changes: float) -> History:
    limits = {"most_age_s": 100.0, "most_bytes": 10**9, **changes}
    return History(tmp_path / "history", parts, most_age_s=limits["most_age_s"], most_bytes=int(limits["most_bytes"]))


def test_what_was_in_force_when(tmp_path: Path, parts: PartFolder) -> None:
    kept = history(tmp_path, parts)
    for version, at_s in ((1, 1000.0), (2, 1010.0), (3, 1010.0), (4, 1020.0)):
        kept.add(put(parts, version, ["film"]), now_s=at_s)
    for at_s, version in ((1000.0, 1), (1009.9, 1), (1010.5, 3), (1019.9, 3), (9999.0, 4)):
        data = kept.at(at_s)
        assert data is not None
        assert unpack_snapshot(data, find=parts.find).version == version
    assert kept.at(999.9) is None
    again = history(tmp_path, parts)
    again.add(put(parts, 5, ["film"]), now_s=1101.0)
    assert again.at(1005.0) is None, "too old"
    assert again.at(1010.5) is not None


def test_bytes_are_bounded_and_parts_go_with_those_who_used_them(tmp_path: Path, parts: PartFolder) -> None:
    one = put(parts, 1, ["film"])
    size = len(one) + sum(path.stat().st_size for path in (tmp_path / "parts").iterdir())
    kept = history(tmp_path, parts, most_bytes=size * 2.5)
    kept.add(one, now_s=1000.0)
    for version in range(2, 9):
        kept.add(put(parts, version, [f"film-{version}"]), now_s=1000.0 + version)
    assert len(list((tmp_path / "history").iterdir())) == 2
    assert len(list((tmp_path / "parts").iterdir())) == 2
    newest = kept.at(2000.0)
    assert newest is not None
    assert unpack_snapshot(newest, find=parts.find).titles[0].title_id == "film-8"


def test_nothing_is_kept_where_nothing_may_be(tmp_path: Path, parts: PartFolder) -> None:
    kept = history(tmp_path, parts, most_bytes=0)
    kept.add(put(parts, 1, ["film"]), now_s=1000.0)
    assert kept.at(2000.0) is None
    assert len(list((tmp_path / "parts").iterdir())) == 1, "what is in force stays"


def test_what_cannot_be_read_is_forgotten(tmp_path: Path, parts: PartFolder) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    (folder / "1000.bin").write_bytes(b"nonsense")
    (folder / "x.bin").write_bytes(b"nonsense")
    kept = history(tmp_path, parts)
    kept.add(put(parts, 1, ["film"]), now_s=1050.0)
    assert [path.name for path in folder.iterdir()] == ["1050000.bin"]
    for digest in ("../../etc/passwd", "0" * 64, ""):
        with pytest.raises(MalformedError):
            parts.find(digest)
