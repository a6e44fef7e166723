"""The work folder of one source and ladder: finished renditions survive a kill, one publish at a time works in it.

<root>/<key>.lock        flock of whoever works
<root>/<key>/<id>/       a finished rendition: media file, playlist, result.json; appears by one rename
<root>/<key>/.<id>.tmp/  an unfinished one; removed when a publish starts
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from headrace.base.clock import Clock
from headrace.base.errors import UsageError
from headrace.base.ids import RenditionId
from headrace.origin.adapters.digests import sha256_of
from headrace.origin.errors import DiskFullError, OriginError
from headrace.origin.model import StepResult
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import fsync_folder, write_atomic

RESULT = "result.json"
POLL_S = 0.2


class WorkFolder:
    """The folder of one publish; only while its lock is held."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def clear_unfinished(self) -> None:
        """Remove what a killed run left half made."""
        with work_errors(self.folder):
            self.folder.mkdir(exist_ok=True)
            for left_over in self.folder.glob(".*.tmp"):
                shutil.rmtree(left_over)

    def finished(self, rendition_id: RenditionId) -> StepResult | None:
        """The result of an earlier run, if its files are still what they were."""
        try:
            result = decode(StepResult, (self.folder / rendition_id / RESULT).read_bytes())
            is_whole = all(sha256_of(self.media(rendition_id, file.suffix)) == file.sha256 for file in result.files)
        except (OSError, MalformedError):
            return None
        return result if is_whole else None

    def begin(self, rendition_id: RenditionId) -> Path:
        """An empty folder for the files of an unfinished rendition."""
        with work_errors(self.folder):
            folder = self.folder / f".{rendition_id}.tmp"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            return folder

    def finish(self, rendition_id: RenditionId, result: StepResult) -> None:
        """Make the unfinished rendition a finished one, whole or not at all."""
        with work_errors(self.folder):
            folder, place = self.folder / f".{rendition_id}.tmp", self.folder / rendition_id
            write_atomic(folder / RESULT, encode(result))
            shutil.rmtree(place, ignore_errors=True)
            folder.replace(place)
            fsync_folder(self.folder)

    def scratch(self, name: str) -> Path:
        """A place for a temporary file; removed when a publish starts and when it is done."""
        with work_errors(self.folder):
            folder = self.folder / ".scratch.tmp"
            folder.mkdir(exist_ok=True)
            return folder / name

    def media(self, rendition_id: RenditionId, suffix: str) -> Path:
        """Where a finished rendition's file lies."""
        return self.folder / rendition_id / f"media.{suffix}"


def work_root(setting: str) -> Path:
    """The folder that all publishes of this user share."""
    if setting:
        return Path(setting).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "headrace" / "publish"


@asynccontextmanager
async def hold_work_folder(root: Path, key: str, *, clock: Clock, wait_s: float) -> AsyncIterator[WorkFolder]:
    """Lock the work folder `key`, without what a killed run left unfinished; on success the whole folder goes.

    Raises:
        UsageError: another publish held it for longer than `wait_s`, or the folder cannot be made.
    """
    lock = root / f"{key}.lock"
    descriptor = await _locked(lock, clock=clock, wait_s=wait_s)
    try:
        work = WorkFolder(root / key)
        work.clear_unfinished()
        try:
            yield work
        except BaseException:
            # What is unfinished may be what filled the disk.
            with contextlib.suppress(OriginError):
                work.clear_unfinished()
            raise
        shutil.rmtree(work.folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def work_errors(folder: Path) -> Iterator[None]:
    """Errors of the disk below `folder`, as ours."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFullError(
                f"no room left in the work folder {folder}: free some space (or set work.folder) "
                "and run publish again, it goes on where it stopped"
            ) from None
        raise OriginError(f"work folder {folder} cannot be used: {error.strerror or error}") from None


async def _locked(lock: Path, *, clock: Clock, wait_s: float) -> int:
    deadline_s = clock.monotonic_s() + wait_s
    while True:
        with work_errors(lock.parent):
            descriptor = _try_lock(lock)
        if descriptor is not None:
            return descriptor
        if clock.monotonic_s() >= deadline_s:
            raise UsageError(f"another publish of the same source has been running for over {wait_s:g} s")
        await clock.sleep(POLL_S)


def _try_lock(lock: Path) -> int | None:
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever finishes unlinks the file while holding it: a lock on an unlinked file guards nothing.
        if os.fstat(descriptor).st_ino == lock.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
