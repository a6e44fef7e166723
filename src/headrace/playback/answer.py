"""One answer, finished: what it means, and the bytes of HTTP/1.1 that say it.

Its head is written once, with the answer; what all answers of a second share (date, snapshot) is put between head and
body when it is sent.
"""

from http import HTTPStatus
from typing import NamedTuple

from headrace.playback.requests import Kind
from headrace.wire.codec import encode
from headrace.wire.operator import Problem

HLS = "application/vnd.apple.mpegurl"
DASH = "application/dash+xml"
JSON = "application/json"
PROBLEM = "application/problem+json"

_PHRASES = {int(status): status.phrase for status in HTTPStatus}


class Answer(NamedTuple):
    """A finished answer."""

    status: int
    content_type: str
    head: bytes
    """Status line and headers, without those that every answer has and without the empty line."""
    body: bytes
    label: str
    """Kind, status and reason, as counted in metrics; one text, as it is looked up for every answer."""
    first: str = ""
    """The appliance that a new session begins on, or that a running one is sent to; '' for none."""
    tier: str = ""
    """The kind of its site, `last-resort` or `origin`."""
    session_bps: float = 0.0
    """What the session is taken to need of it."""


def finished(
    status: int,
    content_type: str,
    body: bytes,
    label: str,
    *,
    headers: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """An answer with its head; what is in `headers` must be ASCII without line ends."""
    lines = [f"HTTP/1.1 {status} {_PHRASES[status]}"]
    if status != HTTPStatus.NO_CONTENT:
        lines += [f"content-type: {content_type}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    head = "\r\n".join([*lines, ""]).encode("ascii")
    return Answer(status, content_type, head, body, label)


def problem(
    kind: Kind,
    status: int,
    code: str,
    detail: str,
    *,
    retry_after_s: int = 0,
    headers: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """A refusal as an RFC 9457 document."""
    if retry_after_s:  # Scripts of web pages see the header only when it is exposed.
        headers += (("retry-after", str(retry_after_s)), ("access-control-expose-headers", "retry-after"))
    body = encode(Problem(title=_PHRASES[status], status=status, code=code, detail=detail))
    return finished(status, PROBLEM, body, f"{kind} {status} {code}", headers=headers)
