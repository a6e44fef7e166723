from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.fleet.evidence import HealthRules, ProbeOutcome
from headrace.fleet.mass_loss import MassLoss, conclude_fleet, may_not_be_believed
from headrace.fleet.model import HealthReason, HealthState
from headrace.fleet.testing import make_evidence, make_probe, make_report, make_track

NOW = 1_000_000.0
RULES = HealthRules()
UP = HealthState.HEALTHY
GONE = ProbeOutcome.UNREACHABLE


@pytest.mark.parametrize(
    ("healthy", "seeming_lost", "witnesses", "is_doubted"),
    [
        (1, 1, 0, False),  # a single appliance: there is nobody to compare it with
        (2, 1, 1, False),
        (2, 2, 0, True),
        (5, 1, 4, False),
        (5, 2, 3, False),
        (5, 4, 1, False),  # the fifth shows that our own network works
        (5, 5, 0, True),
        (5, 5, 1, False),  # an unhealthy one answers
        (100, 40, 60, False),
        (100, 60, 40, True),  # too many for one fault, even though some answer
        (19, 10, 9, True),
        (18, 9, 9, False),
    ],
)
def test_the_rule(healthy, seeming_lost, witnesses, is_doubted):
    loss = MassLoss(healthy=healthy, seeming_lost=seeming_lost, witnesses=witnesses)
    assert may_not_be_believed(loss, RULES, was_held=False) is is_doubted


def test_a_hold_of_a_large_fleet_ends_later_than_it_begins():
    loss = MassLoss(healthy=100, seeming_lost=40, witnesses=60)
    assert may_not_be_believed(loss, RULES, was_held=True)
    assert not may_not_be_believed(replace(loss, seeming_lost=25, witnesses=75), RULES, was_held=True)


class Fleet:
    """A fleet that is concluded each second; `cut` are the names that nothing comes from."""

    def __init__(self, size):
        self.names = [f"a-{number:03}" for number in range(size)]
        self.tracks = {name: make_track() for name in self.names}
        self.now_s = NOW
        self.heard = dict.fromkeys(self.names, NOW)
        self.probes = {name: make_probe(NOW) for name in self.names}
        self.is_held, self.watching_since_s = False, 0.0
        self.holds = []

    def run(self, seconds, cut=(), report=None):
        for _ in range(seconds):
            self.now_s += 1
            self._hear(set(cut))
            evidence = [
                make_evidence(name, reported_s=self.heard[name], probes=(self.probes[name],), report=report)
                for name in self.names
            ]
            done = conclude_fleet(
                self.tracks,
                evidence,
                RULES,
                now_s=self.now_s,
                watching_since_s=self.watching_since_s,
                was_held=self.is_held,
            )
            self.tracks, self.is_held, self.watching_since_s = done.tracks, done.is_held, done.watching_since_s
            self.holds.append(done.is_held)

    def _hear(self, cut):
        for number, name in enumerate(self.names):
            if (int(self.now_s) + number) % 2:
                continue
            if name in cut:
                failed = (*self.probes[name].failed_at_s, self.now_s)[-5:]
                self.probes[name] = replace(make_probe(self.now_s, GONE), failed_at_s=failed)
            else:
                self.heard[name], self.probes[name] = self.now_s, make_probe(self.now_s)

    def down(self):
        return {name for name, track in self.tracks.items() if track.health.state is not UP}


@pytest.mark.parametrize(("size", "dead"), [(2, 1), (3, 2), (5, 1), (5, 2), (5, 4), (100, 40)])
def test_deaths_are_seen_while_others_answer(size, dead):
    fleet = Fleet(size)
    fleet.run(8, cut=fleet.names[:dead])
    assert fleet.down() == set(fleet.names[:dead])
    assert not any(fleet.holds)


def test_the_death_of_a_fleet_of_one_is_seen():
    fleet = Fleet(1)
    fleet.run(8, cut=fleet.names)
    assert fleet.down() == {"a-000"}


@pytest.mark.parametrize("size", [2, 3, 5, 50, 400])
def test_a_cut_network_marks_nobody_down_and_its_end_is_seen(size):
    fleet = Fleet(size)
    fleet.run(60, cut=fleet.names)
    assert fleet.is_held
    assert fleet.down() == set()
    assert {track.health.reason for track in fleet.tracks.values()} == {HealthReason.HELD_LAST_STATE}
    fleet.run(20)
    assert not fleet.is_held
    assert {track.health.reason for track in fleet.tracks.values()} == {HealthReason.ALL_CHECKS_PASS}
    assert sum(one is not other for one, other in zip(fleet.holds, fleet.holds[1:], strict=False)) <= 2


def test_who_died_during_the_hold_is_seen_after_it():
    fleet = Fleet(20)
    fleet.run(30, cut=fleet.names)
    fleet.run(15, cut=fleet.names[:3])
    assert not fleet.is_held
    assert fleet.down() == set(fleet.names[:3])


def test_a_hold_is_announced_only_once_somebody_would_be_marked_down():
    fleet = Fleet(5)
    fleet.heard = dict.fromkeys(fleet.names, NOW - 600)
    fleet.probes = {name: make_probe(NOW - 600) for name in fleet.names}
    fleet.watching_since_s = NOW
    fleet.run(10)
    assert not any(fleet.holds)
    assert fleet.down() == set()


def test_their_own_faults_are_concluded_during_a_hold():
    fleet = Fleet(4)
    fleet.run(10, cut=fleet.names)
    assert fleet.is_held
    fleet.heard = dict.fromkeys(fleet.names, fleet.now_s + 1)
    fleet.run(1, cut=fleet.names, report=make_report(is_nginx_up=False))
    assert fleet.down() == set(fleet.names)


@settings(max_examples=60)
@given(
    size=st.integers(2, 30),
    steps=st.lists(st.tuples(st.integers(1, 12), st.sets(st.integers(0, 29))), max_size=6),
    ending=st.integers(1, 40),
)
def test_silence_from_everywhere_never_leaves_all_down_at_once(size, steps, ending):
    """Whatever happened before: when nothing at all answers, whoever was healthy a moment ago is still given out."""
    fleet = Fleet(size)
    for seconds, cut in steps:
        fleet.run(seconds, cut=[name for number, name in enumerate(fleet.names) if number in cut])
    up_before = set(fleet.names) - fleet.down()
    fleet.run(ending, cut=fleet.names)
    if len(up_before) >= 2:
        assert set(fleet.names) - fleet.down()
