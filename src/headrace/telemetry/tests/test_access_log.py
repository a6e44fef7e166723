import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.base.ids import RenditionId, Sha256, TitleId
from headrace.telemetry.access_log import (
    FIELDS,
    MOST_LINE_BYTES,
    Flaw,
    LogRecord,
    Outcome,
    judge_outcome,
    log_format,
    parse_line,
    record_title,
)
from headrace.telemetry.testing import log_line

SHA = Sha256("ab" * 32)


def parsed(**fields: str) -> LogRecord:
    record = parse_line(log_line(**fields))
    assert isinstance(record, LogRecord)
    return record


def test_every_field() -> None:
    record = parsed(
        time="1800000000.123",
        status="206",
        bytes="1400",
        body_bytes="1000",
        duration="0.250",
        client="2001:db8::1",
        method="GET",
        path=f"/f/ab/{SHA}.mp4",
        query="CMCD=br%3D3200",
        range="bytes=500-1499",
        cmcd_session=r"sid=\x22s1\x22,cid=\x22film\x22",
        cmcd_status="bs",
        protocol="HTTP/2.0",
        tls="TLSv1.3",
        connection="42",
        connection_requests="7",
        rtt="20500",
        rttvar="300",
        snd_cwnd="10",
        rcv_space="65483",
        user_agent=r"Player\x091.0 \xC3\xA9",
    )
    assert record.time_s == 1_800_000_000.123
    assert (record.status, record.bytes_sent, record.body_bytes, record.duration_s) == (206, 1400, 1000, 0.25)
    assert (record.client, record.method, record.sha256, record.suffix) == ("2001:db8::1", "GET", SHA, "mp4")
    assert (record.range, record.first_byte) == ("bytes=500-1499", 500)
    assert (record.cmcd.bitrate_kbps, record.cmcd.session_id, record.cmcd.content_id) == (3200, "s1", "film")
    assert record.cmcd.is_starved
    assert (record.protocol, record.tls, record.connection, record.connection_requests) == (
        "HTTP/2.0",
        "TLSv1.3",
        42,
        7,
    )
    assert record.tcp is not None
    assert (record.tcp.rtt_us, record.tcp.rttvar_us, record.tcp.snd_cwnd, record.tcp.rcv_space_bytes) == (
        20_500,
        300,
        10,
        65_483,
    )
    assert record.user_agent == "Player\t1.0 é"
    assert record.outcome is Outcome.HIT


def test_plain_request_has_little() -> None:
    record = parsed(path="/", status="404")
    assert (record.sha256, record.tcp, record.tls, record.range, record.first_byte) == (None, None, "", "", None)
    assert record.outcome is Outcome.OTHER
    assert record.cmcd.flaws == 0


def test_user_agent_is_bounded() -> None:
    assert len(parsed(user_agent="x" * 4_000).user_agent) == 200


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"status": "200"}, Outcome.HIT),
        ({"status": "304"}, Outcome.HIT),
        ({"status": "302"}, Outcome.MISS),
        ({"status": "416"}, Outcome.OTHER),
        ({"status": "204", "method": "OPTIONS"}, Outcome.OTHER),
        ({"status": "200", "upstream": "192.0.2.1:80"}, Outcome.MISS),
        ({"status": "200", "upstream": "unix:/run/own.sock"}, Outcome.HIT),
        ({"status": "200", "upstream": "unix:/run/own.sock : 192.0.2.1:80"}, Outcome.MISS),
        ({"status": "200", "path": "/healthz"}, Outcome.OTHER),
    ],
)
def test_outcome(fields: dict[str, str], outcome: Outcome) -> None:
    assert parsed(**({"path": f"/f/ab/{SHA}.mp4"} | fields)).outcome is outcome


@pytest.mark.parametrize(
    ("text", "first"),
    [("bytes=5-9", 5), ("bytes=5-", 5), ("bytes=-5", None), ("bytes=1-2,4-5", None), ("lines=1-2", None), ("x", None)],
)
def test_first_byte(text: str, first: int | None) -> None:
    assert parsed(range=text).first_byte == first


@pytest.mark.parametrize(
    ("line", "flaw"),
    [
        (b"", Flaw.TOO_FEW_FIELDS),
        (b"\t" * 5, Flaw.TOO_FEW_FIELDS),
        (log_line()[:40], Flaw.TOO_FEW_FIELDS),
        (log_line(user_agent="x" * MOST_LINE_BYTES), Flaw.TOO_LONG),
        (log_line(status="abc"), Flaw.BAD_NUMBER),
        (log_line(bytes="-1"), Flaw.BAD_NUMBER),
        (log_line(bytes="9" * 19), Flaw.BAD_NUMBER),
        (log_line(time="1e9"), Flaw.BAD_NUMBER),
        (log_line(time="nan"), Flaw.BAD_NUMBER),
        (log_line(client="-"), Flaw.BAD_ADDRESS),
        (b"\xff\x00" + log_line(), Flaw.BAD_NUMBER),
        (b"\t" * 23, Flaw.BAD_ADDRESS),
    ],
)
def test_flaws(line: bytes, flaw: Flaw) -> None:
    assert parse_line(line) is flaw


def test_lines_of_a_newer_writer_are_read() -> None:
    assert isinstance(parse_line(log_line() + b"\tnew"), LogRecord)


@given(st.binary(max_size=2_000))
def test_parse_takes_anything(line: bytes) -> None:
    assert isinstance(parse_line(line), LogRecord | Flaw)


@given(st.dictionaries(st.sampled_from([name for name, _ in FIELDS]), st.text(max_size=60), max_size=24))
def test_parse_takes_any_fields(fields: dict[str, str]) -> None:
    assert isinstance(parse_line(log_line(**fields)), LogRecord | Flaw)


def test_title_of_a_record() -> None:
    names = {SHA: (TitleId("film"), RenditionId("v720"))}
    assert record_title(parsed(path=f"/f/ab/{SHA}.mp4"), names) == ("film", "v720")
    assert record_title(parsed(path=f"/f/cd/{'cd' * 32}.mp4"), names) is None
    assert record_title(parsed(path="/"), names) is None


def test_judge_outcome_without_a_line() -> None:
    assert judge_outcome(206, is_file=True, is_proxied=True) is Outcome.MISS
    assert judge_outcome(206, is_file=False, is_proxied=True) is Outcome.OTHER


def test_format_has_a_variable_for_each_field() -> None:
    assert log_format().count("\\t") == len(FIELDS) - 1
    assert log_format().startswith("$msec\\t$status\\t")
