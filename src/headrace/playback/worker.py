"""One worker process: puts the parts together, starts its loops with the web server's, ends them with it.

Beside the answers run two loops: one pulls snapshots (in the worker that holds the lock), the other looks each quarter
of a second at the snapshot's file, at the loop's own lag, and at whether the parent still lives.
"""

import asyncio
import gc
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from headrace.base.clock import Clock, SystemClock
from headrace.base.errors import ConfigError
from headrace.base.logs import event, set_up_logging
from headrace.base.rng import make_rng
from headrace.base.tasks import Tasks
from headrace.playback.adapters.disk import HISTORY_NAME, PullLock, SnapshotFile
from headrace.playback.adapters.geo import open_locator
from headrace.playback.adapters.history import History
from headrace.playback.adapters.server import end_worker
from headrace.playback.adapters.tally import TallyFolder
from headrace.playback.answers import Answers, Locator
from headrace.playback.bodies import Bodies
from headrace.playback.config import PlaybackConfig
from headrace.playback.counters import Counters
from headrace.playback.keeper import Keeper, keep_pulling
from headrace.playback.service import PlaybackService
from headrace.steering.compile import CompiledSnapshot
from headrace.wire.client import open_client

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25
COUNTERS_FOLDER = "counters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What every worker starts from; travels to it as it is."""

    config: PlaybackConfig
    is_older_accepted: bool
    log_level: str
    parent_pid: int

    def __call__(self) -> "Worker":
        """Make the worker of this process."""
        set_up_logging(self.log_level)
        return Worker(self)


class Worker:
    """The service with its loops, which run while it is entered."""

    def __init__(self, launch: Launch) -> None:
        config = launch.config
        folder = Path(config.snapshot.folder)
        self._config = config
        self._parent_pid = launch.parent_pid
        self._clock: Clock = SystemClock()
        self._counters = Counters()
        self._locate: Locator | None = open_locator(config.clients.location_database)
        self._bodies = Bodies(config.answers.most_kept_bytes)
        self._ledger = config.new_ledger()
        tally = TallyFolder(folder / COUNTERS_FOLDER)
        token = read_secret(config.explain.token_file) if config.explain.token_file else ""
        self._control_token = read_secret(config.control.token_file)
        self.service = PlaybackService(config, self._clock, self._counters, tally, token)
        self._lock = PullLock(folder)
        file = SnapshotFile(folder)
        self._keeper = Keeper(
            file,
            History(
                folder / HISTORY_NAME,
                file.parts,
                most_age_s=config.snapshot.history_s,
                most_bytes=config.snapshot.history_bytes,
            ),
            self._lock,
            self._counters,
            self._install,
            self._clock,
            is_older_accepted=launch.is_older_accepted,
        )
        self.service.past = self._keeper.at
        self._main: asyncio.Task[None] | None = None

    async def __aenter__(self) -> PlaybackService:
        """The snapshot on disk is in force before the first request; the loops run from here on."""
        self._keeper.load()
        self._main = asyncio.get_running_loop().create_task(self._run(), name="playback")
        return self.service

    async def __aexit__(self, *_: object) -> None:
        """After the last request: end the loops, leave the counters, let another worker pull."""
        if self._main is not None:
            self._main.cancel()
            await asyncio.gather(self._main, return_exceptions=True)
        self.service.leave_counters()
        self._lock.release()

    async def _run(self) -> None:
        control = self._config.control
        ca_file = Path(control.ca_file) if control.ca_file else None
        try:
            async with (
                open_client(control.urls, self._control_token, ca_file=ca_file, timeout_s=control.timeout_s) as client,
                Tasks() as tasks,
            ):
                rng = make_rng(os.getpid())
                tasks.spawn("pull", keep_pulling(self._keeper, client, control, clock=self._clock, rng=rng))
                tasks.spawn("look", self._look_around())
                await tasks.until_first_failure()
        except Exception as error:
            event(_log, "worker_failed", level=logging.ERROR, error=repr(error))
            end_worker()

    async def _look_around(self) -> None:
        turns = 0
        while True:
            before_s = self._clock.monotonic_s()
            await self._clock.sleep(LOOK_EVERY_S)
            lag_s = self._clock.monotonic_s() - before_s - LOOK_EVERY_S
            self.service.is_overloaded = lag_s > self._config.limits.overload_lag_s
            turns += 1
            try:
                await self._keeper.follow()
                if turns % 4 == 0:
                    self.service.new_second()
                    await asyncio.to_thread(self.service.leave_counters)
            except Exception:
                _log.exception("turn_failed loop=look")
            if os.getppid() != self._parent_pid:
                event(_log, "parent_gone", level=logging.WARNING)
                end_worker()
                return

    def _install(self, compiled: CompiledSnapshot) -> None:
        """Put a snapshot in force. It holds no cycles: the collector need not walk it, which would stall answers."""
        self._ledger.report(compiled.appliances, loads_at_s=compiled.loads_at_s, now_s=self._clock.now_s())
        last = self.service.answers
        self.service.install(Answers(compiled, self._config, self._locate, self._bodies, self._ledger, last))
        gc.freeze()


def read_secret(path: str) -> str:
    """A token from a file.

    Raises:
        ConfigError: the file cannot be read or is empty.
    """
    try:
        token = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the token file {path}: {error}") from None
    if not token:
        raise ConfigError(f"the token file {path} is empty")
    return token
