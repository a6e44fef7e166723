import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.catalog.fileset import FileSet
from headrace.control.loops.choosing import ProbeTarget, choose_probes
from headrace.control.loops.settings import ProbeSettings
from headrace.fleet.evidence import ProbeOutcome
from headrace.fleet.model import AdminState, HealthState
from headrace.fleet.testing import make_probe

NOW = 1_000.0
SETTINGS = ProbeSettings()
GONE = ProbeOutcome.UNREACHABLE


def target(name="a-1", *, health=HealthState.HEALTHY, reported_s=NOW - 1, admin=AdminState.ENABLED, held=(1,)):
    return ProbeTarget(
        appliance_id=name,
        content_url="http://a.example",
        admin_state=admin,
        health_state=health,
        reported_s=reported_s,
        held=FileSet(held),
    )


def choose(targets, seen, most=10):
    return [one.appliance_id for one in choose_probes(targets, seen, SETTINGS, now_s=NOW, most=most)]


@pytest.mark.parametrize(
    ("one", "last", "is_due"),
    [
        (target(), None, True),
        (target(held=()), None, False),
        (target(), make_probe(NOW - 1.5), False),
        (target(), make_probe(NOW - 2.0), True),
        (target(reported_s=NOW - 3.5), make_probe(NOW - 1.5), True),
        (target(), make_probe(NOW - 1.5, GONE), True),
        (target(health=HealthState.TURNING_UP), make_probe(NOW - 2.0), True),
        (target(health=HealthState.LOST, reported_s=0.0), make_probe(NOW - 9.0, GONE), False),
        (target(health=HealthState.LOST, reported_s=0.0), make_probe(NOW - 10.0, GONE), True),
        (target(admin=AdminState.DISABLED), make_probe(NOW - 9.0), False),
    ],
)
def test_whose_turn_it_is(one, last, is_due):
    assert choose([one], {"a-1": last} if last else {}) == (["a-1"] if is_due else [])


def test_suspects_go_first_then_whoever_has_waited_longest():
    targets = [
        target("fresh"),
        target("waiting"),
        target("late", reported_s=NOW - 4),
        target("lost", health=HealthState.LOST),
    ]
    seen = {
        "fresh": make_probe(NOW - 2),
        "waiting": make_probe(NOW - 8),
        "late": make_probe(NOW - 1),
        "lost": make_probe(0),
    }
    assert choose(targets, seen) == ["late", "lost", "waiting", "fresh"]
    assert choose(targets, seen, most=1) == ["late"]
    assert choose(targets, seen, most=0) == []


@given(st.integers(1, 60), st.integers(1, 20))
def test_everybody_gets_a_turn_within_the_rate(size, most):
    targets = [target(f"a-{number}", reported_s=None, health=HealthState.TURNING_UP) for number in range(size)]
    seen, turns = {}, -(-size // most)
    for turn in range(turns):
        for name in choose_probes(targets, seen, SETTINGS, now_s=NOW + turn * 0.01, most=most):
            seen[name.appliance_id] = make_probe(NOW + turn * 0.01)
    assert len(seen) == size
