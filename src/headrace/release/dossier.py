"""The evidence of one candidate: what it is, what changed, each check with what it rests on, and what was not tested.

Values only, and what follows from them; `dossier_html` draws it. What was not tested is worked out here, from
the checks that are missing, and never left to whoever writes the dossier.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from headrace.release.calibrate import Calibration
from headrace.release.console import distinct
from headrace.release.family import level_verdict
from headrace.release.model import CheckDefinition, CheckId, CheckResult, Fault, Level, Reason, Verdict
from headrace.release.states import CandidateLife
from headrace.upstream.candidate import Candidate

STANDING_LIMITS = (
    (
        "real hardware",
        "the lab's machines are emulated or guests: drivers, caches and many cores at once are not tried",
    ),
    ("viewers", "the load imitates players; quality as viewers see it shows in the canary only"),
    ("longer than the soak", "leaks and overflows that need more work than one run does are not seen"),
)
"""True of every candidate until real machines are in the lab."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamCommit:
    """One commit of an upstream that the candidate has and the baseline has not."""

    upstream: str
    commit_id: str
    subject: str
    author: str = ""
    at_s: float = 0.0
    harmless: str = ""
    """Why it can hardly matter (`plausible.Harmless`), '' where it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Untested:
    """Something that this dossier says nothing about."""

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelSummary:
    """One level in a line."""

    level: Level
    verdict: Verdict | None
    """None: no check of it was run."""
    passed: int
    checks: int
    took_s: float = 0.0
    """0 where it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """All that is known of a candidate."""

    candidate: Candidate
    baseline: Candidate | None
    made_at_s: float
    life: CandidateLife
    results: tuple[CheckResult, ...]
    definitions: tuple[CheckDefinition, ...]
    """Of the checks with margins; the others explain themselves."""
    levels: tuple[LevelSummary, ...]
    faults: tuple[Fault, ...]
    """Distinct ones of all checks."""
    untested: tuple[Untested, ...]
    commits: tuple[UpstreamCommit, ...] = ()
    commits_left_out: int = 0
    """More than are listed."""
    commits_unknown: tuple[str, ...] = ()
    """A line for each component whose commits cannot be told, with the reason."""
    calibration: Calibration | None = None
    machine: tuple[tuple[str, str], ...] = ()
    """Facts of the machine that all was measured on."""

    @property
    def verdict(self) -> Verdict:
        """Pass only when every level did."""
        verdicts = {summary.verdict for summary in self.levels}
        if Verdict.FAIL in verdicts:
            return Verdict.FAIL
        return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE


def make_dossier(
    candidate: Candidate,
    baseline: Candidate | None,
    life: CandidateLife,
    results: Sequence[CheckResult],
    definitions: Sequence[CheckDefinition],
    *,
    now_s: float,
    expected: Iterable[CheckId] = (),
) -> Dossier:
    """Put together what is known, and find out what is not.

    Args:
        results: one for each check at most; of several runs, the one that counts.
        expected: ids of the checks of levels 0 to 2 that a whole qualification has.
    """
    ordered = tuple(sorted(results, key=lambda one: (one.level, one.check_id)))
    missing = _missing(ordered, [*(one.check_id for one in definitions), *expected])
    return Dossier(
        candidate=candidate,
        baseline=baseline,
        made_at_s=now_s,
        life=life,
        results=ordered,
        definitions=tuple(definitions),
        levels=tuple(_summary(ordered, level) for level in Level),
        faults=distinct(fault for result in ordered for fault in result.faults),
        untested=(*missing, *(Untested(what=what, why=why) for what, why in STANDING_LIMITS)),
    )


def with_run(
    dossier: Dossier,
    *,
    not_tested: Sequence[str],
    spent_s: Mapping[int, float],
    machine: Sequence[tuple[str, str]],
) -> Dossier:
    """The dossier with what whoever ran it knows.

    Args:
        not_tested: lines `<check>: <why>`; they say more than that there is no result.
        spent_s: seconds that each level took, by its number.
        machine: its facts.
    """
    told = [Untested(what=what, why=why) for what, _, why in (line.partition(": ") for line in not_tested)]
    named = {one.what for one in told}
    return replace(
        dossier,
        untested=(*told, *(one for one in dossier.untested if one.what not in named)),
        levels=tuple(replace(one, took_s=spent_s.get(int(one.level), 0.0)) for one in dossier.levels),
        machine=tuple(machine),
    )


def with_commits(
    dossier: Dossier,
    commits: Sequence[UpstreamCommit],
    *,
    left_out: int = 0,
    unknown: Sequence[str] = (),
    most: int = 500,
) -> Dossier:
    """The dossier with the upstream commits since the baseline, newest first; no more than `most` are listed.

    Args:
        left_out: more that `commits` does not have.
        unknown: a line for each component whose commits cannot be told.
    """
    more = left_out + max(0, len(commits) - most)
    return replace(dossier, commits=tuple(commits[:most]), commits_left_out=more, commits_unknown=tuple(unknown))


def _summary(results: Sequence[CheckResult], level: Level) -> LevelSummary:
    of_level = [result for result in results if result.level is level]
    passed = sum(result.verdict is Verdict.PASS for result in of_level)
    was_run = any(result.reason is not Reason.NOT_RUN for result in of_level)
    verdict = level_verdict(results, level) if was_run else None
    return LevelSummary(level=level, verdict=verdict, passed=passed, checks=len(of_level))


def _missing(results: Sequence[CheckResult], expected: Iterable[CheckId]) -> list[Untested]:
    found = {result.check_id: result for result in results}
    missing: list[Untested] = []
    for name in sorted(set(expected) | set(found)):
        result = found.get(name)
        if result is None:
            missing.append(Untested(what=name, why="no result: it was not reached or not switched on"))
        elif result.reason in {Reason.NOT_RUN, Reason.NO_DATA, Reason.MISSING_DATA}:
            missing.append(Untested(what=name, why=result.summary or result.reason.value))
    levels = {result.level for result in results}
    missing += [
        Untested(what=f"level {level.value}, {level.name.lower()}", why="no check of it was run")
        for level in Level
        if level not in levels
    ]
    return missing
