from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.fleet.lifecycle import (
    ADMIN_MOVES,
    Copies,
    Drain,
    DrainState,
    FailureBudget,
    LeaveReason,
    Standing,
    check_may_leave,
    check_move,
    conclude_drain,
)
from headrace.fleet.model import AdminState, FleetError, HealthState
from headrace.fleet.testing import make_appliance, make_report, make_track

ENABLED, DRAINING, DISABLED = AdminState.ENABLED, AdminState.DRAINING, AdminState.DISABLED


def test_every_move_but_draining_what_is_disabled():
    for now in AdminState:
        for wanted in AdminState:
            if (now, wanted) == (DISABLED, DRAINING):
                with pytest.raises(FleetError, match="a-1 is disabled and cannot become draining, only enabled"):
                    check_move("a-1", now, wanted)
            else:
                check_move("a-1", now, wanted)
    assert set(ADMIN_MOVES) == set(AdminState)


def drain(steps, *, admin=DRAINING):
    """Steps: (second, sessions or None for silence)."""
    now = Drain()
    for second, sessions in steps:
        age_s = 60.0 if sessions is None else 1.0
        now = conclude_drain(
            now, admin, make_report(sessions=sessions or 0), age_s, now_s=float(second), quiet_s=10, silent_after_s=5
        )
    return now.state


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ([(0, 3)], DrainState.WAITING),
        ([(0, 0)], DrainState.QUIET),
        ([(0, 0), (9, 0)], DrainState.QUIET),
        ([(0, 0), (10, 0)], DrainState.DRAINED),
        ([(0, 0), (9, 1), (10, 0)], DrainState.QUIET),
        ([(0, 0), (9, None), (10, 0)], DrainState.QUIET),
        ([(0, None), (100, None)], DrainState.UNKNOWN),
        ([(0, 0), (10, 0), (11, None)], DrainState.DRAINED),
        ([(0, 0), (10, 0), (11, 1)], DrainState.WAITING),
    ],
)
def test_drained_after_a_quiet_time_and_never_on_missing_data(steps, state):
    assert drain(steps) is state
    assert drain(steps, admin=ENABLED) is DrainState.NOT_DRAINING


def standing(name, site="s-1", state=HealthState.HEALTHY, admin=ENABLED):
    return Standing(appliance=make_appliance(name, site=site, admin_state=admin), health=make_track(state).health)


FIVE = [standing(f"a-{number}", site=f"s-{number // 2}") for number in range(5)]  # s-0: a-0 a-1, s-1: a-2 a-3, s-2: a-4


@pytest.mark.parametrize(
    ("fleet", "leaving", "sole_files", "reason"),
    [
        (FIVE, "a-0", 0, LeaveReason.WITHIN_BUDGET),
        (FIVE, "a-4", 0, LeaveReason.WITHIN_BUDGET),  # alone at its site: no other of the site was given up
        (FIVE, "unknown", 0, LeaveReason.GIVES_NOTHING),
        ([standing("a-0")], "a-0", 0, LeaveReason.LAST_OF_FLEET),
        ([standing("a-0"), standing("a-1", state=HealthState.LOST)], "a-0", 0, LeaveReason.LAST_OF_FLEET),
        ([standing("a-0"), standing("a-1", state=HealthState.LOST)], "a-1", 9, LeaveReason.GIVES_NOTHING),
        ([standing("a-0", "s-0", admin=DRAINING), *FIVE[1:]], "a-1", 0, LeaveReason.LAST_OF_SITE),
        (FIVE, "a-0", 3, LeaveReason.LAST_COPIES),
        ([standing("a-0", admin=DISABLED), FIVE[1], standing("a-2", "s-1", HealthState.LOST), *FIVE[3:]], "a-4", 0,
         LeaveReason.OVER_BUDGET),
        ([standing("a-0"), standing("a-1")], "a-1", 0, LeaveReason.WITHIN_BUDGET),
    ],
)  # fmt: skip
def test_who_may_leave(fleet, leaving, sole_files, reason):
    verdict = check_may_leave({leaving}, fleet, copies=Copies(in_fleet=sole_files))
    assert verdict.reason is reason
    assert verdict.may_leave is (reason in (LeaveReason.WITHIN_BUDGET, LeaveReason.GIVES_NOTHING))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(HealthState), st.sampled_from(AdminState)), max_size=12),
    st.floats(0.0, 1.0),
)
def test_leaving_one_after_the_other_stops_within_the_budget(shapes, ratio):
    fleet = [standing(f"a-{number}", f"s-{one[0]}", one[1], one[2]) for number, one in enumerate(shapes)]
    before = list(fleet)
    was_serving = sum(one.is_serving for one in fleet)
    for at, one in enumerate(list(fleet)):
        budget = FailureBudget(away_ratio=ratio, site_away_ratio=ratio)
        if check_may_leave({one.appliance.appliance_id}, fleet, budget=budget).may_leave:
            fleet[at] = replace(one, appliance=replace(one.appliance, admin_state=DRAINING))
    serving = [one for one in fleet if one.is_serving]
    assert bool(serving) is bool(was_serving)
    counted = [one for one in fleet if one.is_counted]
    left = was_serving - len(serving)
    assert left <= max(1, int(ratio * len(counted)))
    for site in {one.appliance.site_id for one in fleet}:
        inside = [one for one in counted if one.appliance.site_id == site]
        gone = sum(
            one.appliance.admin_state is DRAINING and was.is_serving
            for one, was in zip(fleet, before, strict=True)
            if one.appliance.site_id == site
        )
        assert gone <= max(1, int(ratio * len(inside)))


FOUR = [standing(f"a-{number}", site="s-0") for number in range(4)] + [standing("b-0", "s-1"), standing("b-1", "s-1")]


@pytest.mark.parametrize(
    ("fleet", "leaving", "copies", "reason"),
    [
        (FOUR, {"a-0", "a-1"}, Copies(), LeaveReason.WITHIN_BUDGET),
        (FOUR, {"a-0", "a-1", "a-2"}, Copies(), LeaveReason.SITE_OVER_BUDGET),
        (FOUR, {"b-0", "b-1"}, Copies(), LeaveReason.SITE_OVER_BUDGET),  # a whole site at once
        (FOUR, {"a-0", "a-1", "b-0"}, Copies(), LeaveReason.WITHIN_BUDGET),
        (FOUR, {one.appliance.appliance_id for one in FOUR}, Copies(), LeaveReason.LAST_OF_FLEET),
        (FOUR, {"a-0"}, Copies(in_region=2, region="region nl"), LeaveReason.LAST_IN_REGION),
    ],
)
def test_who_may_leave_together(fleet, leaving, copies, reason):
    assert check_may_leave(leaving, fleet, copies=copies).reason is reason


def test_what_was_disabled_is_away_though_its_turn_up_is_taken_back():
    gone = [
        replace(
            one, appliance=replace(one.appliance, admin_state=DISABLED), health=replace(one.health, is_turned_up=False)
        )
        for one in FOUR[:2]
    ]
    verdict = check_may_leave({"a-2"}, [*gone, *FOUR[2:]])
    assert (verdict.reason, verdict.detail) == (
        LeaveReason.SITE_OVER_BUDGET,
        "3 of 4 of site s-0 would be away, at most 2 may",
    )


def test_a_refusal_names_titles_and_region():
    copies = Copies(in_region=3, region="region nl", titles=("film-a", "film-b"))
    verdict = check_may_leave({"a-0"}, FOUR, copies=copies)
    assert verdict.detail == "3 files (film-a, film-b) are on no other serving appliance of region nl"
