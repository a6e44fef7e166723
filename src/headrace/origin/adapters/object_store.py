"""The byte store on S3-compatible and other object stores, through obstore; credentials from the environment only."""

import asyncio
import hashlib
from pathlib import Path

import obstore

from headrace.base.ids import Sha256
from headrace.catalog.model import MEDIA_TYPES, FileSuffix
from headrace.origin.errors import SourceUnreadableError, StoreUnreachableError
from headrace.origin.ports import Put
from headrace.wire.objects import connect_objects, object_errors

CHUNK_BYTES = 8 * 1024 * 1024
PROBE = "headrace-probe"
"""Written by each `check`; always the same eight bytes, so it needs no permission to delete."""


class ObjectStore:
    """Objects under a URL's prefix, at the same paths as in URLs. An upload is visible only when it is complete."""

    def __init__(self, url: str, *, read_back: bool = True, timeout_s: float = 60.0) -> None:
        self._url = url
        self._read_back = read_back
        self._timeout_s = timeout_s
        self._store = connect_objects(url, timeout_s)

    async def check(self) -> None:
        with object_errors(self._url, StoreUnreachableError):
            await obstore.put_async(self._store, PROBE, b"headrace", use_multipart=False)

    async def size_bytes(self, path: str) -> int | None:
        with object_errors(self._url, StoreUnreachableError):
            try:
                return (await obstore.head_async(self._store, path.lstrip("/")))["size"]
            except FileNotFoundError:
                return None

    async def put(self, path: str, file: Path, sha256: Sha256) -> Put:
        size, digest = await asyncio.to_thread(_weigh, file)
        if digest != sha256:
            raise SourceUnreadableError(f"{file} changed before it was stored; run publish again")
        if await self._is_there(path, size, sha256):
            return Put.ALREADY_THERE
        suffix = FileSuffix(path.rsplit(".", 1)[1])
        with object_errors(self._url, StoreUnreachableError):
            await obstore.put_async(
                self._store,
                path.lstrip("/"),
                file,
                attributes={
                    "Content-Type": MEDIA_TYPES[suffix],
                    "Cache-Control": "public, max-age=31536000, immutable",
                },
                chunk_size=CHUNK_BYTES,
                max_concurrency=4,
            )
        if not await self._is_there(path, size, sha256):
            raise StoreUnreachableError(f"{self._url}: what was stored as {path} reads back differently")
        return Put.STORED

    async def _is_there(self, path: str, size: int, sha256: Sha256) -> bool:
        if await self.size_bytes(path) != size:
            return False
        return not self._read_back or await self._digest(path) == sha256

    async def _digest(self, path: str) -> str:
        digest = hashlib.sha256()
        with object_errors(self._url, StoreUnreachableError):
            answer = await obstore.get_async(self._store, path.lstrip("/"))
            async for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()


def _weigh(file: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
        return source.tell(), digest.hexdigest()
