"""Labs on disk: a folder each with a record of its owner, so that one is found, and swept when its owner is dead."""

import os
import shutil
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from headrace.lab.adapters.cell import Door
from headrace.lab.adapters.process_trees import start_ticks
from headrace.lab.errors import NoSuchLabError
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic

_RECORD = "record.json"


class LabState(StrEnum):
    """Of a lab with an owner of its own."""

    STARTING = "starting"
    RUNNING = "running"
    REFUSED = "refused"
    """It did not come up; the record says why."""
    GONE = "gone"
    """Its owner has ended without a word; what ran in it ended with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabRecord:
    """What others need to reach a lab."""

    name: str
    owner_pid: int
    owner_ticks: int
    """When the owner began; with the pid it names the process for ever."""
    state: LabState
    reason: str = ""
    exit_code: int = 0
    kind: str = ""
    profile: str = ""
    address: str = ""
    port: int = 0
    tls_port: int = 0
    paths: tuple[str, ...] = ()
    """Of what it serves, the largest first."""
    doors: dict[str, Door] = field(default_factory=dict)
    started_s: float = 0.0

    @property
    def is_owned(self) -> bool:
        """The owner lives."""
        return start_ticks(self.owner_pid) == self.owner_ticks != 0


def own_record(name: str, state: LabState, **facts: object) -> LabRecord:
    """A record with this process as the owner."""
    pid = os.getpid()
    return LabRecord(name=name, owner_pid=pid, owner_ticks=start_ticks(pid), state=state, **facts)  # type: ignore[arg-type]


def write_record(folder: Path, record: LabRecord) -> None:
    """Make `record` the one of `folder`."""
    write_atomic(folder / _RECORD, encode(record), mode=0o600)


def read_record(folder: Path) -> LabRecord | None:
    """The record of a lab's folder; None when there is none that can be read. A dead owner's lab is `gone`."""
    try:
        record = decode(LabRecord, (folder / _RECORD).read_bytes())
    except (FileNotFoundError, NotADirectoryError, MalformedError):
        return None
    if record.state is LabState.REFUSED or record.is_owned:
        return record
    return LabRecord(
        name=record.name,
        owner_pid=record.owner_pid,
        owner_ticks=record.owner_ticks,
        state=LabState.GONE,
        kind=record.kind,
        profile=record.profile,
        started_s=record.started_s,
    )


def list_records(labs: Path) -> list[LabRecord]:
    """All labs below `labs`, by name."""
    folders = sorted(labs.iterdir()) if labs.is_dir() else []
    return [record for folder in folders if (record := read_record(folder))]


def find_record(labs: Path, name: str) -> LabRecord:
    """The running lab of that name; with name '' the only one there is.

    Raises:
        NoSuchLabError: none, or several and no name.
    """
    running = [record for record in list_records(labs) if record.state is LabState.RUNNING]
    chosen = [record for record in running if name in ("", record.name)]
    if len(chosen) == 1:
        return chosen[0]
    if not running:
        raise NoSuchLabError("no lab is running: start one with `headrace lab up`")
    names = ", ".join(record.name for record in running)
    if not name:
        raise NoSuchLabError(f"several labs are running, say which with --name: {names}")
    raise NoSuchLabError(f"no lab {name!r} is running; there is: {names}")


def sweep(labs: Path) -> list[str]:
    """Remove the folders of labs whose owner is dead; their names. What ran in them ended with the owner."""
    swept = [record.name for record in list_records(labs) if not record.is_owned]
    for name in swept:
        shutil.rmtree(labs / name, ignore_errors=True)
    return swept
