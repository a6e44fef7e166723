"""What a qualification has come to, on disk after every step: a run that was stopped goes on where it was."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from headrace.lab.errors import LabError
from headrace.release.family import level_verdict
from headrace.release.model import CheckId, CheckResult, Level, Verdict
from headrace.release.states import CandidateLife, level_ended
from headrace.release.verdicts import Measured
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic

FILE_NAME = "qualification.json"


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
    family: tuple[CheckId, ...] = ()
    """The checks of levels 3 and 4, fixed before the first run."""
    not_tested: tuple[str, ...] = ()
    met: tuple[CheckResult, ...] = ()
    """Results of levels 0 to 2."""
    measured: dict[CheckId, Measured] = field(default_factory=dict)
    judged: tuple[CheckResult, ...] = ()
    """Results of levels 3 and 4, as of the last pair."""

    @property
    def results(self) -> tuple[CheckResult, ...]:
        """All results so far, by level."""
        return (*self.met, *self.judged)

    def with_met(self, result: CheckResult) -> "Qualification":
        """With one more result of levels 0 to 2."""
        return replace(self, met=(*(one for one in self.met if one.check_id != result.check_id), result))


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
    """Write it whole.

    Raises:
        LabError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / FILE_NAME, encode(qualification))
    except OSError as error:
        raise LabError(f"cannot write {folder / FILE_NAME}: {error.strerror or error}") from None


def load(folder: Path) -> Qualification | None:
    """What is there; None when there is nothing yet.

    Raises:
        LabError: it is damaged.
    """
    path = folder / FILE_NAME
    try:
        return decode(Qualification, path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, MalformedError) as error:
        raise LabError(f"{path} cannot be read ({error}); remove it to begin anew") from None
