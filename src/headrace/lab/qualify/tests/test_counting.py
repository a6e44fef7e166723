"""Which counts a stand can make: both builds must have what is counted."""

from dataclasses import replace
from pathlib import Path

from headrace.base.clock import SystemClock
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.qualify.counting import COUNTED, may_count
from headrace.lab.qualify.measures import is_counted, measurable
from headrace.lab.qualify.stand import Stand, Subject
from headrace.release.config import parse_release_config

NGINX = MachineSpec(kind=MachineKind.PROCESS, nginx=Path("/n"))
PLAIN = Subject(name="a", machine=NGINX)
WITH_IMAGE = replace(PLAIN, image=Path("/k"))


def stand(baseline: Subject, candidate: Subject) -> Stand:
    return Stand(baseline=baseline, candidate=candidate, folder=Path("/f"), clock=SystemClock())


def test_both_builds_need_what_is_counted() -> None:
    cases = (
        (PLAIN, PLAIN, {"instructions"}),
        (WITH_IMAGE, PLAIN, {"instructions"}),
        (PLAIN, WITH_IMAGE, {"instructions"}),
        (WITH_IMAGE, WITH_IMAGE, {"instructions", "ticks"}),
        (WITH_IMAGE, replace(WITH_IMAGE, machine=MachineSpec(kind=MachineKind.UML)), {"ticks"}),
    )
    for baseline, candidate, kinds in cases:
        found = {name.partition(".")[0] for name in COUNTED if may_count(name, stand(baseline, candidate))}
        assert found == kinds


def test_every_counted_metric_has_its_check_and_no_other_is_counted() -> None:
    definitions = parse_release_config().definitions
    counted = [one for one in definitions if is_counted(one)]
    assert {one.metric.name for one in counted} == COUNTED
    assert all(measurable(one, stand(WITH_IMAGE, WITH_IMAGE)) for one in counted)
    assert not any(measurable(one, stand(PLAIN, PLAIN)) for one in counted if one.metric.name.startswith("ticks"))
