"""The loop of `headrace agent`: report and fetch in one exchange, converge, and go on alone when nobody answers.

What is in force is kept in the ledger first and then handed to the filler and the web server, so that a restart without
control plane goes on with it. Decisions are those of reconcile.py and plan.py.
"""

import asyncio
import gc
import logging
import platform
import secrets
from contextlib import suppress
from dataclasses import dataclass

import headrace
from headrace.appliance.adapters.ledger import Ledger
from headrace.appliance.adapters.store import DiskStore
from headrace.appliance.bgp.reports import RouteReports
from headrace.appliance.control_link import ControlLink
from headrace.appliance.errors import ApplianceError, JoinRefusedError
from headrace.appliance.fill import Filler
from headrace.appliance.gate import FillGate
from headrace.appliance.plan import FillPlan, PlanPages, apply_pages
from headrace.appliance.ports import AgentStatus, LoadSource, WebServer
from headrace.appliance.reconcile import Exchanges, Held, InForce, held_of
from headrace.appliance.transfer import Transfers
from headrace.appliance.verify import Verifier
from headrace.base.clock import Clock
from headrace.base.ids import ApplianceId, Sha256
from headrace.base.logs import event
from headrace.base.rng import Rng, backoff_s, jittered
from headrace.base.tasks import Tasks
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogFile
from headrace.fleet.model import ApplianceReport, ReleaseReport
from headrace.wire.agent import DesiredState, PlanUpdate
from headrace.wire.codec import encode
from headrace.wire.errors import WireError

_log = logging.getLogger(__name__)
_FIRST_INTERVAL_S = 2.0
_FIRST_TURN_S = 2.0
_KEEP_COUNTS_S = 10.0
"""Between two writes of what the window has brought: the most that a kill makes the agent forget."""
_LEAST_INTERVAL_S, _MOST_INTERVAL_S = 0.1, 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an agent is made of; the CLI puts it together."""

    ledger: Ledger
    store: DiskStore
    transfers: Transfers
    gate: FillGate
    filler: Filler
    verifier: Verifier
    web: WebServer
    load: LoadSource
    link: ControlLink
    routes: RouteReports
    clock: Clock
    rng: Rng


class Agent:
    """One appliance: its loops, and what it knows of the wishes of the control plane."""

    def __init__(self, appliance_id: ApplianceId, parts: Parts, *, retry_most_s: float) -> None:
        self._appliance_id, self._parts, self._retry_most_s = appliance_id, parts, retry_most_s
        self._boot_id = secrets.token_hex(8)
        self._exchanges = Exchanges(appliance_id, self._boot_id)
        self._plan = FillPlan()
        self._desired: DesiredState | None = None
        self._held = Held(files=FileSet(), digest=FileSet().digest(), total_bytes=0)
        self._held_of: tuple[FillPlan, int] | None = None
        self._needs_whole_plan = False
        self._interval_s = _FIRST_INTERVAL_S
        self._answered_s: float | None = None
        self._failures = 0
        self._failures_in_a_row = 0
        self._sent_bytes = 0
        self._kept_counts = (0.0, 0, 0)
        self._keep_counts_s = 0.0
        self._had_a_turn = asyncio.Event()
        self.was_refused = asyncio.Event()
        """It was never enrolled and cannot be; `refusal` says why."""
        self.refusal: JoinRefusedError | None = None

    async def run(self) -> None:
        """Work until cancelled; once `was_refused` is set, in vain."""
        parts = self._parts
        await self._resume()
        async with Tasks() as tasks:
            try:
                tasks.spawn("exchange", self._exchange_for_ever())
                tasks.spawn("web", parts.web.run())
                tasks.spawn("routes", parts.routes.run(self._boot_id))
                # Looking through the disks would hold up the first report, with which clients come back.
                await self._wait_for_first_turn()
                tasks.spawn("disks", parts.store.watch())
                tasks.spawn("fill", parts.filler.run())
                tasks.spawn("verify", parts.verifier.run())
                tasks.spawn("missed", parts.verifier.look_for_missed())
                await tasks.until_first_failure()
            finally:
                parts.verifier.stop()
                gc.unfreeze()  # libraries (DuckDB) complain at the end of the process of what nobody collected

    def status(self) -> AgentStatus:
        """What /metrics shows."""
        held, transfers = self._held_now(), self._parts.transfers
        answered_s = self._answered_s
        return AgentStatus(
            appliance_id=self._appliance_id,
            report=self._report(held),
            holdings_files=len(held.files),
            holdings_bytes=held.total_bytes,
            plan_version=self._plan.version,
            plan_files=len(self._plan.by_sha256),
            plan_bytes=self._plan.total_bytes,
            desired_version=self._desired.version if self._desired else 0,
            exchange_age_s=None if answered_s is None else self._parts.clock.monotonic_s() - answered_s,
            exchange_failures=self._failures,
            exchange_bytes=self._sent_bytes,
            filled_files=transfers.fetched_files,
            filled_bytes=transfers.fetched_bytes,
            source_failures=transfers.source_failures,
            corrupt_files=self._parts.verifier.corrupt_files,
            verified_bytes=self._parts.verifier.verified_bytes,
            routes=self._parts.routes.report(),
        )

    @property
    def gate(self) -> FillGate:
        """What the rules let through."""
        return self._parts.gate

    def named(self, sha256: Sha256) -> CatalogFile | None:
        """Which title and rendition a file is of (port FileNames)."""
        return self._plan.by_sha256.get(sha256)

    async def _resume(self) -> None:
        """Go on where the last agent was: serving at once, then with what is known of files and plan.

        The links that are served outlived the last agent as an nginx may have; the store puts right what is wrong
        among them while nginx starts.
        """
        parts = self._parts
        desired = parts.ledger.desired()
        async with Tasks() as tasks:
            serving = tasks.spawn("resume-web", self._resume_web(desired))
            # A start makes up to 400,000 objects that all last: collecting among them would cost a quarter of its time.
            gc.disable()
            await parts.store.open()
            self._kept_counts = parts.ledger.fill_counts()
            parts.gate.go_on_from(self._kept_counts)
            plan = await asyncio.to_thread(parts.ledger.plan)
            if plan.version:
                self._plan = plan
                parts.filler.use_plan(plan)
            held_files = len(self._held_now().files)
            gc.freeze()
            gc.enable()
            await serving
        event(
            _log,
            "resumed",
            plan=plan.version,
            files=len(plan.files),
            held=held_files,
            desired=desired.version if desired else 0,
        )

    async def _resume_web(self, desired: DesiredState | None) -> None:
        if desired is None:
            await self._parts.web.point(origin_url="", redirect_url="")
        else:
            await self._use_desired(desired)

    async def _wait_for_first_turn(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_TURN_S):
                await self._had_a_turn.wait()

    async def _exchange_for_ever(self) -> None:
        clock, rng = self._parts.clock, self._parts.rng
        was_sent_again = False
        while True:
            should_send_again = False
            await self._keep_counts()
            try:
                should_send_again = await self._exchange()
                self._failures_in_a_row = 0
            except JoinRefusedError as error:
                if not self._desired:
                    self.refusal = error
                    self.was_refused.set()
                    return
                self._failed(error)
            except (WireError, ApplianceError) as error:
                self._failed(error)
            except Exception:
                # The top of the loop: serving and filling go on whatever an exchange meets.
                self._failed(None)
                _log.exception("turn_failed loop=exchange")
            self._had_a_turn.set()
            if should_send_again and not was_sent_again:
                was_sent_again = True
                continue
            was_sent_again = False
            await clock.sleep(self._pause_s(rng))

    async def _keep_counts(self) -> None:
        counts, now_s = self._parts.gate.counts(), self._parts.clock.monotonic_s()
        if counts != self._kept_counts and now_s >= self._keep_counts_s:
            self._kept_counts, self._keep_counts_s = counts, now_s + _KEEP_COUNTS_S
            try:
                await asyncio.to_thread(self._parts.ledger.keep_fill_counts, counts)
            except ApplianceError as error:
                event(_log, "counts_not_kept", level=logging.WARNING, error=error)

    def _pause_s(self, rng: Rng) -> float:
        if not self._failures_in_a_row:
            return jittered(rng, self._interval_s, 0.1)
        return backoff_s(rng, self._failures_in_a_row - 1, first_s=self._interval_s, most_s=self._retry_most_s)

    def _failed(self, error: Exception | None) -> None:
        self._failures += 1
        self._failures_in_a_row += 1
        if error is not None:
            event(
                _log, "exchange_failed", level=logging.WARNING, kind=type(error).__name__, error=error,
                failures_in_a_row=self._failures_in_a_row,
            )  # fmt: skip

    async def _exchange(self) -> bool:
        """One exchange; True when the control plane should hear from us again at once."""
        held, in_force = self._held_now(), self._in_force()
        request = self._exchanges.request(self._report(held), held, in_force)
        self._sent_bytes = len(encode(request))
        answer = await self._parts.link.exchange(request)
        learned = self._exchanges.learn(answer, in_force)
        if learned.was_stale:
            return False
        self._answered_s = self._parts.clock.monotonic_s()
        self._parts.gate.heard(answer.now_s)
        self._interval_s = min(_MOST_INTERVAL_S, max(_LEAST_INTERVAL_S, learned.interval_s))
        if learned.desired is not None:
            self._parts.ledger.replace_desired(learned.desired)
            await self._use_desired(learned.desired)
        if learned.plan is not None:
            await self._use_plan(learned.plan)
        if learned.should_rotate_credential:
            await self._parts.link.rotate()
        return learned.should_send_again

    async def _use_desired(self, desired: DesiredState) -> None:
        self._desired = desired
        self._parts.transfers.use(desired)
        if doubt := self._parts.gate.doubt:
            self._parts.verifier.doubt(file.sha256 for number in doubt if (file := self._plan.files.get(number)))
        await self._parts.web.point(origin_url=desired.origin_url, redirect_url=desired.redirect_url)
        event(_log, "desired_in_force", version=desired.version, sources=len(desired.sources))

    async def _use_plan(self, update: PlanUpdate) -> None:
        # Until it was applied, a failure on the way means that the next exchange asks for a whole plan.
        self._needs_whole_plan = True
        pages = PlanPages(first=update)
        pages.add(update)
        while pages.more_after is not None:
            pages.add(await self._parts.link.plan_page(update, pages.more_after))
        plan = await asyncio.to_thread(apply_pages, self._plan, pages)
        await asyncio.to_thread(self._parts.ledger.replace_plan, self._plan, plan)
        self._plan, self._needs_whole_plan = plan, False
        self._parts.filler.use_plan(plan)
        event(_log, "plan_in_force", version=plan.version, files=len(plan.files), added=len(pages.added))

    def _in_force(self) -> InForce:
        return InForce(
            desired_version=self._desired.version if self._desired else 0,
            plan_version=0 if self._needs_whole_plan else self._plan.version,
            plan_digest="" if self._needs_whole_plan else self._plan.digest,
        )

    def _held_now(self) -> Held:
        """What of the plan is held; looked up only when something changed."""
        store = self._parts.store
        if self._held_of is not None and self._held_of[0] is self._plan and self._held_of[1] == store.changes:
            return self._held
        self._held_of = (self._plan, store.changes)
        self._held = held_of(self._plan, store.held())
        return self._held

    def _report(self, held: Held) -> ApplianceReport:
        nginx = self._parts.web.report()
        return ApplianceReport(
            disks=self._parts.store.reports(),
            load=self._parts.load.load(),
            fill=self._parts.filler.report(held_files=len(held.files), held_bytes=held.total_bytes),
            nginx=nginx,
            release=ReleaseReport(headrace=headrace.__version__, nginx=nginx.version, kernel=platform.release()),
        )
