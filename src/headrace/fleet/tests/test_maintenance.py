from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.fleet.lifecycle import DrainState, LeaveReason, LeaveVerdict
from headrace.fleet.maintenance import (
    ENDED,
    MaintenanceRules,
    MaintenanceWindow,
    Member,
    WindowState,
    cancel,
    check_window,
    crowded_instants,
    held_at,
    next_move,
    state_in_force,
)
from headrace.fleet.model import AdminState, FleetError, Health, HealthReason, HealthState
from headrace.fleet.testing import make_appliance

NOW = 1_000_000.0
HOUR = 3600.0
RULES = MaintenanceRules()
FLEET = [make_appliance("a-1"), make_appliance("a-2"), make_appliance("b-1", site="s-2")]
YES = LeaveVerdict(may_leave=True, reason=LeaveReason.WITHIN_BUDGET)
NO = LeaveVerdict(may_leave=False, reason=LeaveReason.LAST_OF_SITE, detail="the others are away")
UP = Health(state=HealthState.HEALTHY, reason=HealthReason.ALL_CHECKS_PASS, is_turned_up=True)
READY = Health(state=HealthState.TURNING_UP, reason=HealthReason.DISABLED)
GONE = Health(state=HealthState.LOST, reason=HealthReason.NO_REPORT)


def window(appliance="a-1", *, starts=2 * HOUR, lasts=HOUR, site=None, name="", ahead=HOUR, **fields):
    return MaintenanceWindow(
        window_id=name,
        appliance_id=None if site else appliance,
        site_id=site,
        starts_s=NOW + starts,
        ends_s=NOW + starts + lasts,
        drain_ahead_s=ahead,
        reason="new disk",
        **fields,
    )


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (window(starts=-2 * HOUR), "in the past: give an end"),
        (window(starts=-HOUR, lasts=3 * HOUR), "in the past: leave it out to begin now"),
        (window(lasts=float("inf")), "what has no end is disabled"),
        (window(lasts=float("nan")), "what has no end is disabled"),
        (window(lasts=0), "1m 00s or more after its start"),
        (window(lasts=-HOUR), "or more after its start"),
        (window(lasts=31 * 24 * HOUR), "at most 30d 00h: give an earlier end, or disable"),
        (window(starts=100 * 24 * HOUR), "at most 92d 00h ahead"),
        (window(ahead=-1), "the drain begins between 0"),
        (window(starts=3 * HOUR), "a-1 is in maintenance window w1 .appliance a-1. at that time.*cancel w1 first"),
        (window(starts=3 * HOUR, site="s-1"), "site s-1 is in maintenance window w1"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_the_mend(wanted, words):
    with pytest.raises(FleetError, match=words):
        check_window(wanted, [window(name="w1")], FLEET, RULES, now_s=NOW)


@pytest.mark.parametrize(
    "wanted",
    [
        window(starts=4 * HOUR),  # its drain begins when w1 ends
        window("a-2"),
        window(site="s-2"),
        window(starts=0, lasts=HOUR, ahead=0),
    ],
)
def test_what_can_be_planned(wanted):
    check_window(wanted, [window(name="w1"), replace(window(), state=WindowState.DONE)], FLEET, RULES, now_s=NOW)


def test_two_windows_of_an_empty_site_overlap_too():
    with pytest.raises(FleetError, match="site s-9 is in maintenance window w1"):
        check_window(window(site="s-9"), [window(site="s-9", name="w1")], FLEET, RULES, now_s=NOW)


class Run:
    """A window that is moved on each minute."""

    def __init__(self, wanted, fleet=FLEET):
        self.window = wanted
        self.members = {one.appliance_id: Member(appliance=one, health=UP) for one in fleet}
        self.verdict = YES
        self.told = []

    def at(self, second):
        while move := next_move(
            self.window, self.members, RULES, now_s=NOW + second, may_leave=lambda names: self.verdict
        ):
            self.window = move.window
            if move.kind:
                self.told.append((move.kind.removeprefix("maintenance."), move.reason))
        return self.window.state

    def force_of(self, name="a-1"):
        return state_in_force(AdminState.ENABLED, name, [self.window])

    def set(self, name, **fields):
        self.members[name] = replace(self.members[name], **fields)


def test_a_window_drains_ahead_opens_and_brings_back_what_is_healthy():
    run = Run(window(site="s-1", name="w1"))
    assert run.at(HOUR - 1) is WindowState.PLANNED
    assert run.at(HOUR) is WindowState.DRAINING
    assert [run.force_of(name) for name in ("a-1", "a-2", "b-1")] == [AdminState.DRAINING] * 2 + [AdminState.ENABLED]
    run.set("a-1", drain=DrainState.DRAINED)
    run.set("a-2", drain=DrainState.WAITING, sessions=2)
    assert run.at(2 * HOUR) is WindowState.OPEN
    assert run.force_of() is AdminState.DISABLED
    run.set("a-1", health=READY)
    run.set("a-2", health=GONE)
    assert run.at(3 * HOUR) is WindowState.RETURNING
    assert [run.force_of(name) for name in ("a-1", "a-2")] == [AdminState.ENABLED, AdminState.DISABLED]
    assert run.window.detail == "a-2: lost (no-report)"
    assert run.at(4 * HOUR) is WindowState.RETURNING
    run.set("a-2", health=READY)
    assert run.at(4 * HOUR) is WindowState.DONE
    assert run.force_of("a-2") is AdminState.ENABLED
    assert run.told == [
        ("draining", "new disk"),
        ("started", "sessions-left"),
        ("ended", "time-is-up"),
        ("late", "not-healthy"),
        ("done", "all-back"),
    ]


def test_what_an_operator_keeps_out_stays_out():
    run = Run(window(name="w1"))
    run.at(HOUR)
    run.set("a-1", appliance=replace(FLEET[0], admin_state=AdminState.DISABLED), health=GONE)
    assert run.at(3 * HOUR) is WindowState.DONE
    assert state_in_force(AdminState.DISABLED, "a-1", [run.window]) is AdminState.DISABLED


def test_the_failure_budget_is_asked_again_when_it_begins_and_said_once():
    run = Run(window(name="w1"))
    run.verdict = NO
    run.at(HOUR)
    assert run.at(HOUR + 60) is WindowState.PLANNED
    assert (run.window.refusal, run.window.detail) == ("last-of-site", "the others are away")
    run.verdict = YES
    assert run.at(HOUR + 120) is WindowState.DRAINING
    assert run.told == [("blocked", "last-of-site"), ("draining", "new disk")]


def test_one_that_never_may_begin_is_missed():
    run = Run(window(name="w1"))
    run.verdict = NO
    run.at(HOUR)
    assert run.at(3 * HOUR) is WindowState.MISSED
    assert run.told[-1] == ("missed", "last-of-site")


def test_a_forced_one_begins_and_says_who_and_what_was_overruled():
    run = Run(window(name="w1", is_forced=True, planned_by="operator:ann"))
    run.verdict = NO
    move = next_move(run.window, run.members, RULES, now_s=NOW + HOUR, may_leave=lambda names: NO)
    assert "forced by operator:ann past: last-of-site (the others are away)" in move.detail


def test_cancelling():
    run = Run(window(name="w1"))
    assert cancel(run.window, now_s=NOW).state is WindowState.CANCELLED
    run.at(HOUR)
    assert cancel(run.window, now_s=NOW).members == ()
    run.at(2 * HOUR)
    run.window = cancel(run.window, now_s=NOW + 2.5 * HOUR)
    assert (run.window.state, run.window.ends_s) == (WindowState.RETURNING, NOW + 2.5 * HOUR)
    with pytest.raises(FleetError, match="w1 is done already"):
        cancel(replace(run.window, state=WindowState.DONE), now_s=NOW)


def test_the_budget_is_asked_for_each_moment_at_which_more_are_away():
    other = window("a-2", starts=2.5 * HOUR, name="w2")
    assert crowded_instants(window(), [other], now_s=NOW) == [NOW + HOUR, NOW + 1.5 * HOUR]
    assert held_at([other], FLEET[1], NOW + 1.5 * HOUR)
    assert not held_at([other], FLEET[1], NOW + HOUR)


@given(st.lists(st.tuples(st.floats(0, 6 * HOUR), st.sampled_from(["yes", "no", "gone", "ready", "up"])), max_size=30))
def test_whatever_happens_a_window_goes_forward_and_holds_only_what_it_covers(steps):
    run = Run(window(site="s-1", name="w1"))
    order = list(WindowState)
    for second, what in sorted(steps, key=lambda one: one[0]):
        run.verdict = {"yes": YES, "no": NO}.get(what, run.verdict)
        health = {"gone": GONE, "ready": READY, "up": UP}.get(what)
        if health:
            run.set("a-1", health=health)
        before = run.window.state
        after = run.at(second)
        assert order.index(after) >= order.index(before)
        assert run.force_of("b-1") is AdminState.ENABLED
        if second < HOUR or after in ENDED:
            assert run.force_of() is AdminState.ENABLED
        if after is WindowState.OPEN:
            assert run.force_of() is AdminState.DISABLED
