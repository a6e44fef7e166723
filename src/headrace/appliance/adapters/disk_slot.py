"""One configured folder over time: which disk is in it, whether that works, and its own threads.

A disk that hangs holds its own threads and no others; who waits for it is told after a time that it does not answer.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from headrace.appliance.adapters.disk import Disk, DiskRoomNow
from headrace.appliance.adapters.idle_thread import make_thread_idle
from headrace.appliance.adapters.ledger import Ledger
from headrace.appliance.config import StoreSettings
from headrace.appliance.errors import DiskError, StateError
from headrace.base.ids import ApplianceId
from headrace.base.logs import event
from headrace.fleet.model import DiskReport

T = TypeVar("T")

_log = logging.getLogger(__name__)
_THREADS = 4
_MOST_STRIKES = 5
"""I/O errors on single files, without a good file between, after which the disk as a whole is taken for failed."""


class DiskSlot:
    """A folder of the store and the disk in it."""

    def __init__(self, folder: Path, settings: StoreSettings, ledger: Ledger, appliance_id: ApplianceId) -> None:
        self.disk = Disk(folder)
        self.disk_id = ""
        """Of the disk in use; '' before one was seen."""
        self.is_ok = False
        self.error = "not checked yet"
        self.is_to_compare = asyncio.Event()
        """It came into use: what lies on it is to be compared with what is known."""
        self.room = DiskRoomNow(total_bytes=0, free_bytes=0)
        self._settings, self._ledger, self._appliance_id = settings, ledger, appliance_id
        self._strikes = 0
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"disk-{folder.name}")
        self._idle_pool = ThreadPoolExecutor(1, thread_name_prefix=f"idle-{folder.name}", initializer=make_thread_idle)
        self._checking: asyncio.Future[tuple[str, DiskRoomNow]] | None = None

    async def run(self, work: Callable[[], T], *, timeout_s: float | None = None, is_idle: bool = False) -> T:
        """Do blocking `work` in a thread of this disk, in one of low priority if it `is_idle` work.

        Raises:
            DiskError: from `work`, or because the disk does not answer in time.
        """
        limit_s = timeout_s or self._settings.check_timeout_s
        pool = self._idle_pool if is_idle else self._pool
        future = asyncio.get_running_loop().run_in_executor(pool, work)
        try:
            await asyncio.wait({future}, timeout=limit_s)
        except asyncio.CancelledError:
            # A thread cannot be stopped half-way; what it works on must not be closed under its hands.
            await asyncio.wait({future}, timeout=limit_s)
            raise
        if not future.done():
            future.add_done_callback(_swallow)
            raise DiskError(f"{self.disk.folder}: no answer within {limit_s:g} s")
        return future.result()

    async def look(self, taken: frozenset[str]) -> str | None:
        """Check the disk; the id of a disk that works, or None, and `error` says why.

        Args:
            taken: ids of the disks in the other folders.
        """
        if self._checking is None:
            loop = asyncio.get_running_loop()
            self._checking = loop.run_in_executor(self._pool, lambda: self._identify(taken))
            self._checking.add_done_callback(_swallow)  # it may end after everybody who waited for it
        checking = self._checking  # that of all who look meanwhile
        await asyncio.wait({checking}, timeout=self._settings.check_timeout_s)
        if not checking.done():
            self.error = f"no answer within {self._settings.check_timeout_s:g} s"
            return None
        if self._checking is checking:
            self._checking = None
        try:
            disk_id, self.room = checking.result()
        except (DiskError, StateError) as error:
            self.error = str(error)
            return None
        return disk_id

    def strike(self, error: DiskError) -> bool:
        """Count an I/O error on one file; True when there were too many in a row."""
        self._strikes += 1
        event(_log, "disk_error", level=logging.WARNING, folder=self.disk.folder, strikes=self._strikes, error=error)
        if self._strikes >= _MOST_STRIKES:
            self._strikes = 0
            self.error = f"{_MOST_STRIKES} errors in a row, the last: {error}"
            return True
        return False

    def did_well(self) -> None:
        """A file was read or written whole."""
        self._strikes = 0

    def report(self) -> DiskReport:
        """As the control plane sees it."""
        return DiskReport(
            folder=str(self.disk.folder),
            is_ok=self.is_ok,
            total_bytes=self.room.total_bytes,
            free_bytes=self.room.free_bytes,
            error="" if self.is_ok else self.error,
            filesystem=self.room.filesystem,
        )

    def close(self) -> None:
        """Let the threads go; one that hangs is left behind."""
        for pool in (self._pool, self._idle_pool):
            pool.shutdown(wait=False, cancel_futures=True)

    def _identify(self, taken: frozenset[str]) -> tuple[str, DiskRoomNow]:
        folder = self.disk.folder
        known_id, was_mount = self._ledger.disks().get(str(folder), ("", False))
        if not known_id:
            _make_folder(folder)
        is_mount = self.disk.is_mount()
        if self._settings.require_mounts and not is_mount:
            raise DiskError(f"{folder}: not a mount point, and store.require_mounts is set")
        disk_id = self.disk.read_marker()
        if disk_id is None:
            # 1. A folder never used before, or 2. a new disk mounted where another disk was mounted: ours to set up.
            # 3. Anything else is most likely an absent mount, and filling would fill the system disk.
            if known_id and not (was_mount and is_mount):
                raise DiskError(f"{folder}: disk {known_id} is gone; mount it, or give --new-disk for a new one")
            _check_empty(folder)
            disk_id = self.disk.set_up(self._appliance_id)
            event(_log, "disk_set_up", folder=folder, disk=disk_id)
        if disk_id in taken:
            raise DiskError(f"{folder}: disk {disk_id} is in use under another folder already")
        room = self.disk.check(disk_id)
        if (disk_id, is_mount) != (known_id, was_mount):
            self._ledger.know_disk(str(folder), disk_id, is_mount=is_mount)
        return disk_id, room


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{folder}: {error.strerror or error}") from error


def _check_empty(folder: Path) -> None:
    try:
        strangers = [path.name for path in folder.iterdir() if path.name not in ("lost+found", "objects", "partial")]
    except OSError as error:
        raise DiskError(f"{folder}: {error.strerror or error}") from error
    if strangers:
        raise DiskError(f"{folder}: holds {strangers[0]!r}, which is not Headrace's; give a folder of its own")


def _swallow(future: "asyncio.Future[T]") -> None:
    if not future.cancelled():
        future.exception()
