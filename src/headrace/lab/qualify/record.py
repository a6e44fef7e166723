"""What a qualification has come to, on disk after every step: a run that was stopped goes on where it was.

A step is one expectation, or one whole pair of runs. A pair of which only one run was made is in no record.
"""

import errno
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from headrace.lab.errors import LabError
from headrace.release.family import level_verdict
from headrace.release.model import CheckDefinition, CheckId, CheckResult, Level, Verdict
from headrace.release.states import CandidateLife, level_ended
from headrace.release.verdicts import Measured
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic

FILE_NAME = "qualification.json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Qualification:
    """One candidate against one baseline, as far as it has come."""

    candidate: str
    baseline: str
    candidate_digest: str = ""
    baseline_digest: str = ""
    seed: int
    """Drawn anew for each qualification: which build of a pair runs first must not be known before (`draw_order`)."""
    started_s: float = 0.0
    machine: tuple[tuple[str, str], ...] = ()
    """Facts of the machine that it was begun on."""
    family: tuple[CheckId, ...] = ()
    """The checks of levels 3 and 4, fixed before the first run."""
    definitions: tuple[CheckDefinition, ...] = ()
    """Their margins and metrics as they were then; a run goes on only with the same."""
    not_tested: tuple[str, ...] = ()
    met: tuple[CheckResult, ...] = ()
    """Results of levels 0 to 2, and of the consoles of levels 3 and 4."""
    measured: dict[CheckId, Measured] = field(default_factory=dict)
    judged: tuple[CheckResult, ...] = ()
    """Results of levels 3 and 4, as of the last pair."""
    spent_s: dict[int, float] = field(default_factory=dict)
    """Seconds that each level has taken, by its number; what was thrown away does not count."""

    @property
    def results(self) -> tuple[CheckResult, ...]:
        """All results so far, by level."""
        return (*self.met, *self.judged)

    def with_met(self, result: CheckResult) -> "Qualification":
        """With one more expectation's result."""
        return replace(self, met=(*(one for one in self.met if one.check_id != result.check_id), result))

    def with_spent(self, level: Level, took_s: float) -> "Qualification":
        """With so many seconds more of a level."""
        return replace(self, spent_s=self.spent_s | {int(level): self.spent_s.get(int(level), 0.0) + took_s})


def life_of(qualification: Qualification, *, now_s: float) -> CandidateLife:
    """The candidate's state after the levels that were run, up to the first that did not pass."""
    life = CandidateLife(candidate_id=qualification.candidate)
    for level in Level:
        if not any(result.level is level for result in qualification.results):
            break
        verdict = level_verdict(qualification.results, level)
        why = f"{level.name.lower()} against {qualification.baseline}"
        life = level_ended(life, level, verdict, now_s=now_s, why=why)
        if verdict is not Verdict.PASS:
            break
    return life


def save(folder: Path, qualification: Qualification) -> None:
    """Write it whole, or leave what was there. Raises LabError."""
    save_state(folder / FILE_NAME, encode(qualification))


def save_state(path: Path, body: bytes) -> None:
    """Write a record of runs whole, or leave what was there.

    Raises:
        LabError: the disk is full, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, body)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise LabError(
                f"no room left for {path}: what was done before the last step is kept; free some space and give the "
                "same command again"
            ) from None
        raise LabError(f"cannot write {path}: {error.strerror or error}") from None


def load(folder: Path) -> Qualification | None:
    """What is there; None when there is nothing yet. Raises LabError."""
    return load_state(folder / FILE_NAME, Qualification)


def load_state(path: Path, shape: type[T]) -> T | None:
    """A record of runs; None when there is nothing yet.

    Raises:
        LabError: it is damaged.
    """
    try:
        return decode(shape, path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, MalformedError) as error:
        raise LabError(f"{path} cannot be read ({error}); remove it to begin anew") from None
