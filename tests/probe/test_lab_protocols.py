"""The clients of level 1 find what is wrong, and nothing where all is right: on nginx, and on servers that err."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamReset, WindowUpdated
from h2.exceptions import ProtocolError

from headrace.base.clock import SystemClock
from headrace.lab.adapters.certificates import make_certificate
from headrace.lab.assembly import LabSetup, open_lab
from headrace.lab.content import KnownFile
from headrace.lab.load import bad_requests
from headrace.lab.load.checking import part, whole
from headrace.lab.load.http2 import LARGE_WINDOW, Http2Connection, connect
from headrace.lab.load.link import Gone
from headrace.lab.load.model import LoadPlan
from headrace.lab.load.run import BAD_REQUESTS, HTTP2, plan_for, run_load
from headrace.lab.load.tally import Tally
from headrace.lab.ports import MachineKind, MachineSpec

FILE = KnownFile(size_bytes=40_000, seed="protocols")
SMALL = KnownFile(size_bytes=100, seed="protocols-small")
LARGE = KnownFile(size_bytes=(2 << 20) + 4097, seed="protocols-large")
CLOCK = SystemClock()


@pytest.mark.root
async def test_nginx_is_right(tmp_path: Path) -> None:
    setup = LabSetup(machine=MachineSpec(kind=MachineKind.PROCESS), content=(SMALL, FILE, LARGE))
    async with open_lab(setup, tmp_path / "lab", CLOCK) as lab:
        for program in (HTTP2, BAD_REQUESTS):
            report = await run_load(lab, plan_for(lab, seconds=0, is_tls=program == HTTP2), program=program)
            assert report.is_right, report
            assert report.requests > 75
            assert report.aborted > 0 or program == BAD_REQUESTS
        assert lab.machine.condition().reason == ""


class Answering(asyncio.Protocol):
    """An HTTP/2 server for one file that errs as it is told."""

    def __init__(self, error: str) -> None:
        self._error = error
        self._link = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._left: dict[int, bytes] = {}
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._link.initiate_connection()
        self._transport.write(self._link.data_to_send())

    def data_received(self, data: bytes) -> None:
        if self._error == "goaway" and self._has_ended:
            return
        try:
            for event in self._link.receive_data(data):
                if isinstance(event, RequestReceived):
                    self._answer(event.stream_id)
                elif isinstance(event, StreamReset):
                    self._left.pop(event.stream_id, None)
                elif isinstance(event, WindowUpdated | DataReceived):
                    pass
            self._pump()
        except ProtocolError:
            self._transport.abort()
            return
        self._transport.write(self._link.data_to_send())

    def _answer(self, stream: int) -> None:
        if self._has_ended:
            return
        body = bytearray(FILE.body)
        length = len(body)
        if self._error == "flipped":
            body[8192] ^= 1
        if self._error == "short":
            del body[-1:]
        headers = [(":status", "200"), ("content-length", str(length)), ("etag", f'"{FILE.sha256}"')]
        if self._error == "status":
            headers[0] = (":status", "404")
        self._link.send_headers(stream, headers)
        self._left[stream] = bytes(body)
        if self._error == "reset":
            self._link.reset_stream(stream)
            del self._left[stream]
        if self._error == "goaway":
            self._link.close_connection()
            self._left.clear()
            self._has_ended = True

    def _pump(self) -> None:
        if self._error == "stalled":
            return
        for stream, body in list(self._left.items()):
            room = min(self._link.local_flow_control_window(stream), len(body))
            while room:
                size = min(room, self._link.max_outbound_frame_size)
                self._link.send_data(stream, body[:size])
                self._left[stream] = body = body[size:]  # noqa: PLW2901
                room -= size
            if not body:
                if self._error == "short":  # a length that is not kept would be refused by the library itself
                    self._link.reset_stream(stream, 0)
                else:
                    self._link.end_stream(stream)
                del self._left[stream]


@asynccontextmanager
async def server_that_errs(error: str, folder: Path) -> AsyncIterator[int]:
    certificate, key = make_certificate("127.0.0.1")
    (folder / "own.crt").write_bytes(certificate)
    (folder / "own.key").write_bytes(key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "own.crt", folder / "own.key")
    tls.set_alpn_protocols(["http/1.1"] if error == "no h2" else ["h2"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(error), "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("error", "found"),
    [
        ("", ""),
        ("flipped", "byte 8192 of 40000 is"),
        ("status", "status 404, not 200"),
        ("reset", "the server gave up a stream"),
        ("short", "the server gave up a stream"),
        ("goaway", "ended the connection"),
        ("no h2", "does not offer HTTP/2"),
        ("stalled", "stalled"),
    ],
)
async def test_what_a_server_does_wrong_is_found(tmp_path: Path, error: str, found: str) -> None:
    tally = Tally()
    async with server_that_errs(error, tmp_path) as port:
        connection: Http2Connection | None = None
        try:
            stall_s = 0.5 if error == "stalled" else 10.0
            connection = await connect("127.0.0.1", port, tally, stall_s=stall_s, clock=CLOCK, window=5000)
            await connection.ask([whole(FILE)] * 3, "test", cancel_at={1: 7000})
            await connection.change_window(LARGE_WINDOW)
            await connection.read_all()
        except Gone:
            pass
        finally:
            if connection is not None:
                await connection.close()
    report = tally.report(1.0)
    if not error:
        # A stream that ended in the very read in which it was to be given up is no longer there to give up.
        assert (report.requests + report.aborted, report.wrong, report.failed) == (3, 0, 0), report
        return
    assert not report.is_right
    said = [*report.failures, *(one.what for one in report.wrongs), *["stalled"] * report.stalled]
    assert any(found in line for line in said), said


async def test_a_server_that_takes_everything_is_found(tmp_path: Path) -> None:
    """It answers any bytes with the small file, and never closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(1 << 20):
                first = part(SMALL, 0, 1)
                head = f'HTTP/1.1 206 Partial\r\nContent-Length: 1\r\nETag: "{SMALL.sha256}"\r\n'
                head += "Content-Range: bytes 0-0/100\r\n\r\n"
                writer.write(head.encode() + bytes(first.body or b""))
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        plan = LoadPlan(address="127.0.0.1", port=port, files=(SMALL,), stall_s=0.1)
        report = await bad_requests.run_plan(plan)
    assert report.wrong >= 20
    assert any("status 206, not 414" in one.what for one in report.wrongs)
