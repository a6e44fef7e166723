"""What a search came to: for people, for programs, and as the report of which `upstream report` makes a mail."""

from collections.abc import Mapping
from pathlib import Path

from headrace.base.units import show_count, show_duration
from headrace.lab.bisection.model import Bisection, Kind, SearchedCommit
from headrace.lab.bisection.reproduce import Shown, reproduction_script
from headrace.lab.errors import LabError
from headrace.lab.profiles import Profile
from headrace.release.answers import Way
from headrace.release.bisect import Conclusion, Ending, posterior
from headrace.release.model import CheckDefinition, from_scale
from headrace.upstream.recipe import Recipe
from headrace.upstream.report import Culprit, Effect, RegressionReport, write_report
from headrace.wire.codec import encode
from headrace.wire.files import write_atomic

REPORT, SCRIPT, MAIL = "report.json", "reproduce.sh", "report.txt"
_LIKELIEST = 5
_SAID = {
    Ending.GOOD_END_FAILS: "the good end fails too, so there is nothing to search",
    Ending.BAD_END_PASSES: "the bad end passes now, so there is nothing to search",
    Ending.END_UNBUILDABLE: "an end does not build, so there is nothing to search",
    Ending.BUDGET_ENDED: "the budget ended before one commit was left",
    Ending.RANGE: "the fault is in one of these commits, which cannot be told apart",
}


def steps_of(record: Bisection) -> tuple[int, float]:
    """How many steps, and the mean seconds of one."""
    spent = sum(one.build_s + one.run_s for one in record.steps)
    return len(record.steps), spent / max(1, len(record.steps))


def summarize(record: Bisection) -> dict[str, object]:
    """For programs."""
    ended = _ended(record)
    steps, step_s = steps_of(record)
    assert record.state is not None
    likeliest = list(posterior(record.state).items())[:_LIKELIEST]
    return {
        "name": record.name,
        "check": record.check_id,
        "candidate": record.candidate,
        "baseline": record.baseline,
        "ending": ended.ending.value,
        "why": ended.why,
        "commits": [_as_fields(record, name) for name in ended.commit_ids],
        "confidence": ended.confidence,
        "fails": ended.fails,
        "reverted_passes": ended.reverted_passes,
        "fails_without_patches": record.fails_without_patches,
        "searched": len(record.grounds.commits),
        "steps": steps,
        "step_s": round(step_s, 3),
        "spent_s": round(record.spent_s, 3),
        "likeliest": [{"commit": name, "probability": share} for name, share in likeliest],
    }


def lines_of(record: Bisection) -> tuple[str, ...]:
    """For people; the first line is the answer."""
    ended = _ended(record)
    steps, step_s = steps_of(record)
    found = [record.grounds.find(name) for name in ended.commit_ids]
    lines = [_headline(record, ended, found)]
    if ended.ending not in {Ending.CULPRIT, Ending.CULPRIT_NOT_REVERTED}:
        lines += [f"  {one.commit[:12]}  {one.subject}" for one in found]
    if found:
        lines.append(f"confidence {min(ended.confidence, 0.999):.1%}: {ended.why}")
    else:
        lines.append(ended.why)
    lines += [f"doubt about {one.commit[:12]}: {one.doubt}" for one in found if one.doubt]
    if record.fails_without_patches is not None and record.grounds.chain:
        lines.append(f"upstream's own head {'fails' if record.fails_without_patches else 'passes'} without our patches")
    lines.append(
        f"{show_count(len(record.grounds.commits), 'commit')} searched in {show_count(steps, 'step')} of "
        f"{show_duration(step_s)} each; {show_duration(record.spent_s)} of builds and runs in all"
    )
    return tuple(lines)


def make_report(
    record: Bisection, recipe: Recipe, definition: CheckDefinition | None, profile: Profile | None = None
) -> RegressionReport | None:
    """What upstream should hear; None when the culprit is no commit of theirs, or none was found."""
    ended, grounds = _ended(record), record.grounds
    if ended.ending not in {Ending.CULPRIT, Ending.CULPRIT_NOT_REVERTED, Ending.RANGE}:
        return None
    found = [grounds.find(name) for name in ended.commit_ids]
    if any(one.kind is not Kind.UPSTREAM for one in found):
        return None
    seen = next((one for one in record.ends if one.summary), None)
    name = grounds.upstream or grounds.component
    since = f' since "{found[0].subject}"' if len(found) == 1 else ""
    summary = f"{grounds.component}: {record.check_id} fails{since}"
    shown = Shown(
        title=summary,
        url=grounds.url,
        good=grounds.upstream_good,
        bad=found[0].commit if len(found) == 1 else grounds.upstream_bad,
        component=grounds.component,
        check_id=record.check_id,
        profile=profile,
    )
    return RegressionReport(
        upstream=name,
        summary=summary,
        what=_what(record, seen.summary if seen else ""),
        good=grounds.upstream_good,
        bad=grounds.upstream_bad,
        culprit=_culprit(record, ended, found[0]) if len(found) == 1 else None,
        effect=_effect(record, definition) if definition else None,
        local_patches=tuple(grounds.carried),
        seen_without_patches=record.fails_without_patches is True,
        script=reproduction_script(shown, recipe),
        environment=record.environment,
        trace=seen.trace if seen else (),
    )


def write_files(
    record: Bisection, run: Path, recipe: Recipe, definition: CheckDefinition | None, profiles: Mapping[str, Profile]
) -> tuple[Path, ...]:
    """Write the report, the script and the mail where there is something to tell upstream; gives their paths.

    Raises:
        LabError: the folder cannot be written.
    """
    network = record.check_id.removeprefix("impairment.network.")
    report = make_report(record, recipe, definition, profiles.get(network))
    if report is None:
        return ()
    mail = write_report(report, sender="(your name and address)")
    files = {REPORT: encode(report), SCRIPT: report.script.encode(), MAIL: mail.encode()}
    try:
        for name, body in files.items():
            write_atomic(run / name, body)
    except OSError as error:
        raise LabError(f"cannot write into {run}: {error.strerror or error}") from None
    return tuple(run / name for name in files)


def _ended(record: Bisection) -> Conclusion:
    assert record.conclusion is not None
    return record.conclusion


def _headline(record: Bisection, ended: Conclusion, found: list[SearchedCommit]) -> str:
    if ended.ending not in {Ending.CULPRIT, Ending.CULPRIT_NOT_REVERTED}:
        return f"{record.check_id}: {_SAID[ended.ending]}"
    one = found[0]
    if one.kind is Kind.DROPPED:
        return f"{record.check_id} fails because of {one.subject}"
    whose = "our patch" if one.kind is Kind.PATCH else "commit"
    return f'{record.check_id} fails since {whose} {one.commit} "{one.subject}"'


def _as_fields(record: Bisection, name: str) -> dict[str, object]:
    one = record.grounds.find(name)
    return {
        "commit": one.commit,
        "subject": one.subject,
        "author": one.author,
        "kind": one.kind.value,
        "doubt": one.doubt,
    }


def _what(record: Bisection, seen: str) -> str:
    about = {
        "build": "The compiler warns where it did not warn before.",
        "function": "Answers are wrong, or do not come.",
        "impairment": "The server fails under a bad network, aborts, reloads or pressure.",
        "soak": "Something grows with the work done, and does not stop growing.",
        "performance": "Serving the same files costs more than before.",
    }[record.check_id.split(".", 1)[0]]
    return f"{about} nginx serves immutable files of up to 8 MB by ranges." + (f"\n\nSeen: {seen}" if seen else "")


def _culprit(record: Bisection, ended: Conclusion, one: SearchedCommit) -> Culprit:
    is_reverted = ended.ending is Ending.CULPRIT
    return Culprit(
        commit=one.commit,
        subject=one.subject,
        author=one.author,
        probability=ended.confidence,
        searched=len(record.grounds.commits),
        failed=ended.fails,
        asked=max(ended.fails, ended.reverted_passes),
        reverted_passed=ended.reverted_passes if is_reverted else None,
        doubt=one.doubt,
    )


def _effect(record: Bisection, definition: CheckDefinition) -> Effect | None:
    measure = record.yardstick
    if measure is None or measure.way is Way.RUNS or measure.effect is None or measure.error is None:
        return None
    goods = [one.good for one in record.ends if one.good is not None]
    bads = [one.value for one in record.ends if one.value is not None]
    good, bad = sum(goods) / len(goods), sum(bads) / len(bads)
    low, middle, high = (measure.effect + sign * measure.error for sign in (-1, 0, 1))
    ratios = [from_scale(definition.metric, one) for one in (middle, low, high)]
    return Effect(
        metric=definition.metric.name,
        unit=definition.metric.unit,
        good=good,
        bad=bad,
        change_ratio=ratios[0],
        low_ratio=ratios[1],
        high_ratio=ratios[2],
        confidence_ratio=0.95,
        pairs=len(bads),
    )
