"""Our own nginx: upstream's source with the queue of `patches/nginx` on it. What each patch promises, on the program.

What any nginx of ours must do besides is in test_nginx_conformance.py, which runs on this one too.
"""

import asyncio
import hashlib
import os
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO

import httpx
import pytest

from headrace.appliance.adapters.nginx_processes import find_processes
from headrace.appliance.nginx_conf import parse_build
from headrace.appliance.testing import body_of
from headrace.appliance.testing_nginx import NginxRig, make_certificate
from headrace.catalog.model import FileSuffix
from headrace.workshop.testing_nginx import Shop

pytestmark = pytest.mark.timeout(400)  # the first run on a machine compiles nginx, beside whatever else runs there
LARGE = body_of(31, 12_000_000)
CHECK_S = 1
NO_PROOF = ssl.create_default_context()
NO_PROOF.check_hostname = False
NO_PROOF.verify_mode = ssl.CERT_NONE
_DATA_SEGMENTS_IN = struct.Struct("@I")
_DATA_SEGMENTS_IN_AT = 152
"""Of tcpi_data_segs_in in struct tcp_info (linux/tcp.h)."""


@pytest.fixture(scope="module")
def program() -> Path:
    return Shop().build_queue(Path(__file__).parents[2])


@pytest.fixture(scope="module")
def rig(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxRig]:
    """One worker, so that what one connection does is next to what the others do."""
    folder = tmp_path_factory.mktemp("nginx")
    certificate, key = make_certificate(folder)
    rig = NginxRig(folder, tls_certificate=certificate, tls_key=key, workers=1, file_check_s=CHECK_S)
    rig.settings = replace(rig.settings, tls_listen=(f"{rig.host}:{rig.port + 1}",))
    rig.put(LARGE)
    rig.supervisor = rig.make_supervisor(binary=str(program))
    asyncio.run(rig.supervisor.apply(rig.settings))
    assert rig.supervisor.report().is_running, rig.supervisor.report().error
    yield rig
    rig.kill()


def test_the_program_says_what_it_has(program: Path) -> None:
    said = subprocess.run([program, "-V"], capture_output=True, text=True, check=True, timeout=10).stderr
    build = parse_build(said)
    assert build.keeps_content
    assert build.gathers_records
    assert build.corks_long_files
    assert build.bounds_log


def test_head_and_start_of_a_range_come_in_one_packet(rig: NginxRig) -> None:
    path = f"/f/{_sha(LARGE)[:2]}/{_sha(LARGE)}.mp4"
    with socket.create_connection((rig.host, rig.port), timeout=10) as client:
        before = _data_segments(client)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nRange: bytes=5-1004\r\n\r\n".encode())
        answer = client.makefile("rb")
        while answer.readline() != b"\r\n":
            pass
        assert answer.read(1000) == LARGE[5:1005]
        assert _data_segments(client) - before == 1


def test_small_files_are_answered_from_memory(rig: NginxRig) -> None:
    text = body_of(32, 20_000)
    path = rig.put(text, FileSuffix.M3U8)
    _age(rig, path)
    with httpx.Client(base_url=rig.url, timeout=10) as client:
        assert client.get(path).content == text
        before = _bytes_read(rig)
        for _ in range(50):
            assert client.get(path).content == text
        assert client.get(path, headers={"Range": "bytes=7-99"}).content == text[7:100]
        assert client.get(path, headers={"Range": "bytes=-1"}).content == text[-1:]
        head = client.head(path)
        assert (head.content, head.headers["content-length"]) == (b"", str(len(text)))
        assert _bytes_read(rig) - before < len(text), "50 answers, and not one file's worth of bytes was read"
        parts = client.get(path, headers={"Range": "bytes=0-3,100-103"})
    assert parts.status_code == 206
    assert text[:4] in parts.content
    assert text[100:104] in parts.content


def test_files_above_the_bound_and_empty_ones_are_served_as_before(rig: NginxRig) -> None:
    with httpx.Client(base_url=rig.url, timeout=10) as client:
        for number, size in enumerate((0, 1, 32_768, 32_769, 200_000)):
            text = body_of(40 + number, size)
            path = rig.put(text, FileSuffix.M3U8)
            for _ in range(2):
                assert client.get(path).content == text


def test_a_file_that_changes_is_read_again_and_one_that_goes_is_gone(rig: NginxRig) -> None:
    text = body_of(33, 5_000)
    path = rig.put(text, FileSuffix.M3U8)
    link = rig.folder / "serve" / path[1:]
    file = _age(rig, path)
    with httpx.Client(base_url=rig.url, timeout=10) as client:
        assert client.get(path).content == text
        in_place = body_of(34, 7_000)
        file.write_bytes(in_place)
        os.utime(file, (1, 1))
        assert _until(lambda: client.get(path).content == in_place), "written in place"
        replaced = body_of(35, 6_000)
        other = file.with_suffix(".new")
        other.write_bytes(replaced)
        other.rename(file)
        assert _until(lambda: client.get(path).content == replaced), "another file in its place"
        link.unlink()
        assert _until(lambda: client.get(path).status_code == 302), "taken away: sent on to the next holder"
        link.symlink_to(file)
        assert _until(lambda: client.get(path).content == replaced), "back again"


def test_a_file_written_twice_in_a_second_is_not_kept_between(rig: NginxRig) -> None:
    """Size and time are alike: no check could tell that the bytes are others."""
    first, second = b"1" * 5_000, b"2" * 5_000
    path = rig.put(first, FileSuffix.VTT)
    file = (rig.folder / "serve" / path[1:]).resolve()
    written = time.time() + 1  # the answers come in the second of the write, whatever the machine does
    os.utime(file, (written, written))
    with httpx.Client(base_url=rig.url, timeout=10) as client:
        assert client.get(path).content == first
        file.write_bytes(second)
        os.utime(file, (written, written))
        assert client.get(path).content == second


def test_answers_under_way_keep_the_bytes_that_they_began_with(rig: NginxRig) -> None:
    """More pipelined answers than the socket takes; the file changes in place while they wait."""
    old, new = b"o" * 30_000, b"n" * 30_000
    path = rig.put(old, FileSuffix.VTT)
    file = _age(rig, path)
    count = 300
    with socket.socket() as client:
        client.settimeout(20)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.connect((rig.host, rig.port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * count)
        time.sleep(0.3)  # 9 MB of answers: the socket is full, one waits half sent, the others are not begun
        file.write_bytes(new)
        os.utime(file, (2, 2))
        time.sleep(CHECK_S + 0.2)
        answers = client.makefile("rb")
        bodies = [_next_answer(answers) for _ in range(count)]
    assert bodies[0] == old
    assert bodies[-1] == new
    assert all(body in (old, new) for body in bodies), "no answer is of both"


@pytest.mark.parametrize("version", ["1.3", "1.2"])
def test_tls_to_clients_of_every_speed_at_once(rig: NginxRig, version: str) -> None:
    """All share one buffer of the worker; what a slow one leaves must reach it, and no other."""

    def one(number: int) -> bool:
        first, length = number * 100_003, (1_000, 16_384, 100_000, 3_000_000)[number % 4]
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2 if version == "1.2" else ssl.TLSVersion.TLSv1_3
        with socket.socket() as raw:
            raw.settimeout(60)
            if number % 3:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096 << (number % 3))
            raw.connect((rig.host, rig.port + 1))
            with context.wrap_socket(raw, server_hostname="appliance.test") as client:
                return all(_fetched(client, first + again, length, number) for again in range(2))

    with ThreadPoolExecutor(24) as threads:
        assert all(threads.map(one, range(48)))


def _fetched(client: ssl.SSLSocket, first: int, length: int, number: int) -> bool:
    sha = _sha(LARGE)
    head = f"GET /f/{sha[:2]}/{sha}.mp4 HTTP/1.1\r\nHost: a\r\nRange: bytes={first}-{first + length - 1}\r\n\r\n"
    client.sendall(head.encode())
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(1_000)
    body = bytearray(data.partition(b"\r\n\r\n")[2])
    while len(body) < length:
        if number % 6 == 1 and len(body) < 500_000:
            time.sleep(0.002)
        body += client.recv(20_000)
    return bytes(body) == LARGE[first : first + length]


def test_http2_over_tls_and_clients_that_go_in_the_middle(rig: NginxRig) -> None:
    path = f"/f/{_sha(LARGE)[:2]}/{_sha(LARGE)}.mp4"
    address = (rig.host, rig.port + 1)
    for _ in range(10):
        with NO_PROOF.wrap_socket(socket.create_connection(address, timeout=10), server_hostname="a.test") as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert client.recv(100)
    with httpx.Client(base_url=f"https://{rig.host}:{rig.port + 1}", verify=NO_PROOF, http2=True, timeout=30) as client:
        with ThreadPoolExecutor(8) as threads:
            asked = [(first, first + 700_000) for first in range(0, 8_000_000, 1_000_001)]
            got = list(
                threads.map(lambda span: client.get(path, headers={"Range": f"bytes={span[0]}-{span[1]}"}), asked)
            )
        assert {answer.http_version for answer in got} == {"HTTP/2"}
        assert [answer.content for answer in got] == [LARGE[first : last + 1] for first, last in asked]
    assert len([one for one in find_processes(Path(rig.settings.run_folder)) if not one.is_master]) == 1, "it lives"
    log = Path(rig.settings.run_folder, "error.log").read_text()
    assert not [line for line in log.splitlines() if "[alert]" in line or "[crit]" in line or "[emerg]" in line]


def _age(rig: NginxRig, path: str) -> Path:
    """The file of `path`, made older than the second in which no content is kept."""
    file = (rig.folder / "serve" / path[1:]).resolve()
    os.utime(file, (100, 100))
    return file


def _next_answer(answers: IO[bytes]) -> bytes:
    length = 0
    while (line := answers.readline()) != b"\r\n":
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return answers.read(length)


def _sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _data_segments(client: socket.socket) -> int:
    """Packets with content that came in, as the kernel counts them."""
    facts = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int(_DATA_SEGMENTS_IN.unpack_from(facts, _DATA_SEGMENTS_IN_AT)[0])


def _bytes_read(rig: NginxRig) -> int:
    """Bytes that the worker read from files; what comes from sockets is not counted by the kernel."""
    worker = next(one.pid for one in find_processes(Path(rig.settings.run_folder)) if not one.is_master)
    lines = Path(f"/proc/{worker}/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("rchar")))


def _until(is_so: Callable[[], bool], limit_s: float = 10.0) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if is_so():
            return True
        time.sleep(0.1)
    return False
