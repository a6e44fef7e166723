"""Requests and answers of a service without a socket, and settings, for tests."""

from dataclasses import dataclass

from headrace.playback.config import PlaybackConfig, parse_playback_config
from headrace.playback.service import Headers

REQUIRED = """
[control]
urls = ["http://127.0.0.1:1"]
token_file = "/nonexistent"
[snapshot]
folder = "/nonexistent"
"""


def make_config(extra: str = "") -> PlaybackConfig:
    """Settings with what is required filled in."""
    return parse_playback_config(REQUIRED + extra, source="test")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, read from its bytes."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The first header of this name, '' without one."""
        return next((value for key, value in self.headers if key == name), "")


def read_reply(message: bytes) -> Reply:
    """Read one whole answer; what follows its head is its body."""
    head, _, body = message.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    pairs = [line.partition(": ") for line in lines]
    return Reply(status=int(first.split()[1]), headers=tuple((name, value) for name, _, value in pairs), body=body)


def headers_of(lines: tuple[tuple[str, str], ...]) -> Headers:
    """Request headers as the service gets them; what Latin-1 does not have goes in as UTF-8."""
    headers: dict[bytes, bytes] = {}
    for name, text in lines:
        key, value = name.lower().encode(), text.encode("utf-8", "surrogateescape")
        headers[key] = headers[key] + b", " + value if key in headers else value
    return headers
