"""`headrace origin`: nginx over the folder, in the foreground; restarted when it dies, gone when the command ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from headrace.base.ids import Sha256
from headrace.catalog.model import FileSuffix, content_path
from headrace.wire.processes import is_alive

HEADRACE = [sys.executable, "-m", "headrace.cli.main"]
FILE = Sha256("ab" + "1" * 62)
PATH = content_path(FILE, FileSuffix.MP4)
BODY = bytes(range(256)) * 400


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(folder: Path, *listen: str) -> "Iterator[subprocess.Popen[str]]":
    """The command, ended with the block."""
    command = [*HEADRACE, "origin", "--folder", str(folder)]
    for address in listen:
        command += ["--listen", address]
    # A command that is killed leaves nginx's folder behind: here, where it is swept with the rest of the test.
    temporary = folder.with_name(f"{folder.name}-run")
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(temporary)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


def wait_for(url: str, seconds: float = 20.0) -> httpx.Response:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return httpx.get(url, timeout=2)
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("origin")
    place = folder / PATH.lstrip("/")
    place.parent.mkdir(parents=True)
    place.write_bytes(BODY)
    (folder / "secret.txt").write_text("not to be served")
    return folder


@pytest.fixture(scope="module")
def origin(folder: Path) -> Iterator[str]:
    port = free_port()
    with started(folder, f"127.0.0.1:{port}", f"[::1]:{port}"):
        wait_for(f"http://127.0.0.1:{port}/healthz")
        yield f"http://127.0.0.1:{port}"


def test_a_file_with_everything_a_player_needs(origin: str):
    whole = httpx.get(origin + PATH)
    assert (whole.status_code, whole.content) == (200, BODY)
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["access-control-allow-origin"] == "*"
    assert "immutable" in whole.headers["cache-control"]
    part = httpx.get(origin + PATH, headers={"range": "bytes=256-511"})
    assert (part.status_code, part.content) == (206, bytes(range(256)))
    assert part.headers["content-range"] == f"bytes 256-511/{len(BODY)}"
    again = httpx.get(origin + PATH, headers={"if-none-match": whole.headers["etag"]})
    assert again.status_code == 304
    assert httpx.head(origin + PATH).headers["content-length"] == str(len(BODY))
    asked = httpx.options(origin + PATH, headers={"origin": "https://player.example"})
    assert (asked.status_code, "CMCD-Session" in asked.headers["access-control-allow-headers"]) == (204, True)
    assert httpx.get(origin.replace("127.0.0.1", "[::1]") + PATH).status_code == 200


@pytest.mark.parametrize("path", ["/secret.txt", "/f/", "/f/ab/../../secret.txt", PATH.replace("/ab/", "/cd/"), "/"])
def test_nothing_else_is_served(origin: str, path: str):
    assert httpx.get(origin + path).status_code == 404


def test_a_method_that_writes_is_refused(origin: str):
    assert httpx.put(origin + PATH, content=b"x").status_code == 405


def test_nginx_is_started_again_when_it_dies_and_goes_with_the_command(folder: Path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with started(folder, f"127.0.0.1:{port}") as process:
        wait_for(f"{url}/healthz")
        (master,) = children(process.pid)
        workers = children(master)
        os.kill(master, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while children(process.pid) in ([], [master]) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert wait_for(f"{url}{PATH}").content == BODY
        assert not [pid for pid in workers if is_alive(pid)], "workers without a master are ended"
        process.terminate()
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "origin_nginx_died" in said
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, timeout=2)


def test_nginx_goes_when_the_command_is_killed(folder: Path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with started(folder, f"127.0.0.1:{port}") as process:
        wait_for(f"{url}/healthz")
        (master,) = children(process.pid)
        process.kill()
        process.wait(20)
        deadline = time.monotonic() + 20
        while is_alive(master) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_alive(master)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, timeout=2)


def test_an_address_in_use_and_a_missing_folder_are_clear_errors(folder: Path, tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with started(folder, f"127.0.0.1:{taken.getsockname()[1]}") as process:
            _, said = process.communicate(timeout=60)
    assert (process.returncode, "cannot listen on" in said, "Traceback" in said) == (2, True, False)
    with started(tmp_path / "absent", "127.0.0.1:9") as process:
        _, said = process.communicate(timeout=60)
    assert (process.returncode, "does not exist" in said) == (2, True)
