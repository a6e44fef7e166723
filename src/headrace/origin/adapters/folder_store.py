"""The byte store on a folder: stream to a temporary name while hashing, fsync, rename."""

import asyncio
import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from headrace.base.ids import Sha256
from headrace.origin.errors import DiskFullError, SourceUnreadableError, StoreUnreachableError
from headrace.origin.ports import Put
from headrace.wire.files import fsync_folder

T = TypeVar("T")

CHUNK_BYTES = 8 * 1024 * 1024
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class FolderStore:
    """Files under `folder`, at the same paths as in URLs. A dead network mount ends as an error, not as a wait."""

    def __init__(self, folder: Path, *, timeout_s: float = 60.0) -> None:
        self._folder = folder
        self._timeout_s = timeout_s

    async def check(self) -> None:
        await self._soon(self._probe)

    async def size_bytes(self, path: str) -> int | None:
        return await self._soon(lambda: _size(self._place(path)))

    async def put(self, path: str, file: Path, sha256: Sha256) -> Put:
        place = self._place(path)
        if await self._soon(lambda: _size(place) == _size(file)) and await self._digest(place) == sha256:
            return Put.ALREADY_THERE
        temporary = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        try:
            await self._copy(file, temporary, sha256)
            await self._soon(lambda: _rename_durably(temporary, place))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return Put.STORED

    async def _copy(self, file: Path, temporary: Path, sha256: Sha256) -> None:
        digest = hashlib.sha256()
        source, target = await self._soon(lambda: _open_both(file, temporary))
        with source, target:
            while chunk := await self._soon(lambda: source.read(CHUNK_BYTES)):
                digest.update(chunk)
                await self._soon(lambda chunk=chunk: target.write(chunk))  # type: ignore[misc]
            await self._soon(lambda: _flush(target))
        if digest.hexdigest() != sha256:
            raise SourceUnreadableError(f"{file} changed while it was stored; run publish again")

    async def _digest(self, place: Path) -> str:
        digest = hashlib.sha256()
        with place.open("rb") as file:
            while chunk := await self._soon(lambda: file.read(CHUNK_BYTES)):
                digest.update(chunk)
        return digest.hexdigest()

    async def _soon(self, work: Callable[[], T]) -> T:
        def mapped() -> T:
            with _store_errors(self._folder):
                return work()

        try:
            return await asyncio.wait_for(asyncio.to_thread(mapped), self._timeout_s)
        except TimeoutError:
            raise StoreUnreachableError(
                f"origin folder {self._folder} did not answer in {self._timeout_s:g} s"
            ) from None

    def _probe(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        probe = self._folder / f".headrace-probe.{os.getpid()}.{secrets.token_hex(4)}.tmp"
        try:
            probe.write_bytes(b"headrace")
        finally:
            probe.unlink(missing_ok=True)

    def _place(self, path: str) -> Path:
        return self._folder / path.lstrip("/")


def _open_both(file: Path, temporary: Path) -> tuple[BinaryIO, BinaryIO]:
    temporary.parent.mkdir(parents=True, exist_ok=True)
    source = file.open("rb")
    try:
        return source, temporary.open("xb")
    except BaseException:
        source.close()
        raise


def _flush(target: BinaryIO) -> None:
    target.flush()
    os.fsync(target.fileno())


def _rename_durably(temporary: Path, place: Path) -> None:
    temporary.replace(place)
    for folder in (place.parent, place.parent.parent, place.parent.parent.parent):
        fsync_folder(folder)


def _size(place: Path) -> int | None:
    try:
        return place.stat().st_size
    except FileNotFoundError:
        return None


@contextmanager
def _store_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFullError(
                f"no room left in the origin folder {folder}: free some space and run publish again"
            ) from None
        raise StoreUnreachableError(f"origin folder {folder} cannot be used: {error.strerror or error}") from None
