"""Reads what is held again and again in the background, at a bounded rate; bad files are withdrawn and filled anew.

Which files are due the store tells; whether a file is good its bytes tell.
"""

import logging
import threading
from contextlib import suppress

from headrace.appliance.adapters.ledger import Holding
from headrace.appliance.adapters.store import DiskStore
from headrace.appliance.errors import VerifyStoppedError
from headrace.appliance.throttle import Throttle
from headrace.base.clock import Clock
from headrace.base.ids import Sha256
from headrace.base.logs import event

_log = logging.getLogger(__name__)
_IDLE_S = 2.0


class Verifier:
    """One file at a time."""

    def __init__(self, store: DiskStore, *, rate_bps: int, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._throttle = Throttle(rate_bps)
        self._is_on = rate_bps > 0
        self._due: list[Sha256] = []
        self._stop = threading.Event()
        self.verified_bytes = 0
        self.corrupt_files = 0

    async def run(self) -> None:
        """Verify until cancelled."""
        with suppress(VerifyStoppedError):
            while True:
                if not await self._turn():
                    await self._clock.sleep(_IDLE_S)

    def stop(self) -> None:
        """Let a thread that reads a large file slowly end at once; before cancelling `run`."""
        self._stop.set()

    async def _turn(self) -> bool:
        holding = self._store.in_doubt() or self._next_due()
        if holding is None:
            return False
        if not await self._store.verify(holding, self._pace):
            self.corrupt_files += 1
            event(_log, "file_corrupt", level=logging.WARNING, file=holding.sha256, disk=holding.disk_id)
        return True

    def _next_due(self) -> Holding | None:
        if not self._is_on:
            return None
        if not self._due:
            self._due = self._store.due_for_verification(now_s=self._clock.now_s())[::-1]
        while self._due:
            holding = self._store.holding(self._due.pop())
            if holding is not None:
                return holding
        return None

    def _pace(self, size_bytes: int) -> None:
        # Called in a thread of the disk after each read.
        self.verified_bytes += size_bytes
        if self._stop.wait(self._throttle.take(size_bytes, now_s=self._clock.monotonic_s())):
            raise VerifyStoppedError
