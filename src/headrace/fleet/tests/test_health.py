from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.fleet.evidence import HealthRules, ProbeOutcome, RoutesSeen
from headrace.fleet.health import HealthTrack, conclude_health, recovery_s
from headrace.fleet.model import AdminState, CheckState, HealthReason, HealthState, TurnUpCheck
from headrace.fleet.testing import make_evidence, make_probe, make_report, make_track

NOW = 1_000_000.0
RULES = HealthRules()
OK, GONE, WRONG = ProbeOutcome.OK, ProbeOutcome.UNREACHABLE, ProbeOutcome.WRONG_BYTES
UP, DOWN, LOST = HealthState.HEALTHY, HealthState.UNHEALTHY, HealthState.LOST


def conclude(track, evidence, *, now_s=NOW, watching_since_s=0.0, rules=RULES):
    return conclude_health(track, evidence, rules, now_s=now_s, watching_since_s=watching_since_s)


def probed(outcome=OK, *, ago_s=0.5, failures=2):
    return (make_probe(NOW - ago_s, outcome, failures=failures),)


CASES = {
    # name: (reported seconds ago, probes, report, held, planned, state, reason)
    "all well": (1, probed(), make_report(), 10, 10, UP, HealthReason.ALL_CHECKS_PASS),
    "silent but serving": (60, probed(), make_report(), 10, 10, UP, HealthReason.NO_REPORT),
    "silent for too long": (400_000, probed(), make_report(), 10, 10, DOWN, HealthReason.NO_REPORT),
    "silent, probe fails": (6, probed(GONE, failures=1), make_report(), 10, 10, LOST, HealthReason.NO_REPORT),
    "silent, not probed": (6, (), make_report(), 10, 10, LOST, HealthReason.NO_REPORT),
    "silent, probe of before": (6, probed(ago_s=5.5), make_report(), 10, 10, LOST, HealthReason.NO_REPORT),
    "silent, wrong bytes": (6, probed(WRONG), make_report(), 10, 10, DOWN, HealthReason.PROBE_FAILED),
    "reports, probe fails once": (1, probed(GONE, failures=1), make_report(), 10, 10, UP, None),
    "reports, probe fails": (1, probed(GONE), make_report(), 10, 10, DOWN, HealthReason.PROBE_FAILED),
    "reports, wrong bytes": (1, probed(WRONG), make_report(), 10, 10, DOWN, HealthReason.PROBE_FAILED),
    "reports, not probed": (1, (), make_report(), 10, 10, UP, None),
    "nginx down": (1, probed(ago_s=2), make_report(is_nginx_up=False), 10, 10, DOWN, HealthReason.NGINX_DOWN),
    "nginx back since": (2, probed(), make_report(is_nginx_up=False), 10, 10, UP, None),
    "no disk": (1, probed(), make_report(are_disks_ok=False), 10, 10, DOWN, HealthReason.ALL_DISKS_FAILED),
    "all gone": (1, (), make_report(), 0, 10, DOWN, HealthReason.NOTHING_HELD),
    "empty catalogue": (1, (), make_report(), 0, 0, UP, HealthReason.ALL_CHECKS_PASS),
}


@pytest.mark.parametrize("name", CASES)
def test_from_healthy(name):
    ago_s, probes, report, held, planned, state, reason = CASES[name]
    evidence = make_evidence(reported_s=NOW - ago_s, probes=probes, report=report, held=held, planned=planned)
    health = conclude(make_track(), evidence).health
    assert (health.state, health.reason) == (state, reason or HealthReason.ALL_CHECKS_PASS)
    assert health.is_turned_up
    assert health.since_s == (0.0 if state is UP else NOW)


def test_repeated_messages_are_told_from_silence():
    evidence = replace(make_evidence(reported_s=NOW - 60, probes=probed()), last_message_s=NOW - 1)
    assert conclude(make_track(), evidence).health.reason is HealthReason.REPORTS_FROZEN


@pytest.mark.parametrize(
    ("evidence", "state", "reason"),
    [
        (make_evidence(reported_s=None), HealthState.UNKNOWN, HealthReason.NEVER_REPORTED),
        (make_evidence(reported_s=NOW, held=0), HealthState.TURNING_UP, HealthReason.NOTHING_HELD),
        (make_evidence(reported_s=NOW, held=0, planned=0), HealthState.TURNING_UP, HealthReason.NOTHING_HELD),
        (make_evidence(reported_s=NOW, held=9, planned=100), HealthState.TURNING_UP, HealthReason.FILLING),
        (make_evidence(reported_s=NOW), HealthState.TURNING_UP, HealthReason.NOT_PROBED),
        (make_evidence(reported_s=NOW, probes=probed()), HealthState.TURNING_UP, HealthReason.RECOVERING),
        (make_evidence(reported_s=NOW - 60, probes=probed()), HealthState.TURNING_UP, HealthReason.NO_REPORT),
        (make_evidence(reported_s=NOW - 60), LOST, HealthReason.NO_REPORT),
    ],
)
def test_turn_up_is_not_passed_yet(evidence, state, reason):
    health = conclude(HealthTrack(), evidence).health
    assert (health.state, health.reason, health.is_turned_up) == (state, reason, False)


def test_turn_up_passes_when_all_checks_have_passed_for_long_enough():
    track = HealthTrack()
    states = []
    for second in range(6):
        now_s = NOW + second
        evidence = make_evidence(reported_s=now_s, probes=(make_probe(now_s),))
        track = conclude(track, evidence, now_s=now_s)
        states.append(track.health.state)
    assert states == [HealthState.TURNING_UP] * 3 + [UP] * 3
    assert track.health.is_turned_up


def test_disabling_takes_the_turn_up_back():
    evidence = make_evidence(reported_s=NOW, probes=probed(), admin_state=AdminState.DISABLED)
    track = conclude(make_track(), evidence)
    assert (track.health.state, track.health.reason) == (HealthState.TURNING_UP, HealthReason.DISABLED)
    assert not track.health.is_turned_up
    enabled = replace(evidence, admin_state=AdminState.ENABLED)
    assert conclude(track, enabled).health.state is HealthState.TURNING_UP


def test_recovery_takes_longer_after_each_relapse():
    assert [recovery_s(relapses, RULES) for relapses in (0, 1, 2, 3, 99)] == [10, 20, 40, 60, 60]


def test_a_node_that_takes_over_does_not_blame_its_predecessors_silence():
    evidence = make_evidence(reported_s=NOW - 60, probes=probed(GONE, ago_s=3))
    assert conclude(make_track(), evidence, watching_since_s=NOW - 2).health.state is UP
    assert conclude(make_track(LOST), evidence, watching_since_s=NOW - 2).health.state is LOST


def test_lost_until_it_reports_or_has_served_for_long_enough():
    silent = make_evidence(reported_s=NOW - 60, probes=probed())
    assert conclude(make_track(LOST), silent).health.state is LOST
    assert conclude(make_track(LOST), make_evidence(reported_s=NOW)).health.reason is HealthReason.RECOVERING
    served = replace(make_track(LOST), good_since_s=NOW - 11)
    assert conclude(served, silent).health.reason is HealthReason.NO_REPORT
    assert conclude(served, silent).health.state is UP


turns = st.lists(
    st.tuples(
        st.booleans(),  # a report came
        st.sampled_from([OK, OK, GONE, WRONG, None]),  # a probe came, and how it went
        st.booleans(),  # nginx runs, says the report
        st.sampled_from([0, 1, 10]),  # files held of 10
        st.sampled_from([AdminState.ENABLED, AdminState.ENABLED, AdminState.ENABLED, AdminState.DISABLED]),
    ),
    max_size=120,
)


def replay(steps):
    """Conclude each second; yield (evidence, track before, track after, now_s)."""
    track, reported_s, probe, report = HealthTrack(), None, None, make_report()
    for second, (came, outcome, is_up, held, admin) in enumerate(steps):
        now_s = NOW + second
        if came:
            reported_s, report = now_s, make_report(is_nginx_up=is_up)
        if outcome is not None:
            failed = () if outcome is OK else (*(probe.failed_at_s if probe else ()), now_s)[-5:]
            probe = replace(make_probe(now_s, outcome), failed_at_s=failed)
        probes = () if probe is None else (probe,)
        evidence = make_evidence(reported_s=reported_s, probes=probes, report=report, held=held, admin_state=admin)
        before, track = track, conclude(track, evidence, now_s=now_s, watching_since_s=NOW)
        yield evidence, before, track, now_s


@settings(max_examples=200)
@given(turns)
def test_healthy_only_after_turn_up_and_never_back_faster_than_the_rules_say(steps):
    down_since_s = None
    for evidence, before, after, now_s in replay(steps):
        was, now = before.health, after.health
        assert now.state is not UP or now.is_turned_up
        assert evidence.admin_state is not AdminState.DISABLED or (now.state is not UP and not now.is_turned_up)
        if was.state is UP and now.state is not UP:
            down_since_s = now_s
        if was.state is not UP and now.state is UP:
            least_s = RULES.recover_s if was.is_turned_up else RULES.turn_up_s
            assert evidence.held_files > 0
            assert evidence.last_report_s is not None
            assert down_since_s is None or now_s - down_since_s >= least_s


@settings(max_examples=200)
@given(turns)
def test_no_flapping_whatever_comes_in(steps):
    enabled = [(*step[:4], AdminState.ENABLED) for step in steps]
    changes = sum(before.health.state is not after.health.state for _, before, after, _ in replay(enabled))
    assert changes <= 4 + 3 * len(enabled) / RULES.silent_after_s


@settings(max_examples=100)
@given(
    report_phase_s=st.floats(0.0, 2.4), probe_phase_s=st.floats(0.0, 2.4), turn_phase_s=st.floats(0.0, 1.2),
    is_refused=st.booleans(),
)  # fmt: skip
def test_a_death_is_noticed_within_eight_seconds(report_phase_s, probe_phase_s, turn_phase_s, is_refused):
    """Two seconds are left for compiling, polling and answering: ten in all. Intervals are at their longest (+20 %)."""
    timeout_s = 0.0 if is_refused else 1.5
    first_s = NOW - probe_phase_s + 2.4 + timeout_s
    failures = [first_s + number * (1.2 + timeout_s) for number in range(4)]
    track, now_s = make_track(), NOW + turn_phase_s
    while track.health.state is UP:
        known = tuple(at_s for at_s in failures if at_s <= now_s)
        probe = make_probe(NOW - probe_phase_s)
        if known:
            probe = replace(make_probe(known[-1], GONE), failed_at_s=known)
        evidence = make_evidence(reported_s=NOW - report_phase_s, probes=(probe,))
        track = conclude(track, evidence, now_s=now_s)
        if track.health.state is UP:
            now_s += 1.2
    assert now_s - NOW <= 8.0


def test_one_probers_bad_path_is_said_and_takes_nobody_out():
    probes = (make_probe(NOW, vantage="c-1"), make_probe(NOW, GONE, failures=3, vantage="c-2"))
    health = conclude(make_track(), make_evidence(reported_s=NOW, probes=probes)).health
    assert (health.state, health.reason) == (UP, HealthReason.BAD_PATH)
    assert health.detail == "not reached by c-2 (unreachable)"


@pytest.mark.parametrize("outcome", [ProbeOutcome.NOT_HELD, ProbeOutcome.UNREADABLE])
def test_a_process_that_is_up_while_its_disk_is_off_is_out(outcome):
    health = conclude(make_track(), make_evidence(reported_s=NOW, probes=probed(outcome))).health
    assert (health.state, health.reason) == (DOWN, HealthReason.DISK_OFF)
    no_disk = replace(make_report(), disks=())
    health = conclude(make_track(), make_evidence(reported_s=NOW, probes=probed(), report=no_disk)).health
    assert (health.state, health.reason) == (DOWN, HealthReason.DISK_OFF)


def test_too_few_control_nodes_mark_nobody_lost():
    evidence = replace(make_evidence(reported_s=NOW - 60, probes=probed(GONE)), has_quorum=False)
    assert conclude(make_track(), evidence).health.state is UP
    assert conclude(make_track(), replace(evidence, has_quorum=True)).health.state is LOST
    reporting = replace(evidence, last_report_s=NOW, last_message_s=NOW)
    assert conclude(make_track(), reporting).health.state is UP


def run_counter(counts, *, outcome=OK, watching_since_s=0.0):
    """A report and a probe each 2 s, with these counters."""
    track = make_track()
    for number, answered in enumerate(counts):
        now_s = NOW + 2 * number
        report = make_report()
        report = replace(report, load=replace(report.load, answered=answered))
        evidence = make_evidence(reported_s=now_s, probes=(make_probe(now_s, outcome, failures=1),), report=report)
        track = conclude(track, evidence, now_s=now_s, watching_since_s=watching_since_s)
    return track.health


def test_counters_that_stand_still_while_probes_are_served_are_frozen():
    assert run_counter([7] * 9).reason is HealthReason.ALL_CHECKS_PASS
    frozen = run_counter([7] * 12)
    assert (frozen.state, frozen.reason) == (UP, HealthReason.COUNTERS_FROZEN)
    assert frozen.detail == "7 requests, though probes are served"
    assert run_counter([7] * 12 + [8]).reason is HealthReason.ALL_CHECKS_PASS
    assert run_counter(range(20)).reason is HealthReason.ALL_CHECKS_PASS
    assert run_counter([-1] * 20).reason is HealthReason.ALL_CHECKS_PASS  # an agent that does not tell
    assert run_counter([7] * 20, watching_since_s=NOW + 30).reason is HealthReason.ALL_CHECKS_PASS
    assert run_counter([7] * 20, outcome=GONE).reason is not HealthReason.COUNTERS_FROZEN


def checks_of(evidence, now_s=NOW):
    track = conclude(HealthTrack(), evidence, now_s=now_s)
    return track.health, {one.check.value: one.state.value for one in track.checks}, track.checks


def test_each_turn_up_check_has_its_own_state_and_reason():
    health, states, _ = checks_of(make_evidence(reported_s=None))
    assert set(states.values()) == {"waiting"}
    assert health.state is HealthState.UNKNOWN
    evidence = make_evidence(reported_s=NOW, held=1, planned=100, probes=probed(GONE, failures=3))
    routes = RoutesSeen(sessions=2, established=1, routes=5, missing=("ipv6",), detail="192.0.2.1/ipv6 connecting")
    health, states, results = checks_of(replace(evidence, routes=routes))
    assert states == {
        "reports": "passed",
        "web-server": "passed",
        "disks": "passed",
        "routes": "failed",
        "content": "failed",
        "reachable": "failed",
        "range": "waiting",
    }
    words = {one.check.value: one.detail for one in results}
    assert words["routes"] == "no-routes: none for ipv6, 1 of 2 sessions established: 192.0.2.1/ipv6 connecting"
    assert words["content"] == "filling: less than 10% of the plan"
    assert words["reachable"] == "probe-failed: probe: unreachable"
    assert health.reason is HealthReason.NO_ROUTES


def test_no_client_before_a_whole_file_was_fetched_and_hashed():
    track = HealthTrack()
    for second in range(10):
        probes = (replace(make_probe(NOW + second), is_verified=False),)
        evidence = make_evidence(reported_s=NOW + second, probes=probes)
        track = conclude(track, evidence, now_s=NOW + second)
    assert (track.health.state, track.health.reason) == (HealthState.TURNING_UP, HealthReason.NOT_VERIFIED)
    for second in range(10, 15):
        evidence = make_evidence(reported_s=NOW + second, probes=(make_probe(NOW + second),))
        track = conclude(track, evidence, now_s=NOW + second)
    assert track.health.state is UP
    assert {one.state for one in track.checks} == {CheckState.PASSED}
    assert len(track.checks) == len(TurnUpCheck)


def test_routes_are_asked_only_where_there_are_sessions_and_only_before_the_first_client():
    routes = RoutesSeen(sessions=1, established=0, routes=0, missing=("ipv4",))
    turned_up = replace(make_evidence(reported_s=NOW, probes=probed()), routes=routes)
    assert conclude(make_track(), turned_up).health.state is UP
    assert checks_of(make_evidence(reported_s=NOW, probes=probed()))[1]["routes"] == "passed"
