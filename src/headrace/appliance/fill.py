"""The fill loop: fetches what the plan wants and the disks lack, deletes what left the plan.

It acts on the decisions of fill_plan.py, within what gate.py lets through now, and goes on with the last plan, rules
and sources for as long as nobody brings others.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from headrace.appliance.adapters.store import DiskStore
from headrace.appliance.config import FillSettings
from headrace.appliance.directory import FILES_AT_ONCE
from headrace.appliance.errors import DiskError, StateError
from headrace.appliance.fill_plan import DiskRoom, FillDecision, decide_deletions, decide_fill, order_missing
from headrace.appliance.plan import FillPlan
from headrace.appliance.transfer import Outlook, Transfer, Transfers
from headrace.base.clock import Clock
from headrace.base.ids import Sha256
from headrace.base.logs import event
from headrace.base.rng import Rng, jittered
from headrace.base.tasks import Tasks
from headrace.catalog.model import CatalogFile
from headrace.fleet.model import FillReport, FillState

_log = logging.getLogger(__name__)
_STATE_PAUSE_S = 30.0
_KEEP_TOLD_S = 5.0
"""What left the plan is kept for so long whatever is short: by then the control plane has said what is a last copy."""
_ORDER_PAUSES = 20
"""Walks over all files, when many files are lost or found one by one, take at most one part in so many of the time."""
_SCANNED_AT_ONCE = 2_000
"""Files looked at in one turn when none of them has a source now; the next turn goes on behind them."""


class Filler:
    """Turns that start transfers and deletions."""

    def __init__(
        self,
        settings: FillSettings,
        *,
        store: DiskStore,
        transfers: Transfers,
        served: Callable[[], set[Sha256]],
        clock: Clock,
        rng: Rng,
    ) -> None:
        """`served` names files that clients asked for since its last call."""
        self._settings, self._store, self._transfers = settings, store, transfers
        self._gate, self._directory, self._served = transfers.gate, transfers.directory, served
        self._clock, self._rng = clock, rng
        self._asking: asyncio.Task[None] | None = None
        self._ordered_orders = -1
        self._numbers: dict[Sha256, int] = {}
        self._played_s: dict[Sha256, float] = {}
        self._waiting: list[Sha256] = []
        self._unasked = 0
        self._plan: FillPlan | None = None
        self._ordered_plan: FillPlan | None = None
        self._ordered_losses = -1
        self._next_order_s = 0.0
        self._missing: deque[CatalogFile] = deque()
        self._unwanted: dict[Sha256, tuple[float, int]] = {}
        self._running: dict[Sha256, tuple[Transfer, asyncio.Task[None]]] = {}
        self._state, self._reason = FillState.IDLE, ""
        self._disk_error = ""
        self._paused_until_s = 0.0

    def use_plan(self, plan: FillPlan) -> None:
        """Converge on this plan from now on; before the first one nothing is fetched or deleted."""
        self._plan = plan

    async def run(self) -> None:
        """Fill until cancelled."""
        async with Tasks() as tasks:
            while True:
                try:
                    await self._turn(tasks)
                except Exception:
                    # The top of the loop: serving goes on whatever a turn meets; what it was is in the log.
                    _log.exception("turn_failed loop=fill")
                await self._clock.sleep(jittered(self._rng, self._settings.turn_interval_s))

    def report(self, *, held_files: int, held_bytes: int) -> FillReport:
        """Progress; the arguments are how much of the plan is held."""
        plan = self._plan or FillPlan()
        on_the_way = sum(self._store.parts().get(name, ("", 0))[1] for name in self._running)
        return FillReport(
            state=self._state,
            pending_files=len(plan.by_sha256) - held_files,
            pending_bytes=max(0, plan.total_bytes - held_bytes - on_the_way),
            done_files=self._transfers.fetched_files,
            done_bytes=self._transfers.fetched_bytes,
            rate_bps=self._transfers.rate_bps(),
            error=self._reason,
            window_opened_s=self._gate.opened_s,
            window_bytes=self._gate.window_bytes,
            window_inbound_bytes=self._gate.inbound_bytes,
            outside_bytes=self._transfers.outside_bytes,
            wrong_bytes=self._transfers.wrong_bytes(),
        )

    async def _turn(self, tasks: Tasks) -> None:
        if self._plan is None:
            return
        now_s = self._clock.monotonic_s()
        is_due = self._ordered_losses != self._store.losses and now_s >= self._next_order_s
        if self._ordered_plan is not self._plan or self._ordered_orders != self._gate.orders or is_due:
            await self._order(self._plan, now_s)
            self._next_order_s = now_s + _ORDER_PAUSES * (self._clock.monotonic_s() - now_s)
        await self._store.refresh_rooms()
        shut = self._gate.why_shut()
        self._stop_others(shut)
        self._ask(tasks, shut)
        self._waiting, self._unasked = [], 0
        may_start = now_s >= self._paused_until_s
        decision = FillDecision(starts=(), state=FillState.FILLING if self._running else FillState.IDLE)
        if self._gate.has_urgent():
            decision = self._start(tasks, self._candidates(is_urgent=True), is_urgent=True, may_start=may_start)
        if not shut and decision.state is not FillState.DISK_FULL:
            others = self._start(tasks, self._candidates(is_urgent=False), is_urgent=False, may_start=may_start)
            decision = others if others.starts or others.state is not FillState.IDLE else decision
        if not self._running:
            self._gate.wait_for_peers(self._waiting)
        await self._delete(decision.short_bytes, now_s)
        self._conclude(decision, shut)

    def _start(
        self, tasks: Tasks, candidates: Iterable[CatalogFile], *, is_urgent: bool, may_start: bool
    ) -> FillDecision:
        """Start what may be; urgent files have slots of their own, so that they never wait for the others."""
        running = sum(self._gate.is_urgent(one.file) is is_urgent for one, _ in self._running.values())
        decision = decide_fill(
            candidates,
            self._rooms(),
            parts=self._store.parts(),
            slots=self._settings.files_at_once - running if may_start else 0,
            is_filling=bool(self._running),
        )
        for start in decision.starts:
            transfer = Transfer(file=start.file, disk_id=start.disk_id)
            task = tasks.spawn(f"fill {start.file.sha256[:12]}", self._bring(transfer))
            self._running[start.file.sha256] = (transfer, task)
        return decision

    def _stop_others(self, shut: str) -> None:
        """The window has closed, or its volume is fetched: what is under way stops, and goes on where it stopped."""
        if not shut:
            return
        for transfer, task in self._running.values():
            if not self._gate.is_urgent(transfer.file):
                task.cancel()

    def _ask(self, tasks: Tasks, shut: str) -> None:
        """Ask the control plane for sources of the next files, when there are some and it is time."""
        if (self._asking is not None and not self._asking.done()) or not self._directory.is_due():
            return
        held, urgent_only = self._store.held(), bool(shut)
        wanted: list[CatalogFile] = []
        for scanned, file in enumerate(self._missing):
            is_over = len(wanted) >= FILES_AT_ONCE or scanned >= _SCANNED_AT_ONCE
            if is_over or (urgent_only and not self._gate.is_urgent(file)):
                break
            if file.sha256 in held:
                continue
            is_running = file.sha256 in self._running
            is_free = is_running or self._transfers.outlook(file) is Outlook.FREE
            if not (is_free and self._directory.is_fresh(file.sha256)):
                wanted.append(file)
        if wanted:
            self._asking = tasks.spawn("fill sources", self._directory.refresh(wanted))

    async def _order(self, plan: FillPlan, now_s: float) -> None:
        # The one walk over all files; a fill that completes needs none.
        if self._ordered_plan is not None and self._ordered_plan is not plan:
            self._numbers.update((name, file.file_no) for name, file in self._ordered_plan.by_sha256.items())
        self._ordered_plan, self._ordered_losses = plan, self._store.losses
        self._ordered_orders = self._gate.orders
        held = self._store.held()
        self._missing = deque(order_missing(plan, held, priority=self._gate.priority))
        self._directory.hurry()
        gone = [self._store.holding(name) for name in held - plan.by_sha256.keys()]
        self._unwanted = {
            one.sha256: self._unwanted.get(one.sha256, (now_s, one.size_bytes)) for one in gone if one is not None
        }
        self._numbers = {name: number for name, number in self._numbers.items() if name in self._unwanted}
        event(_log, "fill_ordered", plan=plan.version, missing=len(self._missing), unwanted=len(self._unwanted))
        for name, (_, task) in self._running.items():
            if name not in plan.by_sha256 or name in held:
                task.cancel()
                self._ordered_losses = -1  # look again when it has ended: its part is needless then
        needless = [one for one in self._store.parts() if one not in plan.by_sha256 or one in held]
        for name in needless:
            if name not in self._running:
                await self._store.delete_part(name)

    def _candidates(self, *, is_urgent: bool) -> Iterator[CatalogFile]:
        held = self._store.held()
        while self._missing and self._missing[0].sha256 in held:
            self._missing.popleft()
        for scanned, file in enumerate(list(self._missing) if len(self._missing) < _SCANNED_AT_ONCE else self._missing):
            if is_urgent and not self._gate.is_urgent(file):
                return  # they come first in the order
            if scanned >= _SCANNED_AT_ONCE:
                if not is_urgent:
                    self._missing.rotate(-scanned)
                return
            if file.sha256 in held or file.sha256 in self._running or file.sha256 in self._store.doubtful():
                continue
            if self._gate.is_urgent(file) is is_urgent and self._is_free(file):
                yield file

    def _is_free(self, file: CatalogFile) -> bool:
        """Whether it can be fetched now; what cannot is counted by the reason."""
        outlook = self._transfers.outlook(file)
        if outlook is Outlook.WAITS:
            self._waiting.append(file.sha256)
        self._unasked += outlook is Outlook.UNASKED
        return outlook is Outlook.FREE

    def _rooms(self) -> list[DiskRoom]:
        booked: dict[str, int] = {}
        parts = self._store.parts()
        for name, (transfer, _) in self._running.items():
            left_bytes = transfer.file.size_bytes - parts.get(name, ("", 0))[1]
            booked[transfer.disk_id] = booked.get(transfer.disk_id, 0) + left_bytes
        return [
            DiskRoom(disk_id=disk.disk_id, room_bytes=disk.room_bytes - booked.get(disk.disk_id, 0))
            for disk in self._store.rooms()
        ]

    async def _delete(self, short_bytes: int, now_s: float) -> None:
        self._note_played(now_s)
        least_s = min(_KEEP_TOLD_S, self._settings.delete_grace_s)
        kept = {
            name
            for name, (since_s, _) in self._unwanted.items()
            if now_s - since_s < least_s or name in self._played_s or self._numbers.get(name, -1) in self._gate.keep
        }
        gone = decide_deletions(
            self._unwanted, grace_s=self._settings.delete_grace_s, short_bytes=short_bytes, now_s=now_s, kept=kept
        )
        for name in gone:
            del self._unwanted[name]
            self._numbers.pop(name, None)
        if gone:
            event(_log, "files_deleted", count=len(gone), short_bytes=short_bytes)
            await self._store.delete(gone)

    def _note_played(self, now_s: float) -> None:
        """Of the files that are to go, those that sessions have asked for within the grace."""
        for name in self._served() & self._unwanted.keys():
            self._played_s[name] = now_s
        grace_s = self._settings.delete_grace_s
        self._played_s = {name: at_s for name, at_s in self._played_s.items() if now_s - at_s < grace_s}

    async def _bring(self, transfer: Transfer) -> None:
        try:
            await self._transfers.bring(transfer)
            self._disk_error = ""
        except (DiskError, StateError) as error:
            self._disk_error = str(error)
            if isinstance(error, StateError):
                # What was fetched cannot be shown: fetching it again and again would help nobody.
                self._paused_until_s = self._clock.monotonic_s() + _STATE_PAUSE_S
            event(_log, "fill_stopped", level=logging.WARNING, file=transfer.file.sha256, error=error)
        finally:
            self._running.pop(transfer.file.sha256, None)

    def _conclude(self, decision: FillDecision, shut: str) -> None:
        state, reason = decision.state, decision.reason
        is_idle = state is FillState.IDLE and self._is_behind()
        if self._clock.monotonic_s() < self._paused_until_s:
            state, reason = FillState.DISK_FULL, self._disk_error
        elif is_idle and shut:
            state, reason = FillState.WAITING, shut
        elif is_idle and self._unasked:
            state, reason = FillState.WAITING, f"it is asked who has {self._unasked} of the missing files"
        elif is_idle and self._waiting:
            state, reason = FillState.WAITING, f"peers bring {len(self._waiting)} of the missing files"
        elif is_idle or (
            state is FillState.FILLING
            and not decision.starts
            and self._running
            and all(one.is_waiting for one, _ in self._running.values())
        ):
            state, reason = FillState.NO_SOURCE, self._transfers.why_no_source()
        elif state is FillState.FILLING:
            reason = self._disk_error or self._transfers.error
        if state is not self._state:
            event(_log, "fill_state", state=state, was=self._state, reason=reason)
        self._state, self._reason = state, reason

    def _is_behind(self) -> bool:
        held = self._store.held()
        return any(file.sha256 not in held for file in self._missing)
