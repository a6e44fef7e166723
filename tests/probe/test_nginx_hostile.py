"""Clients that mean ill or are broken: nginx stays up, keeps to its bounds, and serves the others."""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from headrace.appliance.testing import body_of
from headrace.appliance.testing_nginx import NginxRig
from headrace.telemetry.access_log import MOST_LINE_BYTES, LogRecord, parse_line

BODY = body_of(14, 1 << 20)
SHA = hashlib.sha256(BODY).hexdigest()
PATH = f"/f/{SHA[:2]}/{SHA}.mp4"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[NginxRig]:
    async with NginxRig(tmp_path, send_timeout_s=1) as rig:
        rig.put(BODY)
        yield rig


async def send(rig: NginxRig, request: bytes) -> bytes:
    """What comes back until nginx closes."""
    reader, writer = await asyncio.open_connection(rig.host, rig.port)
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        writer.write(request)
        async with asyncio.timeout(12):
            while part := await reader.read(1 << 16):
                answer += part
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        (b"\x00\x01\x02\x03\r\n\r\n", (b"400",)),
        (b"GET " + b"/" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", (b"414",)),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\nCookie: {'c' * 9_000}\r\n\r\n".encode(), (b"400",)),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\n".encode() + b"Y: z\r\n" * 9_000 + b"\r\n", (b"400",)),
        (f"GET {PATH} HTTP/1.1\r\n\r\n".encode(), (b"400",)),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".encode(), (b"400",)),
        (f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n".encode(), (b"413",)),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".encode(), (b"400",)),
        (
            f"GET {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n".encode(),
            (b"400",),
        ),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", (b"405",)),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", (b"400", b"405")),
        (b"GET http://other.test/f/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", (b"404",)),
    ],
    ids=lambda value: value[:24].decode("latin-1") if isinstance(value, bytes) else "",
)
async def test_broken_requests(rig: NginxRig, request_bytes: bytes, statuses: tuple[bytes, ...]) -> None:
    answer = await send(rig, request_bytes)
    assert answer.split(b" ", 2)[1] in statuses
    assert rig.supervisor.report().restarts == 0


async def test_body_is_never_stored(rig: NginxRig) -> None:
    body = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    request = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + body * 40
    answer = await send(rig, request)
    assert answer == b"" or answer.split(b" ", 2)[1] in (b"405", b"413")
    assert list((Path(rig.settings.run_folder) / "client_body").rglob("*")) == []


async def test_client_that_takes_nothing_is_cut_off(tmp_path: Path) -> None:
    async with NginxRig(tmp_path, send_timeout_s=1) as rig:
        body = os.urandom(24 << 20)
        name = rig.put(body)
        reader, writer = await asyncio.open_connection(rig.host, rig.port, limit=1 << 12)
        writer.write(f"GET {name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await asyncio.sleep(2.5)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 400, 2))},
        {"Range": "bytes=9999999999999999999999-"},
        {"Range": "bytes=-" + "9" * 30},
        {"Range": "bytes=5-1"},
        {"If-None-Match": '"' + "a" * 3_000},
        {"If-Match": ", ".join(f'"{n}"' for n in range(400))},
        {"If-None-Match": f'W/W/"{SHA}"x'},
        {"CMCD-Session": 'sid="' + "\\" * 3_000},
    ],
    ids=lambda headers: next(iter(headers.items()))[1][:20],
)
async def test_odd_headers_get_some_answer(rig: NginxRig, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=rig.url, timeout=5) as client:
        answer = await client.get(PATH, headers=headers)
        assert answer.status_code in (200, 206, 304, 400, 412, 416)
        assert len(answer.content) <= len(BODY)


async def test_log_lines_stay_whole_and_within_bounds(rig: NginxRig) -> None:
    evil = b"\t\n\x00\xff\x7f\\x09\"'{}$msec"
    quoted = b"".join(b"%%%02x" % byte for byte in evil)
    fields = b"".join(b"%s: %s\r\n" % (name, b"\xff" * 3_900) for name in (b"Cmcd-Session", b"Cmcd-Object", b"Range"))
    for request in (
        b"GET /f/" + quoted + b"?" + quoted + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /" + b"%ff" * 1_200 + b" HTTP/1.1\r\nHost: a\r\n" + fields + b"Connection: close\r\n\r\n",
        b"\xff\xfe\t\t\t\n\n",
    ):
        await send(rig, request)
    log = Path(rig.settings.access_log)
    await rig.until(lambda: log.read_bytes().count(b"\n") >= 3)
    lines = (await asyncio.to_thread(log.read_bytes)).splitlines()
    assert len(lines) == 3
    assert all(isinstance(parse_line(line), LogRecord) and len(line) < MOST_LINE_BYTES for line in lines)
