"""One pair of runs, made whole or not at all; and what the lab itself gets wrong, tried once more before it is said.

The coin of a pair is drawn from the seed of the whole series and the pair's number. A pair that was interrupted between
its two runs is thrown away, for the second run would come at another time, and made again *in the same order*: so
neither an interruption nor a fault of the lab can choose which order counts.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from headrace.base.logs import event
from headrace.base.rng import make_rng
from headrace.lab.errors import LabError, NotPossibleHereError
from headrace.lab.qualify.measures import Part, Run, run_part
from headrace.lab.qualify.stand import Side, Stand
from headrace.release.console import distinct
from headrace.release.model import CheckDefinition, Fault, Level, Order, Pair
from headrace.release.verdicts import draw_order

T = TypeVar("T")

MakeRuns = Callable[[Stand, Part, Sequence[Side], int], Awaitable[dict[Side, Run]]]
"""How a run of each build is made, with its seed: `run_part`, but for tests."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRun:
    """Both builds under one load."""

    order: Order
    baseline: dict[str, float]
    """Values by metric."""
    candidate: dict[str, float]
    faults: tuple[Fault, ...] = ()
    """On the candidate's console."""
    at_s: float = 0.0
    took_s: float = 0.0

    def pair(self, definition: CheckDefinition) -> Pair:
        """What it says for one check."""
        name = definition.metric.name
        return Pair(baseline=self.baseline.get(name), candidate=self.candidate.get(name), order=self.order)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPlan:
    """Which pair to make: with the seed of its series it fixes order and load."""

    level: Level
    number: int
    """From 0."""
    parts: tuple[Part, ...]
    """Of the level: those whose checks the pair is for."""


async def run_pair(stand: Stand, seed: int, plan: PairPlan, make_runs: MakeRuns = run_part) -> PairRun:
    """Make a pair of a level.

    Raises:
        LabError: it could not be made, nor the second time.
    """
    what = f"pair {plan.number + 1} of level {plan.level.name.lower()}"
    return await twice(what, lambda: _run_pair(stand, f"{seed}-{plan.level}-{plan.number}", plan.parts, make_runs))


async def twice(what: str, work: Callable[[], Awaitable[T]]) -> T:
    """Do it; where the lab fails, once more from the beginning.

    Raises:
        LabError: of the kind of the second failure; it says nothing about the candidate.
    """
    try:
        return await work()
    except NotPossibleHereError:
        raise  # the machine will not be another one in a moment
    except LabError as error:
        event(_log, "lab_tried_again", level=logging.WARNING, what=what, why=error)
    try:
        return await work()
    except LabError as error:
        raise type(error)(
            f"{what} could not be made, nor a second time: {error}; no verdict rests on it. What was done before is "
            "kept, and the same command goes on there"
        ) from None


async def _run_pair(stand: Stand, seed: str, parts: Sequence[Part], make_runs: MakeRuns) -> PairRun:
    order = draw_order(make_rng(seed))
    sides = (Side.BASELINE, Side.CANDIDATE) if order is Order.BASELINE_FIRST else (Side.CANDIDATE, Side.BASELINE)
    load_seed = make_rng(seed).randrange(1 << 30)
    at_s, began_s = stand.clock.now_s(), stand.clock.monotonic_s()
    runs = dict.fromkeys(sides, Run())
    for part in parts:
        made = await make_runs(stand, part, sides, load_seed)
        runs = {side: runs[side].joined(made[side]) for side in sides}
        if any(run.faults for run in runs.values()):
            break
    if runs[Side.BASELINE].faults:
        raise LabError(f"the baseline itself fails: {runs[Side.BASELINE].faults[0].title}; take one that passes")
    return PairRun(
        order=order,
        baseline=runs[Side.BASELINE].values,
        candidate=runs[Side.CANDIDATE].values,
        faults=distinct(runs[Side.CANDIDATE].faults),
        at_s=at_s,
        took_s=stand.clock.monotonic_s() - began_s,
    )
