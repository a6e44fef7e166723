"""Decides what is fetched next, onto which disk, and what is deleted. Pure: sizes and ages in, reasons out."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from headrace.appliance.plan import FillPlan
from headrace.base.ids import Sha256, TitleId
from headrace.base.units import show_bytes
from headrace.catalog.model import CatalogFile
from headrace.fleet.model import FillState


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRoom:
    """How much may still be put on a disk: free bytes without the reserve and without what running fills will need."""

    disk_id: str
    room_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FillStart:
    """Fetch `file` onto a disk."""

    file: CatalogFile
    disk_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FillDecision:
    """What to start now, and why no more."""

    starts: tuple[FillStart, ...]
    state: FillState
    reason: str = ""
    short_bytes: int = 0
    """Room that the first file which fits nowhere lacks on the emptiest disk; 0 when none is held up."""


def order_missing(
    plan: FillPlan, held: Collection[Sha256], *, priority: Callable[[CatalogFile], int] = lambda _: 0
) -> list[CatalogFile]:
    """All files to fetch, in order: the title with the least left first, and in a title the small files first.

    So titles become whole one by one, begun ones first, and a playlist is there before the file it names. What has
    a lower `priority` comes before all that has a higher one.
    """
    by_title: dict[TitleId, list[CatalogFile]] = {}
    for file in plan.by_sha256.values():
        if file.sha256 not in held:
            by_title.setdefault(file.title_id, []).append(file)
    titles = sorted(by_title.items(), key=lambda item: (sum(file.size_bytes for file in item[1]), item[0]))
    ordered = [file for _, files in titles for file in sorted(files, key=lambda one: (one.size_bytes, one.file_no))]
    return sorted(ordered, key=priority)


def decide_fill(
    candidates: Iterable[CatalogFile],
    rooms: Iterable[DiskRoom],
    *,
    parts: Mapping[Sha256, tuple[str, int]],
    slots: int,
    is_filling: bool,
) -> FillDecision:
    """Choose up to `slots` files to start.

    A begun file goes on where its part lies (`parts`: disk and bytes there already) unless only another disk has
    room for it; a new one goes to the disk with the most room. The first file that fits nowhere stops the fill, so
    that room is not eaten by what comes later in the order.
    """
    room = {disk.disk_id: disk.room_bytes for disk in rooms}
    busy = FillState.FILLING if is_filling else FillState.IDLE
    starts: list[FillStart] = []
    for file in candidates:
        if len(starts) >= slots:
            break
        if not room:
            return FillDecision(starts=(), state=FillState.DISK_FULL, reason="no disk of the store works")
        disk_id, needed = _place(file, room, parts)
        if room[disk_id] < needed:
            return FillDecision(
                starts=tuple(starts),
                state=FillState.DISK_FULL,
                reason=f"{file.sha256[:12]} of {file.title_id} needs {show_bytes(needed)}, "
                f"the emptiest disk has {show_bytes(max(0, room[disk_id]))} to spare",
                short_bytes=needed - room[disk_id],
            )
        room[disk_id] -= needed
        starts.append(FillStart(file=file, disk_id=disk_id))
    return FillDecision(starts=tuple(starts), state=FillState.FILLING if starts else busy)


def decide_deletions(
    unwanted: Mapping[Sha256, tuple[float, int]],
    *,
    grace_s: float,
    short_bytes: int,
    now_s: float,
    kept: Collection[Sha256] = (),
) -> list[Sha256]:
    """Files out of the plan that go now: those past their grace time, and earlier, oldest first, when room is short.

    Args:
        unwanted: since when (monotonic seconds) and how large.
        short_bytes: room that a wanted file lacks; it outranks the grace of unwanted ones.
        kept: last copies, and what sessions play now; these stay whatever is short.
    """
    gone: list[Sha256] = []
    freed_bytes = 0
    for name, (since_s, size_bytes) in sorted(unwanted.items(), key=lambda item: (item[1][0], item[0])):
        if now_s - since_s < grace_s and freed_bytes >= short_bytes:
            break
        if name in kept:
            continue
        gone.append(name)
        freed_bytes += size_bytes
    return gone


def _place(file: CatalogFile, room: Mapping[str, int], parts: Mapping[Sha256, tuple[str, int]]) -> tuple[str, int]:
    emptiest = max(room, key=lambda one: (room[one], one))
    disk_id, present_bytes = parts.get(file.sha256, ("", 0))
    needed = max(0, file.size_bytes - present_bytes)
    if disk_id in room and (room[disk_id] >= needed or room[emptiest] < file.size_bytes):
        return disk_id, needed
    return emptiest, file.size_bytes
