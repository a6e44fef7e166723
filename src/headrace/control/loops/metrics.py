"""The loops' counters as Prometheus text lines; the control node's /metrics appends them to its own."""

from collections.abc import Iterator

from headrace.control.loops.state import LoopState

_FIELDS = (
    ("is_deciding", "gauge", "headrace_control_is_deciding", "1 when this node holds the lease of the loops."),
    ("turns", "counter", "headrace_control_turns_total", "Turns of the deciding loop."),
    ("failed_turns", "counter", "headrace_control_failed_turns_total", "Turns that ended in an error."),
    ("turn_duration_s", "gauge", "headrace_control_turn_seconds", "Duration of the last turn."),
    ("last_turn_s", "gauge", "headrace_control_last_turn_timestamp_seconds", "When the last good turn ended."),
    ("is_health_held", "gauge", "headrace_control_is_health_held", "1 while a seeming mass loss is not believed."),
    ("health_changes", "counter", "headrace_control_health_changes_total", "Conclusions that were written."),
    ("plans_written", "counter", "headrace_control_plans_written_total", "Fill plans that were written."),
    ("plans_waiting", "gauge", "headrace_control_plans_waiting", "Fill plans still to be written."),
    ("desired_written", "counter", "headrace_control_desired_written_total", "Desired states that were written."),
    ("desired_waiting", "gauge", "headrace_control_desired_waiting", "Desired states still to be written."),
    ("snapshot_version", "gauge", "headrace_control_snapshot_version", "Version of the steering snapshot."),
    ("snapshot_bytes", "gauge", "headrace_control_snapshot_bytes", "Size of the steering snapshot as sent."),
)


def metric_lines(state: LoopState) -> Iterator[str]:
    """Lines without line breaks."""
    for field, kind, name, text in _FIELDS:
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} {kind}"
        yield f"{name} {float(getattr(state, field)):.17g}"
    yield "# HELP headrace_control_appliances Appliances by concluded health."
    yield "# TYPE headrace_control_appliances gauge"
    for health, count in state.appliances.items():
        yield f'headrace_control_appliances{{state="{health}"}} {count}'
    yield "# HELP headrace_control_probes_total Probes of this node by outcome."
    yield "# TYPE headrace_control_probes_total counter"
    for outcome, count in state.probes.items():
        yield f'headrace_control_probes_total{{outcome="{outcome}"}} {count}'
