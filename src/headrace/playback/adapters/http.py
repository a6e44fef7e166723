"""HTTP/1.1 for very many short requests: httptools reads them, and each is answered within the same turn of the loop.

No task, no queue and no object is made for a request; that is why a node answers several times as often as on a
general server (decision record 0022). What a general server would do for us is here instead: bounds on heads and
pipelines, on idle and slow connections, on answers that nobody reads, and an end that lets what is running finish.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from headrace.base.logs import event
from headrace.playback.service import Headers, Peer

_log = logging.getLogger(__name__)

MOST_HEAD_BYTES = 128 * 1024
"""A request line of 64 KiB and its headers: more is answered with 431."""
MOST_JOINED_BYTES = 16 * 1024
"""Of a header in several lines, before the last of them."""
MOST_PIPELINED = 128
"""Requests that came in one read; players send one, so that more than these are nobody's."""
MOST_DISCARDED_BYTES = 1024 * 1024
"""After the last answer so much is read to nothing, so that the client gets the answer and not a reset."""
HEAD_S = 10
LINGER_S = 2
UNREAD_S = 30
"""A head must be there within `HEAD_S`; a connection may stay `LINGER_S` after its last answer, and `UNREAD_S` with an
answer that its client does not take."""
CROWDED_RATIO, CROWDED_IDLE_S = 0.8, 5
"""When so many of the allowed connections are there, idle ones are closed sooner."""
_V4_IN_V6 = "::ffff:"


class Application(Protocol):
    """What answers requests; see `PlaybackService`."""

    def meet(self, address: str, scheme: str) -> Peer: ...
    def may_block(self, target: str) -> bool: ...
    def respond(self, peer: Peer, method: bytes, target: str, headers: Headers, is_last: bool) -> bytes: ...
    def refuse(self, status: int, code: str, detail: str) -> bytes: ...


class Connections:
    """All connections of a worker, and the one clock that bounds them."""

    def __init__(self, application: Application, *, scheme: str, most: int, idle_s: int) -> None:
        self.application = application
        self.scheme = scheme
        self.most = most
        self.now_s = 0
        """Whole seconds since the start: read by each request, so that none of them asks a clock."""
        self.is_ending = False
        self.loop = asyncio.get_running_loop()
        self._idle_s = idle_s
        self._outbox: list[tuple[Callable[[bytes], None], bytes]] = []
        self._all: set[Connection] = set()
        self._are_gone = asyncio.Event()

    def __call__(self) -> "Connection":
        """A new one."""
        return Connection(self)

    def add(self, connection: "Connection") -> bool:
        """Count it in; False when there are too many."""
        if len(self._all) >= self.most:
            return False
        self._all.add(connection)
        return True

    def discard(self, connection: "Connection") -> None:
        """It has ended."""
        self._all.discard(connection)
        if self.is_ending and not self._all:
            self._are_gone.set()

    def send(self, write: Callable[[bytes], None], message: bytes) -> None:
        """Send an answer when all that was readable in this turn of the loop is read.

        All answers of a turn go out together: whoever waits for them on this machine (a proxy, a balancer) is woken
        once a turn and not once an answer, which can cost more than the answer.
        """
        if not self._outbox:
            self.loop.call_soon(self.flush)
        self._outbox.append((write, message))

    def flush(self) -> None:
        """Send what waits."""
        outbox, self._outbox = self._outbox, []
        for write, message in outbox:
            write(message)

    async def keep_time(self) -> None:
        """Count seconds, and close what takes too long."""
        while True:
            await asyncio.sleep(1)
            self.now_s += 1
            is_crowded = len(self._all) > self.most * CROWDED_RATIO
            idle_s = min(self._idle_s, CROWDED_IDLE_S) if is_crowded else self._idle_s
            for connection in list(self._all):
                connection.look(self.now_s, idle_s)

    async def end(self, within_s: float) -> None:
        """Let each connection finish what it is answering, then close it; those that take longer are cut off."""
        self.is_ending = True
        for connection in list(self._all):
            connection.look(self.now_s, -1)
        if self._all:
            try:
                await asyncio.wait_for(self._are_gone.wait(), within_s)
            except TimeoutError:
                event(_log, "connections_cut_off", level=logging.WARNING, count=len(self._all))
        for connection in list(self._all):
            connection.abort()


class Connection(asyncio.Protocol):
    """One connection: requests in, answers out, in their order."""

    __slots__ = (
        "_application",
        "_connections",
        "_count",
        "_discarded_bytes",
        "_feed",
        "_head_bytes",
        "_headers",
        "_is_over",
        "_is_unread",
        "_parser",
        "_peer",
        "_since_s",
        "_target",
        "_transport",
        "_write",
    )

    _transport: asyncio.Transport
    _peer: Peer

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._application = connections.application
        self._since_s = connections.now_s
        """When the last request began to come in, the last answer was given, or its client stopped reading."""
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = self._count = self._discarded_bytes = 0
        self._is_over = self._is_unread = False
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._feed = self._parser.feed_data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's are none by their class.
        self._write = transport.write
        name = transport.get_extra_info("peername")
        address = name[0] if name else ""
        if address.startswith(_V4_IN_V6) and "." in address:
            address = address.removeprefix(_V4_IN_V6)
        self._peer = self._application.meet(address, self._connections.scheme)
        if not self._connections.add(self):
            detail = "this steering node has no room for another connection"
            self._refuse(503, "too-many-connections", detail, lingers=False)  # Nobody would look at it again.

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._parser = None  # They hold each other.
        del self._feed
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > MOST_DISCARDED_BYTES:
                self._transport.abort()
            return
        if not self._head_bytes:
            self._since_s = self._connections.now_s
        self._head_bytes += len(data)
        self._count = 0
        try:
            self._feed(data)
        except HttpParserUpgrade:
            pass  # It was answered, in HTTP/1.1, as the last one: nothing else is spoken here.
        except HttpParserError as error:
            if not self._is_over:
                self._refuse(400, "not-http", f"this is no request of HTTP/1.1: {error}")
        else:
            if self._head_bytes > MOST_HEAD_BYTES and not self._is_over:
                self._refuse(431, "head-too-large", f"at most {MOST_HEAD_BYTES} bytes are read")

    def pause_writing(self) -> None:
        self._is_unread = True
        self._since_s = self._connections.now_s
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_unread = False
        self._since_s = self._connections.now_s
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def look(self, now_s: int, idle_s: int) -> None:
        """Close it if it has taken too long; `idle_s` is what it may be idle for, -1 to close it if it is idle."""
        took_s = now_s - self._since_s
        if self._is_unread:
            if took_s > UNREAD_S:
                self.abort()
        elif self._is_over:
            if took_s > LINGER_S:
                self.abort()
        elif self._head_bytes:
            if took_s > HEAD_S:
                self._refuse(408, "too-slow", f"a request must be there within {HEAD_S} s")
        elif took_s > idle_s:
            self._end()

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    def on_url(self, url: bytes) -> None:
        """Called by the parser, as what follows."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name, headers = name.lower(), self._headers
        if name in headers:
            if len(headers[name]) > MOST_JOINED_BYTES:  # Each line more would copy all those before it.
                raise ValueError(f"{name!r} has too many lines")
            value = headers[name] + b", " + value
        headers[name] = value

    def on_headers_complete(self) -> None:
        """A request with a body is answered before it: nobody waits for a `100 Continue`, and no body is kept."""
        headers = self._headers
        if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
            self._answer(is_last=True, has_body=True)

    def on_message_complete(self) -> None:
        if not self._is_over:
            self._answer(is_last=False, has_body=False)

    def _answer(self, *, is_last: bool, has_body: bool) -> None:
        parser, connections, application = self._parser, self._connections, self._application
        if parser is None:
            return
        method, target, headers = parser.get_method(), self._target.decode("latin-1"), self._headers
        self._target, self._headers = b"", {}
        self._head_bytes = 0
        self._count += 1
        is_last = (
            is_last
            or connections.is_ending
            or self._count >= MOST_PIPELINED
            or not parser.should_keep_alive()
            or parser.should_upgrade()
        )
        if target[:1] != "/":
            target = _read_target(target, headers)
        host = headers.get(b"host")
        if has_body and method in {b"GET", b"HEAD", b"OPTIONS"}:
            self._refuse(413, "body-not-allowed", "requests have no body here")
        elif b"," in host if host is not None else parser.get_http_version() != "1.0":
            self._refuse(400, "no-host", "a request of HTTP/1.1 names one host (RFC 9112, 3.2)")
        elif application.may_block(target):
            self._answer_later(method, target, headers)
        else:
            connections.send(self._write, application.respond(self._peer, method, target, headers, is_last))
            if is_last:
                self._end(lingers=has_body or self._count >= MOST_PIPELINED)

    def _answer_later(self, method: bytes, target: str, headers: Headers) -> None:
        """Answer in a thread what may wait for a disk; as the last of its connection, so that no order is kept."""
        self._is_over = True
        self._head_bytes = 0
        self._is_unread = True  # As if its client took its time: it has as long.
        respond, peer = self._application.respond, self._peer

        def finish(future: asyncio.Future[bytes]) -> None:
            self._is_unread = False
            if not self._transport.is_closing():
                self._connections.send(self._write, future.result())
                self._end()

        work = asyncio.to_thread(respond, peer, method, target, headers, True)
        self._connections.loop.create_task(work).add_done_callback(finish)

    def _refuse(self, status: int, code: str, detail: str, *, lingers: bool = True) -> None:
        self._connections.send(self._write, self._application.refuse(status, code, detail))
        self._end(lingers=lingers)

    def _end(self, *, lingers: bool = False) -> None:
        """Close it when what was written is sent; with unread input that would be a reset, which takes the answer."""
        self._connections.flush()
        self._is_over = True
        self._head_bytes = 0
        self._since_s = self._connections.now_s
        if lingers and self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()


def _read_target(target: str, headers: dict[bytes, bytes]) -> str:
    """A target in absolute form, which says the host too (RFC 9112, 3.2.2), as path and query."""
    scheme, _, rest = target.partition("://")
    if scheme.lower() not in {"http", "https"}:
        return target
    authority, slash, path = rest.partition("/")
    headers[b"host"] = authority.encode("latin-1")
    return slash + path or "/"
