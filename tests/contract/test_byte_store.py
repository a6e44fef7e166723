"""The byte store port on a folder, on an S3-compatible server and in memory: the same promises on each."""

import asyncio
import hashlib
import logging
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from headrace.base.errors import ConfigError, UsageError
from headrace.base.ids import Sha256
from headrace.catalog.model import FileSuffix, content_path
from headrace.origin.adapters.folder_store import FolderStore
from headrace.origin.adapters.object_store import ObjectStore
from headrace.origin.adapters.stores import open_store
from headrace.origin.config import parse_publish_config
from headrace.origin.errors import DiskFullError, SourceUnreadableError, StoreUnreachableError
from headrace.origin.ports import ByteStore, Put
from headrace.origin.testing import MemoryStore

BUCKET = "origin"
PREFIX = "films"
BIG_BYTES = 9 * 1024 * 1024
"""Over one part of an upload."""


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    client = boto3.client("s3", endpoint_url=s3, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    client.close()
    return s3


@pytest.fixture(params=["folder", "s3", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ByteStore:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "folder":
        return FolderStore(tmp_path / "origin")
    request.getfixturevalue("s3_environment")
    return ObjectStore(f"s3://{BUCKET}/{PREFIX}/{tmp_path.name}", timeout_s=10.0)


def make_file(folder: Path, body: bytes) -> tuple[Path, Sha256, str]:
    sha256 = Sha256(hashlib.sha256(body).hexdigest())
    file = folder / f"{sha256[:8]}.mp4"
    file.write_bytes(body)
    return file, sha256, content_path(sha256, FileSuffix.MP4)


def files_below(folder: Path) -> list[Path]:
    return [one for one in folder.rglob("*") if one.is_file()]


async def test_a_file_is_there_after_a_put_and_not_before(store: ByteStore, tmp_path: Path):
    file, sha256, path = make_file(tmp_path, b"some video")
    await store.check()
    assert await store.size_bytes(path) is None
    assert await store.put(path, file, sha256) is Put.STORED
    assert await store.size_bytes(path) == 10


async def test_a_second_put_does_nothing(store: ByteStore, tmp_path: Path):
    file, sha256, path = make_file(tmp_path, b"some video")
    await store.put(path, file, sha256)
    assert await store.put(path, file, sha256) is Put.ALREADY_THERE


async def test_two_puts_at_once_both_succeed(store: ByteStore, tmp_path: Path):
    file, sha256, path = make_file(tmp_path, os.urandom(200_000))
    await asyncio.gather(*(store.put(path, file, sha256) for _ in range(3)))
    assert await store.size_bytes(path) == 200_000


async def test_a_large_file_goes_in_parts(store: ByteStore, tmp_path: Path):
    file, sha256, path = make_file(tmp_path, os.urandom(BIG_BYTES))
    assert await store.put(path, file, sha256) is Put.STORED
    assert await store.put(path, file, sha256) is Put.ALREADY_THERE
    assert await store.size_bytes(path) == BIG_BYTES


async def test_a_file_that_is_not_what_its_name_says_is_refused(store: ByteStore, tmp_path: Path):
    file, sha256, path = make_file(tmp_path, b"some video")
    file.write_bytes(b"another one")
    with pytest.raises(SourceUnreadableError, match="changed"):
        await store.put(path, file, sha256)
    assert await store.size_bytes(path) is None


async def test_a_damaged_file_is_replaced(store: ByteStore, tmp_path: Path):
    file, sha256, path = make_file(tmp_path, b"some video")
    if isinstance(store, MemoryStore):
        store.files[path] = b"SOME VIDEO"
    elif isinstance(store, FolderStore):
        place = tmp_path / "origin" / path.lstrip("/")
        place.parent.mkdir(parents=True)
        place.write_bytes(b"SOME VIDEO")
    else:
        client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")
        client.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{tmp_path.name}{path}", Body=b"SOME VIDEO")
        client.close()
    assert await store.put(path, file, sha256) is Put.STORED
    assert await store.put(path, file, sha256) is Put.ALREADY_THERE


async def test_an_object_carries_its_media_type_and_may_be_kept_for_ever(s3_environment: str, tmp_path: Path):
    file, sha256, path = make_file(tmp_path, b"typed")
    await ObjectStore(f"s3://{BUCKET}", timeout_s=10.0).put(path, file, sha256)
    client = boto3.client("s3", endpoint_url=s3_environment, region_name="us-east-1")
    head = client.head_object(Bucket=BUCKET, Key=path.lstrip("/"))
    client.close()
    assert head["ContentType"] == "video/mp4"
    assert "immutable" in head["CacheControl"]


async def test_a_bucket_that_is_not_there_is_named(s3_environment: str):
    with pytest.raises(StoreUnreachableError, match="s3://nobodys"):
        await ObjectStore("s3://nobodys", timeout_s=10.0).check()


async def test_a_dead_server_ends_as_an_error_in_time(s3_environment: str, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{probe.getsockname()[1]}")
        with pytest.raises(StoreUnreachableError) as caught:
            await asyncio.wait_for(ObjectStore("s3://origin", timeout_s=2.0).check(), 20)
    assert "test-secret" not in str(caught.value)


def test_credentials_in_a_url_are_refused_without_repeating_them():
    with pytest.raises(ConfigError, match="environment") as caught:
        ObjectStore("s3://me:hunter2@bucket/x")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://x/y", "s3:///", "https://example.org/x"])
def test_an_unknown_url_is_refused(url: str):
    with pytest.raises(ConfigError, match="use a folder"):
        ObjectStore(url)


def test_a_url_chooses_its_store(tmp_path: Path):
    def opened(url: str) -> ByteStore:
        return open_store(parse_publish_config(f'[store]\nurl = "{url}"', source="t").store)

    assert isinstance(opened(str(tmp_path)), FolderStore)
    assert isinstance(opened(f"file://{tmp_path}"), FolderStore)
    assert isinstance(opened("s3://bucket/prefix"), ObjectStore)
    with pytest.raises(UsageError, match="no origin"):
        opened("")


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnreachableError, match="cannot be used"):
        await FolderStore(tmp_path / "file" / "origin").check()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True, timeout=10)
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=10)


@pytest.mark.root
async def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, small_disk: Path):
    file, sha256, path = make_file(tmp_path, os.urandom(BIG_BYTES))
    store = FolderStore(small_disk)
    with pytest.raises(DiskFullError, match="no room left in the origin folder"):
        await store.put(path, file, sha256)
    assert await store.size_bytes(path) is None
    assert files_below(small_disk) == []
