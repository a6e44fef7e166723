"""`on_miss = "proxy"`: a file not held comes through from the origin, by ranges, and nothing is kept on the disk."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from headrace.appliance.testing import body_of
from headrace.appliance.testing_nginx import NginxRig, free_port

BODY = body_of(13, 8 << 20)
SHA = hashlib.sha256(BODY).hexdigest()
PATH = f"/f/{SHA[:2]}/{SHA}.mp4"
TAG = f'"{SHA}"'


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[NginxRig]:
    """An appliance that holds nothing, before an origin that holds the file under a path of its own."""
    origin = NginxRig(tmp_path / "origin")
    origin.put(BODY)
    async with origin, NginxRig(tmp_path / "edge", is_proxying=True, origin_url=origin.url) as edge:
        yield edge


@pytest.fixture
async def client(edge: NginxRig) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=edge.url, timeout=10) as client:
        yield client


async def test_whole_file_with_our_own_headers(client: httpx.AsyncClient) -> None:
    answer = await client.get(PATH)
    assert answer.content == BODY
    assert answer.headers.get_list("etag") == [TAG]
    assert answer.headers.get_list("access-control-allow-origin") == ["*"]
    assert answer.headers.get_list("cache-control") == ["max-age=31536000, immutable"]
    assert answer.headers.get_list("cache-status") == ["a1; hit", "a1; fwd=miss"], "the origin first, then we"


async def test_ranges_are_passed_on(client: httpx.AsyncClient) -> None:
    answer = await client.get(PATH, headers={"Range": "bytes=100-199"})
    assert (answer.status_code, answer.content) == (206, BODY[100:200])
    assert answer.headers["content-range"] == f"bytes 100-199/{len(BODY)}"


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        ({"If-None-Match": TAG}, 304),
        ({"If-Match": TAG}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Range": TAG, "Range": "bytes=0-9"}, 206),
        ({"If-Range": '"other"', "Range": "bytes=0-9"}, 200),
    ],
)
async def test_conditions(client: httpx.AsyncClient, ask: dict[str, str], status: int) -> None:
    assert (await client.get(PATH, headers=ask)).status_code == status


async def test_nothing_is_kept(edge: NginxRig) -> None:
    reader, writer = await asyncio.open_connection(edge.host, edge.port, limit=1 << 16)
    writer.write(f"GET {PATH} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    await reader.read(1000)
    await asyncio.sleep(0.5)
    assert size_of_folders(Path(edge.settings.run_folder)) == 0, "a slow client makes no temporary file"
    assert (await reader.read()).endswith(BODY[-1000:])
    writer.close()


async def test_origin_down_is_an_error_soon(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    edge = NginxRig(tmp_path, is_proxying=True, origin_url=nobody)
    async with edge, httpx.AsyncClient(base_url=edge.url, timeout=8) as client:
        answer = await client.get(PATH)
    assert answer.status_code == 502
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_name_of_the_origin_that_cannot_be_looked_up_does_not_stop_serving(tmp_path: Path) -> None:
    rig = NginxRig(tmp_path, is_proxying=True, origin_url="http://origin.invalid", resolvers=("127.0.0.1",))
    held = rig.put(b"held")
    async with rig:
        assert rig.supervisor.report().error == ""
        async with httpx.AsyncClient(base_url=rig.url, timeout=10) as client:
            assert (await client.get(held)).content == b"held"
            assert (await client.get(PATH)).status_code == 502


def size_of_folders(run: Path) -> int:
    """Bytes in all files of nginx's temporary folders."""
    return sum(file.stat().st_size for folder in run.iterdir() if folder.is_dir() for file in folder.rglob("*"))
