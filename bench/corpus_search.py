"""Searches for the faults of the corpus, each hidden at a place drawn by chance in a history of harmless commits."""

import asyncio
import datetime
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from corpus_changes import ROOT, Change, NginxWorks, read_changes
from headrace.lab.bisection.driver import Doing
from headrace.lab.bisection.testing import Hidden, Place, find_hidden, hide_fault
from headrace.wire.codec import decode, encode
from headrace.wire.files import write_atomic
from headrace.workshop.testing_nginx import RELEASE, SETTINGS
from rig.machine import machine_facts

FOLDER = ROOT / "bench" / "results" / "corpus-bisection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One search."""

    component: str
    change: str
    check: str
    commits: int
    culprit: str
    named: tuple[str, ...]
    """What the search says; more than one: a range."""
    ending: str
    confidence: float
    steps: int
    builds: int
    took_s: float
    load: float
    at: str
    machine: dict[str, str | int] = field(default_factory=dict)

    @property
    def is_right(self) -> bool:
        return self.named == (self.culprit,)

    @property
    def seconds_a_step(self) -> float:
        return self.took_s / max(1, self.steps)


def found_file(change: Change) -> Path:
    """Where a search's end is kept."""
    return FOLDER / f"{change.component}-{change.name}.json"


def read_found() -> list[Found]:
    """All that were kept."""
    return [decode(Found, path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))]


def search(
    works: NginxWorks, change: Change, check: str, work: Path, *, commits: int, watch: Callable[[Doing], None]
) -> Found:
    """Hide the change among `commits`, find it again and keep what was found; goes on where it was stopped."""
    run, history = work / "search" / change.name, work / "history" / change.name
    hidden = _hidden(works, change, history, commits)
    place = Place(RELEASE, SETTINGS)
    record = asyncio.run(find_hidden(hidden, check, place, run, watch=watch))
    assert record.conclusion is not None
    found = Found(
        component=change.component,
        change=change.name,
        check=check,
        commits=commits,
        culprit=hidden.culprit,
        named=tuple(record.conclusion.commit_ids),
        ending=str(record.conclusion.ending),
        confidence=record.conclusion.confidence,
        steps=len(record.steps),
        builds=sum(step.build_s > 0 for step in record.steps),
        took_s=round(record.spent_s, 1),
        load=round(os.getloadavg()[0], 1),
        at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=machine_facts(),
    )
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_atomic(found_file(change), encode(found) + b"\n")
    shutil.rmtree(history, ignore_errors=True)
    return found


def _hidden(works: NginxWorks, change: Change, folder: Path, commits: int) -> Hidden:
    """The history of a change; the same one when the search goes on."""
    note = folder.with_name(f"{folder.name}.json")
    if note.exists():
        return decode(Hidden, note.read_bytes())
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    harmless = [one.patch for one in read_changes(change.component) if one.is_harmless]
    seed = zlib.crc32(change.name.encode())
    hidden = hide_fault(works.source, folder, change.patch, harmless, commits=commits, seed=seed)
    write_atomic(note, encode(hidden))
    return hidden
