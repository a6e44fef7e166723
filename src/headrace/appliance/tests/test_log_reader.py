import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.appliance.log_reader import MOST_MISSED, Amount, Traffic, count_lines, session_of
from headrace.telemetry.access_log import Outcome, parse_line
from headrace.telemetry.rates import RecentlySeen
from headrace.telemetry.testing import log_line

NOW_S = 1_800_000_000.0


def counted(*lines: bytes) -> tuple[Traffic, int]:
    """The counters and the sessions after these lines."""
    traffic, sessions = Traffic(), RecentlySeen(30.0)
    count_lines(b"".join(line + b"\n" for line in lines), traffic, sessions)
    return traffic, sessions.count(now_s=NOW_S).count


def test_counts_by_status_and_outcome() -> None:
    traffic, sessions = counted(
        log_line(bytes="100"),
        log_line(bytes="50", status="206"),
        log_line(bytes="50", status="206"),
        log_line(bytes="30", status="302"),
        log_line(bytes="20", status="404", path="/"),
        log_line(bytes="10", upstream="192.0.2.1:80"),
        log_line(bytes="5", upstream="unix:/run/own.sock"),
    )
    assert traffic.amounts == {
        (200, Outcome.HIT): Amount(requests=2, sent_bytes=105),
        (206, Outcome.HIT): Amount(requests=2, sent_bytes=100),
        (302, Outcome.MISS): Amount(requests=1, sent_bytes=30),
        (404, Outcome.OTHER): Amount(requests=1, sent_bytes=20),
        (200, Outcome.MISS): Amount(requests=1, sent_bytes=10),
    }
    assert (traffic.requests, traffic.sent_bytes, traffic.flawed_lines, sessions) == (7, 265, 0, 1)


def test_names_what_was_not_served_from_here_once() -> None:
    name = "ab" * 32
    gone = {"status": "302", "path": f"/f/ab/{name}.mp4"}
    traffic, _ = counted(
        log_line(**gone),
        log_line(**gone),
        log_line(status="302", path="/"),
        log_line(path=f"/f/cd/{'cd' * 32}.mp4"),
        log_line(path=f"/f/ef/{'ef' * 32}.mp4", upstream="unix:/run/own.sock"),
        log_line(path=f"/f/12/{'12' * 32}.mp4", upstream="192.0.2.1:80"),
    )
    assert traffic.missed == {name.encode(), b"12" * 32}


def test_keeps_a_bounded_number_of_missed_names() -> None:
    traffic, _ = counted(
        *(log_line(status="302", path=f"/f/00/{number:064x}.mp4") for number in range(MOST_MISSED + 9))
    )
    assert len(traffic.missed) == MOST_MISSED
    assert traffic.requests == MOST_MISSED + 9


@pytest.mark.parametrize(
    "line",
    [b"x", b"\t" * 23, log_line()[:-8], log_line(status="abc"), log_line(bytes="many"), log_line(bytes="")],
    ids=lambda line: line[:30].decode(),
)
def test_flawed_lines_are_counted_and_left_out(line: bytes) -> None:
    traffic, _ = counted(log_line(), line, log_line())
    assert (traffic.requests, traffic.flawed_lines) == (2, 1)


@pytest.mark.parametrize(
    ("fields", "session"),
    [
        ({}, b"192.0.2.7"),
        ({"cmcd_session": r"cid=\x22f\x22,sid=\x22s1\x22,st=v"}, rb"sid=\x22s1\x22"),
        ({"query": "a=b&CMCD=br%3D1%2Csid%3D%22s2%22%2Cst%3Dv&x=y"}, b"sid%3D%22s2%22"),
        ({"query": "CMCD=sid%3D%22s2%22&x=y"}, b"sid%3D%22s2%22"),
        ({"cmcd_session": "sid=" + "x" * 5_000}, b"sid=" + b"x" * 196),
    ],
)
def test_session(fields: dict[str, str], session: bytes) -> None:
    assert session_of(log_line(**fields).split(b"\t")) == session


def test_sessions() -> None:
    lines = [log_line(cmcd_session=rf"sid=\x22{number % 4}\x22") for number in range(12)]
    old = log_line(cmcd_session=r"sid=\x22old\x22", time="1799999900.000")
    ours = [
        log_line(client=f"192.0.2.{n}", user_agent=name)
        for n, name in enumerate(("headrace-probe/1", "headrace-fill (a)"))
    ]
    assert counted(*lines, old, *ours)[1] == 4
    assert counted(log_line(path="/"), log_line(path="/healthz"))[1] == 0


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_takes_anything(lines: list[bytes]) -> None:
    traffic, _ = counted(*lines)
    assert traffic.requests + traffic.flawed_lines <= sum(line.count(b"\n") + 1 for line in lines)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "status": st.sampled_from(["200", "206", "302", "304", "404"]),
                "bytes": st.integers(0, 10**9).map(str),
                "path": st.sampled_from([f"/f/ab/{'ab' * 32}.mp4", "/", "/healthz"]),
                "upstream": st.sampled_from(["-", "192.0.2.1:80", "unix:/x", "unix:/x : 192.0.2.1:80"]),
            }
        ),
        max_size=30,
    )
)
def test_short_way_agrees_with_whole_records(rows: list[dict[str, str]]) -> None:
    lines = [log_line(**row) for row in rows]
    traffic, _ = counted(*lines)
    expected: dict[tuple[int, Outcome], Amount] = {}
    for line in lines:
        record = parse_line(line)
        amount = expected.setdefault((record.status, record.outcome), Amount())  # type: ignore[union-attr]
        amount.requests += 1
        amount.sent_bytes += record.bytes_sent  # type: ignore[union-attr]
    assert traffic.amounts == expected
