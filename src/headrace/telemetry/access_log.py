r"""The access-log line: which fields nginx writes, in which order, and how a line is read back.

One line a request, fields separated by tabs, in the order of `FIELDS`. nginx escapes with `escape=default`: every
byte below 0x20 or above 0x7e, every quote and every backslash is `\xHH`, and an empty value is `-`. So a tab or a line
break is always a separator, the file is pure ASCII, and a line splits without looking at its bytes one by one. Tabs
were chosen over JSON because they read several times as fast and nothing that a client sends can break a line.

New fields go at the end: readers take lines with more fields than they know. The referrer is left out on purpose.
Titles are not in a line: a reader that knows the catalogue joins them by the file's name (`record_title`), as
`headrace log` does.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from headrace.base.ids import RenditionId, Sha256, TitleId
from headrace.telemetry import cmcd

FIELDS = (
    ("time", "$msec"),
    ("status", "$status"),
    ("bytes", "$bytes_sent"),
    ("body_bytes", "$body_bytes_sent"),
    ("duration", "$request_time"),
    ("client", "$remote_addr"),
    ("method", "$request_method"),
    ("path", "$uri"),
    ("query", "$args"),
    ("range", "$http_range"),
    ("cmcd_session", "$http_cmcd_session"),
    ("cmcd_request", "$http_cmcd_request"),
    ("cmcd_object", "$http_cmcd_object"),
    ("cmcd_status", "$http_cmcd_status"),
    ("protocol", "$server_protocol"),
    ("tls", "$ssl_protocol"),
    ("connection", "$connection"),
    ("connection_requests", "$connection_requests"),
    ("rtt", "$tcpinfo_rtt"),
    ("rttvar", "$tcpinfo_rttvar"),
    ("snd_cwnd", "$tcpinfo_snd_cwnd"),
    ("rcv_space", "$tcpinfo_rcv_space"),
    ("upstream", "$upstream_addr"),
    ("user_agent", "$http_user_agent"),
)
"""Name of each field and the nginx variable that fills it."""

INDEX = {name: number for number, (name, _) in enumerate(FIELDS)}
MOST_LINE_BYTES = 96 * 1024
"""Longer than any line nginx can write: its header buffers hold 20 KiB, and an escaped byte takes four."""
MOST_USER_AGENT = 200

_ESCAPE = re.compile(rb"\\x([0-9A-Fa-f]{2})")
_PATH = re.compile(r"/f/[0-9a-f]{2}/([0-9a-f]{64})\.([a-z0-9]{1,5})")
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


class Outcome(StrEnum):
    """What became of a request, as demand and the metrics count it."""

    HIT = "hit"
    """Served (or confirmed by 304) from this appliance's disks."""
    MISS = "miss"
    """Not held: sent elsewhere by 302, or fetched through from the origin."""
    OTHER = "other"
    """Preflights, probes, errors, refusals."""


class Flaw(StrEnum):
    """Why a line is not a record."""

    TOO_LONG = "too-long"
    TOO_FEW_FIELDS = "too-few-fields"
    BAD_NUMBER = "bad-number"
    BAD_ADDRESS = "bad-address"


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpInfo:
    """The kernel's view of the connection when the request ended."""

    rtt_us: int
    rttvar_us: int
    snd_cwnd: int
    """Segments."""
    rcv_space_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One request."""

    time_s: float
    """UTC epoch seconds when it ended."""
    status: int
    bytes_sent: int
    """On the wire, headers included (before TLS)."""
    body_bytes: int
    duration_s: float
    """From the first byte of the request to the last byte handed to the kernel."""
    client: str
    method: str
    path: str
    query: str
    sha256: Sha256 | None
    """None when the path is not that of a published file."""
    suffix: str
    range: str
    """The Range header as sent; '' for none."""
    protocol: str
    tls: str
    """'TLSv1.3'; '' for a clear connection."""
    connection: int
    """Serial number of the connection since nginx started."""
    connection_requests: int
    """Requests on it so far, this one included."""
    tcp: TcpInfo | None
    cmcd: cmcd.Cmcd
    outcome: Outcome
    user_agent: str

    @property
    def first_byte(self) -> int | None:
        """First byte of a single range; None for no, several, or suffix ranges."""
        match = _RANGE.fullmatch(self.range)
        return int(match[1]) if match and match[1] else None


def log_format(*, has_tcp: bool = True) -> str:
    """The value of nginx's `log_format`, to be written between single quotes.

    nginx asks the kernel once for each variable of `tcpinfo`; without `has_tcp` those fields stay, empty.
    """
    variables = (variable for _, variable in FIELDS)
    return "\\t".join("-" if not has_tcp and variable.startswith("$tcpinfo") else variable for variable in variables)


def parse_line(line: bytes) -> LogRecord | Flaw:
    """Read one line, without its line break. Never raises: what is not a record has a flaw.

    Numbers that a value can do without (tcpinfo under UNIX sockets, an odd Range) are left out, not refused.
    """
    if len(line) > MOST_LINE_BYTES:
        return Flaw.TOO_LONG
    text = ["" if field == "-" else field for field in line.decode("utf-8", errors="replace").split("\t")]
    if len(text) < len(FIELDS):
        return Flaw.TOO_FEW_FIELDS
    if b"\\" in line:
        text = [_unescaped(field) if "\\" in field else field for field in text]
    if not 2 <= len(text[5]) <= 64:
        return Flaw.BAD_ADDRESS
    try:
        return _record(text)
    except ValueError:
        return Flaw.BAD_NUMBER


def record_title(
    record: LogRecord, names: Mapping[Sha256, tuple[TitleId, RenditionId]]
) -> tuple[TitleId, RenditionId] | None:
    """Title and rendition of the file asked for; None for what is not (or no longer) in the catalogue."""
    return names.get(record.sha256) if record.sha256 else None


def judge_outcome(status: int, *, is_file: bool, is_proxied: bool) -> Outcome:
    """Say what became of a request; `is_file`: its path names a file, `is_proxied`: another machine was asked."""
    if not is_file:
        return Outcome.OTHER
    if status == 302 or (is_proxied and status in (200, 206)):
        return Outcome.MISS
    return Outcome.HIT if status in (200, 206, 304) else Outcome.OTHER


def _record(text: list[str]) -> LogRecord:
    path = text[7]
    match = _PATH.fullmatch(path)
    status = _count(text[1])
    return LogRecord(
        time_s=_seconds(text[0]),
        status=status,
        bytes_sent=_count(text[2]),
        body_bytes=_count(text[3]),
        duration_s=_seconds(text[4]),
        client=text[5],
        method=text[6],
        path=path,
        query=text[8],
        sha256=Sha256(match[1]) if match else None,
        suffix=match[2] if match else "",
        range=text[9],
        protocol=text[14],
        tls=text[15],
        connection=_count(text[16]),
        connection_requests=_count(text[17]),
        tcp=_tcp(text[18:22]),
        cmcd=cmcd.decode_request(headers=tuple(text[10:14]), query=text[8]),
        outcome=judge_outcome(status, is_file=bool(match), is_proxied=_is_proxied(text[22])),
        user_agent=text[23][:MOST_USER_AGENT],
    )


def _is_proxied(upstream: str) -> bool:
    """Whether another machine was asked; for some preconditions nginx asks itself, over a socket of its own."""
    return any(part and not part.startswith("unix:") for part in re.split(r", | : ", upstream))


def _unescaped(field: str) -> str:
    plain = _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), field.encode())
    return plain.decode("utf-8", errors="replace")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(text[:40])
    return int(text)


def _seconds(text: str) -> float:
    whole, _, fraction = text.partition(".")
    return _count(whole) + (_count(fraction) / 10 ** len(fraction) if fraction else 0.0)


def _tcp(text: list[str]) -> TcpInfo | None:
    if not all(field.isascii() and field.isdigit() and len(field) <= 18 for field in text):
        return None
    rtt_us, rttvar_us, snd_cwnd, rcv_space = (int(field) for field in text)
    return TcpInfo(rtt_us=rtt_us, rttvar_us=rttvar_us, snd_cwnd=snd_cwnd, rcv_space_bytes=rcv_space)
