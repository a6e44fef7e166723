"""The verdicts of a whole family of checks, with its error rate.

Two errors, two rules. *False alarm*: any check fails though every metric is within its margin. Holm's step-down over
anytime-valid p-values holds it to `false_alarm_ratio` over the whole family, under any dependence between checks
(they share runs) and at every moment at once: on the event that no true p-value ever falls below ratio / (number of
true statements), of probability at least 1 - ratio, Holm never rejects one of them, however often it is asked. *False
pass*: a candidate qualifies though some metric is worse than its margin. That asks for that very check to pass
wrongly, so each check may have the whole `false_pass_ratio` (intersection-union test, Berger 1982).

The family is fixed before the first run: checks that could not be run stay in it. Decisions of the deterministic path
are certain within their noise model and neither use up nor set free any of the rate.
"""

from collections.abc import Mapping, Sequence

from headrace.release.config import ReleaseConfig
from headrace.release.errors import CheckError
from headrace.release.model import CheckDefinition, CheckId, CheckResult, Level, Reason, Verdict
from headrace.release.verdicts import Allowed, Measured, fail_p, judge_check


def judge_family(
    definitions: Sequence[CheckDefinition], measured: Mapping[CheckId, Measured], config: ReleaseConfig
) -> tuple[CheckResult, ...]:
    """Judge every check of the family on what is measured so far; may be asked after every pair.

    Raises:
        CheckError: something was measured for a check that is not of the family.
    """
    known = {definition.check_id for definition in definitions}
    for name in measured:
        if name not in known:
            raise CheckError(f"check {name!r} is not of the family that was fixed before the first run")
    nothing = Measured()
    fail_error = step_down_error(
        [fail_p(definition, measured.get(definition.check_id, nothing)) for definition in definitions],
        config.errors.false_alarm_ratio,
    )
    allowed = Allowed(
        fail_error=fail_error, pass_error=config.errors.false_pass_ratio, most_pairs=config.budget.most_pairs
    )
    return tuple(judge_check(one, measured.get(one.check_id, nothing), allowed) for one in definitions)


def step_down_error(p_values: Sequence[float], ratio: float) -> float:
    """The level that every single check is held to at the end of Holm's (1979) steps.

    Holm rejects the smallest p-value at ratio / k, the next at ratio / (k - 1), and stops at the first that is not
    below. All it rejected are below the level of its last step too, so one level says which they are.
    """
    rejected = 0
    for p in sorted(p_values):
        if p > ratio / (len(p_values) - rejected):
            break
        rejected += 1
    return ratio / max(1, len(p_values) - rejected)


def open_checks(results: Sequence[CheckResult]) -> tuple[CheckId, ...]:
    """The checks that another pair may still decide."""
    undecided = {Reason.MORE_PAIRS_NEEDED, Reason.NO_DATA, Reason.REPEATS_SPREAD}
    return tuple(result.check_id for result in results if result.reason in undecided)


def level_verdict(results: Sequence[CheckResult], level: Level) -> Verdict:
    """A level fails when a check of it fails, passes when all pass and there is one, else it is inconclusive."""
    verdicts = {result.verdict for result in results if result.level is level}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE


def not_run(definition: CheckDefinition, why: str) -> CheckResult:
    """The result of a check that was left out; it does not pass, and the dossier says why."""
    return CheckResult(
        check_id=definition.check_id,
        level=definition.level,
        verdict=Verdict.INCONCLUSIVE,
        reason=Reason.NOT_RUN,
        summary=why,
        margin=definition.margin.value,
    )
