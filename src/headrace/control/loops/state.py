"""What the loops count, for /metrics. Written by the loops of this node only."""

from dataclasses import dataclass, field

from headrace.fleet.evidence import ProbeOutcome
from headrace.fleet.model import HealthState


@dataclass(slots=True)
class LoopState:
    """Counters and gauges of this control node's loops."""

    is_deciding: bool = False
    """This node holds the lease."""
    turns: int = 0
    failed_turns: int = 0
    turn_duration_s: float = 0.0
    last_turn_s: float = 0.0
    """UTC epoch seconds of the end of the last turn that did not fail."""
    is_health_held: bool = False
    health_changes: int = 0
    plans_written: int = 0
    plans_waiting: int = 0
    desired_written: int = 0
    desired_waiting: int = 0
    snapshot_version: int = 0
    snapshot_bytes: int = 0
    appliances: dict[HealthState, int] = field(default_factory=lambda: dict.fromkeys(HealthState, 0))
    """By health, as this node last concluded."""
    probes: dict[ProbeOutcome, int] = field(default_factory=lambda: dict.fromkeys(ProbeOutcome, 0))
