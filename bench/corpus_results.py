"""What a qualification of one change came to: one file each in bench/results/corpus/, from which the page is made."""

import datetime
import os
import subprocess
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from corpus_changes import ROOT, Built, Change
from headrace.lab.qualify.record import Qualification
from headrace.release.family import level_verdict
from headrace.release.model import Level, Verdict
from headrace.wire.codec import decode, encode
from headrace.wire.files import write_atomic
from rig.machine import machine_facts

FOLDER = ROOT / "bench" / "results" / "corpus"


class Ending(StrEnum):
    """How a change ended."""

    FAILED = "failed"
    PASSED = "passed"
    UNDECIDED = "undecided"
    """A level did not pass, and nothing failed."""
    SAME = "same-program"
    """The build is that of the baseline to the byte: nothing is left to be tested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One change, qualified against the plain build."""

    component: str
    change: str
    run: int = 0
    """Of the plain build against itself, from 1; 0 for a change."""
    ending: Ending
    level: str = ""
    """Where it ended, unless it passed."""
    checks: tuple[str, ...] = ()
    """Those that failed; for an undecided one, those that did not pass."""
    summary: str = ""
    """Of the first of them."""
    took_s: float = 0.0
    """All levels, to the end."""
    by_level_s: dict[str, float] = field(default_factory=dict)
    pairs: int = 0
    """Of the level where it ended."""
    build_s: float = 0.0
    load: float = 0.0
    """Load average at the end, of one minute: what else the machine did."""
    at: str = ""
    commit: str = ""
    """Of Headrace."""
    machine: dict[str, str | int] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return result_file(self.component, self.change, self.run)


def result_file(component: str, change: str, run: int = 0) -> Path:
    """Where a result is kept."""
    return FOLDER / (f"{component}-{change}-{run:02d}.json" if run else f"{component}-{change}.json")


def result_of(change: Change, built: Built, record: Qualification | None, run: int) -> Result:
    """What a qualification says; None: it was not needed."""
    common = {
        "component": change.component,
        "change": change.name,
        "run": run,
        "build_s": round(built.took_s, 1),
        "load": round(os.getloadavg()[0], 1),
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": machine_facts(),
    }
    if record is None:
        return Result(ending=Ending.SAME, summary="equal to the baseline's build to the byte", **common)  # type: ignore[arg-type]
    by_level = {Level(level).name.lower(): round(seconds, 1) for level, seconds in sorted(record.spent_s.items())}
    common |= {"took_s": round(sum(record.spent_s.values()), 1), "by_level_s": by_level}
    for level in Level:
        if level_verdict(record.results, level) is Verdict.PASS:
            continue
        own = [result for result in record.results if result.level is level]
        failed = [result for result in own if result.verdict is Verdict.FAIL]
        told = failed or [result for result in own if result.verdict is not Verdict.PASS]
        return Result(
            ending=Ending.FAILED if failed else Ending.UNDECIDED,
            level=level.name.lower(),
            checks=tuple(result.check_id for result in told),
            summary=told[0].summary if told else "nothing was measured",
            pairs=max((result.pairs for result in own), default=0),
            **common,  # type: ignore[arg-type]
        )
    return Result(ending=Ending.PASSED, **common)  # type: ignore[arg-type]


def keep(result: Result) -> None:
    """Write it whole."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_atomic(result.file, encode(result) + b"\n")


def read_results() -> list[Result]:
    """All that were kept, by file name."""
    return [decode(Result, path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))]


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
