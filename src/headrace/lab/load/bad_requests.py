"""Requests at and beyond the limits, and broken ones: a program that asks and prints a LoadReport, as client.py does.

Run where the client is: `python -m headrace.lab.load.bad_requests`. Each case is a connection of its own, with the
statuses that HTTP allows for it (RFC 9110, 9112) and, where the message's end cannot be known, the demand that the
server closes. After each a plain request must be answered right. Of a plan only address, files and stall count.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from headrace.base.clock import SystemClock
from headrace.lab.content import KnownFile
from headrace.lab.load.checking import Ask, part
from headrace.lab.load.http1 import connect
from headrace.lab.load.link import Gone
from headrace.lab.load.model import LoadPlan, LoadReport
from headrace.lab.load.tally import Tally
from headrace.wire.codec import decode, encode

_CLOSED_S = 3.0
"""After a request whose end nobody can tell, the connection must be closed within so long."""
_CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request, and what may be answered."""

    name: str
    request: bytes
    statuses: tuple[int, ...]
    """Of the final answer; 0: closed without one."""
    must_close: bool = False
    """Whether what follows on the connection could be another request (request smuggling)."""
    body: bytes | None = None
    """The right body; None where any will do."""


def cases(file: KnownFile) -> tuple[Case, ...]:
    """All of them, around one file of the content."""
    return (*_limits(file), *_broken(file.path), *_framing(file.path), *_allowed(file))


def _limits(file: KnownFile) -> tuple[Case, ...]:
    path = file.path
    return (
        Case(name="long URI", request=_get("/" + "a" * 20_000), statuses=(414,), must_close=True),
        Case(name="long query", request=_get(f"{path}?{'q' * 1500}"), statuses=(200,), body=file.body),
        Case(name="large header", request=_get(path, f"X-Large: {'h' * 20_000}"), statuses=(400, 431), must_close=True),
        Case(
            name="many headers", request=_get(path, *["Y: z"] * 9000), statuses=(400, 431), must_close=True
        ),
        Case(name="large body announced", request=_post(path, 1 << 40), statuses=(413, 405), must_close=True),
        Case(name="many ranges", request=_get(path, "Range: bytes=" + ",".join(f"{n}-{n}" for n in range(0, 200, 2))),
             statuses=(200, 206, 416)),
    )  # fmt: skip


def _broken(path: str) -> tuple[Case, ...]:
    return (
        Case(name="no request", request=b"\x00\x01\x02\r\n\r\n", statuses=(400,), must_close=True),
        Case(name="method in lower case", request=_line(f"get {path} HTTP/1.1"), statuses=(400, 405, 501)),
        Case(name="method with a space before", request=_line(f" GET {path} HTTP/1.1"), statuses=(400,)),
        Case(name="method of forbidden characters", request=_line(f"G@T {path} HTTP/1.1"), statuses=(400,)),
        Case(name="no path", request=_line("GET HTTP/1.1"), statuses=(400,), must_close=True),
        Case(name="no such version", request=_line(f"GET {path} HTTP/9.9"), statuses=(400, 505), must_close=True),
        Case(name="version that is none", request=_line(f"GET {path} HTTX/1.1"), statuses=(400,), must_close=True),
        Case(name="path above the root", request=_get("/../../../etc/passwd"), statuses=(400, 404)),
        Case(name="encoded path above the root", request=_get("/f/%2e%2e/%2e%2e/etc/passwd"), statuses=(400, 404)),
        Case(name="NUL in the path", request=_get("/f/%00"), statuses=(400, 404)),
        Case(name="no Host", request=f"GET {path} HTTP/1.1\r\n\r\n".encode(), statuses=(400,)),
        Case(name="two Hosts", request=_get(path, "Host: other"), statuses=(400,)),
        Case(name="NUL in a header", request=_get(path, "X: a\x00b"), statuses=(400,), must_close=True),
        Case(name="another method", request=_line(f"DELETE {path} HTTP/1.1", "Connection: close"), statuses=(405,)),
        Case(name="TRACE", request=_line(f"TRACE {path} HTTP/1.1", "Connection: close"), statuses=(405,)),
        Case(name="CONNECT", request=_line("CONNECT lab:80 HTTP/1.1", "Connection: close"), statuses=(400, 405)),
    )


def _framing(path: str) -> tuple[Case, ...]:
    """What two servers could read as different numbers of requests (RFC 9112, 6.3 and 11.2)."""
    smuggled = _get("/smuggled")
    bad = "length that is none", "length below zero", "two lengths", "length and chunks", "unknown coding"
    headers = (
        ("Content-Length: 5x",),
        ("Content-Length: -1",),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: xchunked",),
    )
    made = [
        Case(name=name, request=_get(path, *lines) + b"0\r\n\r\n" + smuggled, statuses=(400, 501), must_close=True)
        for name, lines in zip(bad, headers, strict=True)
    ]
    chunk = _get(path, "Transfer-Encoding: chunked") + b"zz\r\nbody\r\n0\r\n\r\n" + smuggled
    # A server may answer a GET before it has read the body, and must then let the connection go.
    made.append(Case(name="chunk of no size", request=chunk, statuses=(200, 400, 405), must_close=True))
    space = f"GET {path} HTTP/1.1\r\nHost: lab\r\nContent-Length : 5\r\n\r\n".encode() + smuggled
    made.append(Case(name="space before a colon", request=space, statuses=(400,), must_close=True))
    return tuple(made)


def _allowed(file: KnownFile) -> tuple[Case, ...]:
    path, body, end = file.path, file.body, "Connection: close"
    return (
        Case(name="absolute form", request=_get(f"http://lab{path}", end), statuses=(200,), body=body),
        Case(name="Host in other letters", request=_line(f"GET {path} HTTP/1.1", end, host="LAB:80"), statuses=(200,),
             body=body),
        Case(name="Expect on a GET", request=_get(path, "Expect: 100-continue", end), statuses=(200, 417)),
        Case(name="HTTP/1.0", request=_line(f"GET {path} HTTP/1.0"), statuses=(200,), body=body),
        Case(name="empty lines before", request=b"\r\n\r\n" + _get(path, end), statuses=(200, 400)),
        Case(name="header of odd letters", request=_get(path, "X-Odd_Name!: 1", end), statuses=(200,), body=body),
        Case(name="body of a GET", request=_get(path, "Content-Length: 5", end) + b"hello", statuses=(200, 400, 405)),
        Case(name="HEAD", request=_line(f"HEAD {path} HTTP/1.1", end), statuses=(200,), body=b""),
        Case(name="range that is none", request=_get(path, "Range: bytes=x-y", end), statuses=(200, 416)),
        Case(name="range of another unit", request=_get(path, "Range: lines=1-2", end), statuses=(200,), body=body),
        Case(name="OPTIONS", request=_line(f"OPTIONS {path} HTTP/1.1", end), statuses=(200, 204)),
    )  # fmt: skip


def fault_of(case: Case, answer: bytes, *, is_closed: bool) -> str:
    """What is wrong with an answer, '' when nothing is. An interim answer (1xx) before the final one is right."""
    head, _, body = _final(answer)
    words = head.split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    if status not in case.statuses:
        return f"status {status or 'none'}, not {' or '.join(str(one) for one in case.statuses)}"
    if case.must_close and not is_closed:
        return "the connection stays open, though where the next request begins cannot be told"
    if case.must_close and answer.count(b"HTTP/1.") > 1 + answer.count(b"HTTP/1.1 1"):
        return "what followed was taken for another request"
    if case.body is not None and status == 200 and body[: len(case.body) + 1] != case.body:
        return f"{len(body)} bytes of body that are not the right {len(case.body)}"
    return ""


def _final(answer: bytes) -> tuple[bytes, bytes, bytes]:
    """Head of the final answer, what ends it, body; the first two are empty where only interim answers (1xx) came."""
    head, end, body = answer.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 1"):
        head, end, body = body.partition(b"\r\n\r\n")
    return head, end, body


async def run_plan(plan: LoadPlan) -> LoadReport:
    """Try all cases, one after the other; raises nothing for what the machine does."""
    clock, tally = SystemClock(), Tally()
    began_s = clock.monotonic_s()
    file = next(one for one in plan.files if one.size_bytes == 100)
    for case in cases(file):
        try:
            fault = await try_case(case, plan.address, plan.port, stall_s=plan.stall_s)
        except (OSError, TimeoutError) as error:
            fault = f"no answer: {type(error).__name__}"
        if fault:
            tally.is_wrong(Ask(file=file, headers={"case": case.name}), fault, "bad requests")
        else:
            tally.requests += 1
        if not await _serves(plan, file, tally, clock):
            break
    return tally.report(clock.monotonic_s() - began_s)


async def try_case(case: Case, address: str, port: int, *, stall_s: float) -> str:
    """Ask and read; what is wrong with the answer, '' when nothing is. Raises OSError, TimeoutError: no connection."""
    opening = asyncio.open_connection(address, port)
    reader, writer = await asyncio.wait_for(opening, stall_s)
    try:
        answer, is_closed = b"", False
        with suppress(ConnectionResetError, BrokenPipeError):  # refused before all of it was sent
            writer.write(case.request)
            await asyncio.wait_for(writer.drain(), stall_s)
        with suppress(TimeoutError):
            while not is_closed:
                wait_s = min(_CLOSED_S, stall_s) if answer else stall_s
                try:
                    got = await asyncio.wait_for(reader.read(_CHUNK_BYTES), wait_s)
                except ConnectionResetError:
                    got = b""
                answer, is_closed = answer + got, not got
                if not case.must_close and case.body is None and _final(answer)[1]:
                    break
        return fault_of(case, answer, is_closed=is_closed)
    finally:
        writer.transport.abort()


async def _serves(plan: LoadPlan, file: KnownFile, tally: Tally, clock: SystemClock) -> bool:
    """Whether a plain request is still answered right."""
    try:
        connection = await connect(plan.address, plan.port, None, tally, stall_s=plan.stall_s, clock=clock)
    except Gone:
        return False
    try:
        ask = part(file, 0, 1)
        await connection.send([ask])
        await connection.receive(ask, "after a bad request")
    except Gone:
        return False
    finally:
        await connection.close(is_abrupt=True)
    return True


def _get(path: str, *headers: str) -> bytes:
    return _line(f"GET {path} HTTP/1.1", *headers)


def _post(path: str, length: int) -> bytes:
    return _line(f"POST {path} HTTP/1.1", f"Content-Length: {length}")


def _line(line: str, *headers: str, host: str = "lab") -> bytes:
    lines: Sequence[str] = (line, f"Host: {host}", *headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def main() -> None:
    plan = decode(LoadPlan, sys.stdin.buffer.read())
    sys.stdout.buffer.write(encode(asyncio.run(run_plan(plan))) + b"\n")


if __name__ == "__main__":
    main()
