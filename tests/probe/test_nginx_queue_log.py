"""The log and the numbers of our own nginx (`patches/nginx`) beside Debian's: the same requests, the same lines.

The queue makes lines, numbers and names in other ways than upstream; what comes out may not differ by a byte. Both
programs run with one configuration and get the same requests, so that the other one says what is right.
"""

import os
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from headrace.workshop.testing_nginx import Shop

pytestmark = pytest.mark.timeout(400)  # the first run on a machine compiles nginx, beside whatever else runs there
SEED = 20261124
DEBIAN = "/usr/sbin/nginx"
TEXT = bytes(range(256)) * 40
SPARSE_BYTES = 12_345_678_901_234
FIELDS = "$status $bytes_sent $body_bytes_sent $request_length $request_method $uri $args $http_x $http_user_agent"
COMMON = """daemon off; master_process off; pid "{folder}/pid"; error_log "{folder}/error.log" warn;
events {{ }}
http {{
    server_tokens off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    large_client_header_buffers 4 16k;
    log_format plain '{fields}|$http_x';
    log_format json escape=json '{fields}|$http_x';
    log_format none escape=none '{fields}|$http_x';
    log_format times '$msec $request_time $status $connection_requests';
{inside}
}}
"""
SAME = """
    server {{
        listen {address};
        root "{folder}";
        access_log "{folder}/plain.log" plain buffer=16k;
        access_log "{folder}/json.log" json buffer=16k;
        access_log "{folder}/none.log" none buffer=16k;
        access_log "{folder}/small.log" plain buffer=1k;
        access_log "{folder}/each.log" plain;
        access_log "{folder}/times.log" times buffer=4k;
    }}
"""
LOGS = ("plain", "json", "none", "small", "each")


class Running:
    """One nginx in the foreground with a configuration of the test."""

    def __init__(self, program: str, folder: Path, address: str, inside: str) -> None:
        self.folder, self.address = folder, address
        folder.mkdir()
        (folder / "logs").mkdir()
        (folder / "text.bin").write_bytes(TEXT)
        with (folder / "sparse.bin").open("wb") as file:
            file.truncate(SPARSE_BYTES)
        for name in ("text.bin", "sparse.bin"):
            os.utime(folder / name, (1, 1))  # both programs make the same tags of it
        text = COMMON.format(folder=folder, fields=FIELDS, inside=inside.format(folder=folder, address=address))
        (folder / "nginx.conf").write_text(text, encoding="utf-8")
        self._process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")])
        self._wait()

    def connect(self) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        client = socket.create_connection((host, int(port)), timeout=10)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def end(self) -> None:
        """Ends it in order: buffers of logs are written."""
        if self._process.poll() is None:
            self._process.terminate()
        assert self._process.wait(timeout=20) == 0

    def lines(self, name: str) -> list[bytes]:
        return (self.folder / f"{name}.log").read_bytes().split(b"\n")

    def _wait(self) -> None:
        for _ in range(200):
            try:
                self.connect().close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError(f"{self.address}: nothing listens")


@pytest.fixture(scope="module")
def program() -> str:
    return str(Shop().build_queue(Path(__file__).parents[2]))


@pytest.fixture
def both(program: str, tmp_path: Path) -> Iterator[tuple[Running, Running]]:
    """Ours and Debian's."""
    assert shutil.which(DEBIAN), f"{DEBIAN} is missing: scripts/setup test installs it"
    with ExitStack() as stack:
        pair = []
        for name, binary in (("ours", program), ("debian", DEBIAN)):
            running = Running(binary, tmp_path / name, free_address(), SAME)
            stack.callback(running.end)
            pair.append(running)
        yield pair[0], pair[1]


def free_address() -> str:
    with socket.socket() as finder:
        finder.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{finder.getsockname()[1]}"


def test_lines_are_the_same_whatever_a_request_holds(both: tuple[Running, Running]) -> None:
    requests = [one_request(random.Random(SEED + number)) for number in range(1500)]
    answers = [answers_to(one, requests) for one in both]
    assert answers[0] == answers[1]
    for running in both:
        running.end()
    for name in LOGS:
        ours, debians = (one.lines(name) for one in both)
        assert len(debians) > len(requests), "a line for each request, and the end of the last"
        assert ours == debians, name
    assert any(b"\\x" in line for line in both[0].lines("plain")), "something was escaped"
    assert len({len(line) for line in both[0].lines("plain")}) > 200, "lines of many lengths"


def test_names_are_read_the_same_however_the_request_is_cut(both: tuple[Running, Running]) -> None:
    """The loop over usual characters ends where the bytes end, and goes on with the next packet."""
    request = b"GET /a.b/../%74ext.bin?x=1&y=/..// HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\nX: q\r\n\r\n"
    statuses = []
    for running in both:
        with running.connect() as client:
            for cut in range(1, len(request)):
                client.sendall(request[:cut])
                time.sleep(0.002)
                client.sendall(request[cut:])
                head, body = read_answer(client)
                statuses.append((head.split(b"\r\n")[0], body))
        running.end()
    assert set(statuses) == {(b"HTTP/1.1 206 Partial Content", TEXT[:10])}
    assert both[0].lines("plain") == both[1].lines("plain")


def test_numbers_of_every_length_are_the_same(both: tuple[Running, Running]) -> None:
    edges = sorted({10**power + step for power in range(13) for step in (-1, 0, 1)} | {99, 100, 2**32 - 1, 2**32})
    requests = [
        f"GET /sparse.bin HTTP/1.1\r\nHost: a\r\nRange: bytes={first}-{first + length}\r\n\r\n".encode()
        for first in edges
        for length in (0, 9, 10, 999)
    ]
    ours, debians = (answers_to(one, requests) for one in both)
    assert ours == debians
    ranges = [re.search(rb"Content-Range: bytes (\d+)-(\d+)/(\d+)", head) for head, _ in ours]
    assert [int(found[1]) for found in ranges if found] == [first for first in edges for _ in range(4)]


def test_lines_carry_the_time_of_their_request(both: tuple[Running, Running]) -> None:
    """Lines of one millisecond share its text; the next one must not."""
    ours, spans = both[0], []
    with ours.connect() as client:
        for number in range(40):
            start = time.time()
            client.sendall(b"GET /text.bin HTTP/1.1\r\nHost: a\r\n")
            time.sleep(0.03 if number % 2 else 0)
            client.sendall(b"\r\n")
            read_answer(client)
            spans.append((start, time.time()))
    ours.end()
    lines = [line.split() for line in ours.lines("times") if line]
    assert [int(line[3]) for line in lines] == list(range(1, 41))
    for number, ((at, lasted, status, _), (start, end)) in enumerate(zip(lines, spans, strict=True)):
        assert re.fullmatch(rb"\d{10}\.\d{3}", at)
        assert start + (0.025 if number % 2 else -0.005) < float(at) < end + 0.005
        assert re.fullmatch(rb"\d\.\d{3}", lasted)
        assert (0.025 if number % 2 else 0) <= float(lasted) < end - start + 0.005
        assert status == b"200"


BOUNDED = """
    server {{
        listen {address};
        root "{folder}";
        access_log "{folder}/short.log" plain max_bytes=99 buffer=4k;
        access_log "{folder}/long.log" plain min_bytes=100;
        access_log "{folder}/middle.log" plain min_bytes=50 max_bytes=1k if=$http_x;
        access_log "{folder}/all.log" plain;
    }}
"""


def test_a_log_takes_bodies_within_its_bounds(program: str, tmp_path: Path) -> None:
    lengths = [1, 49, 50, 99, 100, 1024, 1025, 10_000]
    running = Running(program, tmp_path / "bounded", free_address(), BOUNDED)
    requests = [
        f"GET /text.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=0-{length - 1}\r\nX: {mark}\r\n\r\n".encode()
        for length in lengths
        for mark in ("0", "1")
    ]
    answers_to(running, [*requests, b"HEAD /text.bin HTTP/1.1\r\nHost: a\r\n\r\n"])
    running.end()

    def taken(name: str) -> list[int]:
        return [int(line.split()[2]) for line in running.lines(name) if line]

    assert taken("all") == [length for length in lengths for _ in range(2)] + [0]
    assert taken("short") == [length for length in lengths if length < 100 for _ in range(2)] + [0]
    assert taken("long") == [length for length in lengths if length >= 100 for _ in range(2)]
    assert taken("middle") == [length for length in lengths if 50 <= length <= 1024]


@pytest.mark.parametrize("bound", ["min_bytes=", "min_bytes=many", "max_bytes=-1", "max_bytes=9q"])
def test_a_bound_that_is_no_size_is_refused(program: str, tmp_path: Path, bound: str) -> None:
    (tmp_path / "logs").mkdir()
    inside = f'server {{ listen 127.0.0.1:1; access_log "{tmp_path}/x.log" plain {bound}; }}'
    (tmp_path / "nginx.conf").write_text(COMMON.format(folder=tmp_path, fields=FIELDS, inside=inside), encoding="utf-8")
    argv = [program, "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert said.returncode == 1
    assert f'invalid size "{bound}"' in said.stderr


def test_ranges_do_not_wait_for_the_client_with_tcp_nopush(both: tuple[Running, Running]) -> None:
    """Debian's nginx clears TCP_NODELAY when it corks and never sets it again: the end of a range waits for the
    client's delayed ACK, 40 ms (decision 0023)."""
    ours, debians = (sorted(times_of_ranges(one))[10] for one in both)
    assert debians > 0.03, "what the patch mends is still there upstream; if not, the patch can go"
    assert ours < 0.03


def times_of_ranges(running: Running) -> list[float]:
    times = []
    with running.connect() as client:
        for number in range(21):
            start = time.perf_counter()
            first = number * 1000 + 7
            request = f"GET /sparse.bin HTTP/1.1\r\nHost: a\r\nRange: bytes={first}-{first + 99_999}\r\n\r\n"
            client.sendall(request.encode())
            read_answer(client)
            times.append(time.perf_counter() - start)
    return times


def one_request(chance: random.Random) -> bytes:
    """A request with odd bytes wherever nginx takes them."""
    odd = bytes([*range(1, 9), 11, 12, *range(14, 32), 34, 92, *range(127, 256)])
    usual = b"abcdefghijklmnopqrstuvwxyz0123456789-_.~"

    def some(most: int, *, oddity: float) -> bytes:
        size = chance.choice((0, 1, 7, 8, 9, 15, 16, 17, chance.randrange(most)))
        return bytes(chance.choice(odd if chance.random() < oddity else usual) for _ in range(size))

    oddity = chance.choice((0, 0, 0.02, 0.5))
    name = chance.choice((b"/text.bin", b"/", b"/%22%5c%00x", b"/no/" + some(300, oddity=0), b"/t%65xt.bin"))
    query = chance.choice((b"", b"?", b"?" + some(400, oddity=oddity).translate(None, bytes(range(33)) + b"\x7f")))
    header = some(chance.choice((20, 100, 3000)), oddity=oddity)
    lines = [b"Host: a", b"X: " + header.translate(None, b"\x00")]
    if chance.random() < 0.5:
        lines.append(b"User-Agent: " + some(200, oddity=oddity))
    if chance.random() < 0.7:
        first = chance.randrange(12_000)
        lines.append(f"Range: bytes={first}-{first + chance.randrange(5_000)}".encode())
    method = chance.choice((b"GET", b"GET", b"HEAD", b"OPTIONS"))
    return b" ".join((method, name + query, b"HTTP/1.1\r\n")) + b"\r\n".join(lines) + b"\r\n\r\n"


def answers_to(running: Running, requests: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Head and body of each; a new connection where nginx ended the one before. The date is left out."""
    answers = []
    client = running.connect()
    for request in requests:
        client.sendall(request)
        head, body = read_answer(client, is_head=request.startswith(b"HEAD"))
        answers.append((re.sub(rb"Date: [^\r]*", b"Date", head), body))
        if b"Connection: close" in head:
            client.close()
            client = running.connect()
    client.close()
    return answers


def read_answer(client: socket.socket, *, is_head: bool = False) -> tuple[bytes, bytes]:
    """Head and body; the connection stays open."""
    got = b""
    while b"\r\n\r\n" not in got:
        part = client.recv(65536)
        if not part:
            raise ConnectionError(f"the server ended the connection after {got!r}")
        got += part
    head, _, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    expected = 0 if is_head or not length else int(length[1])
    while len(body) < expected:
        part = client.recv(1 << 20)
        if not part:
            raise ConnectionError(f"the body ended after {len(body)} of {expected} bytes")
        body += part
    return head, body
