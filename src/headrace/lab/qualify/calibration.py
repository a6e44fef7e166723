"""Run a baseline against itself: the raw values from which `release.calibrate` says what the checks can tell.

Everything lasts as of the last whole step: one counted run, one expectation, one pair. A stopped calibration goes on
where it was, and one that is done goes on when more is asked for. Pairs of the levels take turns, so that a stop at any
time leaves something of each.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from headrace.lab.facts import Facts, machine_facts
from headrace.lab.qualify.counting import COUNTED, count_once, may_count
from headrace.lab.qualify.expectations import expectations, meet
from headrace.lab.qualify.measures import is_counted, measurable, parts_for, run_part
from headrace.lab.qualify.pairing import MakeRuns, PairPlan, PairRun, run_pair, twice
from headrace.lab.qualify.record import load_state, save_state
from headrace.lab.qualify.stand import Side, Stand
from headrace.release.calibrate import Calibration, calibrate, split_qualifications
from headrace.release.config import ReleaseConfig
from headrace.release.errors import CheckError
from headrace.release.model import CheckDefinition, CheckId, CheckResult, Level, Repeats, Verdict
from headrace.release.verdicts import Measured
from headrace.wire.codec import encode


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRuns:
    """All that was measured of one baseline against itself on one machine."""

    baseline: str
    digest: str
    seed: int
    started_s: float
    machine: Facts
    family: tuple[CheckId, ...]
    not_tested: tuple[str, ...] = ()
    counts: tuple[dict[str, float], ...] = ()
    """Single runs of what is counted, by metric."""
    pairs: dict[int, tuple[PairRun, ...]] = field(default_factory=dict)
    """By level, in time."""
    met: tuple[CheckResult, ...] = ()
    """Expectations of levels 0 to 2, each as often as it was looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How much to measure in all, with what is there already."""

    pairs: int
    counts: int
    rounds: int = 0
    """Of all expectations of levels 0 to 2."""
    levels: tuple[Level, ...] = (Level.SOAK, Level.PERFORMANCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is being done, for whoever watches."""

    what: str
    done: int
    """Steps, with those of earlier runs."""
    steps: int


Watch = Callable[[Progress], None]


async def run_calibration(
    stand: Stand,
    config: ReleaseConfig,
    path: Path,
    wanted: Wanted,
    *,
    on_progress: Watch = lambda progress: None,
    make_runs: MakeRuns = run_part,
) -> CalibrationRuns:
    """Measure what is wanted and not yet in the record at `path`. Both builds of the stand are the baseline.

    Raises:
        LabError: the lab could not do it; what was measured is kept.
        CheckError: the record is one of another build.
    """
    runs = await _begin(stand, config, path)
    family = family_of(runs, config)
    while step := _next_step(stand, runs, family, wanted):
        on_progress(step)
        runs = await _taken(stand, runs, family, step, make_runs)
        save_state(path, encode(runs))
    return runs


def family_of(runs: CalibrationRuns, config: ReleaseConfig) -> tuple[CheckDefinition, ...]:
    """The checks that are calibrated, with the margins as they are now: other margins need no other runs."""
    return tuple(one for one in config.definitions if one.check_id in runs.family)


def calibration_of(runs: CalibrationRuns, config: ReleaseConfig) -> Calibration:
    """What the runs say of the checks; the same each time."""
    family = family_of(runs, config)
    measured = {
        one.check_id: Measured(pairs=tuple(run.pair(one) for run in runs.pairs.get(int(one.level), ())))
        for one in family
        if not is_counted(one)
    }
    series = split_qualifications(family, measured, config) if any(one.pairs for one in measured.values()) else []
    rest = _unfinished(measured, series)
    return calibrate(family, series, config, rest=rest | _counted(runs, family))


def false_alarms_met(runs: CalibrationRuns) -> dict[CheckId, tuple[int, int]]:
    """For each expectation of levels 0 to 2 how often the baseline itself did not pass, and of how many."""
    names = dict.fromkeys(result.check_id for result in runs.met)
    return {
        name: (
            sum(one.check_id == name and one.verdict is not Verdict.PASS for one in runs.met),
            sum(one.check_id == name for one in runs.met),
        )
        for name in names
    }


def seconds_of_a_pair(runs: CalibrationRuns) -> dict[str, float]:
    """By level, the median."""
    return {
        Level(number).name.lower(): median(pair.took_s for pair in pairs)
        for number, pairs in sorted(runs.pairs.items())
        if pairs
    }


def _counted(runs: CalibrationRuns, family: Sequence[CheckDefinition]) -> dict[CheckId, Measured]:
    """Counted runs, every other one on either side."""
    return {
        one.check_id: Measured(
            repeats=Repeats(
                baseline=tuple(count.get(one.metric.name) for count in runs.counts[0::2]),
                candidate=tuple(count.get(one.metric.name) for count in runs.counts[1::2]),
            )
        )
        for one in family
        if is_counted(one) and runs.counts
    }


def _unfinished(
    measured: dict[CheckId, Measured], series: Sequence[dict[CheckId, Measured]]
) -> dict[CheckId, Measured]:
    """Pairs after the last whole qualification: they tell of the noise all the same."""
    used = {name: sum(len(one[name].pairs) for one in series) for name in measured}
    return {name: replace(one, pairs=one.pairs[used[name] :]) for name, one in measured.items()}


async def _begin(stand: Stand, config: ReleaseConfig, path: Path) -> CalibrationRuns:
    known = load_state(path, CalibrationRuns)
    if known is not None:
        if known.digest != stand.baseline.digest:
            raise CheckError(f"{path} holds a calibration of another build than {stand.baseline.name}; remove it")
        return known
    return CalibrationRuns(
        baseline=stand.baseline.name,
        digest=stand.baseline.digest,
        seed=secrets.randbits(32),
        started_s=stand.clock.now_s(),
        machine=await machine_facts(),
        family=tuple(one.check_id for one in config.definitions if measurable(one, stand)),
        not_tested=tuple(
            f"{one.check_id}: this kind of machine does not measure it"
            for one in config.definitions
            if not measurable(one, stand)
        ),
    )


def _next_step(
    stand: Stand, runs: CalibrationRuns, family: Sequence[CheckDefinition], wanted: Wanted
) -> "_Step | None":
    """Counts first, then expectations, then pairs of the level that has fewest; None when all is there."""
    looked = [result.check_id for result in runs.met]
    seen = {look.check_id: looked.count(look.check_id) for look in expectations(stand)} if wanted.rounds else {}
    made = {level: len(runs.pairs.get(int(level), ())) for level in _paired_levels(family, wanted)}
    counts = wanted.counts * any(is_counted(one) and one.level in wanted.levels for one in family)
    done = min(counts, len(runs.counts)) + sum(min(wanted.rounds, one) for one in seen.values())
    done += sum(min(wanted.pairs, one) for one in made.values())
    steps = counts + wanted.rounds * len(seen) + wanted.pairs * len(made)
    if len(runs.counts) < counts:
        return _Step(what=f"counted run {len(runs.counts) + 1} of {counts}", done=done, steps=steps)
    if seen and min(seen.values()) < wanted.rounds:
        look = min(seen, key=lambda name: seen[name])
        what = f"{look}: {seen[look] + 1} of {wanted.rounds}"
        return _Step(what=what, done=done, steps=steps, look=look)
    if made and min(made.values()) < wanted.pairs:
        level = min(made, key=lambda one: made[one])
        what = f"{level.name.lower()}: pair {made[level] + 1} of {wanted.pairs}"
        return _Step(what=what, done=done, steps=steps, level=level)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step(Progress):
    """A counted run, unless it is a look or a pair."""

    look: CheckId | None = None
    level: Level | None = None


async def _taken(
    stand: Stand, runs: CalibrationRuns, family: Sequence[CheckDefinition], step: _Step, make_runs: MakeRuns
) -> CalibrationRuns:
    """The record with one step more."""
    if step.level is not None:
        before = runs.pairs.get(int(step.level), ())
        parts = parts_for(one for one in family if one.level is step.level)
        plan = PairPlan(level=step.level, number=len(before), parts=parts)
        pair = await run_pair(stand, runs.seed, plan, make_runs)
        return replace(runs, pairs=runs.pairs | {int(step.level): (*before, pair)})
    if step.look is not None:
        look = next(one for one in expectations(stand) if one.check_id == step.look)
        return replace(runs, met=(*runs.met, await twice(look.check_id, lambda: meet(look, stand))))
    metrics = [name for name in COUNTED if may_count(name, stand)]
    count = await twice(step.what, lambda: count_once(stand, Side.BASELINE, metrics))
    return replace(runs, counts=(*runs.counts, count))


def _paired_levels(family: Sequence[CheckDefinition], wanted: Wanted) -> tuple[Level, ...]:
    return tuple(level for level in wanted.levels if any(one.level is level and not is_counted(one) for one in family))
