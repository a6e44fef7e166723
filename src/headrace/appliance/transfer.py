"""Brings one file onto one disk, range by range, from whichever source is best at the moment.

Sources come ranked from the control plane; what happens with each goes into the SourceBook, which chooses the next one.
"""

import logging
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum, auto

from headrace.appliance.adapters.disk import Part
from headrace.appliance.adapters.fetch import NotHeldError, RangeFetcher, SlowSourceError
from headrace.appliance.adapters.store import DiskStore
from headrace.appliance.config import FillSettings
from headrace.appliance.directory import SourceDirectory
from headrace.appliance.errors import SourceError
from headrace.appliance.gate import FillGate
from headrace.appliance.sources import SourceBook, SourceChoice, sources_of
from headrace.appliance.throttle import Throttle
from headrace.base.clock import Clock
from headrace.base.ids import Sha256
from headrace.base.logs import event
from headrace.base.rng import Rng
from headrace.catalog.model import CatalogFile
from headrace.fill.escalation import Reach, reach_of
from headrace.fill.model import FillSource, SourceKind
from headrace.fleet.model import WrongBytes
from headrace.wire.agent import DesiredState

_log = logging.getLogger(__name__)
_WRITE_BYTES = 1 << 20
_RATE_WINDOW_S = 5.0
_LONGEST_WAIT_S = 1.0
_WRONG_TOLD = 8
_MOST_THROTTLES = 1_000


class _Next(Enum):
    """What comes after a step of a transfer."""

    RANGE = auto()
    LATER = auto()
    """Held now, or there is nobody to go on with."""
    ANEW = auto()
    """The part was thrown away."""


@dataclass(slots=True)
class Transfer:
    """One file on its way."""

    file: CatalogFile
    disk_id: str
    givers: set[str] = field(default_factory=set)
    """Sources of the bytes that came since the part was opened."""
    is_waiting: bool = False
    """All its sources rest."""


class Outlook(Enum):
    """Whether a file can be fetched now."""

    FREE = auto()
    UNASKED = auto()
    """The control plane has not said yet who has it."""
    WAITS = auto()
    """There are sources, but others of the site go out first."""
    NO_SOURCE = auto()


class Transfers:
    """What all transfers share: sources, rates, counters."""

    def __init__(
        self,
        settings: FillSettings,
        *,
        store: DiskStore,
        fetcher: RangeFetcher,
        gate: FillGate,
        directory: SourceDirectory,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._settings, self._store, self._fetcher, self._clock = settings, store, fetcher, clock
        self.gate, self.directory = gate, directory
        self._book = SourceBook(first_s=settings.source_retry_s, most_s=settings.source_retry_most_s, rng=rng)
        self._throttle, self._inbound, self._urgent = Throttle(), Throttle(), Throttle()
        self._of_source: dict[str, Throttle] = {}
        self._wrong: deque[WrongBytes] = deque(maxlen=_WRONG_TOLD)
        self.outside_bytes = 0
        self._sources: tuple[FillSource, ...] = ()
        self._single_source: set[Sha256] = set()
        self._recent: deque[tuple[float, int]] = deque()
        self.fetched_bytes = 0
        self.fetched_files = 0
        self.source_failures = 0
        self.error = ""
        """The last thing that a source did wrong."""

    def use(self, desired: DesiredState) -> None:
        """Fetch from these sources, at this rate, from now on."""
        if len(self._of_source) > _MOST_THROTTLES:
            self._of_source.clear()
        self._sources = sources_of(desired)
        rules = desired.fill
        rates = [one for one in (desired.fill_rate_bps, self._settings.most_bps) if one]
        self._throttle.rate_bps = min(rates, default=0)
        self._inbound.rate_bps = rules.inbound_bps or 0
        self._urgent.rate_bps = rules.urgent_bps
        self.gate.use(rules)
        self.directory.hurry()

    def outlook(self, file: CatalogFile) -> Outlook:
        """Whether some source is free for a file now."""
        if self.directory.told(file.sha256) is None and not self.directory.is_silent:
            return Outlook.UNASKED
        every, allowed = self._sources_of(file)
        if self._book.choose(allowed, file.sha256, now_s=self._clock.monotonic_s()) is not None:
            return Outlook.FREE
        return Outlook.WAITS if len(every) > len(allowed) else Outlook.NO_SOURCE

    def wrong_bytes(self) -> tuple[WrongBytes, ...]:
        """The last few lies."""
        return tuple(self._wrong)

    def _sources_of(self, file: CatalogFile) -> tuple[tuple[FillSource, ...], tuple[FillSource, ...]]:
        """All sources of a file, best first, and those of them that may be asked now."""
        told = self.directory.told(file.sha256)
        every = self._sources if told is None else told.sources
        reach = self.gate.reach(file, None if told is None else told.place)
        if self.gate.rules.inbound_bps == 0 and not self.gate.is_urgent(file):
            reach = Reach.PEERS
        return every, every if reach is Reach.ORIGIN else tuple(one for one in every if reach_of(one) <= reach)

    def rate_bps(self) -> float:
        """Over the last few seconds."""
        after_s = self._clock.monotonic_s() - _RATE_WINDOW_S
        return sum(size for at_s, size in self._recent if at_s > after_s) * 8 / _RATE_WINDOW_S

    def why_no_source(self) -> str:
        """What is wrong with the sources, in one line."""
        if not self._sources:
            return "the control plane has named no source yet"
        errors = self._book.errors(self._sources, now_s=self._clock.monotonic_s())
        return errors or self.error or "no source holds the missing files yet"

    async def bring(self, transfer: Transfer) -> None:
        """Fetch until the file is held, or there is nobody to go on with; what came stays for the next time.

        Raises:
            DiskError, DiskFullError: the disk does not do its work.
        """
        while await self._attempt(transfer) is _Next.ANEW:
            transfer.givers.clear()

    async def _attempt(self, transfer: Transfer) -> _Next:
        file, disk_id = transfer.file, transfer.disk_id
        part = await self._store.open_part(disk_id, file)
        try:
            while part.size_bytes < file.size_bytes:
                if (following := await self._more(transfer, part)) is not _Next.RANGE:
                    return following
            givers, was_resumed = frozenset(transfer.givers), part.resumed_bytes > 0
            if await self._store.publish(disk_id, file, part):
                self.fetched_files += 1
                self._single_source.discard(file.sha256)
                self.gate.forget(file.sha256)
                self.error = ""
                event(_log, "file_filled", file=file.sha256, size_bytes=file.size_bytes, disk=disk_id)
            else:
                self._blame(file, givers, was_resumed=was_resumed)
            return _Next.LATER
        finally:
            part.close()

    async def _more(self, transfer: Transfer, part: Part) -> _Next:
        """Fetch one range, or wait for a source."""
        name, now_s = transfer.file.sha256, self._clock.monotonic_s()
        if self.gate.is_full() and not self.gate.is_urgent(transfer.file):
            return _Next.LATER
        _, sources = self._sources_of(transfer.file)
        choice = self._book.choose(sources, name, now_s=now_s)
        if choice is None:
            if not part.size_bytes:
                return _Next.LATER
            transfer.is_waiting = True
            rest_s = self._book.rest_s(sources, name, now_s=now_s)
            await self._clock.sleep(min(_LONGEST_WAIT_S, max(0.05, rest_s)))
            return _Next.RANGE
        transfer.is_waiting = False
        base_url = choice.source.base_url
        if name in self._single_source and (part.resumed_bytes or transfer.givers - {base_url}):
            # Mixed bytes were wrong once: this time all of it comes from one source, so that the liar is known. Anew at
            # once: later the same source, slow or broken, may be the best ranked one again.
            await self._store.delete_part(name)
            return _Next.ANEW
        try:
            await self._range(choice, transfer, part)
            self._book.gave(base_url)
        except NotHeldError:
            self._book.does_not_hold(base_url, name, now_s=self._clock.monotonic_s())
        except SlowSourceError as error:
            self._book.was_slow(base_url, now_s=self._clock.monotonic_s())
            self._note(name, error)
        except SourceError as error:
            self._book.failed(base_url, str(error), now_s=self._clock.monotonic_s())
            self._note(name, error)
        return _Next.RANGE

    async def _range(self, choice: SourceChoice, transfer: Transfer, part: Part) -> None:
        file, base_url = transfer.file, choice.source.base_url
        last = min(part.size_bytes + self._settings.range_bytes, file.size_bytes) - 1
        least_bps = 0 if choice.is_last_hope else self._settings.least_source_bps
        buffer = bytearray()
        chunks = self._fetcher.fetch(base_url, file, part.size_bytes, last, least_bps=least_bps)
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    buffer += chunk
                    await self._pace(len(chunk), file, choice.source)
                    if self.gate.is_full() and not self.gate.is_urgent(file):
                        break
                    if len(buffer) >= _WRITE_BYTES:
                        await self._write(transfer, part, buffer, base_url)
                        buffer = bytearray()
        finally:
            if buffer:
                await self._write(transfer, part, buffer, base_url)

    async def _write(self, transfer: Transfer, part: Part, buffer: bytearray, base_url: str) -> None:
        transfer.givers.add(base_url)
        await self._store.append(transfer.disk_id, transfer.file, part, buffer)

    async def _pace(self, size_bytes: int, file: CatalogFile, source: FillSource) -> None:
        now_s = self._clock.monotonic_s()
        is_inbound = source.kind is not SourceKind.PEER
        throttles = [self._urgent] if self.gate.is_urgent(file) else [self._throttle]
        if not self.gate.is_urgent(file):
            self.gate.count(size_bytes, is_inbound=is_inbound)
            throttles += [self._inbound] if is_inbound else []
        if is_inbound:
            self.outside_bytes += size_bytes
        else:
            self.gate.peer_gave()
        if source.rate_bps:
            of_source = self._of_source.setdefault(source.base_url, Throttle())
            of_source.rate_bps = source.rate_bps
            throttles.append(of_source)
        self.fetched_bytes += size_bytes
        self._recent.append((now_s, size_bytes))
        while self._recent[0][0] < now_s - _RATE_WINDOW_S:
            self._recent.popleft()
        wait_s = max(one.take(size_bytes, now_s=now_s) for one in throttles)
        if wait_s > 0:
            await self._clock.sleep(wait_s)

    def _blame(self, file: CatalogFile, givers: frozenset[str], *, was_resumed: bool) -> None:
        self.error = f"{file.sha256[:12]} of {file.title_id}: wrong bytes from {', '.join(sorted(givers))}"
        self.source_failures += 1
        event(_log, "wrong_bytes", level=logging.WARNING, file=file.sha256, sources=",".join(sorted(givers)))
        if was_resumed or len(givers) != 1:
            self._single_source.add(file.sha256)
            return
        for base_url in givers:
            self._wrong.append(WrongBytes(base_url=base_url, file_no=file.file_no))
            self._book.gave_wrong_bytes(base_url, file.sha256, now_s=self._clock.monotonic_s())

    def _note(self, name: Sha256, error: SourceError) -> None:
        self.source_failures += 1
        self.error = str(error)
        event(_log, "source_failed", level=logging.WARNING, file=name, error=error)
