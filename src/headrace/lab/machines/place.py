"""Where a machine is put: what every kind of machine needs from the lab around it."""

from dataclasses import dataclass
from pathlib import Path

from headrace.base.clock import Clock
from headrace.base.tasks import Tasks
from headrace.lab.adapters.cell import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One space of a cell and a folder."""

    cell: Cell
    space: str
    folder: Path
    """Made, and the machine's alone."""
    tasks: Tasks
    clock: Clock
