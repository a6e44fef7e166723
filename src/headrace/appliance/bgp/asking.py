"""The line between the agent and the speaker's collector, a socket in the state folder: a question, an answer.

Each is a frame: its size (u32, big-endian), then JSON or, for chunks, the body of wire.routes. The two may be of
different releases for a moment after an upgrade; then the agent ends the older one.
"""

import asyncio
import contextlib
import logging
import os
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from headrace.appliance.bgp.settings import BgpSettings
from headrace.appliance.errors import ApplianceError
from headrace.base.logs import event
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.routes import SessionTable

_log = logging.getLogger(__name__)

_SOCKET = "speaker.sock"
_MOST_FRAME_BYTES = 64 << 20
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


class Line:
    """The agent's end, with one question under way at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, question: Question, *, limit_s: float) -> bytes:
        """The answer to a question.

        Raises:
            SpeakerError: it is too large.
            EOFError, OSError: the collector is gone.
            TimeoutError: it does not answer.
        """
        async with asyncio.timeout(limit_s):
            _write_frame(self._writer, encode(question))
            await self._writer.drain()
            return await _read_frame(self._reader)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def call_up(folder: Path) -> Line:
    """A line to the collector of this folder; raises OSError where there is none."""
    with _short_path(folder) as path:
        return Line(*await asyncio.open_unix_connection(path))


async def listen(folder: Path, answer: Callable[[Question], Awaitable[bytes]]) -> asyncio.Server:
    """The collector's end: answer whoever calls, until the server is closed. The socket of an earlier one is gone
    then."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                _write_frame(writer, await answer(decode(Question, await _read_frame(reader))))
                await writer.drain()
        except (EOFError, OSError, asyncio.CancelledError):
            # A cancelled one is of a collector that ends; raised on, it would be logged as an error.
            return
        except (MalformedError, SpeakerError) as error:
            event(_log, "bgp_question_not_understood", level=logging.WARNING, error=error)
        finally:
            writer.close()

    stop_listening(folder)
    with _short_path(folder) as path:
        return await asyncio.start_unix_server(serve, path)


def stop_listening(folder: Path) -> None:
    """Nobody calls up whoever has listened there."""
    (folder / _SOCKET).unlink(missing_ok=True)


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    size = _SIZE.unpack(await reader.readexactly(_SIZE.size))[0]
    if size > _MOST_FRAME_BYTES:
        raise SpeakerError(f"a frame of {size} bytes, over {_MOST_FRAME_BYTES}")
    return await reader.readexactly(size)


def _write_frame(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(_SIZE.pack(len(body)))
    writer.write(body)


@contextlib.contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """The socket's path, so that it fits the 107 bytes that one may have, for the block."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{_SOCKET}"
    finally:
        os.close(descriptor)
