"""The byte store of an appliance: files on several disks, what of them counts as held, and what nginx may serve.

Input: parts that a fill completes, disks that come and go, files that a verification finds bad. A file counts as held
when it is whole, its digest was seen to fit, and its disk works. Nothing here decides what should be held.
"""

import asyncio
import errno
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, KeysView
from functools import partial
from pathlib import Path
from typing import TypeVar

from headrace.appliance.adapters.disk import Disk, ObjectFile, Part
from headrace.appliance.adapters.disk_slot import DiskSlot
from headrace.appliance.adapters.ledger import Holding, Ledger
from headrace.appliance.adapters.serve_tree import ServeTree
from headrace.appliance.config import StoreSettings
from headrace.appliance.errors import DiskError, DiskFullError, StateError
from headrace.appliance.fill_plan import DiskRoom
from headrace.base.clock import Clock
from headrace.base.ids import ApplianceId, Sha256
from headrace.base.logs import event
from headrace.base.rng import Rng, jittered
from headrace.base.tasks import Tasks
from headrace.catalog.model import CatalogFile
from headrace.fleet.model import DiskReport

T = TypeVar("T")

_log = logging.getLogger(__name__)
_LEAST_READ_BYTES_PER_S = 50_000
"""A verification slower than this, paced as it is, is taken for a disk that hangs."""
_LONG_S = 900.0
"""Listing or hashing a whole disk's worth may take minutes on a spinning disk."""


class DiskStore:
    """Files on disks. One event loop owns it; blocking work runs in the threads of each disk."""

    def __init__(
        self,
        settings: StoreSettings,
        appliance_id: ApplianceId,
        *,
        ledger: Ledger,
        tree: ServeTree,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._settings, self._ledger, self._tree, self._clock, self._rng = settings, ledger, tree, clock, rng
        self._slots = [DiskSlot(Path(folder), settings, ledger, appliance_id) for folder in settings.folders]
        self._held: dict[Sha256, Holding] = {}
        self._doubtful: dict[Sha256, Holding] = {}
        self._away: defaultdict[str, dict[Sha256, Holding]] = defaultdict(dict)
        self._parts: dict[Sha256, tuple[str, int]] = {}
        self._opened_s = 0.0
        self.changes = 0
        """Grows whenever the set of held files differs."""
        self.losses = 0
        """Grows whenever files were lost, found or brought back otherwise than by a fill."""
        self.held_bytes = 0

    async def open(self) -> None:
        """Be warm: take holdings from the ledger for each disk that works now.

        Links are taken for what they were when the last agent ended; `watch` begins by looking.
        """
        self._opened_s = self._clock.now_s()
        for holding in await asyncio.to_thread(self._ledger.holdings):
            self._away[holding.disk_id][holding.sha256] = holding
        await asyncio.gather(*(self._look(slot, is_start=True) for slot in self._slots))
        self._tree.hide_disks_but({slot.disk_id for slot in self._slots if slot.is_ok})
        self._tree.trust(self._verified_away().values())
        event(_log, "store_opened", files=len(self._held), disks=sum(one.is_ok for one in self._slots))

    async def watch(self) -> None:
        """Check each disk again and again, until cancelled; the first thing is to see what really lies on them."""
        await self._mend_links()
        async with Tasks() as tasks:
            for slot in self._slots:
                tasks.spawn(f"disk {slot.disk.folder}", self._watch(slot))
                tasks.spawn(f"compare {slot.disk.folder}", self._compare_when_due(slot))
            await tasks.until_first_failure()

    def close(self) -> None:
        """Let the disks go."""
        for slot in self._slots:
            slot.close()

    def held(self) -> KeysView[Sha256]:
        """Names of the held files, as a live view."""
        return self._held.keys()

    def doubtful(self) -> KeysView[Sha256]:
        """Names of files that lie on a disk and wait for verification; most turn out to be good."""
        return self._doubtful.keys()

    def holding(self, name: Sha256) -> Holding | None:
        """What is known of a held file."""
        return self._held.get(name)

    def parts(self) -> dict[Sha256, tuple[str, int]]:
        """Begun files: disk and bytes there."""
        return self._parts

    def reports(self) -> tuple[DiskReport, ...]:
        """All folders, those with failed disks too."""
        return tuple(slot.report() for slot in self._slots)

    def rooms(self) -> list[DiskRoom]:
        """Working disks and what may still be put on them; folders on one file system have equal parts of its room."""
        working = [slot for slot in self._slots if slot.is_ok]
        sharers = Counter(slot.room.filesystem or slot.disk_id for slot in working)
        return [
            DiskRoom(
                disk_id=slot.disk_id,
                room_bytes=(slot.room.free_bytes - self._settings.reserve_bytes)
                // sharers[slot.room.filesystem or slot.disk_id],
            )
            for slot in working
        ]

    async def refresh_rooms(self) -> None:
        """Ask the file systems how much is free now."""
        for slot in self._slots:
            if slot.is_ok:
                try:
                    slot.room = await slot.run(slot.disk.room)
                except DiskError as error:
                    await self._trouble(slot, error)

    async def open_part(self, disk_id: str, file: CatalogFile) -> Part:
        """Begin or take up a file on a disk.

        Raises:
            DiskError, DiskFullError: the disk does not do its work.
        """
        if self._parts.get(file.sha256, (disk_id, 0))[0] != disk_id:
            await self.delete_part(file.sha256)
        part = await self._on(disk_id, lambda disk: disk.open_part(file.sha256, file.size_bytes), timeout_s=_LONG_S)
        self._parts[file.sha256] = (disk_id, part.size_bytes)
        return part

    async def append(self, disk_id: str, file: CatalogFile, part: Part, body: bytearray) -> None:
        """Add bytes to a part; raises as `open_part` does."""
        await self._on(disk_id, lambda disk: disk.append(part, body))
        self._parts[file.sha256] = (disk_id, part.size_bytes)

    async def publish(self, disk_id: str, file: CatalogFile, part: Part) -> bool:
        """Make a whole part held and served; False, and the part is gone, when its digest does not fit."""
        is_right = await self._on(disk_id, lambda disk: disk.publish(part, file.sha256, file.suffix), timeout_s=_LONG_S)
        self._parts.pop(file.sha256, None)
        if is_right:
            self._slot(disk_id).did_well()
            holding = Holding(
                sha256=file.sha256,
                suffix=file.suffix,
                size_bytes=file.size_bytes,
                disk_id=disk_id,
                verified_s=self._clock.now_s(),
            )
            self._hold(holding)
            self._note([holding])
        return is_right

    async def delete_part(self, name: Sha256) -> None:
        """Throw away what was begun of a file."""
        disk_id, _ = self._parts.pop(name, ("", 0))
        if self._is_working(disk_id):
            await self._on(disk_id, lambda disk: disk.delete_part(name))

    async def delete(self, names: Iterable[Sha256]) -> None:
        """Stop serving and remove files, that order."""
        for name in names:
            holding = self._withdraw(name)
            if holding is not None:
                await self._on(holding.disk_id, partial(Disk.delete, name=name, suffix=holding.suffix))

    def in_doubt(self) -> Holding | None:
        """A file that lies on a working disk but was never verified by this appliance."""
        return next((one for one in self._doubtful.values() if self._is_working(one.disk_id)), None)

    def due_for_verification(self, *, now_s: float) -> list[Sha256]:
        """Held files that were last verified long ago or before this start, the longest ago first."""
        held = ((one.verified_s, name) for name, one in self._held.items())
        return [name for verified_s, name in sorted(held) if self._is_due(verified_s, now_s)]

    def _is_due(self, verified_s: float, now_s: float) -> bool:
        # What stopped the last agent (a power cut, a failing machine) may have spoilt files.
        if verified_s < self._opened_s:
            return True
        # A wall clock that was set back must not stop verification: a time in the future counts as long ago.
        return not 0 <= now_s - verified_s < self._settings.verify_pause_s

    async def verify(self, holding: Holding, pace: Callable[[int], None]) -> bool:
        """Read a file and act on the result: good ones are held (again), bad ones withdrawn and removed."""
        slot = self._slot(holding.disk_id)
        try:
            is_good = await slot.run(
                lambda: slot.disk.verify(holding.sha256, holding.suffix, pace),
                timeout_s=_LONG_S + holding.size_bytes / _LEAST_READ_BYTES_PER_S,
                is_idle=True,
            )
        except DiskError as error:
            event(_log, "verify_failed", level=logging.WARNING, file=holding.sha256, error=error)
            if isinstance(error.__cause__, FileNotFoundError):
                await self._look(slot, is_start=False)
            else:
                await self._trouble(slot, error)
            if not _is_lost(error):
                return True
            is_good = False
        if not slot.is_ok or self._known(holding.sha256) is not holding:
            return is_good
        if is_good:
            slot.did_well()
            self.losses += holding.sha256 in self._doubtful
            good = holding._replace(verified_s=self._clock.now_s())
            self._hold(good)
            self._note([good])
            return True
        await self._lose(slot, holding)
        return False

    async def look_for(self, holding: Holding) -> bool:
        """See whether nginx can find a held file; one that is gone is withdrawn, a link that is gone made anew.

        Cheap: nothing of the file is read. True when it is there, and when its disk is not (the disk is dropped then).
        """
        if not self._is_working(holding.disk_id):
            return True
        slot = self._slot(holding.disk_id)
        try:
            size_bytes = await slot.run(lambda: slot.disk.size_of(holding.sha256, holding.suffix))
        except DiskError as error:
            await self._trouble(slot, error)
            return True
        if size_bytes == holding.size_bytes:
            if self._held.get(holding.sha256) is holding:
                self._tree.show(holding)
            return True
        # A disk that went away looks like one that lost the file.
        await self._look(slot, is_start=False)
        if not slot.is_ok or self._held.get(holding.sha256) is not holding:
            return True
        await self._lose(slot, holding)
        return False

    async def _lose(self, slot: DiskSlot, holding: Holding) -> None:
        event(_log, "file_withdrawn", level=logging.WARNING, file=holding.sha256, disk=holding.disk_id)
        self._withdraw(holding.sha256)
        self.losses += 1
        try:
            await slot.run(lambda: slot.disk.delete(holding.sha256, holding.suffix))
        except DiskError as error:
            await self._trouble(slot, error)

    async def _mend_links(self) -> None:
        """Make the links those of what is held, or was on a disk that may come back."""
        known = {**self._verified_away(), **self._held}
        try:
            strays, lacking = await asyncio.to_thread(self._tree.find_flaws, known)
            # Fills and deletions went on during the walk.
            known = {**self._verified_away(), **self._held}
            for stray in strays:
                name, _, suffix = stray.name.partition(".")
                holding = known.get(Sha256(name))
                if holding is None or holding.suffix != suffix:
                    self._tree.remove(stray)
            for name in lacking & known.keys():
                self._tree.show(known[name])
        except StateError as error:
            event(_log, "links_not_mended", level=logging.ERROR, error=error)
            return
        event(_log, "links_compared", strays=len(strays), lacking=len(lacking))

    def _verified_away(self) -> dict[Sha256, Holding]:
        return {name: one for files in self._away.values() for name, one in files.items() if one.verified_s > 0}

    async def _watch(self, slot: DiskSlot) -> None:
        while True:
            pause_s = self._settings.check_interval_s if slot.is_ok else self._settings.retry_interval_s
            await self._clock.sleep(jittered(self._rng, pause_s))
            await self._look(slot, is_start=False)

    async def _look(self, slot: DiskSlot, *, is_start: bool) -> None:
        taken = frozenset(one.disk_id for one in self._slots if one.is_ok and one is not slot)
        disk_id = await slot.look(taken)
        if slot.is_ok and disk_id != slot.disk_id:
            self._drop(slot)
        if disk_id is not None and not slot.is_ok:
            slot.disk_id = disk_id
            await self._bring_in(slot, is_start=is_start)

    async def _bring_in(self, slot: DiskSlot, *, is_start: bool) -> None:
        try:
            parts = await slot.run(slot.disk.find_parts, timeout_s=_LONG_S)
        except DiskError as error:
            slot.error = str(error)
            return
        if self._is_working(slot.disk_id):
            slot.error = f"{slot.disk.folder}: disk {slot.disk_id} is in use under another folder already"
            return
        for name, size_bytes in parts.items():
            self._parts.setdefault(name, (slot.disk_id, size_bytes))
        slot.is_ok, slot.error = True, ""
        self._tree.show_disk(slot.disk_id, slot.disk.folder)
        good = self._away.pop(slot.disk_id, {})
        for one in [one for one in good.values() if one.verified_s <= 0]:
            self._doubtful[one.sha256] = good.pop(one.sha256)
        for name in good.keys() & self._held.keys():
            del good[name]
        if is_start:
            self._tree.trust(good.values())
        else:
            self._tree.show_all(good.values())
        self._held.update(good)
        self.held_bytes += sum([one.size_bytes for one in good.values()])
        self.changes += 1
        self.losses += 1
        event(_log, "disk_in_use", folder=slot.disk.folder, disk=slot.disk_id, files=len(self._held))
        slot.is_to_compare.set()

    def _drop(self, slot: DiskSlot) -> None:
        slot.is_ok = False
        self._tree.hide_disk(slot.disk_id)
        gone = self._away[slot.disk_id]
        for files in (self._held, self._doubtful):
            mine = {name: one for name, one in files.items() if one.disk_id == slot.disk_id}
            gone.update(mine)
            for name in mine:
                del files[name]
        self._parts = {name: part for name, part in self._parts.items() if part[0] != slot.disk_id}
        self.held_bytes = sum(one.size_bytes for one in self._held.values())
        self.changes += 1
        self.losses += 1
        event(
            _log, "disk_dropped", level=logging.ERROR, folder=slot.disk.folder, disk=slot.disk_id, files=len(gone),
            error=slot.error,
        )  # fmt: skip

    async def _compare_when_due(self, slot: DiskSlot) -> None:
        # Beside the checks: a disk that hangs in the middle of its listing must be found out by them.
        while True:
            await slot.is_to_compare.wait()
            slot.is_to_compare.clear()
            await self._compare(slot)

    async def _compare(self, slot: DiskSlot) -> None:
        """See what really lies on a disk: files gone or cut short are withdrawn, unknown ones are to be verified."""
        # Fills go on during the walk: only what was held before it and is the same after it can be missing.
        disk_id = slot.disk_id
        before = {name: one for name, one in self._held.items() if one.disk_id == disk_id}
        try:
            found = await slot.run(partial(slot.disk.find_objects, disk_id), timeout_s=_LONG_S)
        except DiskError as error:
            await self._trouble(slot, error)
            return
        if not slot.is_ok or slot.disk_id != disk_id:
            return
        lost = [
            name
            for name, one in before.items()
            if self._held.get(name) is one and (name not in found or found[name].size_bytes != one.size_bytes)
        ]
        for name in lost:
            event(_log, "file_missing", level=logging.WARNING, file=name, disk=slot.disk_id)
            self._withdraw(name)
        doubles = [one for name, one in found.items() if self._is_elsewhere(name, slot)]
        unknown = [one for name, one in found.items() if name not in self._held and name not in self._doubtful]
        await self._remove_doubles(slot, doubles)
        new = [_unverified(one, slot.disk_id) for one in unknown]
        self._doubtful.update((one.sha256, one) for one in new)
        self._note(new)
        self.losses += 1
        event(_log, "disk_compared", disk=slot.disk_id, files=len(found), lost=len(lost), to_verify=len(unknown))

    async def _remove_doubles(self, slot: DiskSlot, doubles: list[ObjectFile]) -> None:
        for double in doubles:
            self._tree.show(self._held[double.sha256])
            try:
                await slot.run(partial(slot.disk.delete, double.sha256, double.suffix))
            except DiskError as error:
                await self._trouble(slot, error)
                return

    async def _on(self, disk_id: str, work: Callable[[Disk], T], *, timeout_s: float | None = None) -> T:
        slot = self._slot(disk_id)
        try:
            return await slot.run(partial(work, slot.disk), timeout_s=timeout_s)
        except DiskFullError:
            slot.room = await slot.run(slot.disk.room)
            raise
        except DiskError as error:
            await self._trouble(slot, error)
            raise

    async def _trouble(self, slot: DiskSlot, error: DiskError) -> None:
        if not slot.is_ok:
            return
        if slot.strike(error):
            self._drop(slot)
        else:
            await self._look(slot, is_start=False)

    def _slot(self, disk_id: str) -> DiskSlot:
        for slot in self._slots:
            if slot.is_ok and slot.disk_id == disk_id:
                return slot
        raise DiskError(f"disk {disk_id} is not in use")

    def _is_working(self, disk_id: str) -> bool:
        return any(slot.is_ok and slot.disk_id == disk_id for slot in self._slots)

    def _is_elsewhere(self, name: Sha256, slot: DiskSlot) -> bool:
        holding = self._held.get(name)
        return holding is not None and holding.disk_id != slot.disk_id

    def _known(self, name: Sha256) -> Holding | None:
        return self._held.get(name) or self._doubtful.get(name)

    def _hold(self, holding: Holding) -> None:
        self._tree.show_all([holding])
        self._doubtful.pop(holding.sha256, None)
        if holding.sha256 not in self._held:
            self.held_bytes += holding.size_bytes
            self.changes += 1
        self._held[holding.sha256] = holding

    def _note(self, holdings: list[Holding]) -> None:
        # The ledger only makes the next start quick: without it files are verified again, so that a full system disk
        # costs no fetch.
        try:
            self._ledger.keep(holdings)
        except StateError as error:
            event(_log, "ledger_not_written", level=logging.ERROR, error=error)

    def _withdraw(self, name: Sha256) -> Holding | None:
        holding = self._held.pop(name, None)
        if holding is not None:
            self.held_bytes -= holding.size_bytes
            self.changes += 1
            self._tree.hide(name, holding.suffix)
        holding = holding or self._doubtful.pop(name, None)
        try:
            self._ledger.drop([name])
        except StateError as error:
            event(_log, "ledger_not_written", level=logging.ERROR, error=error)
        return holding


def _is_lost(error: DiskError) -> bool:
    # Only what speaks of the file's own bytes: want of memory or descriptors must never cost a good file.
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOENT, errno.EIO, errno.EUCLEAN, errno.ENODATA)


def _unverified(found: ObjectFile, disk_id: str) -> Holding:
    return Holding(
        sha256=found.sha256, suffix=found.suffix, size_bytes=found.size_bytes, disk_id=disk_id, verified_s=0.0
    )
