"""Lines written and read; what is no session is left out and named."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.playback.adapters.session_log import SessionLog, read_sessions
from headrace.playback.errors import PlaybackError


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sessions.log"
    log = SessionLog(str(path), most_bytes=10**6)
    log.add(1000.1234, "192.0.2.1", "film", "a1", 5e6)
    log.add(1001.0, "2001:db8::1", "film", "", 4e6)
    log.write()
    log.write()
    with path.open("a") as file:
        file.write("1 2 3\nx 192.0.2.1 film a 1\n1000 nowhere film a 1\n1000 192.0.2.1 film a nan\n\xff\n")
    bad: list[int] = []
    first, second = read_sessions(path, "", bad)
    assert (first.at_s, first.client, first.appliance_id) == (1000.123, bytes([192, 0, 2, 1]), "a1")
    assert (second.appliance_id, second.session_bps) == ("", 4e6)
    assert bad == [3, 4, 5, 6, 7]


def test_a_log_is_bounded_and_off_by_default(tmp_path: Path) -> None:
    log = SessionLog(str(tmp_path / "s.log"), most_bytes=100)
    for number in range(5):
        log.add(number, "192.0.2.1", "film", "a1", 5e6)
        log.write()
    assert sorted(path.name for path in tmp_path.iterdir())[-1] == "s.log.1"
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 300
    off = SessionLog("", most_bytes=1)
    off.add(1, "192.0.2.1", "film", "a1", 5e6)
    off.write()
    lost = SessionLog(str(tmp_path / "no" / "s.log"), most_bytes=1)
    lost.add(1, "192.0.2.1", "film", "a1", 5e6)
    lost.write()
    assert (off.dropped, lost.dropped) == (0, 1)
    with pytest.raises(PlaybackError, match="cannot read the log"):
        list(read_sessions(tmp_path / "none", "", []))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(max_size=200))
def test_no_line_breaks_it(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x").write_bytes(text)
    list(read_sessions(tmp_path / "x", "", []))
