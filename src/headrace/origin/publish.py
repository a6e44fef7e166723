"""One publish from a source to a registered title: check, encode, store, register; each step once.

Nothing is visible before the last step, one call to the control plane. What is finished waits in the work folder, so
that a killed publish goes on where it stopped; stored files without a title are harmless and are found again.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.base.clock import Clock
from headrace.base.ids import Sha256, TitleId
from headrace.base.logs import event
from headrace.catalog.model import Title, TrackKind, check_title, content_path
from headrace.origin.adapters.digests import digest_of_source
from headrace.origin.adapters.intake import list_source, open_source
from headrace.origin.adapters.work_folder import WorkFolder, hold_work_folder, work_root
from headrace.origin.config import PublishConfig
from headrace.origin.errors import SourceUnreadableError, TitleConflictError
from headrace.origin.model import Intake, Step, StepResult
from headrace.origin.ports import ByteStore, MediaTools, TitleRegistry, Watch
from headrace.origin.progress import Ledger, Progress
from headrace.origin.render import make_rendition
from headrace.wire.codec import encode
from headrace.wire.operator import TitleRegistration, TitleView

FORM = b"headrace publish, form 1"
"""Changes when the same source and settings would give other files."""
CHECK, STORE, REGISTER = "check", "store", "register"
CHECK_SHARE, STORE_SHARE = 0.02, 0.05
"""Shares of the whole job, for the progress shown; the rest is encoding."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to publish."""

    source: Path
    title_id: TitleId
    name: str
    """'' keeps the registered name, else takes the source's own."""
    may_replace: bool
    group: str | None = None
    launch_s: float | None = None
    """Of the title, see catalog.model.Title; None keeps what is registered."""

    def described(self, title: Title) -> Title:
        """The title with what is told of it here."""
        return replace(
            title,
            name=self.name or title.name,
            group=title.group if self.group is None else self.group,
            launch_s=title.launch_s if self.launch_s is None else self.launch_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The outside of a publish."""

    store: ByteStore
    registry: TitleRegistry
    tools: MediaTools
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a publish did."""

    view: TitleView
    was_published: bool
    """False: the same source and ladder were registered already, and nothing was done."""


async def publish(job: Job, config: PublishConfig, ports: Ports, watch: Watch) -> Outcome:
    """Publish `job`.

    Raises:
        OriginError: its leaves say what is wrong; nothing is registered.
        WireError: the control plane does not answer or refuses.
    """
    run = _Run(job, config, ports, watch)
    files = list_source(job.source)
    await ports.registry.check(job.title_id)
    await ports.store.check()
    digest = await run.digest(files)
    if (done := await run.registered(digest)) is not None:
        return done
    root = work_root(config.work.folder)
    async with hold_work_folder(root, digest[:32], clock=ports.clock, wait_s=config.work.lock_wait_s) as work:
        # Whoever held the lock before us may have published this very source.
        return await run.registered(digest) or await run.make_and_register(digest, work)


class _Run:
    """The steps of one publish, and how far they are."""

    def __init__(self, job: Job, config: PublishConfig, ports: Ports, watch: Watch) -> None:
        self._job = job
        self._config = config
        self._ports = ports
        self._watch = watch
        self._version = 0
        self._old: Title | None = None
        self._ledger = Ledger(costs={CHECK: 1.0}, started_s=ports.clock.monotonic_s())

    async def digest(self, files: tuple[tuple[str, Path], ...]) -> Sha256:
        """Of the source's bytes and of every setting that changes what comes out."""
        settings = FORM + encode(self._config.ladder) + encode(self._config.video) + encode(self._config.audio)
        try:
            return await asyncio.to_thread(digest_of_source, files, settings, lambda count: None)
        except OSError as error:
            raise SourceUnreadableError(f"{self._job.source} cannot be read: {error.strerror or error}") from None

    async def registered(self, digest: Sha256) -> Outcome | None:
        """The outcome if this very source is registered and stored whole.

        Raises:
            TitleConflictError: something else is registered, and it may not be replaced.
        """
        view = await self._ports.registry.find(self._job.title_id)
        self._version = 0 if view is None else view.version
        if view is None:
            return None
        self._old = view.title
        if view.title.source_digest == digest:
            sizes = [await self._ports.store.size_bytes(content_path(f.sha256, f.suffix)) for f in view.title.files]
            if sizes != [file.size_bytes for file in view.title.files]:
                return None
            told = self._job.described(view.title)
            if told == view.title:
                return Outcome(view=view, was_published=False)
            check_title(told)  # the same files, told of otherwise
            view = await self._register(TitleRegistration(title=told, expected_version=view.version))
            return Outcome(view=view, was_published=True)
        if not self._job.may_replace:
            raise TitleConflictError(
                f"title {self._job.title_id} is registered already, from another source or ladder: "
                "use --replace to publish over it"
            )
        return None

    async def make_and_register(self, digest: Sha256, work: WorkFolder) -> Outcome:
        self._tell(CHECK)
        intake = await open_source(
            self._job.source, self._config, self._ports.tools, work, lambda media_s: self._tell(CHECK)
        )
        for track in intake.dropped:
            event(_log, "track_dropped", level=logging.WARNING, title=self._job.title_id, track=track)
        results = await self._make_all(intake, work)
        await self._store_all(results, work)
        title = Title(
            title_id=self._job.title_id,
            name=self._old.name if self._old else self._job.source.stem,
            duration_s=round(max(one.duration_s for one in results if one.rendition.kind is TrackKind.VIDEO), 6),
            renditions=tuple(one.rendition for one in results),
            files=tuple({file.sha256: file for one in results for file in one.files}.values()),
            source_digest=digest,
            group=self._old.group if self._old else "",
            launch_s=self._old.launch_s if self._old else None,
        )
        title = self._job.described(title)
        check_title(title)
        self._tell(REGISTER)
        view = await self._register(TitleRegistration(title=title, expected_version=self._version))
        event(_log, "title_published", title=title.title_id, version=view.version, files=len(title.files))
        return Outcome(view=view, was_published=True)

    async def _register(self, registration: TitleRegistration) -> TitleView:
        try:
            return await self._ports.registry.register(registration)
        except TitleConflictError:
            # A lost answer to our own call, or somebody who published the same: both are success.
            view = await self._ports.registry.find(self._job.title_id)
            if view is None or view.title.source_digest != registration.title.source_digest:
                raise
            return view

    async def _make_all(self, intake: Intake, work: WorkFolder) -> list[StepResult]:
        total = sum(step.cost for step in intake.steps)
        self._ledger.costs = {
            CHECK: total * CHECK_SHARE,
            STORE: total * STORE_SHARE,
            **{step.rendition_id: step.cost for step in intake.steps},
        }
        finished = {step.rendition_id: work.finished(step.rendition_id) for step in intake.steps}
        for name in (CHECK, *(name for name, result in finished.items() if result)):
            self._ledger.keep(name)
        return [finished[step.rendition_id] or await self._make(step, intake, work) for step in intake.steps]

    async def _make(self, step: Step, intake: Intake, work: WorkFolder) -> StepResult:
        def moved(media_s: float) -> None:
            self._ledger.advance(step.rendition_id, 0.95 * media_s / intake.duration_s)
            self._tell("encode", step.rendition_id)

        moved(0.0)
        result = await make_rendition(
            step,
            intake.file,
            work=work,
            tools=self._ports.tools,
            segment_s=self._config.ladder.segment_s,
            duration_s=intake.duration_s,
            moved=moved,
        )
        self._ledger.advance(step.rendition_id, 1.0)
        event(_log, "rendition_made", rendition=step.rendition_id, bytes=result.files[0].size_bytes)
        return result

    async def _store_all(self, results: list[StepResult], work: WorkFolder) -> None:
        files = [file for one in results for file in one.files]
        total_bytes = sum(file.size_bytes for file in files)
        stored_bytes = 0
        for file in files:
            self._tell(STORE, file.rendition_id)
            place = work.media(file.rendition_id, file.suffix)
            await self._ports.store.put(content_path(file.sha256, file.suffix), place, file.sha256)
            stored_bytes += file.size_bytes
            self._ledger.advance(STORE, stored_bytes / total_bytes)
        self._tell(STORE)

    def _tell(self, stage: str, rendition: str = "") -> None:
        now_s = self._ports.clock.monotonic_s()
        self._watch(
            Progress(stage=stage, rendition=rendition, ratio=self._ledger.ratio(), left_s=self._ledger.left_s(now_s))
        )
