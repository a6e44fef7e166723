"""A request and a reply as granian hands them in, and settings, for tests."""

from dataclasses import dataclass, field
from typing import Any

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


class FakeHeaders:
    """Request headers: names in lower case, several lines of one name kept."""

    def __init__(self, lines: tuple[tuple[str, str], ...]) -> None:
        self._lines = lines

    def get(self, key: str, default: Any = None) -> Any:
        return next((value for name, value in self._lines if name == key), default)

    def get_all(self, key: str) -> list[str]:
        return [value for name, value in self._lines if name == key]


@dataclass(kw_only=True)
class FakeScope:
    """A request."""

    path: str
    query_string: str = ""
    method: str = "GET"
    client: str = "192.0.2.1:50000"
    scheme: str = "http"
    authority: str | None = None
    header_lines: tuple[tuple[str, str], ...] = (("host", "steer.example:8500"),)
    headers: Headers = field(init=False)

    def __post_init__(self) -> None:
        self.headers = FakeHeaders(self.header_lines)


@dataclass(kw_only=True)
class FakeReply:
    """Keeps what was answered."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers, self.body = status, headers, b""

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")
