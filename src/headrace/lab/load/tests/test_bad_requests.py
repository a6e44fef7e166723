"""What counts as a right answer to a wrong request; every case is there once, and says what it allows."""

import asyncio

import pytest

from headrace.lab.content import KnownFile
from headrace.lab.load.bad_requests import Case, cases, fault_of, try_case

FILE = KnownFile(size_bytes=100, seed="bad")
OPEN = Case(name="x", request=b"", statuses=(200,), body=b"body")
CLOSING = Case(name="x", request=b"", statuses=(400, 501), must_close=True)
BAD = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nno"


@pytest.mark.parametrize(
    ("case", "answer", "is_closed", "fault"),
    [
        (OPEN, b"HTTP/1.1 200 OK\r\n\r\nbody", False, ""),
        (OPEN, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbody", False, ""),
        (OPEN, b"HTTP/1.1 200 OK\r\n\r\nbodies", False, "6 bytes of body"),
        (OPEN, b"HTTP/1.1 200 OK\r\n\r\nbod", True, "3 bytes of body"),
        (OPEN, b"HTTP/1.1 500 Oh\r\n\r\n", True, "status 500, not 200"),
        (OPEN, b"", True, "status none, not 200"),
        (CLOSING, BAD, True, ""),
        (CLOSING, BAD, False, "stays open"),
        (CLOSING, b"HTTP/1.1 200 OK\r\n\r\n", True, "status 200, not 400 or 501"),
        (CLOSING, BAD + b"HTTP/1.1 200 OK\r\n\r\nsmuggled", True, "taken for another request"),
    ],
)
def test_an_answer(case: Case, answer: bytes, is_closed: bool, fault: str) -> None:
    found = fault_of(case, answer, is_closed=is_closed)
    assert fault in found if fault else found == ""


def test_every_case_is_named_once_and_bounded() -> None:
    found = cases(FILE)
    assert len({case.name for case in found}) == len(found) >= 40
    assert all(case.statuses and len(case.request) < 200_000 for case in found)
    smuggling = [case for case in found if b"/smuggled" in case.request]
    assert len(smuggling) == 7
    assert all(case.must_close for case in smuggling)


async def test_an_interim_answer_is_not_the_end_though_it_comes_alone() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"\r\nbody"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for body in (None, b"body"):
            case = Case(name="x", request=b"GET / HTTP/1.1\r\n\r\n", statuses=(200,), body=body)
            assert await try_case(case, "127.0.0.1", port, stall_s=5.0) == ""
