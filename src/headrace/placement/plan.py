"""Which appliance should hold which file: every published title everywhere while it fits, the newest first when not.

Pure. Titles are placed whole or not at all, because a title of which a file is missing is not steered to. Never asks
what demand there is (`by_demand` does) and never how a file gets there (`fill`). Input: the catalogue, the usable
bytes of each appliance from its last report, and the plan before, so that a little less free space throws no title out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from headrace.base.ids import ApplianceId, FileNo, TitleId
from headrace.catalog.fileset import FileSet
from headrace.fleet.model import ApplianceReport, distinct_disks
from headrace.placement.errors import PlacementError


class SkipReason(StrEnum):
    """Why a title is not in an appliance's plan."""

    NO_ROOM = "no-room"
    """Newer titles take the room."""
    LARGER_THAN_APPLIANCE = "larger-than-appliance"
    LESS_EXPECTED = "less-expected"
    """By demand: other titles serve more for the room."""
    NOT_WORTH_FILL = "not-worth-fill"
    """By demand: it would serve a little more than what is held, not enough for its fill."""
    ON_A_PEER = "on-a-peer"
    """By demand: another appliance of the site has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedTitle:
    """What placement needs of a title."""

    title_id: TitleId
    published_at_s: float
    file_nos: tuple[FileNo, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The bytes that an appliance offers to its plan."""

    appliance_id: ApplianceId
    usable_bytes: int
    """Free bytes and those that its verified files take, on folders that work."""
    reserve_bytes: int
    """Of these, what a new title must leave free; a title already planned may use it."""
    planned: FileSet
    """The plan in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A title left out, and why."""

    title_id: TitleId
    reason: SkipReason


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliancePlan:
    """What one appliance should hold."""

    appliance_id: ApplianceId
    files: FileSet
    total_bytes: int
    """An upper bound where titles share files."""
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementPlan:
    """What every appliance should hold."""

    plans: Mapping[ApplianceId, AppliancePlan]


def room_of(
    appliance_id: ApplianceId, report: ApplianceReport, held_bytes: int, planned: FileSet, *, reserve_ratio: float
) -> Room | None:
    """The room that a report speaks of; None when it names no folder: then nobody knows, and the old plan stays."""
    if not report.disks:
        return None
    good = distinct_disks(report.disks)
    total_bytes = sum(disk.total_bytes for disk in good)
    usable_bytes = min(total_bytes, sum(disk.free_bytes for disk in good) + held_bytes) if good else 0
    reserve_bytes = int(total_bytes * reserve_ratio)
    return Room(appliance_id=appliance_id, usable_bytes=usable_bytes, reserve_bytes=reserve_bytes, planned=planned)


def plan_placement(titles: Iterable[PlacedTitle], rooms: Iterable[Room]) -> PlacementPlan:
    """Choose the files of each appliance.

    Returns:
        A plan for each room that passes `check_plan`; each title left out of it has its reason.
    """
    newest_first = sorted(titles, key=lambda title: (-title.published_at_s, title.title_id))
    everything = FileSet(number for title in newest_first for number in title.file_nos)
    all_bytes = sum(title.size_bytes for title in newest_first)
    plans: dict[ApplianceId, AppliancePlan] = {}
    offers, sets = _offers(newest_first), dict[tuple[int, ...], FileSet]()
    for room in rooms:
        if all_bytes <= room.usable_bytes - room.reserve_bytes or (
            all_bytes <= room.usable_bytes and room.planned == everything
        ):
            plans[room.appliance_id] = AppliancePlan(
                appliance_id=room.appliance_id, files=everything, total_bytes=all_bytes, skipped=()
            )
        else:
            plans[room.appliance_id] = _plan_tight(offers, room, sets)
    return PlacementPlan(plans=plans)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """A title with what every tight room asks of it, made once for all rooms."""

    title: PlacedTitle
    files: FileSet
    no_room: Skipped
    too_large: Skipped


def _offers(titles: Sequence[PlacedTitle]) -> list[_Offer]:
    return [
        _Offer(
            title=title,
            files=FileSet(title.file_nos),
            no_room=Skipped(title_id=title.title_id, reason=SkipReason.NO_ROOM),
            too_large=Skipped(title_id=title.title_id, reason=SkipReason.LARGER_THAN_APPLIANCE),
        )
        for title in titles
    ]


def _plan_tight(offers: Sequence[_Offer], room: Room, sets: dict[tuple[int, ...], FileSet]) -> AppliancePlan:
    """Newest first; `sets` remembers the files of each choice, because similar rooms choose alike."""
    chosen: list[int] = []
    skipped: list[Skipped] = []
    used_bytes = 0
    for index, offer in enumerate(offers):
        after_bytes = used_bytes + offer.title.size_bytes
        if after_bytes <= room.usable_bytes - room.reserve_bytes or (
            after_bytes <= room.usable_bytes and offer.files.issubset(room.planned)
        ):
            chosen.append(index)
            used_bytes = after_bytes
        else:
            is_too_large = offer.title.size_bytes > room.usable_bytes - room.reserve_bytes
            skipped.append(offer.too_large if is_too_large else offer.no_room)
    key = tuple(chosen)
    files = sets.get(key)
    if files is None:
        files = sets[key] = FileSet(number for index in chosen for number in offers[index].title.file_nos)
    return AppliancePlan(appliance_id=room.appliance_id, files=files, total_bytes=used_bytes, skipped=tuple(skipped))


def check_plan(plan: PlacementPlan, titles: Iterable[PlacedTitle], rooms: Iterable[Room]) -> None:
    """Rules that no plan may break: whole published titles only, within the room, every title accounted for.

    Raises:
        PlacementError: names the appliance and the rule.
    """
    by_id = {title.title_id: title for title in titles}
    whole: dict[tuple[TitleId, ...], FileSet] = {}
    for room in rooms:
        one = plan.plans.get(room.appliance_id)
        if one is None:
            raise PlacementError(f"appliance {room.appliance_id} has no plan")
        if one.total_bytes > room.usable_bytes:
            raise PlacementError(
                f"plan of {room.appliance_id} takes {one.total_bytes} of {room.usable_bytes} usable bytes"
            )
        skipped = tuple(left.title_id for left in one.skipped)
        if skipped not in whole:
            names = by_id.keys() - set(skipped)
            whole[skipped] = FileSet(number for name in names for number in by_id[name].file_nos)
        if whole[skipped] != one.files:
            raise PlacementError(f"plan of {room.appliance_id} is not the whole of the titles that it does not skip")
