"""Which probers count, and the fleet's health under partitions of the control nodes."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from headrace.fleet.evidence import HealthRules, ProbeOutcome, ProbeSeen, judge_probes
from headrace.fleet.mass_loss import conclude_fleet
from headrace.fleet.model import HealthReason, HealthState
from headrace.fleet.quorum import Probers, as_weighed, weigh_probers
from headrace.fleet.testing import make_evidence, make_probe, make_track

NOW = 1_000_000.0
RULES = HealthRules()
OK, GONE = ProbeOutcome.OK, ProbeOutcome.UNREACHABLE


def probers(*names, members=()):
    return Probers(present=frozenset(names), members=frozenset(names) | frozenset(members))


def seen(name, **outcomes):
    """c1="ok", c2="gone": what each control node found of an appliance."""
    probes = tuple(
        make_probe(NOW - 0.5, OK if found == "ok" else GONE, failures=3, vantage=vantage)
        for vantage, found in outcomes.items()
    )
    return make_evidence(name, reported_s=NOW - 1, probes=probes)


def later(evidence):
    """Passes are newer than the first failures of others."""
    return [replace(one, probes=tuple(replace(p, at_s=NOW) for p in one.probes)) for one in evidence]


def weigh(evidence, who):
    return weigh_probers(later(evidence), who, RULES, now_s=NOW)


def test_one_prober_is_always_trusted():
    found = weigh([seen("a", c1="gone"), seen("b", c1="gone")], probers("c1"))
    assert (found.trusted, found.has_quorum, found.cut_off) == ({"c1"}, True, {})


def test_who_does_not_reach_what_others_reach_is_cut_off():
    found = weigh([seen(name, c1="gone", c2="ok", c3="ok") for name in "abc"], probers("c1", "c2", "c3"))
    assert found.trusted == {"c2", "c3"}
    assert found.cut_off == {"c1": "3 of 3 appliances that others reach"}


def test_one_who_reaches_them_is_worth_more_than_two_who_reach_nobody():
    evidence = [seen(name, c1="gone", c2="gone", c3="ok") for name in "abc"]
    assert weigh(evidence, probers("c1", "c2", "c3")).trusted == {"c3"}


def test_a_dead_fleet_makes_nobody_distrusted():
    found = weigh([seen(name, c1="gone", c2="gone", c3="gone") for name in "abc"], probers("c1", "c2", "c3"))
    assert found.trusted == {"c1", "c2", "c3"}


def test_a_failure_after_the_last_pass_of_others_proves_nothing_against_the_prober():
    evidence = [
        make_evidence(
            name,
            reported_s=NOW,
            probes=(make_probe(NOW - 4, vantage="c2"), make_probe(NOW, GONE, failures=3, vantage="c1")),
        )
        for name in "abc"
    ]
    assert weigh_probers(evidence, probers("c1", "c2"), RULES, now_s=NOW).cut_off == {}


def test_passes_of_the_distrusted_still_count():
    evidence = [seen(name, c1="gone", c2="ok", c3="ok") for name in "abc"] + [seen("d", c1="ok", c2="ok", c3="ok")]
    found = weigh(evidence, probers("c1", "c2", "c3"))
    assert [probe.vantage for probe in as_weighed(evidence[0], found).probes] == ["c2", "c3"]
    assert [probe.vantage for probe in as_weighed(evidence[3], found).probes] == ["c1", "c2", "c3"]


@pytest.mark.parametrize(
    ("present", "members", "has_quorum"),
    [("1", "1", True), ("1", "12", True), ("1", "123", False), ("12", "123", True), ("12", "12345", False)],
)
def test_half_of_those_that_were_there_a_moment_ago_is_enough(present, members, has_quorum):
    who = Probers(present=frozenset(present), members=frozenset(members))
    assert weigh_probers([], who, RULES, now_s=NOW).has_quorum is has_quorum


def test_a_failure_counts_once_more_than_half_of_the_probers_see_it():
    one = (make_probe(NOW, GONE, failures=3, vantage="c1"),)
    assert judge_probes(one, after_s=0.0, probers=3).is_split
    two = (*one, make_probe(NOW, GONE, failures=3, vantage="c2"))
    assert judge_probes(two, after_s=0.0, probers=3).is_fail
    path = judge_probes((*one, make_probe(NOW, vantage="c2")), after_s=0.0, probers=3)
    assert (path.is_pass, path.bad_paths) == (True, "c1 (unreachable)")


class World:
    """Appliances and control nodes, a second at a time; whoever decides changes each turn."""

    def __init__(self, appliances, nodes):
        self.names = [f"a-{number}" for number in range(appliances)]
        self.nodes = [f"c-{number}" for number in range(nodes)]
        self.tracks = {name: make_track() for name in self.names}
        self.now_s = NOW
        self.heard_s = dict.fromkeys(self.names, NOW)
        self.probes = {}
        self.noted_s = dict.fromkeys(self.nodes, NOW)
        self.broken = set()
        self.stopped = set()
        self.died_s = {}
        self.is_held, self.watching_since_s = False, 0.0
        self.turns = 0

    def may_break(self, paths, stopped):
        """Every appliance is reached by more than half of the nodes, whatever else is broken."""
        for name in self.names:
            away = stopped | {node for node, to in paths if to == name}
            if 2 * len(away) >= len(self.nodes):
                return False
        return True

    def turn(self):
        self.now_s += 1
        self.turns += 1
        running = [node for node in self.nodes if node not in self.stopped]
        for number, name in enumerate(self.names):
            if name not in self.died_s and (self.turns + number) % 2:
                self.heard_s[name] = self.now_s
            for node in running:
                self._probe(node, name, number)
        self.noted_s.update(dict.fromkeys(running, self.now_s))
        decides = running[self.turns % len(running)]
        present = {node for node in self.nodes if self.now_s - self.noted_s[node] <= RULES.prober_present_s}
        members = {node for node in self.nodes if self.now_s - self.noted_s[node] <= RULES.prober_member_s}
        evidence = [
            make_evidence(
                name,
                reported_s=self.heard_s[name],
                probes=tuple(
                    self.probes[node, name] for node in self.nodes if node in present and (node, name) in self.probes
                ),
            )
            for name in self.names
        ]
        done = conclude_fleet(
            self.tracks,
            evidence,
            RULES,
            now_s=self.now_s,
            watching_since_s=self.watching_since_s,
            was_held=self.is_held,
            probers=Probers(present=frozenset(present | {decides}), members=frozenset(members)),
        )
        self.tracks, self.is_held, self.watching_since_s = done.tracks, done.is_held, done.watching_since_s

    def _probe(self, node, name, number):
        before = self.probes.get((node, name))
        is_suspect = before is not None and before.outcome is not OK
        if not is_suspect and (self.turns + number + self.nodes.index(node)) % 2:
            return
        if name not in self.died_s and (node, name) not in self.broken:
            self.probes[node, name] = make_probe(self.now_s, vantage=node)
            return
        failed = (*(before.failed_at_s if before else ()), self.now_s)[-5:]
        self.probes[node, name] = ProbeSeen(
            vantage=node,
            at_s=self.now_s,
            outcome=GONE,
            failed_at_s=failed,
            failing_since_s=(before.began_s if before else 0.0) or self.now_s,
        )

    def healthy(self):
        return {name for name, track in self.tracks.items() if track.health.state is HealthState.HEALTHY}


CONCLUDED_WITHIN = 14
"""Turns: 5 s of silence, two probes, and what remains of the notes of a node that stopped."""


class Partitions(RuleBasedStateMachine):
    """Minorities of the control nodes lose paths, lose everything, stop and come back, in any order."""

    @initialize(appliances=st.integers(2, 6), nodes=st.integers(1, 5))
    def start(self, appliances, nodes):
        self.world = World(appliances, nodes)

    @rule(node=st.integers(0, 4), name=st.integers(0, 5))
    def break_path(self, node, name):
        world = self.world
        path = (world.nodes[node % len(world.nodes)], world.names[name % len(world.names)])
        if world.may_break(world.broken | {path}, world.stopped):
            world.broken.add(path)

    @rule(node=st.integers(0, 4))
    def cut_off(self, node):
        world = self.world
        cut = world.nodes[node % len(world.nodes)]
        paths = {(cut, name) for name in world.names}
        if world.may_break(world.broken | paths, world.stopped):
            world.broken |= paths

    @rule(node=st.integers(0, 4))
    def stop(self, node):
        world = self.world
        stopped = world.stopped | {world.nodes[node % len(world.nodes)]}
        if world.may_break(world.broken, stopped):
            world.stopped = stopped

    @rule()
    def heal(self):
        self.world.broken.clear()
        self.world.stopped = set()

    @rule(name=st.integers(0, 5))
    def kill(self, name):
        world = self.world
        if len(world.died_s) + 1 < len(world.names):
            world.died_s.setdefault(world.names[name % len(world.names)], world.now_s)

    @rule(seconds=st.integers(1, 20))
    def run(self, seconds):
        for _ in range(seconds):
            self.world.turn()
            self.check()

    @invariant()
    def check(self):
        world = getattr(self, "world", None)
        if world is None:
            return
        healthy = world.healthy()
        assert healthy >= set(world.names) - set(world.died_s), "a minority marked somebody down"
        for name, died_s in world.died_s.items():
            if world.now_s - died_s > CONCLUDED_WITHIN:
                assert name not in healthy, f"{name} died {world.now_s - died_s} s ago"


Partitions.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestPartitions = Partitions.TestCase


def test_a_minority_that_is_left_waits_until_the_others_no_longer_count():
    world = World(3, 5)
    world.stopped = {"c-0", "c-1", "c-2"}
    for _ in range(3):
        world.turn()
    world.died_s["a-0"] = world.now_s
    for _ in range(8):
        world.turn()
    assert world.healthy() == set(world.names)
    assert world.tracks["a-0"].health.reason is HealthReason.ALL_CHECKS_PASS
    for _ in range(10):
        world.turn()
    assert world.healthy() == {"a-1", "a-2"}


def test_a_cut_off_node_that_decides_alone_holds_the_last_state():
    world = World(4, 1)
    world.broken = {("c-0", name) for name in world.names}
    world.heard_s = dict.fromkeys(world.names, NOW - 60)
    world.died_s = dict.fromkeys(world.names, 0.0)  # nothing comes from them: neither reports nor answers
    for _ in range(30):
        world.turn()
    assert world.is_held
    assert world.healthy() == set(world.names)


@pytest.mark.parametrize("nodes", [2, 3, 5])
@pytest.mark.parametrize("offset", range(4))
def test_all_but_one_are_cut_off_at_once_and_nobody_is_marked_down(nodes, offset):
    world = World(4, nodes)
    for _ in range(5 + offset):
        world.turn()
    world.broken = {(node, name) for node in world.nodes[:-1] for name in world.names}
    for _ in range(30):
        world.turn()
        assert world.healthy() == set(world.names)
    world.died_s["a-0"] = world.now_s
    for _ in range(CONCLUDED_WITHIN):
        world.turn()
    assert world.healthy() == {"a-1", "a-2", "a-3"}


def test_a_prober_that_passed_before_the_others_failed_is_awaited_for_a_while():
    def judged(newest_s):
        failing = tuple(
            ProbeSeen(
                vantage=node,
                at_s=newest_s,
                outcome=GONE,
                failed_at_s=(newest_s - 1, newest_s),
                failing_since_s=NOW + 1,
            )
            for node in ("c1", "c2")
        )
        return judge_probes((*failing, make_probe(NOW, vantage="c3")), after_s=NOW - 30, probers=3)

    assert judged(NOW + 4).is_split
    assert judged(NOW + 6).is_fail
