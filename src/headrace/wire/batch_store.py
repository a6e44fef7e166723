"""The store of batches: a folder or an S3-compatible store, written by agents, read and emptied by metering.

A batch is visible only when it is whole. Calls block and are bounded in time; loops call them in threads.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import obstore

from headrace.wire.errors import WireError
from headrace.wire.files import fsync_folder
from headrace.wire.objects import connect_objects, object_errors

_CHUNK_BYTES = 8 << 20


class BatchStoreError(WireError):
    """The store of batches cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBatch:
    """What a listing says."""

    path: str
    size_bytes: int
    stored_s: float
    """UTC epoch seconds, by the store's clock."""


class BatchStore(Protocol):
    """Paths are relative, with slashes. Each call raises BatchStoreError when the store cannot be used."""

    def put(self, path: str, file: Path) -> None:
        """Store a file under a path, whole or not at all; what is there is replaced."""
        ...

    def get(self, path: str, file: Path) -> bool:
        """Copy what is stored to a file; False when it is not (or no longer) there."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredBatch]:
        """All that is stored below a folder, in no order."""
        ...

    def delete(self, path: str) -> None:
        """Remove it; nothing happens when it is not there."""
        ...


def open_batch_store(url: str, *, timeout_s: float = 60.0) -> BatchStore:
    """A folder for a path or a file:// URL, else an object store; credentials come from the environment only.

    Raises:
        ConfigError: a URL that is not known or holds credentials.
    """
    if url.startswith("file://"):
        return FolderBatches(Path(unquote(urlsplit(url).path)))
    if "://" not in url:
        return FolderBatches(Path(url).expanduser().absolute())
    return ObjectBatches(url, timeout_s=timeout_s)


class FolderBatches:
    """Batches below a folder. Names that begin with a dot are being written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, path: str, file: Path) -> None:
        place = self._folder / path
        temporary = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        with self._ours():
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                with file.open("rb") as source, temporary.open("xb") as target:
                    shutil.copyfileobj(source, target, _CHUNK_BYTES)
                    target.flush()
                    os.fsync(target.fileno())
                temporary.replace(place)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            for folder in (place.parent, *list(place.parents)[1 : len(Path(path).parts)]):
                fsync_folder(folder)

    def get(self, path: str, file: Path) -> bool:
        with self._ours():
            try:
                shutil.copyfile(self._folder / path, file)
            except FileNotFoundError:
                return False
        return True

    def list(self, prefix: str = "") -> Iterator[StoredBatch]:
        start = self._folder / prefix
        with self._ours():
            for folder, _, names in os.walk(start):
                for name in names:
                    if name.startswith("."):
                        continue
                    place = Path(folder, name)
                    try:
                        status = place.stat()
                    except FileNotFoundError:
                        continue
                    path = place.relative_to(self._folder).as_posix()
                    yield StoredBatch(path=path, size_bytes=status.st_size, stored_s=status.st_mtime)

    def delete(self, path: str) -> None:
        with self._ours():
            (self._folder / path).unlink(missing_ok=True)

    @contextmanager
    def _ours(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BatchStoreError(f"the folder of batches {self._folder}: {error.strerror or error}") from None


class ObjectBatches:
    """Batches below the prefix of an object store's URL."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._url = url
        self._store: Any = connect_objects(url, timeout_s)

    def put(self, path: str, file: Path) -> None:
        with object_errors(self._url, BatchStoreError):
            obstore.put(self._store, path, file, chunk_size=_CHUNK_BYTES, max_concurrency=2)

    def get(self, path: str, file: Path) -> bool:
        with object_errors(self._url, BatchStoreError):
            try:
                answer = obstore.get(self._store, path)
            except FileNotFoundError:
                return False
            with file.open("wb") as target:
                for chunk in answer.stream(min_chunk_size=_CHUNK_BYTES):
                    target.write(chunk)
        return True

    def list(self, prefix: str = "") -> Iterator[StoredBatch]:
        with object_errors(self._url, BatchStoreError):
            for page in obstore.list(self._store, prefix or None):
                for one in page:
                    stored_s = one["last_modified"].timestamp()
                    yield StoredBatch(path=one["path"], size_bytes=one["size"], stored_s=stored_s)

    def delete(self, path: str) -> None:
        with object_errors(self._url, BatchStoreError):
            try:
                obstore.delete(self._store, path)
            except FileNotFoundError:
                return
