"""The files that bench/delivery.py serves and the requests it sends: the same for every server.

Four large files stand for renditions, asked by range as players ask; small ones for playlists and subtitles, asked
whole. They are named and laid out as on an appliance. Random bytes from a fixed seed.
"""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

SEED = 20
LARGE_FILES = 4
LARGE_BYTES = 64 << 20
SMALL_FILES = 256
SMALL_BYTES = 1024
_REQUESTS_MOST = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One kind of request."""

    name: str
    is_range: bool
    answer_bytes: int
    """Body of one answer."""


SHAPES = (
    Shape(name="4 MiB range", is_range=True, answer_bytes=4 << 20),
    Shape(name="100 KB range", is_range=True, answer_bytes=100_000),
    Shape(name="1 KB file", is_range=False, answer_bytes=SMALL_BYTES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request and the SHA-256 of the body that must come."""

    path: str
    first: int | None
    length: int
    sha256: str


def make_content(content: Path) -> None:
    """Write the files below `content` unless they are there, and read them once so that the page cache holds them."""
    chance = random.Random(SEED)
    mark = content / "complete"
    if not mark.exists():
        for _ in range(LARGE_FILES):
            _write(content, chance.randbytes(LARGE_BYTES), "mp4")
        for _ in range(SMALL_FILES):
            _write(content, chance.randbytes(SMALL_BYTES), "m3u8")
        mark.write_text("", encoding="utf-8")
    for path in sorted((content / "f").rglob("*.*")):
        path.read_bytes()


def asks_of(content: Path, shape: Shape) -> list[Ask]:
    """The requests of one shape, in a fixed random order."""
    asks: list[Ask] = []
    for path in sorted((content / "f").rglob("*.mp4" if shape.is_range else "*.m3u8")):
        name, data = "/" + str(path.relative_to(content)), path.read_bytes()
        for first in range(0, len(data) - shape.answer_bytes + 1, shape.answer_bytes):
            part = data[first : first + shape.answer_bytes]
            digest = hashlib.sha256(part).hexdigest()
            asks.append(Ask(path=name, first=first if shape.is_range else None, length=len(part), sha256=digest))
    random.Random(SEED).shuffle(asks)
    return asks[:_REQUESTS_MOST]


def write_requests(asks: list[Ask], to: Path) -> None:
    """Lines as tools/load.c reads them."""
    lines = [
        f"{ask.path} - {ask.length}" if ask.first is None else f"{ask.path} {ask.first} {ask.first + ask.length - 1}"
        for ask in asks
    ]
    to.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write(content: Path, data: bytes, suffix: str) -> None:
    digest = hashlib.sha256(data).hexdigest()
    path = content / "f" / digest[:2] / f"{digest}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
