"""Following and rotating log files on a real disk, step by step."""

import os
from pathlib import Path

import pytest

from headrace.appliance.adapters import log_tail
from headrace.appliance.adapters.log_rotation import LogLimits, LogRotation
from headrace.appliance.adapters.log_tail import LINGER_S, LogTail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def append(path: Path, text: bytes) -> None:
    with open(path, "ab") as file:
        file.write(text)


def read_all(tail: LogTail, now_s: float = 0.0) -> bytes:
    lines = b""
    while part := tail.read(now_s=now_s):
        lines += part
    return lines


def test_begins_at_the_end_and_gives_whole_lines(log: Path) -> None:
    append(log, b"before\n")
    tail = LogTail(log)
    assert tail.read(now_s=0) == b""
    append(log, b"one\ntwo\nthr")
    assert tail.read(now_s=1) == b"one\ntwo\n"
    assert tail.read(now_s=2) == b""
    append(log, b"ee\n")
    assert tail.read(now_s=3) == b"three\n"
    tail.close()


def test_file_that_comes_later_is_read_from_its_start(log: Path) -> None:
    tail = LogTail(log)
    assert tail.read(now_s=0) == b""
    append(log, b"one\n")
    assert tail.read(now_s=1) == b"one\n"
    tail.close()


def test_rotation_loses_nothing(log: Path) -> None:
    append(log, b"")
    tail = LogTail(log)
    tail.read(now_s=0)
    append(log, b"1\n2\n")
    os.rename(log, log.with_name("old"))
    append(log.with_name("old"), b"3\n")
    append(log, b"5\n")
    append(log.with_name("old"), b"4\n")
    assert read_all(tail) == b"1\n2\n3\n4\n5\n"
    append(log.with_name("old"), b"late\n")
    append(log, b"6\n")
    assert sorted(read_all(tail, now_s=1.0).split()) == [b"6", b"late"]
    read_all(tail, now_s=1.0 + LINGER_S + 1.0)
    append(log.with_name("old"), b"too late\n")
    assert read_all(tail, now_s=2.0 + LINGER_S + 1.0) == b""
    tail.close()


def test_file_cut_short_is_read_anew(log: Path) -> None:
    append(log, b"")
    tail = LogTail(log)
    tail.read(now_s=0)
    append(log, b"a long line\n")
    assert read_all(tail) == b"a long line\n"
    os.truncate(log, 0)
    append(log, b"new\n")
    assert read_all(tail) == b"new\n"
    tail.close()


def test_reader_far_behind_skips_whole_lines(log: Path) -> None:
    append(log, b"")
    tail = LogTail(log)
    tail.read(now_s=0)
    line = b"x" * 99 + b"\n"
    with open(log, "ab") as file:
        file.truncate(log_tail.MOST_BEHIND_BYTES + 50)
    append(log, b"\n" + line * 10_000)
    read = read_all(tail)
    assert tail.skipped_bytes > log_tail.MOST_BEHIND_BYTES // 3
    assert read.endswith(line * 9_000)
    tail.close()


def test_line_without_end_is_bounded(log: Path) -> None:
    append(log, b"")
    tail = LogTail(log)
    tail.read(now_s=0)
    append(log, b"x" * (5 * log_tail.CHUNK_BYTES) + b"\nnext\n")
    lines = read_all(tail)
    assert lines.endswith(b"\nnext\n")
    assert len(lines) < 3 * log_tail.CHUNK_BYTES
    assert tail.broken_lines >= 1
    tail.close()


class Reopener:
    """Counts how often nginx would have been told."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1


def test_rotates_by_size_and_age_and_keeps_within_bounds(log: Path) -> None:
    reopened = Reopener()
    limits = LogLimits(rotate_bytes=1_000, rotate_s=60.0, keep_bytes=3_500, keep_s=3_000.0)
    rotation = LogRotation(log.parent, reopened, limits)
    rotation.turn(now_s=1_800_000_000.0)
    assert reopened.calls == 1, "the first turn makes up for a killed predecessor"
    append(log, b"x" * 999)
    rotation.turn(now_s=1_800_000_001.0)
    assert rotation.rotated() == []
    append(log, b"x")
    rotation.turn(now_s=1_800_000_002.0)
    assert [path.name for path in rotation.rotated()] == ["access-1800000002000.log"]
    assert reopened.calls == 2
    append(log, b"old enough")
    rotation.turn(now_s=1_800_000_063.0)
    assert len(rotation.rotated()) == 2
    rotation.turn(now_s=1_800_000_200.0)
    assert len(rotation.rotated()) == 2, "there is no file to rename"
    for number in range(5):
        append(log, b"x" * 1_000)
        rotation.turn(now_s=1_800_000_300.0 + number)
    assert sum(path.stat().st_size for path in rotation.rotated()) <= 3_500
    rotation.turn(now_s=1_800_009_000.0)
    assert len(rotation.rotated()) == 1, "the newest always stays"


def test_two_rotations_in_one_instant_do_not_meet(log: Path) -> None:
    rotation = LogRotation(log.parent, Reopener(), LogLimits(rotate_bytes=1))
    for _ in range(3):
        append(log, b"x")
        rotation.turn(now_s=1_800_000_000.0)
    assert len(rotation.rotated()) == 3


def test_error_log_is_bounded(log: Path) -> None:
    errors, reopened = log.with_name("error.log"), Reopener()
    rotation = LogRotation(log.parent, reopened, LogLimits(rotate_bytes=400))
    for _ in range(3):
        append(errors, b"x" * 101)
        rotation.turn(now_s=1_800_000_000.0)
    assert not errors.exists()
    assert errors.with_name("error.log.1").stat().st_size == 101
    assert reopened.calls == 4


def test_disk_error_is_survived(log: Path) -> None:
    rotation = LogRotation(log.parent / "missing", Reopener(), LogLimits())
    rotation.turn(now_s=1_800_000_000.0)
    append(log, b"x")
