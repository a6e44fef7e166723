"""One HTTP/1.1 connection that checks what it reads. Knows nothing of players."""

import asyncio
import contextlib
import ssl
from collections.abc import Sequence

from headrace.base.clock import Clock
from headrace.lab.load.checking import Ask, bytes_fault, head_fault, multipart_fault
from headrace.lab.load.link import Gone, Streams, in_time, open_streams
from headrace.lab.load.tally import Tally

_CHUNK_BYTES = 256 * 1024
_MOST_MULTIPART_BYTES = 64 << 20


class Connection:
    """Use `connect`. Everything seen goes into the tally; Gone says that it is over."""

    def __init__(self, streams: Streams, tally: Tally, *, stall_s: float, clock: Clock) -> None:
        self._reader, self._writer = streams
        self._tally = tally
        self._stall_s = stall_s
        self._clock = clock
        self._sent_s: float | None = None

    async def send(self, asks: Sequence[Ask]) -> None:
        """Send requests in one write."""
        self._writer.write(b"".join(_request(ask) for ask in asks))
        self._sent_s = self._clock.monotonic_s()
        await in_time(self._writer.drain(), self._tally, stall_s=self._stall_s)

    async def receive(self, ask: Ask, behaviour: str, *, most_bytes: int | None = None, pace_bps: float = 0.0) -> None:
        """Read the answer to `ask`, the oldest request not answered yet.

        Args:
            most_bytes: go away after so many bytes of the body.
            pace_bps: read no faster than so many bits a second; 0: as fast as they come.
        """
        status, headers = await self._head()
        sent_s, self._sent_s = self._sent_s, None
        if sent_s is not None:  # of requests sent together only the first: the others wait for its body
            self._tally.first_byte(self._clock.monotonic_s() - sent_s)
        length = 0 if status == 304 else _length(headers)
        fault = head_fault(ask, status, headers)
        began_s = self._clock.monotonic_s()
        if not fault:
            fault = await self._body(ask, length, headers, most_bytes=most_bytes, pace_bps=pace_bps)
        if fault:
            self._tally.is_wrong(ask, fault, behaviour)
            raise Gone
        self._tally.requests += 1
        if not pace_bps:
            ended_s = self._clock.monotonic_s()
            self._tally.transfer(length, ended_s - began_s)
            if sent_s is not None:
                self._tally.finish(ended_s - sent_s)

    async def close(self, *, is_abrupt: bool = False) -> None:
        """End it; abruptly with a reset where bytes were left unread."""
        if is_abrupt:
            self._writer.transport.abort()
        else:
            self._writer.close()
        with contextlib.suppress(OSError, TimeoutError, ssl.SSLError):
            await asyncio.wait_for(self._writer.wait_closed(), 1.0)

    async def _body(
        self, ask: Ask, length: int, headers: dict[str, str], *, most_bytes: int | None, pace_bps: float
    ) -> str:
        """Read the body; what was wrong with it."""
        expected = ask.body
        if expected is None:
            body = await self._take(min(length, _MOST_MULTIPART_BYTES))
            return multipart_fault(ask, headers.get("content-type", ""), body)
        at = 0
        while at < length:
            if most_bytes is not None and at >= most_bytes:
                self._tally.aborted += 1
                raise Gone
            room = min(length - at, _CHUNK_BYTES)
            got = await self._some(min(room, most_bytes) if most_bytes else room)
            if ask.status in {200, 206} and (fault := bytes_fault(got, expected, at)):
                return fault
            at += len(got)
            if pace_bps:
                await self._clock.sleep(8 * len(got) / pace_bps)
        return ""

    async def _head(self) -> tuple[int, dict[str, str]]:
        try:
            head = await in_time(self._reader.readuntil(b"\r\n\r\n"), self._tally, stall_s=self._stall_s)
            text = head.decode("latin-1")
            status_line, *lines = text.split("\r\n")
            pairs = (line.partition(":") for line in lines if line)
            return int(status_line.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
            self._tally.failure(f"no answer: {type(error).__name__}")
            raise Gone from None

    async def _some(self, most: int) -> bytes:
        got = await in_time(self._reader.read(most), self._tally, stall_s=self._stall_s)
        if not got:
            self._tally.failure("the server ended the connection in the middle of an answer")
            raise Gone
        self._tally.bytes += len(got)
        return got

    async def _take(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            parts += await self._some(length - len(parts))
        return bytes(parts)


async def connect(
    address: str, port: int, tls: ssl.SSLContext | None, tally: Tally, *, stall_s: float, clock: Clock
) -> Connection:
    """Open a connection.

    Raises:
        Gone: refused, or not open in `stall_s` seconds.
    """
    streams = await open_streams(address, port, tls, tally, stall_s=stall_s)
    return Connection(streams, tally, stall_s=stall_s, clock=clock)


def _request(ask: Ask) -> bytes:
    headers = "".join(f"{name}: {value}\r\n" for name, value in ask.all_headers.items())
    return f"GET {ask.file.path} HTTP/1.1\r\nHost: lab\r\n{headers}\r\n".encode()


def _length(headers: dict[str, str]) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isdigit() else 0
