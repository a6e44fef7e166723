"""One reading of a check at one build: the check run once on a fresh machine. What it means is decided in `release`."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from headrace.base.clock import Clock
from headrace.base.errors import UsageError
from headrace.base.rng import make_rng
from headrace.lab.assembly import Lab
from headrace.lab.errors import MachineError, NotPossibleHereError
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.profiles import LAN, Profile
from headrace.lab.qualify.counting import count_once, countable
from headrace.lab.qualify.expectations import expectations, meet
from headrace.lab.qualify.findings import Expectation
from headrace.lab.qualify.measures import is_counted, measurable, parts_for, run_level
from headrace.lab.qualify.pairing import PairPlan, run_pair, twice
from headrace.lab.qualify.runner import COUNTING, console_check, count_repeats
from headrace.lab.qualify.stand import Side, Stand, Subject
from headrace.release.answers import Reading, Way
from headrace.release.bisect import Outcome
from headrace.release.model import CheckDefinition, CheckId, CheckResult, Fault, Level, Verdict, check_id, level_of

_OUTCOMES = {Verdict.PASS: Outcome.PASS, Verdict.FAIL: Outcome.FAIL, Verdict.INCONCLUSIVE: Outcome.INCONCLUSIVE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What is asked of each commit."""

    check_id: CheckId
    way: Way
    definition: CheckDefinition | None = None
    """Of levels 3 and 4."""

    @property
    def level(self) -> Level:
        return level_of(self.check_id)

    @property
    def is_of_program(self) -> bool:
        """Whether equal programs must give equal answers; warnings are of the source."""
        return self.level is not Level.BUILD


@dataclass(frozen=True, slots=True, kw_only=True)
class NotingStand(Stand):
    """A stand that notes how many machines were to be started, and how many came up."""

    tried: list[Side] = field(default_factory=list)
    came_up: list[Side] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def lab(self, side: Side, profile: Profile = LAN, machine: MachineSpec | None = None) -> AsyncIterator[Lab]:
        self.tried.append(side)
        async with Stand.lab(self, side, profile, machine) as lab:
            self.came_up.append(side)
            yield lab


class Reader(Protocol):
    """Whatever gives readings; `read` as a rule."""

    async def __call__(
        self, check: Check, stand: NotingStand, seed: int, number: int, *, may_not_start: bool
    ) -> Reading:
        """As `read`."""
        ...


def put_in(rest: Subject, component: str, program: Path) -> Subject:
    """A build of one component on the machine that the rest makes: `nginx`, `linux`, or `linux-image`."""
    if component == "nginx":
        return replace(rest, machine=replace(rest.machine, nginx=program))
    if component == "linux":
        return replace(rest, machine=replace(rest.machine, kernel=program))
    is_run = rest.machine.kind is not MachineKind.UML  # there the image is only what ticks are counted in
    return replace(rest, machine=replace(rest.machine, kernel=program) if is_run else rest.machine, image=program)


def empty_stand(rest: Subject, component: str, profiles: dict[str, Profile], clock: Clock) -> NotingStand:
    """A stand before anything is built, to ask which checks there are on such a machine."""
    nobody = put_in(rest, component, Path())
    return NotingStand(baseline=nobody, candidate=nobody, folder=Path(), clock=clock, profiles=profiles)


def find_check(text: str, stand: Stand, definitions: Sequence[CheckDefinition]) -> Check:
    """The check of that name, if this stand can run it.

    Raises:
        UsageError: there is none; lists those there are.
    """
    held = {one.check_id for one in expectations(stand)}
    known = {one.check_id: one for one in definitions if measurable(one, stand)}
    consoles = {console_check(level) for level in (Level.SOAK, Level.PERFORMANCE)}
    if any(is_counted(one) for one in known.values()):
        consoles.add(COUNTING)
    if text in held | consoles:
        return Check(check_id=check_id(text), way=Way.RUNS)
    if text not in known:
        names = ", ".join([*sorted(held), *sorted(consoles), *known])
        raise UsageError(f"there is no check {text[:80]!r} for these builds: choose from {names}")
    definition = known[check_id(text)]
    way = Way.COUNTS if is_counted(definition) else Way.PAIRS
    return Check(check_id=definition.check_id, way=way, definition=definition)


async def read(check: Check, stand: NotingStand, seed: int, number: int, *, may_not_start: bool) -> Reading:
    """Run the check once; the stand's candidate is the build in question, its baseline the good end.

    Args:
        seed: of the search; with `number` it fixes load and order of a pair.
        may_not_start: a machine that does not come up is a failure of the check, not a commit that cannot be tested.

    Raises:
        LabError: the lab could not do it, nor a second time; that says nothing about the build.
    """
    began_s = stand.clock.monotonic_s()
    if check.check_id == COUNTING:
        reading = await _count(stand)
    elif check.way is Way.RUNS and check.level >= Level.SOAK:
        reading = await _look_at_console(check, stand, seed, number)
    elif check.way is Way.RUNS:
        reading = await _run(check, stand, may_not_start=may_not_start)
    else:
        reading = await _measure(check, stand, seed, number)
    return replace(reading, cost_s=round(stand.clock.monotonic_s() - began_s, 3))


async def _run(check: Check, stand: NotingStand, *, may_not_start: bool) -> Reading:
    expectation: Expectation = next(one for one in expectations(stand) if one.check_id == check.check_id)
    result: CheckResult = await twice(f"check {check.check_id}", lambda: meet(expectation, stand))
    if result.verdict is Verdict.INCONCLUSIVE:
        raise NotPossibleHereError(f"{check.check_id} cannot be run here: {result.summary}")
    outcome, has_started = _OUTCOMES[result.verdict], len(stand.came_up) == len(stand.tried)
    if outcome is Outcome.FAIL and not has_started and not may_not_start:
        outcome = Outcome.INCONCLUSIVE
    return Reading(outcome=outcome, summary=result.summary, trace=trace_of(result.faults), has_started=has_started)


async def _look_at_console(check: Check, stand: NotingStand, seed: int, number: int) -> Reading:
    load_seed = make_rng(f"{seed}-{number}").randrange(1 << 30)
    run = await twice(f"check {check.check_id}", lambda: run_level(stand, Side.CANDIDATE, check.level, load_seed))
    if run.faults:
        return Reading(outcome=Outcome.FAIL, summary=f"console: {run.faults[0].title}", trace=trace_of(run.faults))
    return Reading(outcome=Outcome.PASS, summary="no fault on the console")


async def _count(stand: NotingStand) -> Reading:
    """Count all that can be counted, once. A build that does not even start fails too."""
    try:
        await twice("counting", lambda: count_once(stand, Side.CANDIDATE, countable(stand.candidate)))
    except MachineError as error:
        return Reading(outcome=Outcome.FAIL, summary=str(error))
    return Reading(outcome=Outcome.PASS, summary="everything was counted to its end")


async def _measure(check: Check, stand: NotingStand, seed: int, number: int) -> Reading:
    definition = check.definition
    assert definition is not None
    name, unit = definition.metric.name, definition.metric.unit
    faults: tuple[Fault, ...] = ()
    try:
        if check.way is Way.COUNTS:
            counts = await twice("counting", lambda: count_repeats(stand, [definition], 1))
            repeats = counts.measured[check.check_id].repeats
            if repeats is None:
                return Reading(outcome=Outcome.INCONCLUSIVE, summary=counts.broken)
            good, value = repeats.baseline[0], repeats.candidate[0]
        else:
            plan = PairPlan(level=check.level, number=number, parts=parts_for([definition]))
            pair = await run_pair(stand, seed, plan)
            good, value, faults = pair.baseline.get(name), pair.candidate.get(name), pair.faults
    except MachineError as error:
        if Side.BASELINE in stand.tried and Side.BASELINE not in stand.came_up:
            raise
        return Reading(outcome=Outcome.INCONCLUSIVE, summary=str(error))
    if good is None or value is None:
        summary = f"console: {faults[0].title}" if faults else f"{name} was not measured"
        return Reading(outcome=Outcome.INCONCLUSIVE, summary=summary, trace=trace_of(faults))
    summary = f"{value:.5g} {unit}, {good:.5g} at the good end"
    return Reading(outcome=Outcome.PASS, good=good, value=value, summary=summary)


def trace_of(faults: Sequence[Fault]) -> tuple[str, ...]:
    """The faults on a console, as lines."""
    return tuple(line for fault in faults for line in (fault.title, *(f"  {name}" for name in fault.trace)))
