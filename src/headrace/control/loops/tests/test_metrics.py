from prometheus_client.parser import text_string_to_metric_families

from headrace.control.loops.metrics import metric_lines
from headrace.control.loops.state import LoopState
from headrace.fleet.model import HealthState


def test_the_lines_are_prometheus_text():
    state = LoopState(is_deciding=True, turns=3)
    state.appliances[HealthState.LOST] = 2
    text = "\n".join(metric_lines(state)) + "\n"
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["headrace_control_is_deciding",] == 1
    assert samples["headrace_control_turns_total",] == 3
    assert samples["headrace_control_appliances", "lost"] == 2
    assert samples["headrace_control_probes_total", "ok"] == 0
