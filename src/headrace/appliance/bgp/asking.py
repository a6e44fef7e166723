"""What passes between the agent and the speaker's collector, over a socket in the state folder: a question, an answer.

Each is a frame: its size (u32, big-endian), then JSON or, for chunks, the body of wire.routes. The two may be of
different releases for a moment after an upgrade; then the agent ends the older one.
"""

import asyncio
import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from headrace.appliance.bgp.settings import BgpSettings
from headrace.appliance.errors import ApplianceError
from headrace.wire.routes import SessionTable

SOCKET = "speaker.sock"
MOST_FRAME_BYTES = 64 << 20
MOST_WAIT_S = 15.0
"""How long LOOK waits at most for something to change."""
_SIZE = struct.Struct(">I")


class SpeakerError(ApplianceError):
    """The BGP speaker does not do its work."""

    exit_code = 35


class What(StrEnum):
    """What is asked."""

    LOOK = "look"
    """The sessions, once they are newer than `after`."""
    TABLE = "table"
    """The chunks of the table named `digests[0]`."""
    CHUNKS = "chunks"
    """The chunks named `digests`."""
    CONFIGURE = "configure"
    """Work by `settings`."""
    RETRY = "retry"
    """Speak again with peers that were over their limit."""
    END = "end"
    """Keep the tables on disk and end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question."""

    what: What
    after: int = 0
    wait_s: float = MOST_WAIT_S
    """Of LOOK, at most."""
    digests: tuple[str, ...] = ()
    settings: BgpSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The answer to LOOK, CONFIGURE and RETRY."""

    build: str
    """Release of the collector."""
    settings: BgpSettings
    version: int
    sessions: tuple[SessionTable, ...]
    flawed: int = 0
    """Messages that were not understood."""


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The next frame.

    Raises:
        SpeakerError: too large.
        EOFError, OSError: the other side is gone.
    """
    size = _SIZE.unpack(await reader.readexactly(_SIZE.size))[0]
    if size > MOST_FRAME_BYTES:
        raise SpeakerError(f"a frame of {size} bytes, over {MOST_FRAME_BYTES}")
    return await reader.readexactly(size)


def write_frame(writer: asyncio.StreamWriter, body: bytes) -> None:
    """Put a frame into the writer's buffer."""
    writer.write(_SIZE.pack(len(body)))
    writer.write(body)


@contextlib.contextmanager
def short_path(folder: Path, name: str) -> Iterator[str]:
    """A path of a socket in `folder` that fits the 107 bytes a socket's path may have, for the block."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
