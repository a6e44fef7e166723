"""The snapshot in force in one worker: loaded from disk, followed when another worker replaced it, pulled by one.

All workers of a machine share one file. The worker that holds the lock polls the control plane, judges what it gets and
writes the file; the others see the file change. So the control plane sees one poller a machine, every worker has the
same snapshot within a quarter of a second, and a restart finds it on disk. Whatever fails, the snapshot in force stays.

Unpacking and indexing run in a thread; the swap itself is one assignment.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from headrace.base.clock import Clock
from headrace.base.errors import HeadraceError
from headrace.base.logs import event
from headrace.base.rng import Rng, backoff_s, jittered
from headrace.playback.adapters.disk import PullLock, Signature, SnapshotFile
from headrace.playback.adapters.fetch import pull_sections
from headrace.playback.adapters.history import History
from headrace.playback.config import ControlSettings
from headrace.playback.counters import Counters
from headrace.playback.errors import SnapshotError
from headrace.playback.succession import Verdict, judge
from headrace.steering.compile import CompiledSnapshot, compile_snapshot
from headrace.wire.client import ControlClient
from headrace.wire.errors import MalformedError, RefusedError, WireError
from headrace.wire.snapshot import SnapshotParts, unpack_snapshot

_log = logging.getLogger(__name__)
_FAILURES = ("broken", "refused", "unreachable", "not-kept")


@dataclass(slots=True, kw_only=True)
class _PullState:
    etag: str = ""
    failures: int = 0
    last_result: str = ""


class Keeper:
    """Keeps one worker's snapshot up to date."""

    def __init__(
        self,
        file: SnapshotFile,
        history: History,
        lock: PullLock,
        counters: Counters,
        install: Callable[[CompiledSnapshot], None],
        clock: Clock,
        *,
        is_older_accepted: bool,
    ) -> None:
        self._clock = clock
        self.held: CompiledSnapshot | None = None
        self._file = file
        self._history = history
        self._lock = lock
        self._counters = counters
        self._install = install
        self._is_older_accepted = is_older_accepted
        self._seen: Signature | None = None
        self._pull = _PullState()
        self._parts = SnapshotParts()

    def load(self) -> None:
        """Load the file if it is another one than last time; blocks. A broken one is left alone and reported once."""
        signature = self._file.signature()
        if signature is None or signature == self._seen:
            return
        stored = self._file.read()
        if stored is None:
            return
        is_replaced = self._seen is not None
        self._seen = stored.signature
        try:
            compiled = self._compiled(stored.data)
        except WireError as error:
            self._counters.loaded("broken")
            detail = "kept the snapshot in force" if self.held else "no snapshot to answer from until one is pulled"
            event(
                _log,
                "snapshot_file_broken",
                level=logging.ERROR,
                file=self._file.path,
                error=str(error),
                now=detail,
            )
            return
        self._counters.loaded("loaded")
        if is_replaced:
            self._is_older_accepted = False
        self._take(compiled, "disk")

    async def follow(self) -> None:
        """One look at the file; loads it in a thread when it changed."""
        signature = await asyncio.to_thread(self._file.signature)
        if signature is not None and signature != self._seen:
            await asyncio.to_thread(self.load)

    async def pull(self, client: ControlClient) -> str:
        """Ask the control plane once, if this worker is the one that asks.

        Returns:
            What came of it: waiting (another worker pulls), unchanged, follow, same, older, other-store, or one of
            `_FAILURES`; not-kept: the snapshot is in force here but could not be written to disk.
        """
        try:
            if not await asyncio.to_thread(self._lock.is_held):
                return "waiting"
            result = await self._pull_once(client)
        except MalformedError as error:
            result = self._complain("broken", error)
        except RefusedError as error:
            result = self._complain("refused", error)
        except WireError as error:
            result = self._complain("unreachable", error)
        except SnapshotError as error:
            result = self._complain("not-kept", error)
        if result in (Verdict.FOLLOW, Verdict.SAME, "unchanged"):
            self._pull.last_result = result
            self._counters.contact_at_s = self._clock.now_s()
        self._pull.failures = self._pull.failures + 1 if result in _FAILURES else 0
        self._counters.pulled(result)
        return result

    async def _pull_once(self, client: ControlClient) -> str:
        headers = {"if-none-match": self._pull.etag} if self._pull.etag else {}
        answer = await client.raw("GET", "/v1/snapshot", headers=headers)
        if answer.status == 304:
            return "unchanged"
        await pull_sections(client, answer.body, self._file.parts)
        compiled = await asyncio.to_thread(self._compiled, answer.body)
        verdict = judge(self.held, compiled, is_older_accepted=self._is_older_accepted)
        if verdict in (Verdict.FOLLOW, Verdict.SAME):
            await asyncio.to_thread(self._take, compiled, "control")
            self._seen = await asyncio.to_thread(self._file.write, answer.body)
            await asyncio.to_thread(self._history.add, answer.body, now_s=self._clock.now_s())
            self._is_older_accepted = False
            self._pull.etag = answer.etag
            return verdict
        if self._pull.last_result != verdict:
            self._pull.last_result = verdict
            assert self.held is not None
            event(
                _log,
                "snapshot_refused",
                level=logging.ERROR,
                reason=verdict,
                held_version=self.held.version,
                pulled_version=compiled.version,
                held_store=self.held.control_id or "unknown",
                pulled_store=compiled.control_id or "unknown",
                mend="if the control plane was rebuilt or restored on purpose, restart with --accept-older",
            )
        return verdict

    def _compiled(self, data: bytes) -> CompiledSnapshot:
        return compile_snapshot(unpack_snapshot(data, self._parts, find=self._file.parts.find), self.held)

    def at(self, at_s: float) -> CompiledSnapshot | None:
        """The snapshot that was in force at a past moment, as far as it is kept. Takes a while: not for the loop.

        Raises:
            MalformedError: it cannot be read any more.
        """
        data = self._history.at(at_s)
        if data is None:
            return None
        known = SnapshotParts(by_digest=dict(self._parts.by_digest))
        return compile_snapshot(unpack_snapshot(data, known, find=self._file.parts.find))

    def _take(self, compiled: CompiledSnapshot, source: str) -> None:
        is_first = self.held is None
        self.held = compiled
        self._install(compiled)
        event(
            _log,
            "snapshot_in_force",
            level=logging.INFO if is_first else logging.DEBUG,
            version=compiled.version,
            source=source,
            appliances=len(compiled.appliances),
            titles=len(compiled.library.titles),
            bad_prefixes=len(compiled.network.bad_prefixes),
        )

    def _complain(self, result: str, error: HeadraceError) -> str:
        """Log a failure when it is a new one, not at every poll."""
        if self._pull.last_result != result:
            self._pull.last_result = result
            now = f"goes on with version {self.held.version}" if self.held else "has no snapshot yet"
            event(_log, "snapshot_pull_failed", level=logging.WARNING, result=result, error=str(error), now=now)
        return result

    def pause_s(self, settings: ControlSettings, rng: Rng) -> float:
        """How long to wait before the next pull."""
        if not self._pull.failures:
            return jittered(rng, settings.poll_interval_s)
        return backoff_s(rng, self._pull.failures - 1, first_s=settings.poll_interval_s, most_s=settings.retry_most_s)


async def keep_pulling(
    keeper: Keeper, client: ControlClient, settings: ControlSettings, *, clock: Clock, rng: Rng
) -> None:
    """Pull for ever. The top of a loop: an unforeseen error is logged, and the snapshot in force stays."""
    while True:
        try:
            await keeper.pull(client)
        except Exception:
            _log.exception("turn_failed loop=pull")
        await clock.sleep(keeper.pause_s(settings, rng))
