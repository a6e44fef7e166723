"""One HTTP/2 connection over TLS that checks what it reads, several streams at a time (RFC 9113, by the library h2).

Everything seen goes into the tally, as for HTTP/1.1 (http1.py). Knows nothing of what is worth asking.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes

from headrace.base.clock import Clock
from headrace.lab.load.checking import Ask, bytes_fault, head_fault, multipart_fault
from headrace.lab.load.link import Gone, Streams, in_time, lab_tls, open_streams
from headrace.lab.load.tally import Tally

LARGE_WINDOW = 1 << 20
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Priority:
    """Weight and parent of a stream (RFC 7540, 5.3), which newer clients no longer send and servers must still take."""

    weight: int
    is_exclusive: bool = False


@dataclass(slots=True, kw_only=True)
class _Stream:
    """An answer on its way."""

    ask: Ask
    cancel_at: int | None
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    at: int = 0
    """Bytes of the body so far."""
    parts: bytearray = field(default_factory=bytearray)
    """Of an answer that is looked at when it is whole."""

    @property
    def length(self) -> int:
        body = self.ask.body
        return len(body) if body is not None else int(self.headers.get("content-length", "0"))


class Http2Connection:
    """Use `connect`. Gone says that it is over."""

    def __init__(self, streams: Streams, tally: Tally, *, stall_s: float, clock: Clock) -> None:
        self._reader, self._writer = streams
        self._tally, self._stall_s, self._clock = tally, stall_s, clock
        self._link = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._open: dict[int, _Stream] = {}
        self._last = 0
        self._behaviour = ""

    async def begin(self, window: int) -> None:
        """Exchange settings; every stream may have `window` bytes on their way."""
        self._link.initiate_connection()
        self._link.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.ENABLE_PUSH: 0})
        self._link.increment_flow_control_window(LARGE_WINDOW)
        await self._send()

    async def change_window(self, window: int) -> None:
        """Another window for all streams, those on their way too (RFC 9113, 6.9.2)."""
        self._link.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        await self._send()

    async def ask(
        self,
        asks: Sequence[Ask],
        behaviour: str,
        *,
        priorities: Sequence[Priority] = (),
        cancel_at: Mapping[int, int] | None = None,
    ) -> None:
        """Send requests, each on a stream of its own.

        Args:
            priorities: of the streams in turn; each depends on the one before.
            cancel_at: by the number of the request: give the stream up after so many bytes of its body.
        """
        self._behaviour = behaviour
        for number, ask in enumerate(asks):
            stream = self._link.get_next_available_stream_id()
            headers = [(":method", "GET"), (":scheme", "https"), (":authority", "lab"), (":path", ask.file.path)]
            headers += [(name.lower(), value) for name, value in ask.all_headers.items()]
            if priorities:
                one = priorities[number % len(priorities)]
                depends_on = self._last if self._last in self._open else 0
                headers.append(("priority", f"u={number % 8}, i"))  # RFC 9218
                self._link.send_headers(
                    *(stream, headers, True), one.weight, depends_on, priority_exclusive=one.is_exclusive
                )
            else:
                self._link.send_headers(stream, headers, end_stream=True)
            self._open[stream] = _Stream(ask=ask, cancel_at=(cancel_at or {}).get(number))
            self._last = stream
        await self._send()

    async def read_all(self) -> None:
        """Read until every stream has ended, the ones given up included."""
        while self._open:
            await self.read_some()

    async def read_some(self) -> None:
        """Read what comes next, and answer what has to be answered."""
        got = await in_time(self._reader.read(_CHUNK_BYTES), self._tally, stall_s=self._stall_s)
        if not got:
            self._fail("the server ended the connection in the middle of an answer")
        try:
            events = self._link.receive_data(got)
        except ProtocolError as error:
            self._fail(f"broken HTTP/2: {type(error).__name__}: {error}")
        for event in events:
            self._take(event)
        await self._send()

    async def close(self) -> None:
        """End it."""
        self._writer.transport.abort()
        with contextlib.suppress(OSError, TimeoutError, ssl.SSLError):
            await asyncio.wait_for(self._writer.wait_closed(), 1.0)

    def _take(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            if self._open or event.error_code != ErrorCodes.NO_ERROR:
                self._fail(f"the server ended the connection: {event.error_code}")
            raise Gone
        stream = self._open.get(getattr(event, "stream_id", 0) or 0)
        if isinstance(event, DataReceived):
            # Bytes of a stream that was given up fill the window of the connection all the same.
            self._link.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if stream is None:
            return
        if isinstance(event, ResponseReceived):
            stream.headers = {str(name): str(value) for name, value in event.headers}
            stream.status = int(stream.headers.get(":status", "0"))
            self._check(stream, head_fault(stream.ask, stream.status, stream.headers))
        elif isinstance(event, DataReceived):
            self._data(event.stream_id, stream, bytes(event.data or b""))
        elif isinstance(event, StreamReset):
            self._fail(f"the server gave up a stream: {event.error_code}")
        elif isinstance(event, StreamEnded):
            self._ended(stream)
            del self._open[event.stream_id]

    def _data(self, number: int, stream: _Stream, got: bytes) -> None:
        self._tally.bytes += len(got)
        body = stream.ask.body
        if body is None:
            stream.parts += got
        elif stream.ask.status in {200, 206}:
            self._check(stream, bytes_fault(got, body, stream.at))
        stream.at += len(got)
        if stream.cancel_at is not None and stream.at >= stream.cancel_at:
            try:
                self._link.reset_stream(number, ErrorCodes.CANCEL)
            except StreamClosedError:
                return  # its last bytes came in the same read
            self._tally.aborted += 1
            del self._open[number]

    def _ended(self, stream: _Stream) -> None:
        if stream.status in {200, 206} and stream.at != stream.length:
            self._check(stream, f"{stream.at} bytes of body, not {stream.length}")
        if stream.ask.body is None:
            content_type = stream.headers.get("content-type", "")
            self._check(stream, multipart_fault(stream.ask, content_type, bytes(stream.parts)))
        self._tally.requests += 1

    def _check(self, stream: _Stream, fault: str) -> None:
        if fault:
            self._tally.is_wrong(stream.ask, fault, self._behaviour)
            raise Gone

    def _fail(self, what: str) -> None:
        self._tally.failure(what)
        raise Gone

    async def _send(self) -> None:
        self._writer.write(self._link.data_to_send())
        await in_time(self._writer.drain(), self._tally, stall_s=self._stall_s)


async def connect(
    address: str, port: int, tally: Tally, *, stall_s: float, clock: Clock, window: int = LARGE_WINDOW
) -> Http2Connection:
    """Open a connection.

    Raises:
        Gone: refused, not HTTP/2, or not open in `stall_s` seconds.
    """
    streams = await open_streams(address, port, lab_tls("h2"), tally, stall_s=stall_s)
    connection = Http2Connection(streams, tally, stall_s=stall_s, clock=clock)
    if streams[1].get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
        tally.failure("the server does not offer HTTP/2")
        await connection.close()
        raise Gone
    await connection.begin(window)
    return connection
