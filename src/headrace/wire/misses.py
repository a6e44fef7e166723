"""Misses as `headrace misses explain --tell` tells them the control plane, and as that shows them: /v1/misses."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.steering.misses import MissClass
from headrace.steering.used import HOUR_S, UsedMisses, UsedRow

HOURS = 48
"""Hours that are told, the one that is under way among them."""
MOST_ROWS = 200
"""Rows that are told, those with the most bytes."""
MOST_NODES = 100
"""Steering nodes of which misses are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissesHour:
    """Bytes that were served in an hour, by what kept the best appliances from serving them."""

    hour: int
    """Hours since the epoch (UTC)."""
    bytes_by_class: Mapping[MissClass, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissesSummary:
    """PUT /v1/misses/{node}: what the log of one steering node comes to, joined with what appliances served."""

    made_s: float
    """UTC epoch seconds."""
    hours: tuple[MissesHour, ...]
    """Ascending; hours without bytes are left out."""
    rows: tuple[UsedRow, ...]
    """Misses of the whole log by site, title and class, most bytes first."""
    unjoined_bytes: int
    """Served, but of no session of this log, or without a snapshot of their moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissesNode:
    """Who told, and when."""

    node: str
    made_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MissesView:
    """GET /v1/misses: what the nodes told in the last 48 hours, added up."""

    nodes: tuple[MissesNode, ...]
    hours: tuple[MissesHour, ...]
    rows: tuple[UsedRow, ...]


def summarise_used(used: UsedMisses, *, now_s: float) -> MissesSummary:
    """What is told of a log: its hours of the last 48 until `now_s` (UTC epoch seconds), its largest misses."""
    newest = int(now_s // HOUR_S)
    hours = defaultdict[int, dict[MissClass, int]](dict)
    for row in used.hours:
        hour = row.hour_s // HOUR_S
        if newest - HOURS < hour <= newest:
            hours[hour][row.reason] = row.bytes
    return MissesSummary(
        made_s=now_s,
        hours=tuple(MissesHour(hour=hour, bytes_by_class=sizes) for hour, sizes in sorted(hours.items())),
        rows=used.rows[:MOST_ROWS],
        unjoined_bytes=sum(used.unjoined.values()),
    )
