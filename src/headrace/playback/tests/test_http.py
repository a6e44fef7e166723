"""HTTP/1.1 over real sockets: what is read, what is refused, what is bounded, how it ends."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.playback.adapters import http
from headrace.playback.adapters.http import HEAD_S, MOST_HEAD_BYTES, MOST_PIPELINED, UNREAD_S, Connections
from headrace.playback.service import Headers, Peer
from headrace.playback.testing import Reply, read_reply

GET = b"GET /a?b=1 HTTP/1.1\r\nHost: h\r\n\r\n"
WAIT_S = 10.0


class Echo:
    """Answers with what was asked; `/slow` in a thread, until `goes_on` is set."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes, str, dict[bytes, bytes]]] = []
        self.goes_on = threading.Event()
        self.size = 0

    def meet(self, address: str, scheme: str) -> Peer:
        return Peer(address, scheme, False)

    def may_block(self, target: str) -> bool:
        return target == "/slow"

    def respond(self, peer: Peer, method: bytes, target: str, headers: Headers, is_last: bool) -> bytes:
        self.asked.append((peer.address, method, target, dict(headers)))
        if target == "/slow":
            self.goes_on.wait(WAIT_S)
        return self._say(200, f"{method.decode()} {target} {'x' * self.size}", is_last)

    def refuse(self, status: int, code: str, detail: str) -> bytes:
        return self._say(status, code, True)

    def _say(self, status: int, text: str, is_last: bool) -> bytes:
        body = text.encode("latin-1")
        close = "connection: close\r\n" if is_last else ""
        return f"HTTP/1.1 {status} Said\r\ncontent-length: {len(body)}\r\n{close}\r\n".encode() + body


class Client:
    """One connection that reads whole answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def say(self, data: bytes) -> None:
        self._writer.write(data)

    async def hear(self) -> Reply:
        async with asyncio.timeout(WAIT_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            reply = read_reply(head)
            return read_reply(head + await self._reader.readexactly(int(reply.header("content-length"))))

    async def ask(self, data: bytes) -> tuple[int, str]:
        self.say(data)
        reply = await self.hear()
        return reply.status, reply.body.decode("latin-1")

    async def is_closed(self) -> bool:
        """True when nothing more comes; whatever comes is an error."""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionError):
                assert await self._reader.read(1000) == b""
            return True

    def close(self) -> None:
        self._writer.close()


class Site:
    """A server with its connections, and clients of it."""

    def __init__(self, echo: Echo, connections: Connections, port: int) -> None:
        self.echo, self.connections, self.port = echo, connections, port
        self._clients: list[Client] = []

    async def client(self) -> Client:
        one = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(one)
        return one

    def later(self, by_s: int) -> None:
        """Time passes for all connections."""
        self.connections.now_s += by_s
        for one in list(self.connections._all):
            one.look(self.connections.now_s, 75)

    def close(self) -> None:
        for one in self._clients:
            one.close()


@asynccontextmanager
async def serving(*, most: int = 100) -> AsyncIterator[Site]:
    echo = Echo()
    connections = Connections(echo, scheme="http", most=most, idle_s=75)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(connections, "127.0.0.1", 0)
    site = Site(echo, connections, server.sockets[0].getsockname()[1])
    try:
        yield site
    finally:
        site.close()
        server.close()
        echo.goes_on.set()
        await connections.end(WAIT_S)


async def test_requests_on_one_connection() -> None:
    async with serving() as site:
        client = await site.client()
        assert await client.ask(GET) == (200, "GET /a?b=1 ")
        assert await client.ask(b"POST /p HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\n\r\n") == (200, "POST /p ")
        assert site.echo.asked[1] == ("127.0.0.1", b"POST", "/p", {b"host": b"h", b"x-a": b"1, 2"})
        client.say(GET.replace(b"/a", b"/1") + GET.replace(b"/a", b"/2") + GET[:9])
        assert [(await client.hear()).body for _ in range(2)] == [b"GET /1?b=1 ", b"GET /2?b=1 "]
        assert await client.ask(GET[9:]) == (200, "GET /a?b=1 ")


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", b"GET / "),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", b"GET / "),
        (b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", b"GET /x "),
        (b"PUT /p HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", b"PUT /p "),
        (b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", b"POST /p "),
    ],
)
async def test_the_last_answer_of_a_connection_says_so(raw: bytes, body: bytes) -> None:
    async with serving() as site:
        client = await site.client()
        client.say(raw)
        reply = await client.hear()
        assert (reply.status, reply.body, reply.header("connection")) == (200, body, "close")
        if b"100-continue" in raw:
            client.close()
        assert await client.is_closed()


async def test_a_target_in_absolute_form_names_its_host() -> None:
    async with serving() as site:
        client = await site.client()
        assert await client.ask(b"GET http://other:1/p?q HTTP/1.1\r\nHost: h\r\n\r\n") == (200, "GET /p?q ")
        assert await client.ask(b"GET HTTPS://other HTTP/1.1\r\nHost: h\r\n\r\n") == (200, "GET / ")
        assert await client.ask(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n") == (200, "OPTIONS * ")
        assert [asked[3][b"host"] for asked in site.echo.asked] == [b"other:1", b"other", b"h"]


REFUSED = [
    (b"\x16\x03\x01\x00\xa5\x01\x00\x00", 400, "not-http"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not-http"),
    (b"GET / HTTP/1.1\nHost: h\n\n", 400, "not-http"),
    (b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", 400, "not-http"),
    (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400, "not-http"),
    (b"GET / HTTP/1.1\r\n\r\n", 400, "no-host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "no-host"),
    (
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "not-http",
    ),
    (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde", 413, "body-not-allowed"),
    (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: 1\r\n" * 20_000 + b"\r\n", 400, "not-http"),
    (b"GET /" + b"x" * MOST_HEAD_BYTES, 431, "head-too-large"),
    (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * MOST_HEAD_BYTES, 431, "head-too-large"),
]


@pytest.mark.parametrize(("raw", "status", "code"), REFUSED, ids=[f"{no}-{one[2]}" for no, one in enumerate(REFUSED)])
async def test_what_is_refused_ends_the_connection(raw: bytes, status: int, code: str) -> None:
    async with serving() as site:
        client = await site.client()
        client.say(GET)
        assert (await client.hear()).status == 200
        client.say(raw)
        reply = await client.hear()
        assert (reply.status, reply.body.decode(), reply.header("connection")) == (status, code, "close")
        assert await client.is_closed()
        assert len(site.echo.asked) == 1


async def test_a_client_that_goes_on_sending_gets_its_refusal_and_is_cut_off() -> None:
    async with serving() as site:
        client = await site.client()
        client.say(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n")
        assert (await client.hear()).status == 200
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                client.say(b"x" * 100_000)
                await client._writer.drain()
        assert await client.is_closed()
        assert len(site.echo.asked) == 1


async def test_too_many_requests_at_once_end_the_connection() -> None:
    async with serving() as site:
        client = await site.client()
        client.say(GET * (MOST_PIPELINED + 50))
        replies = [await client.hear() for _ in range(MOST_PIPELINED)]
        assert [reply.header("connection") for reply in replies] == [""] * (MOST_PIPELINED - 1) + ["close"]
        assert await client.is_closed()


async def test_slow_and_idle_connections_are_closed() -> None:
    async with serving() as site:
        slow, idle = await site.client(), await site.client()
        for one in (slow, idle):
            assert (await one.ask(GET))[0] == 200
        slow.say(GET[:5])
        await asyncio.sleep(0.05)
        site.later(HEAD_S)
        slow.say(GET[5:7])
        await asyncio.sleep(0.05)
        site.later(1)
        assert ((await slow.hear()).status, await slow.is_closed()) == (408, True)
        assert (await idle.ask(GET))[0] == 200
        site.later(75)
        assert (await idle.ask(GET))[0] == 200
        site.later(76)
        assert await idle.is_closed()


async def test_connections_beyond_the_most_are_refused_and_idle_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(most=2) as site:
        for one in (await site.client(), await site.client()):
            assert (await one.ask(GET))[0] == 200
        third = await site.client()
        assert ((await third.hear()).status, await third.is_closed()) == (503, True)
        third.say(GET)
        with contextlib.suppress(ConnectionError):
            await third._writer.drain()
            assert len(site.echo.asked) == 2
        naps = iter([None] * (http.CROWDED_IDLE_S + 1))

        async def sleep(_: float) -> None:
            if next(naps, 1) is not None:
                raise asyncio.CancelledError

        with monkeypatch.context() as patch, contextlib.suppress(asyncio.CancelledError):
            patch.setattr(http.asyncio, "sleep", sleep)
            await site.connections.keep_time()
        fourth = await site.client()
        assert (await fourth.ask(GET))[0] == 200


async def test_a_client_that_does_not_read_is_not_read_from_and_is_dropped() -> None:
    async with serving() as site:
        site.echo.size = 1_000_000
        with socket.create_connection(("127.0.0.1", site.port)) as deaf:
            deaf.setblocking(False)
            for _ in range(200):
                with contextlib.suppress(BlockingIOError):
                    deaf.send(GET)
                await asyncio.sleep(0.001)
            assert 0 < len(site.echo.asked) < 50
            site.later(UNREAD_S + 1)
            assert not site.connections._all or await asyncio.wait_for(_until_gone(site), WAIT_S)


async def _until_gone(site: Site) -> bool:
    while site.connections._all:
        await asyncio.sleep(0.01)
    return True


async def test_what_may_block_is_answered_in_a_thread() -> None:
    async with serving() as site:
        slow, other = await site.client(), await site.client()
        slow.say(GET.replace(b"/a?b=1", b"/slow") + GET)
        assert (await other.ask(GET))[0] == 200
        site.echo.goes_on.set()
        reply = await slow.hear()
        assert (reply.body, reply.header("connection")) == (b"GET /slow ", "close")
        assert await slow.is_closed()


async def test_at_the_end_running_requests_are_answered_and_idle_connections_closed() -> None:
    async with serving() as site:
        idle, begun, slow = await site.client(), await site.client(), await site.client()
        assert (await idle.ask(GET))[0] == 200
        begun.say(GET[:9])
        slow.say(GET.replace(b"/a?b=1", b"/slow"))
        await asyncio.sleep(0.05)
        end = site.connections.loop.create_task(site.connections.end(WAIT_S))
        assert await idle.is_closed()
        begun.say(GET[9:])
        assert (await begun.hear()).header("connection") == "close"
        site.echo.goes_on.set()
        assert (await slow.hear()).status == 200
        await asyncio.wait_for(end, WAIT_S)


async def test_the_end_does_not_wait_for_ever() -> None:
    async with serving() as site:
        client = await site.client()
        client.say(GET[:9])
        await asyncio.sleep(0.05)
        await asyncio.wait_for(site.connections.end(0.1), WAIT_S)
        assert await client.is_closed()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 3 * len(GET)), max_size=6))
async def test_where_a_stream_is_cut_changes_nothing(cuts: list[int]) -> None:
    stream, places = GET * 3, [0, *sorted(cuts), 3 * len(GET)]
    async with serving() as site:
        client = await site.client()
        for begin, end in zip(places, places[1:], strict=False):
            client.say(stream[begin:end])
            await asyncio.sleep(0)
        assert [(await client.hear()).status for _ in range(3)] == [200] * 3
        assert len(site.echo.asked) == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(noise=st.binary(max_size=80), begin=st.sampled_from([b"", b"GET ", b"GET / HTTP/1.1\r\n", GET[:-2], GET]))
async def test_noise_is_refused_or_awaited_and_others_are_served(noise: bytes, begin: bytes) -> None:
    async with serving() as site:
        client, other = await site.client(), await site.client()
        client.say(begin + noise)
        assert (await other.ask(GET))[0] == 200
        client._writer.write_eof()
        async with asyncio.timeout(WAIT_S):
            said = await client._reader.read(100_000)
        assert said == b"" or said.startswith(b"HTTP/1.1 ")
