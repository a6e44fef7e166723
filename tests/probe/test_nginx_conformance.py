"""What a client may ask of an appliance and what it gets: RFC 9110 sections 8.8, 9, 13 and 14, RFC 9211, CORS.

The table runs on every build of nginx at hand (the wheel's, Debian's, and our own with the patch queue on it) and over
HTTP/1.1, HTTP/2 and TLS.
"""

import asyncio
import hashlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from headrace.appliance.testing import body_of
from headrace.appliance.testing_nginx import NginxRig, make_certificate
from headrace.catalog.model import FileSuffix
from headrace.telemetry.access_log import LogRecord, Outcome, parse_line
from headrace.workshop.testing_nginx import Shop

BODY = body_of(12, 300_000)
SHA = hashlib.sha256(BODY).hexdigest()
TAG, OTHER = f'"{SHA}"', f'"{"0" * 64}"'
MISSING = "ab" * 32
OWN = "own"
BINARIES = ["", *(path for path in ("/usr/sbin/nginx",) if os.path.exists(path)), OWN]
LONG_AGO, TO_COME = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
pytestmark = pytest.mark.timeout(400)  # the first run on a machine compiles nginx, beside whatever else runs there
NO_PROOF = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
NO_PROOF.check_hostname = False
NO_PROOF.verify_mode = ssl.CERT_NONE


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request and what must come back."""

    name: str
    ask: dict[str, str] = field(default_factory=dict)
    method: str = "GET"
    status: int
    first: int = 0
    last: int = len(BODY) - 1


CASES = [
    Case(name="whole file", status=200),
    # Section 14: ranges.
    Case(name="range", ask={"Range": "bytes=10-19"}, status=206, first=10, last=19),
    Case(name="range to the end", ask={"Range": "bytes=299990-"}, status=206, first=299_990),
    Case(name="range past the end", ask={"Range": "bytes=299990-400000"}, status=206, first=299_990),
    Case(name="suffix range", ask={"Range": "bytes=-10"}, status=206, first=299_990),
    Case(name="suffix longer than the file", ask={"Range": "bytes=-400000"}, status=206),
    Case(name="range that starts at the end", ask={"Range": "bytes=300000-"}, status=416),
    Case(name="empty suffix", ask={"Range": "bytes=-0"}, status=416),
    Case(name="unknown unit", ask={"Range": "lines=1-2"}, status=200),
    Case(name="range on HEAD", ask={"Range": "bytes=10-19"}, method="HEAD", status=206, first=10, last=19),
    # Section 13.1.2: If-None-Match compares weakly.
    Case(name="none match, same", ask={"If-None-Match": TAG}, status=304),
    Case(name="none match, same on HEAD", ask={"If-None-Match": TAG}, method="HEAD", status=304),
    Case(name="none match, weak", ask={"If-None-Match": f"W/{TAG}"}, status=304),
    Case(name="none match, in a list", ask={"If-None-Match": f'"x", {OTHER},{TAG}'}, status=304),
    Case(name="none match, any", ask={"If-None-Match": "*"}, status=304),
    Case(name="none match, other", ask={"If-None-Match": OTHER}, status=200),
    Case(name="none match, without quotes", ask={"If-None-Match": SHA}, status=200),
    Case(name="none match before range", ask={"If-None-Match": TAG, "Range": "bytes=0-9"}, status=304),
    Case(name="none match, other, range", ask={"If-None-Match": OTHER, "Range": "bytes=0-9"}, status=206, last=9),
    # Section 13.1.1: If-Match compares strongly.
    Case(name="match, same", ask={"If-Match": TAG}, status=200),
    Case(name="match, in a list", ask={"If-Match": f"{OTHER}, {TAG}"}, status=200),
    Case(name="match, any", ask={"If-Match": "*"}, status=200),
    Case(name="match, same, range", ask={"If-Match": TAG, "Range": "bytes=5-9"}, status=206, first=5, last=9),
    Case(name="match, same, range past all", ask={"If-Match": TAG, "Range": "bytes=300000-"}, status=416),
    Case(name="match, same on HEAD", ask={"If-Match": TAG}, method="HEAD", status=200),
    Case(name="match, other", ask={"If-Match": OTHER}, status=412),
    Case(name="match, weak", ask={"If-Match": f"W/{TAG}"}, status=412),
    Case(name="match, other, range", ask={"If-Match": OTHER, "Range": "bytes=0-9"}, status=412),
    Case(name="match before none match", ask={"If-Match": TAG, "If-None-Match": TAG}, status=304),
    Case(name="failed match before none match", ask={"If-Match": OTHER, "If-None-Match": TAG}, status=412),
    # Sections 13.1.3 and 13.1.4: files have no date, so conditions on dates are ignored.
    Case(name="modified since", ask={"If-Modified-Since": TO_COME}, status=200),
    Case(name="unmodified since", ask={"If-Unmodified-Since": LONG_AGO}, status=200),
    Case(name="unmodified since, none match", ask={"If-Unmodified-Since": LONG_AGO, "If-None-Match": TAG}, status=304),
    Case(name="modified since, none match", ask={"If-Modified-Since": TO_COME, "If-None-Match": OTHER}, status=200),
    # Section 13.1.5: If-Range compares strongly; when it fails the whole file comes.
    Case(name="if range, same", ask={"If-Range": TAG, "Range": "bytes=0-9"}, status=206, last=9),
    Case(name="if range, other", ask={"If-Range": OTHER, "Range": "bytes=0-9"}, status=200),
    Case(name="if range, weak", ask={"If-Range": f"W/{TAG}", "Range": "bytes=0-9"}, status=200),
    Case(name="if range, date", ask={"If-Range": TO_COME, "Range": "bytes=0-9"}, status=200),
    Case(name="if range and match", ask={"If-Match": TAG, "If-Range": TAG, "Range": "bytes=0-9"}, status=206, last=9),
    # Section 9: methods.
    Case(name="head", method="HEAD", status=200),
    Case(name="options", method="OPTIONS", status=204),
    Case(name="post", method="POST", status=405),
    Case(name="put", method="PUT", status=405),
    Case(name="delete", method="DELETE", status=405),
    Case(name="patch", method="PATCH", status=405),
    Case(name="own method", method="FROBNICATE", status=405),
    Case(name="post with a condition", method="POST", ask={"If-None-Match": TAG}, status=405),
]


@pytest.fixture(scope="module", params=BINARIES, ids=lambda binary: binary or "wheel")
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxRig]:
    """A running server with one file, on a clear and a TLS port, IPv4 and IPv6."""
    binary = str(Shop().build_queue(Path(__file__).parents[2]) if request.param == OWN else request.param)
    folder = tmp_path_factory.mktemp("nginx")
    certificate, key = make_certificate(folder)
    rig = NginxRig(folder, tls_certificate=certificate, tls_key=key)
    ports = {"listen": (f"{rig.host}:{rig.port}", f"[::1]:{rig.port}"), "tls_listen": (f"{rig.host}:{rig.port + 1}",)}
    rig.settings = replace(rig.settings, **ports)
    assert rig.put(BODY) == path()
    rig.supervisor = rig.make_supervisor(binary=binary)
    asyncio.run(rig.supervisor.apply(rig.settings))
    assert rig.supervisor.report().is_running, rig.supervisor.report().error
    yield rig
    rig.kill()


def path() -> str:
    return f"/f/{SHA[:2]}/{SHA}.mp4"


@pytest.fixture(scope="module", params=["HTTP/1.1", "HTTP/2", "HTTP/2 clear", "TLS"])
def client(request: pytest.FixtureRequest, rig: NginxRig) -> Iterator[httpx.Client]:
    """A client of each kind. Stock builds before 1.25.1 have HTTP/2 only over TLS."""
    kind = request.param
    has_clear_h2 = rig.supervisor.report().version != "1.22.1"
    is_tls = kind in ("HTTP/2", "TLS") or (kind == "HTTP/2 clear" and not has_clear_h2)
    base = f"https://{rig.host}:{rig.port + 1}" if is_tls else rig.url
    is_h2 = kind.startswith("HTTP/2")
    with httpx.Client(base_url=base, verify=NO_PROOF, http1=not is_h2, http2=is_h2, timeout=10) as client:
        yield client


@pytest.fixture(scope="module")
def plain(rig: NginxRig) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=rig.url, verify=NO_PROOF, timeout=10) as client:
        yield client


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_table(client: httpx.Client, case: Case) -> None:
    answer = client.request(case.method, path(), headers=case.ask)
    assert answer.status_code == case.status
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["timing-allow-origin"] == "*"
    assert "last-modified" not in answer.headers
    if case.status in (200, 206, 304):
        assert answer.headers["etag"] == TAG
        assert answer.headers["cache-control"] == "max-age=31536000, immutable"
        assert answer.headers["cache-status"] == "a1; hit"
    if case.status in (200, 206):
        expected = BODY[case.first : case.last + 1]
        assert answer.content == (b"" if case.method == "HEAD" else expected)
        assert int(answer.headers["content-length"]) == len(expected)
        assert answer.headers["content-type"] == "video/mp4"
    if case.status == 200:
        assert answer.headers["accept-ranges"] == "bytes"
    if case.status == 206:
        assert answer.headers["content-range"] == f"bytes {case.first}-{case.last}/{len(BODY)}"
    if case.status == 304:
        assert answer.content == b""
        assert answer.headers.get("content-length", str(len(BODY))) == str(len(BODY))
    if case.status == 405:
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    if case.status == 416:
        assert answer.headers.get_list("cache-control") in ([], ["max-age=31536000, immutable"])


def test_unsatisfiable_range_names_the_length(plain: httpx.Client) -> None:
    answer = plain.get(path(), headers={"Range": "bytes=300000-"})
    assert answer.headers["content-range"] == f"bytes */{len(BODY)}"


def test_several_ranges(client: httpx.Client) -> None:
    answer = client.get(path(), headers={"Range": "bytes=0-9,100-109,-10"})
    assert answer.status_code == 206
    kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    parts = answer.content.split(f"--{boundary}".encode())[1:-1]
    assert [part.partition(b"\r\n\r\n")[2][:-2] for part in parts] == [BODY[:10], BODY[100:110], BODY[-10:]]
    assert f"Content-Range: bytes 100-109/{len(BODY)}".encode() in parts[1]


def test_many_ranges_are_not_a_way_to_ask_for_more_than_the_file(plain: httpx.Client) -> None:
    answer = plain.get(path(), headers={"Range": "bytes=" + ",".join("0-" for _ in range(200))})
    assert len(answer.content) <= len(BODY)


def test_media_types(plain: httpx.Client, rig: NginxRig) -> None:
    for suffix, kind in ((FileSuffix.M3U8, "application/vnd.apple.mpegurl"), (FileSuffix.VTT, "text/vtt")):
        answer = plain.get(rig.put(f"a {suffix}".encode(), suffix))
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


def test_preflight_lets_players_send_ranges_and_cmcd(client: httpx.Client) -> None:
    ask = {"Origin": "https://player.test", "Access-Control-Request-Method": "GET"}
    answer = client.options(path(), headers={**ask, "Access-Control-Request-Headers": "range,cmcd-session"})
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert answer.status_code == 204
    assert {"range", "if-none-match", "cmcd-session", "cmcd-object"} <= set(allowed.split(", "))
    assert "GET" in answer.headers["access-control-allow-methods"]
    assert "etag" not in answer.headers


def test_scripts_may_read_what_they_need(plain: httpx.Client) -> None:
    headers = plain.get(path()).headers
    assert headers["access-control-expose-headers"] == "*"  # all of them, as long as no credentials are allowed
    assert headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize("condition", [{}, {"If-None-Match": f'"{MISSING}"'}, {"If-Match": "*"}])
def test_file_not_held_is_sent_to_the_next(client: httpx.Client, condition: dict[str, str]) -> None:
    name = f"/f/{MISSING[:2]}/{MISSING}.mp4"
    answer = client.get(f"{name}?CMCD=br%3D1", headers=condition, follow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["location"] == f"http://steer.test{name}?not=a1&CMCD=br%3D1"
    assert answer.headers["cache-status"] == "a1; fwd=miss"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "name",
    [
        "/",
        "/f/",
        f"/f/{SHA[:2]}/",
        f"/f/00/{SHA}.mp4",
        f"/f/{SHA[:2]}/{SHA}.exe",
        f"/f/{SHA[:2]}/{SHA.upper()}.mp4",
        f"/f/{SHA[:2]}/{SHA}",
        f"/f/../f/{SHA[:2]}/{SHA}.txt",
        "/f/%2e%2e/etc/passwd",
        "/nginx.conf",
    ],
)
def test_everything_else_is_not_there(plain: httpx.Client, name: str) -> None:
    assert plain.get(name).status_code == 404


def test_health(client: httpx.Client) -> None:
    assert client.get("/healthz").text == "a1\n"


def test_ipv6(plain: httpx.Client, rig: NginxRig) -> None:
    assert plain.get(f"http://[::1]:{rig.port}{path()}").content == BODY


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_tls_versions_and_resumption(rig: NginxRig, version: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2 if version == "TLSv1.2" else ssl.TLSVersion.TLSv1_3
    session = None
    for is_resumed in (False, True):
        with (
            socket.create_connection((rig.host, rig.port + 1), timeout=5) as plain,
            context.wrap_socket(plain, session=session) as secured,
        ):
            secured.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert secured.recv(4096).startswith(b"HTTP/1.1 200")
            assert secured.version() == version
            assert secured.session_reused == is_resumed
            session = secured.session


def test_http_versions(rig: NginxRig) -> None:
    with httpx.Client(http2=True, verify=NO_PROOF) as client:
        assert client.get(f"https://{rig.host}:{rig.port + 1}{path()}").http_version == "HTTP/2"
        assert client.get(rig.url + path()).http_version == "HTTP/1.1"


def test_log_has_one_line_for_each(plain: httpx.Client, rig: NginxRig) -> None:
    ask = {"CMCD-Session": f'sid="{MISSING}"', "User-Agent": 'tab\tand "quotes"', "Range": "bytes=5-9"}
    assert plain.get(f"{path()}?CMCD=br%3D300", headers=ask).status_code == 206
    log = Path(rig.settings.access_log)
    deadline_s = time.monotonic() + 5
    while MISSING.encode() not in (text := log.read_bytes()) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    records = [parse_line(line) for line in text.splitlines()]
    assert all(isinstance(record, LogRecord) for record in records)
    record = next(record for record in records if isinstance(record, LogRecord) and record.cmcd.session_id == MISSING)
    assert (record.status, record.body_bytes, record.first_byte, record.sha256) == (206, 5, 5, SHA)
    assert (record.cmcd.bitrate_kbps, record.user_agent, record.outcome) == (300, 'tab\tand "quotes"', Outcome.HIT)
    assert record.tcp is None


def test_log_tells_how_the_connection_was_after_a_long_answer(plain: httpx.Client, rig: NginxRig) -> None:
    assert plain.get(path(), headers={"CMCD-Session": 'sid="long"'}).status_code == 200
    log = Path(rig.settings.access_log)
    deadline_s = time.monotonic() + 5
    while b"long" not in (text := log.read_bytes()) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    records = [record for record in map(parse_line, text.splitlines()) if isinstance(record, LogRecord)]
    record = next(record for record in records if record.cmcd.session_id == "long")
    assert record.body_bytes == len(BODY)
    assert record.tcp is not None
    assert record.tcp.snd_cwnd > 0
