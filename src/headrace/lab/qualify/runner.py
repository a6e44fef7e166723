"""Run the levels in order, until one does not pass: expectations first, then repeats and pairs until they decide.

The family of checks with margins is fixed before the first run. Each pair is drawn by a fair coin and judged at once
over the whole family; a pair's two runs follow one another, so that a drift of the machine meets both. What was done is
written down after each step.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.base.rng import make_rng
from headrace.lab.errors import MachineError
from headrace.lab.instructions import count_instructions
from headrace.lab.qualify.expectations import expectations, meet
from headrace.lab.qualify.measures import is_counted, measurable, run_once
from headrace.lab.qualify.record import Qualification, load, save
from headrace.lab.qualify.stand import Side, Stand
from headrace.release.config import ReleaseConfig
from headrace.release.errors import CheckError
from headrace.release.family import judge_family, level_verdict, open_checks
from headrace.release.model import (
    CheckDefinition,
    CheckId,
    CheckResult,
    Level,
    Order,
    Pair,
    Repeats,
    Verdict,
)
from headrace.release.verdicts import Measured, draw_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is being done, for whoever watches."""

    level: Level
    what: str
    results: tuple[CheckResult, ...]


Watch = Callable[[Step], None]


async def qualify(
    stand: Stand,
    config: ReleaseConfig,
    folder: Path,
    *,
    up_to: Level = Level.PERFORMANCE,
    is_keeping_going: bool = False,
    on_step: Watch = lambda step: None,
) -> Qualification:
    """Take a candidate through the levels, from where a stopped run in `folder` left off.

    Raises:
        LabError: the lab could not do it, which says nothing about the candidate.
        CheckError: the run in `folder` is one of other builds.
    """
    record = _begin(stand, config, folder)
    for level in Level:
        if level > up_to:
            break
        if level <= Level.IMPAIRMENT:
            record = await _meet_level(stand, record, level, folder, on_step)
        else:
            record = await _judge_level(stand, config, record, level, folder, on_step)
        if level_verdict(record.results, level) is not Verdict.PASS and not is_keeping_going:
            break
    return record


def _begin(stand: Stand, config: ReleaseConfig, folder: Path) -> Qualification:
    """The record to go on from: that of `folder`, or a new one with its family fixed."""
    candidate, baseline = stand.candidate, stand.baseline
    known = load(folder)
    if known is not None:
        if (known.candidate_digest, known.baseline_digest) != (candidate.digest, baseline.digest):
            raise CheckError(f"{folder} holds a run of other builds ({known.candidate} against {known.baseline})")
        return known
    family = [one for one in config.definitions if measurable(one, stand)]
    left_out = [one for one in config.definitions if not measurable(one, stand)]
    record = Qualification(
        candidate=candidate.name,
        baseline=baseline.name,
        candidate_digest=candidate.digest,
        baseline_digest=baseline.digest,
        seed=secrets.randbits(32),
        started_s=stand.clock.now_s(),
        family=tuple(one.check_id for one in family),
        not_tested=tuple(f"{one.check_id}: this lab does not measure {one.metric.name}" for one in left_out),
    )
    save(folder, record)
    return record


async def _meet_level(stand: Stand, record: Qualification, level: Level, folder: Path, on_step: Watch) -> Qualification:
    done = {result.check_id for result in record.met}
    for expectation in expectations(stand):
        if expectation.level is not level or expectation.check_id in done:
            continue
        on_step(Step(level=level, what=expectation.about, results=record.results))
        record = record.with_met(await meet(expectation, stand))
        save(folder, record)
    on_step(Step(level=level, what="", results=record.results))
    return record


async def _judge_level(
    stand: Stand, config: ReleaseConfig, record: Qualification, level: Level, folder: Path, on_step: Watch
) -> Qualification:
    """Repeats for what is counted, then pairs until every check of the level is decided or out of budget."""
    family = [one for one in config.definitions if one.check_id in record.family]
    own = [one for one in family if one.level is level]
    counted = [one for one in own if is_counted(one)]
    if counted and not all(one.check_id in record.measured for one in counted):
        on_step(Step(level=level, what="counting instructions", results=record.results))
        record = replace(record, measured=record.measured | await count_repeats(stand, counted, config.budget.repeats))
    while True:
        results = judge_family(family, record.measured, config)
        begun = {one.level for one in family if one.check_id in record.measured}
        record = replace(record, judged=tuple(result for result in results if result.level in begun))
        save(folder, record)
        still = set(open_checks(results))
        pairing = [one for one in own if one.check_id in still and not is_counted(one)]
        made = max(
            (len(record.measured[one.check_id].pairs) for one in own if one.check_id in record.measured), default=0
        )
        if not pairing or made >= config.budget.most_pairs:
            on_step(Step(level=level, what="", results=record.results))
            return record
        on_step(Step(level=level, what=f"pair {made + 1}", results=record.results))
        pair = await _run_pair(stand, level, f"{record.seed}-{level}-{made}")
        record = replace(record, measured=_with_pair(own, record.measured, pair))


async def count_repeats(stand: Stand, counted: Sequence[CheckDefinition], repeats: int) -> dict[CheckId, Measured]:
    """Repeats of both builds, in turn."""
    found: dict[Side, list[dict[str, float]]] = {side: [] for side in Side}
    for _ in range(repeats):
        for side in Side:
            nginx = stand.subject(side).machine.nginx
            assert nginx is not None
            found[side].append(await count_instructions(nginx, stand.folder / "counted", stand.clock))
    return {
        one.check_id: Measured(
            repeats=Repeats(
                baseline=tuple(values.get(one.metric.name) for values in found[Side.BASELINE]),
                candidate=tuple(values.get(one.metric.name) for values in found[Side.CANDIDATE]),
            )
        )
        for one in counted
    }


Values = tuple[Order, dict[Side, dict[str, float]]]


async def _run_pair(stand: Stand, level: Level, seed: str) -> Values:
    """Both builds under one load, in an order drawn beforehand. A machine that fails gives no values."""
    order = draw_order(make_rng(seed))
    sides = (Side.BASELINE, Side.CANDIDATE) if order is Order.BASELINE_FIRST else (Side.CANDIDATE, Side.BASELINE)
    values: dict[Side, dict[str, float]] = {}
    for side in sides:
        try:
            values[side] = await run_once(stand, side, level, make_rng(seed).randrange(1 << 30))
        except MachineError:
            values[side] = {}
    return order, values


def _with_pair(
    own: Sequence[CheckDefinition], measured: dict[CheckId, Measured], pair: Values
) -> dict[CheckId, Measured]:
    order, values = pair
    grown = dict(measured)
    for one in own:
        if is_counted(one):
            continue
        name, before = one.metric.name, grown.get(one.check_id, Measured())
        new = Pair(baseline=values[Side.BASELINE].get(name), candidate=values[Side.CANDIDATE].get(name), order=order)
        grown[one.check_id] = replace(before, pairs=(*before.pairs, new))
    return grown
