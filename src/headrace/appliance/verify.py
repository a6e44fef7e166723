"""Reads what is held again and again in the background, at a bounded rate; bad files are withdrawn and filled anew.

Which files are due the store tells; whether a file is good its bytes tell. Beside that, a held file that a client asked
for in vain is looked for at once: the access log only prompts the look, the disk tells.
"""

import logging
import threading
from collections.abc import Callable, Iterable
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
_MISSED_S = 0.5
_MOST_LOOKS = 50
"""Files looked for in one turn of `_MISSED_S`: a look costs a system call on the disk and a link."""
_DOUBT_PAUSE_S, _MOST_DOUBTED = 3600.0, 1_000
"""A file that was found good is not read again so soon, whoever goes on doubting it."""
_LOOK_PAUSE_S = 30.0
"""A file that was there is not looked for again so soon, however often it is missed."""


class Verifier:
    """One file at a time."""

    def __init__(
        self, store: DiskStore, *, rate_bps: int, clock: Clock, missed: Callable[[], set[Sha256]] = set
    ) -> None:
        """`missed` names files that were asked for in vain since its last call, held or not."""
        self._store, self._clock, self._missed = store, clock, missed
        self._looked_s: dict[Sha256, float] = {}
        self._doubted: list[Sha256] = []
        self._doubted_s: dict[Sha256, float] = {}
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

    async def look_for_missed(self) -> None:
        """Look for held files that clients missed, until cancelled; not held up by the reading of a large file."""
        while True:
            await self._clock.sleep(_MISSED_S)
            try:
                await self._look_turn()
            except Exception:
                # The top of the loop: the regular verification finds what a look did not.
                _log.exception("turn_failed loop=missed")

    def doubt(self, names: Iterable[Sha256]) -> None:
        """Somebody says that these are wrong: verify each of them soon, but not again before all others were."""
        now_s = self._clock.monotonic_s()
        self._doubted_s = {name: at_s for name, at_s in self._doubted_s.items() if now_s - at_s < _DOUBT_PAUSE_S}
        for name in names:
            if name not in self._doubted_s and len(self._doubted_s) < _MOST_DOUBTED:
                self._doubted_s[name] = now_s
                self._doubted.append(name)

    def stop(self) -> None:
        """Let a thread that reads a large file slowly end at once; before cancelling `run`."""
        self._stop.set()

    async def _turn(self) -> bool:
        holding = self._store.in_doubt() or self._next_doubted() or self._next_due()
        if holding is None:
            return False
        if not await self._store.verify(holding, self._pace):
            self.corrupt_files += 1
            event(_log, "file_corrupt", level=logging.WARNING, file=holding.sha256, disk=holding.disk_id)
        return True

    async def _look_turn(self) -> None:
        now_s = self._clock.monotonic_s()
        self._looked_s = {name: at_s for name, at_s in self._looked_s.items() if now_s - at_s < _LOOK_PAUSE_S}
        missed = [holding for name in self._missed() - self._looked_s.keys() if (holding := self._store.holding(name))]
        for holding in missed[:_MOST_LOOKS]:
            self._looked_s[holding.sha256] = now_s
            if not await self._store.look_for(holding):
                del self._looked_s[holding.sha256]
                self.corrupt_files += 1
                event(_log, "file_missing", level=logging.WARNING, file=holding.sha256, disk=holding.disk_id)

    def _next_doubted(self) -> Holding | None:
        while self._doubted:
            holding = self._store.holding(self._doubted.pop())
            if holding is not None:
                return holding
        return None

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
