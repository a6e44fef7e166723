"""What one exchange with an agent changes. Pure: which messages count, what a holdings report gives, what a plan adds.

Messages may be lost, repeated and late. A message counts when its boot is new or the sequence of its boot grows. So
an old message that comes after an agent's restart may count for a moment, but never keeps the next one of the living
boot from counting: nobody can tell from a name which of two boots is alive, only that one goes on. Holdings are taken
only when the digest of the result is the one that the agent names, else the agent is asked for the whole set.
"""

import sys
from dataclasses import dataclass, replace
from enum import StrEnum

from headrace.base.ids import FileNo
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogError
from headrace.control.model import StoredReport
from headrace.wire.agent import PLAN_PAGE_FILES, ExchangeRequest, HoldingsReport

PAST_BOOTS = 8
"""Ended boots that are remembered, so that a late message of one is known for what it is."""
MOST_FILES = 8_000_000
"""Members of a set that an agent may send: a few bytes can stand for 4,000,000,000, and digests walk them all."""


class Arrival(StrEnum):
    """How a message stands to those before it."""

    NEW = "new"
    NEW_BOOT = "new-boot"
    REPEATED = "repeated"
    """Of the boot under way, and not newer than its last message."""
    LATE = "late"
    """Of another boot than the last message, and not newer than what was seen of that boot."""


def judge_arrival(stored: StoredReport, boot_id: str, sequence: int) -> Arrival:
    """Place a message among those that came before."""
    if boot_id == stored.boot_id:
        return Arrival.NEW if sequence > stored.sequence else Arrival.REPEATED
    last = next((_split(one)[1] for one in stored.past_boots if _split(one)[0] == boot_id), None)
    return Arrival.NEW_BOOT if last is None or sequence > last else Arrival.LATE


def past_after(past: tuple[str, ...], last_boot: str, last_sequence: int, boot_id: str) -> tuple[str, ...]:
    """Boots before the one under way, each as `boot#sequence` of its last message, the latest first."""
    if not last_boot or boot_id == last_boot:
        return past
    others = (one for one in past if _split(one)[0] not in (boot_id, last_boot))
    return (f"{last_boot}#{last_sequence}", *others)[:PAST_BOOTS]


def _split(past: str) -> tuple[str, int]:
    boot, mark, sequence = past.rpartition("#")
    return (boot, int(sequence)) if mark else (past, sys.maxsize)  # Stored before sequences were: it has ended.


def next_report(stored: StoredReport, request: ExchangeRequest, *, now_s: float) -> StoredReport:
    """What is stored after a message that counts."""
    past = past_after(stored.past_boots, stored.boot_id, stored.sequence, request.boot_id)
    return replace(
        stored,
        boot_id=request.boot_id,
        sequence=request.sequence,
        past_boots=past,
        received_at_s=now_s,
        heard_at_s=now_s,
        report=request.report,
    )


def merge_holdings(stored: FileSet, stored_digest: str, told: HoldingsReport) -> FileSet | None:
    """The holdings after a report; None: it does not fit what is stored, the whole set is needed.

    Raises:
        CatalogError: not sets of files, or too many.
    """
    if told.base_digest is not None and told.base_digest != stored_digest:
        return None
    added, removed = _bounded(told.added), _bounded(told.removed)
    merged = added if told.base_digest is None else (stored | added) - removed
    return merged if _check_size(merged).digest() == told.digest else None


def _bounded(text: str) -> FileSet:
    return _check_size(FileSet.decode(text))


def _check_size(files: FileSet) -> FileSet:
    if len(files) > MOST_FILES:
        raise CatalogError(f"a set of {len(files)} files is over the limit of {MOST_FILES}")
    return files


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPage:
    """One page of what differs between two versions of a plan, in order of file number."""

    added: tuple[FileNo, ...]
    removed: tuple[FileNo, ...]
    more_after: FileNo | None


def page_plan(plan: FileSet, base: FileSet, *, after: int, limit: int = PLAN_PAGE_FILES) -> PlanPage:
    """Entries with numbers above `after`, added and removed together at most `limit`."""
    added, removed = plan - base, base - plan
    changed = added | removed
    page = changed.page(after, limit)
    numbers = tuple(page)
    has_more = bool(numbers) and len(changed.page(numbers[-1], 1)) > 0
    return PlanPage(
        added=tuple(page & added), removed=tuple(page & removed), more_after=numbers[-1] if has_more else None
    )
