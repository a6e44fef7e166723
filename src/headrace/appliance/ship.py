"""The loop that ships the access log as batches to the store of batches.

Exactly once by names, not by counting: a piece is written down before it is shipped, so that whoever goes on after a
kill ships the same piece under the same name. While the store is away, the log waits within its own bounds
(log.keep_*); what is deleted unshipped is counted.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from headrace.appliance.adapters.batch_file import BatchError, ClientBits, write_batch
from headrace.appliance.adapters.idle_thread import make_thread_idle
from headrace.appliance.adapters.log_pieces import copy_piece, find_logs, read_memory, write_memory
from headrace.appliance.config import ShipSettings
from headrace.appliance.pieces import LogFile, Piece, ShipLimits, Shipped, advance, decide, forget, learn, next_piece
from headrace.appliance.ports import ShipCounts
from headrace.base.clock import Clock
from headrace.base.ids import ApplianceId
from headrace.base.logs import event
from headrace.base.rng import Rng, backoff_s, jittered
from headrace.telemetry.batch import BatchName, parse_name
from headrace.wire.batch_store import BatchStore, BatchStoreError

T = TypeVar("T")

_log = logging.getLogger(__name__)
TURN_S = 2.0
_MOST_RETRY_S = 300.0


class LogShipper:
    """Ships what nginx logs in `logs`; `folder` is its own, small, for what it remembers and one piece at a time."""

    def __init__(
        self,
        appliance: ApplianceId,
        store: BatchStore,
        settings: ShipSettings,
        *,
        logs: Path,
        folder: Path,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self.counts = ShipCounts()
        self._appliance, self._store, self._settings = appliance, store, settings
        self._logs, self._folder = logs, folder
        self._memory = folder / "shipped.json"
        self._clock, self._rng = clock, rng
        self._limits = ShipLimits(batch_bytes=settings.batch_bytes, batch_s=settings.batch_s)
        self._shipped = Shipped()
        self._waiting_since_s: dict[str, float] = {}
        self._seen_bytes: dict[str, int] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ship", initializer=make_thread_idle)

    async def run(self) -> None:
        """Ship until cancelled."""
        failures = 0
        try:
            await self.open()
            while True:
                try:
                    await self.turn()
                    failures = 0
                except (BatchStoreError, BatchError, OSError) as error:
                    failures += 1
                    self.counts.failures += 1
                    event(_log, "ship_failed", level=logging.WARNING, error=error, failures_in_a_row=failures)
                except Exception:
                    # The top of the loop: the rest of the agent goes on whatever a log holds.
                    failures += 1
                    self.counts.failures += 1
                    _log.exception("turn_failed loop=ship")
                pause_s = jittered(self._rng, TURN_S)
                if failures:
                    pause_s = backoff_s(self._rng, failures - 1, first_s=TURN_S, most_s=_MOST_RETRY_S)
                await self._clock.sleep(pause_s)
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def open(self) -> None:
        """Remember what was shipped before."""
        await self._soon(self._open)

    async def turn(self) -> None:
        """Ship all that is due."""
        while await self._soon(self._ship_next):
            await self._clock.sleep(0)

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._shipped = read_memory(self._memory) or Shipped()

    def _ship_next(self) -> bool:
        """Ship one piece; False when none is due."""
        logs = find_logs(self._logs, now_s=self._clock.now_s())
        self._look(logs)
        piece = next_piece(logs, self._shipped, self._limits, waited_s=self._waited_s())
        if piece is None:
            return False
        slice_file, batch_file = self._folder / "piece.log", self._folder / "batch.parquet"
        try:
            size = copy_piece(self._logs, piece, slice_file)
            if self._shipped.decided is None:
                if not size:  # only the beginning of a line so far
                    self._waiting_since_s.pop(piece.log, None)
                    return False
                piece = replace(piece, end=piece.first + size)
                self._remember(decide(self._shipped, piece))
            elif size != piece.end - piece.first:
                event(_log, "piece_lost", level=logging.ERROR, log=piece.log, first=piece.first, end=piece.end)
                self._remember(replace(self._shipped, decided=None))
                return True
            counts = write_batch(slice_file, batch_file, appliance=self._appliance, bits=self._bits())
            self._store.put(self._name(piece).path, batch_file)
        finally:
            slice_file.unlink(missing_ok=True)
            batch_file.unlink(missing_ok=True)
        self._remember(advance(self._shipped, piece))
        self._waiting_since_s.pop(piece.log, None)
        self.counts.batches += 1
        self.counts.rows += counts.rows
        self.counts.flawed_lines += counts.flawed
        event(
            _log, "batch_shipped", log=piece.log, first=piece.first, end=piece.end, rows=counts.rows,
            flawed=counts.flawed, own=counts.own,
        )  # fmt: skip
        return True

    def _look(self, logs: Sequence[LogFile]) -> None:
        """Learn which logs there are: forget those that are gone, ask the store about those never met."""
        there = {log.log: log.size_bytes for log in logs}
        for gone in self._seen_bytes.keys() - there.keys():
            lost = self._seen_bytes.pop(gone) - self._shipped.ends.get(gone, 0)
            self._waiting_since_s.pop(gone, None)
            if lost > 0:
                self.counts.lost_bytes += lost
                event(_log, "log_lost_unshipped", level=logging.ERROR, log=gone, bytes=lost)
        self._seen_bytes = there
        self._shipped = forget(self._shipped, logs)
        for log in logs:
            if log.log not in self._shipped.ends:
                # What was remembered may be lost with a disk; what is in the store must not be cut otherwise now.
                self._remember(learn(self._shipped, log.log, self._end_in_store(log)))
        waiting = {log.log: log.size_bytes - self._shipped.ends[log.log] for log in logs}
        self.counts.waiting_bytes = sum(waiting.values())
        now_s = self._clock.monotonic_s()
        for name, size in waiting.items():
            if size:
                self._waiting_since_s.setdefault(name, now_s)

    def _end_in_store(self, log: LogFile) -> int:
        """The first byte of a log that is not in the store yet."""
        names = (parse_name(one.path) for one in self._store.list(BatchName.folder(log.day, self._appliance)))
        return max((name.end for name in names if name is not None and name.log == log.log), default=0)

    def _remember(self, shipped: Shipped) -> None:
        write_memory(self._memory, shipped)
        self._shipped = shipped

    def _waited_s(self) -> dict[str, float]:
        now_s = self._clock.monotonic_s()
        return {log: now_s - since_s for log, since_s in self._waiting_since_s.items()}

    def _bits(self) -> ClientBits:
        return ClientBits(ipv4=self._settings.client_bits_ipv4, ipv6=self._settings.client_bits_ipv6)

    def _name(self, piece: Piece) -> BatchName:
        return BatchName(day=piece.day, appliance=self._appliance, log=piece.log, first=piece.first, end=piece.end)

    async def _soon(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
