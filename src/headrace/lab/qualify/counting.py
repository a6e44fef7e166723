"""Level 4's counts: what repeats so well that a few repeats decide, and pairs are not needed.

Each counter measures some metrics of one build at once; what it means is judged in `release`. A new one is a line here.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from headrace.base.clock import Clock
from headrace.lab.instructions import SHAPES, count_instructions
from headrace.lab.qualify.stand import Side, Stand, Subject
from headrace.lab.ticks import METRICS, count_ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """One way to count."""

    metrics: frozenset[str]
    may: Callable[[Subject], bool]
    """Whether a build has what is counted."""
    count: Callable[[Subject, Path, Clock], Awaitable[dict[str, float]]]
    """Values by metric. The folder is its own. Raises LabError."""


async def _instructions(subject: Subject, folder: Path, clock: Clock) -> dict[str, float]:
    assert subject.machine.nginx is not None
    return await count_instructions(subject.machine.nginx, folder, clock)


async def _ticks(subject: Subject, folder: Path, clock: Clock) -> dict[str, float]:
    assert subject.image is not None
    return await count_ticks(subject.image, subject.machine.nginx, folder)


COUNTERS = (
    Counter(
        metrics=frozenset(shape.metric for shape in SHAPES),
        may=lambda subject: subject.machine.nginx is not None,
        count=_instructions,
    ),
    Counter(metrics=METRICS, may=lambda subject: subject.image is not None, count=_ticks),
)
COUNTED = frozenset(name for counter in COUNTERS for name in counter.metrics)
"""Metrics that are counted."""


def countable(subject: Subject) -> frozenset[str]:
    """Metrics for which a build has what is counted."""
    return frozenset(name for counter in COUNTERS if counter.may(subject) for name in counter.metrics)


def may_count(metric: str, stand: Stand) -> bool:
    """Whether both builds of a stand have what a metric counts."""
    return metric in countable(stand.baseline) & countable(stand.candidate)


async def count_once(stand: Stand, side: Side, metrics: Collection[str]) -> dict[str, float]:
    """One repeat of one build: the metrics asked for, and those that are counted along with them.

    Raises:
        LabError: it could not be counted; a MachineError when the build is what failed.
    """
    found: dict[str, float] = {}
    for number, counter in enumerate(COUNTERS):
        if counter.metrics.intersection(metrics):
            found |= await counter.count(stand.subject(side), stand.folder / f"counted-{number}", stand.clock)
    return found
