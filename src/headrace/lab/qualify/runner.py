"""Run the levels in order, until one does not pass: expectations first, then repeats and pairs until they decide.

The family of checks with margins is fixed before the first run. Each pair is drawn by a fair coin and judged at once
over the whole family; its two runs follow one another or take turns, so that a drift of the machine meets both. A part
of a level (`measures.Part`) whose checks are all decided is not run again. What was done is
written down after each step (`record`), so a run may be stopped or killed anywhere; `pairing` says what that costs.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.lab.errors import MachineError
from headrace.lab.facts import machine_facts
from headrace.lab.qualify.counting import count_once
from headrace.lab.qualify.expectations import expectations, meet
from headrace.lab.qualify.measures import is_counted, is_measured_in, measurable, parts_for, run_part
from headrace.lab.qualify.pairing import MakeRuns, PairPlan, PairRun, run_pair, twice
from headrace.lab.qualify.record import Qualification, load, save
from headrace.lab.qualify.stand import Side, Stand
from headrace.release.config import ReleaseConfig
from headrace.release.console import distinct
from headrace.release.errors import CheckError
from headrace.release.family import judge_family, level_verdict, open_checks
from headrace.release.model import (
    CheckDefinition,
    CheckId,
    CheckResult,
    Level,
    Reason,
    Repeats,
    Verdict,
    check_id,
)
from headrace.release.verdicts import Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is being done, for whoever watches."""

    level: Level
    what: str
    """'' when the level is over."""
    results: tuple[CheckResult, ...]
    pairs: int = 0
    """Made so far in this level."""
    most_pairs: int = 0
    """Of the budget; 0 where no pairs are made."""
    still_open: tuple[CheckResult, ...] = ()
    """Checks of this level that the next pair may decide, with effect and interval so far."""


Watch = Callable[[Step], None]


async def qualify(
    stand: Stand,
    config: ReleaseConfig,
    folder: Path,
    *,
    up_to: Level = Level.PERFORMANCE,
    is_keeping_going: bool = False,
    on_step: Watch = lambda step: None,
    make_runs: MakeRuns = run_part,
) -> Qualification:
    """Take a candidate through the levels, from where a stopped run in `folder` left off.

    Raises:
        LabError: the lab could not do it, which says nothing about the candidate.
        CheckError: the run in `folder` is one of other builds, or of other margins.
    """
    record = await _begin(stand, config, folder)
    for level in Level:
        if level > up_to:
            break
        if level <= Level.IMPAIRMENT:
            record = await _meet_level(stand, record, level, folder, on_step)
        else:
            work = _Work(stand=stand, config=config, folder=folder, on_step=on_step, make_runs=make_runs)
            record = await _judge_level(work, record, level)
        if level_verdict(record.results, level) is not Verdict.PASS and not is_keeping_going:
            break
    return record


async def _begin(stand: Stand, config: ReleaseConfig, folder: Path) -> Qualification:
    """The record to go on from: that of `folder`, or a new one with its family fixed."""
    known = load(folder)
    if known is not None:
        _check_same(known, stand, config, folder)
        return known
    family = [one for one in config.definitions if measurable(one, stand)]
    left_out = [one for one in config.definitions if not measurable(one, stand)]
    record = Qualification(
        candidate=stand.candidate.name,
        baseline=stand.baseline.name,
        candidate_digest=stand.candidate.digest,
        baseline_digest=stand.baseline.digest,
        seed=secrets.randbits(32),
        started_s=stand.clock.now_s(),
        machine=await machine_facts(),
        family=tuple(one.check_id for one in family),
        definitions=tuple(family),
        not_tested=tuple(f"{one.check_id}: this kind of machine does not measure it" for one in left_out),
    )
    save(folder, record)
    return record


def _check_same(known: Qualification, stand: Stand, config: ReleaseConfig, folder: Path) -> None:
    if (known.candidate_digest, known.baseline_digest) != (stand.candidate.digest, stand.baseline.digest):
        raise CheckError(f"{folder} holds a run of other builds ({known.candidate} against {known.baseline})")
    now = {one.check_id: one for one in config.definitions}
    # The reason of a margin is words; all else decides, and may not be chosen after runs were seen.
    plain = [replace(one, margin=replace(one.margin, why="")) for one in known.definitions]
    for one in plain:
        other = now.get(one.check_id)
        if other is None or replace(other, margin=replace(other.margin, why="")) != one:
            raise CheckError(
                f"the check {one.check_id} is not what it was when the run in {folder} began: margins are fixed before "
                "the first run. Put it back, or begin anew (--anew)"
            )


async def _meet_level(stand: Stand, record: Qualification, level: Level, folder: Path, on_step: Watch) -> Qualification:
    done = {result.check_id for result in record.met}
    for expectation in expectations(stand):
        if expectation.level is not level or expectation.check_id in done:
            continue
        on_step(Step(level=level, what=expectation.about, results=record.results))
        result = await twice(expectation.check_id, lambda one=expectation: meet(one, stand))  # type: ignore[misc]
        record = record.with_met(result).with_spent(level, result.ended_s - result.started_s)
        save(folder, record)
    on_step(Step(level=level, what="", results=record.results))
    return record


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What stays the same from pair to pair."""

    stand: Stand
    config: ReleaseConfig
    folder: Path
    on_step: Watch
    make_runs: MakeRuns


async def _judge_level(work: _Work, record: Qualification, level: Level) -> Qualification:
    """Repeats for what is counted, then pairs until every check of the level is decided or out of budget."""
    stand, config, folder, on_step = work.stand, work.config, work.folder, work.on_step
    family = [one for one in config.definitions if one.check_id in record.family]
    own = [one for one in family if one.level is level]
    counted = [one for one in own if is_counted(one)]
    if counted and not all(one.check_id in record.measured for one in counted):
        on_step(Step(level=level, what="counting", results=record.results))
        at_s, began_s = stand.clock.now_s(), stand.clock.monotonic_s()
        counts = await twice("counting", lambda: count_repeats(stand, counted, config.budget.repeats))
        took_s = stand.clock.monotonic_s() - began_s
        record = replace(record, measured=record.measured | counts.measured).with_spent(level, took_s)
        record = record.with_met(_counting_result(counts, at_s, took_s))
    paired = [one for one in own if not is_counted(one)]
    while True:
        record = _judged(family, record, config)
        save(folder, record)
        step = _step(level, record, paired, config)
        if not step.what:
            on_step(step)
            return record
        on_step(step)
        decided = {result.check_id for result in record.judged} - {result.check_id for result in step.still_open}
        parts = parts_for(one for one in paired if one.check_id not in decided)
        plan = PairPlan(level=level, number=step.pairs, parts=parts)
        pair = await run_pair(stand, record.seed, plan, work.make_runs)
        record = _with_pair([one for one in paired if is_measured_in(one, parts)], record, level, pair)


def _judged(family: Sequence[CheckDefinition], record: Qualification, config: ReleaseConfig) -> Qualification:
    """With the results of all levels that were begun: the error rate is that of the whole family."""
    results = judge_family(family, record.measured, config)
    begun = {one.level for one in family if one.check_id in record.measured}
    return replace(record, judged=tuple(result for result in results if result.level in begun))


def _step(level: Level, record: Qualification, paired: Sequence[CheckDefinition], config: ReleaseConfig) -> Step:
    """The next pair of a level, or its end: all is decided, the budget is spent, or its console tells enough."""
    most, ids = config.budget.most_pairs, {one.check_id for one in paired}
    made = max((len(record.measured[name].pairs) for name in ids if name in record.measured), default=0)
    # What was not measured yet has no result either.
    still = set(open_checks(record.judged)) | (ids - {result.check_id for result in record.judged})
    deadly = {console_check(level), COUNTING}
    is_dead = any(result.check_id in deadly and result.verdict is Verdict.FAIL for result in record.met)
    is_over = not still & ids or made >= most or is_dead
    return Step(
        level=level,
        what="" if is_over else f"pair {made + 1} of at most {most}",
        results=record.results,
        pairs=made,
        most_pairs=most,
        still_open=tuple(result for result in record.judged if result.check_id in still & ids),
    )


def console_check(level: Level) -> CheckId:
    """The expectation that no run of a level leaves a fault on the candidate's console."""
    return check_id(f"{level.name.lower()}.console")


def _with_pair(paired: Sequence[CheckDefinition], record: Qualification, level: Level, pair: PairRun) -> Qualification:
    grown = dict(record.measured)
    for one in paired:
        before = grown.get(one.check_id, Measured())
        grown[one.check_id] = replace(before, pairs=(*before.pairs, pair.pair(one)))
    record = replace(record, measured=grown).with_spent(level, pair.took_s)
    return record.with_met(_console_result(record, level, pair))


def _console_result(record: Qualification, level: Level, pair: PairRun) -> CheckResult:
    name = console_check(level)
    before = next((result for result in record.met if result.check_id == name), None)
    faults = distinct((*(before.faults if before else ()), *pair.faults))
    runs = (before.pairs if before else 0) + 1
    return CheckResult(
        check_id=name,
        level=level,
        verdict=Verdict.FAIL if faults else Verdict.PASS,
        reason=Reason.CONSOLE_FAULT if faults else Reason.ALL_AS_EXPECTED,
        summary=f"console: {faults[0].title}" if faults else "no fault on the console in any run",
        evidence=(f"{runs} runs of the candidate",),
        pairs=runs,
        faults=faults,
        started_s=before.started_s if before else pair.at_s,
        ended_s=pair.at_s + pair.took_s,
    )


COUNTING = check_id("performance.counting")
"""The expectation that what is counted comes to its end in the candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Repeats of both builds."""

    measured: dict[CheckId, Measured]
    """Without values where the candidate broke."""
    broken: str = ""
    """What the candidate died of, or did not answer to, twice."""


async def count_repeats(stand: Stand, counted: Sequence[CheckDefinition], repeats: int) -> Counts:
    """Repeats of both builds, in turn.

    Raises:
        LabError: it could not be counted; a MachineError is the baseline's.
    """
    names = [one.metric.name for one in counted]
    found: dict[Side, list[dict[str, float]]] = {side: [] for side in Side}
    for _ in range(repeats):
        found[Side.BASELINE].append(await count_once(stand, Side.BASELINE, names))
        try:
            found[Side.CANDIDATE].append(await _count_again(stand, names))
        except MachineError as error:
            return Counts(measured={one.check_id: Measured() for one in counted}, broken=str(error))
    return Counts(
        measured={
            one.check_id: Measured(
                repeats=Repeats(
                    baseline=tuple(values.get(one.metric.name) for values in found[Side.BASELINE]),
                    candidate=tuple(values.get(one.metric.name) for values in found[Side.CANDIDATE]),
                )
            )
            for one in counted
        }
    )


async def _count_again(stand: Stand, names: Sequence[str]) -> dict[str, float]:
    """The candidate's; a failure must show twice."""
    try:
        return await count_once(stand, Side.CANDIDATE, names)
    except MachineError:
        return await count_once(stand, Side.CANDIDATE, names)


def _counting_result(counts: Counts, at_s: float, took_s: float) -> CheckResult:
    return CheckResult(
        check_id=COUNTING,
        level=Level.PERFORMANCE,
        verdict=Verdict.FAIL if counts.broken else Verdict.PASS,
        reason=Reason.EXPECTATION_BROKEN if counts.broken else Reason.ALL_AS_EXPECTED,
        summary=counts.broken or "everything was counted to its end",
        evidence=("failed twice, where the baseline's is counted",) if counts.broken else (),
        started_s=at_s,
        ended_s=at_s + took_s,
    )
