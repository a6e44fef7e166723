"""One pair of runs, made whole or not at all; and what the lab itself gets wrong, tried once more before it is said.

The coin of a pair is drawn from the seed of the whole series and the pair's number. A pair that was interrupted between
its two runs is thrown away, for the second run would come at another time, and made again *in the same order*: so
neither an interruption nor a fault of the lab can choose which order counts.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from headrace.base.logs import event
from headrace.base.rng import make_rng
from headrace.lab.errors import LabError, NotPossibleHereError
from headrace.lab.qualify.measures import Run, run_watched
from headrace.lab.qualify.stand import Side, Stand
from headrace.release.console import distinct
from headrace.release.model import CheckDefinition, Fault, Level, Order, Pair
from headrace.release.verdicts import draw_order

T = TypeVar("T")

MakeRun = Callable[[Stand, Side, Level, int], Awaitable[Run]]
"""How one run of a build is made, with its seed: `run_watched`, but for tests."""

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


async def run_pair(stand: Stand, level: Level, seed: int, number: int, make_run: MakeRun = run_watched) -> PairRun:
    """Make the `number`-th pair (from 0) of a level.

    Raises:
        LabError: it could not be made, nor the second time.
    """
    what = f"pair {number + 1} of level {level.name.lower()}"
    return await twice(what, lambda: _run_pair(stand, level, f"{seed}-{level}-{number}", make_run))


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


async def _run_pair(stand: Stand, level: Level, seed: str, make_run: MakeRun) -> PairRun:
    order = draw_order(make_rng(seed))
    sides = (Side.BASELINE, Side.CANDIDATE) if order is Order.BASELINE_FIRST else (Side.CANDIDATE, Side.BASELINE)
    load_seed = make_rng(seed).randrange(1 << 30)
    at_s, began_s = stand.clock.now_s(), stand.clock.monotonic_s()
    runs: dict[Side, Run] = {}
    for side in sides:
        runs[side] = await make_run(stand, side, level, load_seed)
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
