from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.catalog.fileset import FileSet
from headrace.fleet.model import ApplianceReport, DiskReport
from headrace.placement.errors import PlacementError
from headrace.placement.plan import (
    AppliancePlan,
    PlacedTitle,
    PlacementPlan,
    Room,
    SkipReason,
    check_plan,
    plan_placement,
    room_of,
)


def title(name, at_s, size_bytes, *numbers):
    return PlacedTitle(title_id=name, published_at_s=at_s, file_nos=numbers, size_bytes=size_bytes)


def room(usable_bytes, reserve_bytes=0, planned=(), name="a-1"):
    return Room(appliance_id=name, usable_bytes=usable_bytes, reserve_bytes=reserve_bytes, planned=FileSet(planned))


OLD, MIDDLE, NEW = title("old", 1, 40, 1, 2), title("middle", 2, 30, 3), title("new", 3, 30, 4, 5)
TITLES = [MIDDLE, OLD, NEW]
NO_ROOM, TOO_LARGE = SkipReason.NO_ROOM, SkipReason.LARGER_THAN_APPLIANCE


@pytest.mark.parametrize(
    ("where", "files", "skipped"),
    [
        (room(100), {1, 2, 3, 4, 5}, {}),
        (room(99), {3, 4, 5}, {"old": NO_ROOM}),
        (room(105, 10), {3, 4, 5}, {"old": NO_ROOM}),
        (room(105, 10, planned={1, 2, 3, 4, 5}), {1, 2, 3, 4, 5}, {}),
        (room(75, 20, planned={1, 2}), {1, 2, 4, 5}, {"middle": NO_ROOM}),
        (room(35), {4, 5}, {"middle": NO_ROOM, "old": TOO_LARGE}),
        (room(0), set(), {"new": TOO_LARGE, "middle": TOO_LARGE, "old": TOO_LARGE}),
    ],
)
def test_newest_first_whole_titles_only(where, files, skipped):
    plan = plan_placement(TITLES, [where])
    check_plan(plan, TITLES, [where])
    one = plan.plans["a-1"]
    assert set(one.files) == files
    assert {left.title_id: left.reason for left in one.skipped} == skipped


def test_an_empty_catalogue_plans_nothing():
    assert plan_placement([], [room(100)]).plans["a-1"].files == FileSet()


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ({"files": FileSet([1, 3, 4, 5])}, "not the whole"),
        ({"files": FileSet([1, 2, 3, 4, 5, 6])}, "not the whole"),
        ({"total_bytes": 101}, "101 of 100 usable bytes"),
    ],
)
def test_check_plan_finds(spoilt, message):
    good = plan_placement(TITLES, [room(100)]).plans["a-1"]
    with pytest.raises(PlacementError, match=message):
        check_plan(PlacementPlan(plans={"a-1": replace(good, **spoilt)}), TITLES, [room(100)])


def test_check_plan_finds_a_forgotten_appliance():
    with pytest.raises(PlacementError, match="a-1 has no plan"):
        check_plan(PlacementPlan(plans={}), TITLES, [room(100)])
    whole = AppliancePlan(appliance_id="a-1", files=FileSet(), total_bytes=0, skipped=())
    with pytest.raises(PlacementError, match="not the whole"):
        check_plan(PlacementPlan(plans={"a-1": whole}), TITLES, [room(100)])


def test_room_counts_working_disks_and_what_is_held():
    good = DiskReport(folder="/a", is_ok=True, total_bytes=1000, free_bytes=300)
    bad = DiskReport(folder="/b", is_ok=False, total_bytes=1000, free_bytes=900)
    found = room_of("a-1", ApplianceReport(disks=(good, bad)), 500, FileSet(), reserve_ratio=0.05)
    assert (found.usable_bytes, found.reserve_bytes) == (800, 50)
    assert room_of("a-1", ApplianceReport(disks=(bad,)), 500, FileSet(), reserve_ratio=0.05).usable_bytes == 0
    shared = (replace(good, filesystem="9"), replace(good, folder="/c", filesystem="9"))
    assert room_of("a-1", ApplianceReport(disks=shared), 500, FileSet(), reserve_ratio=0.05).usable_bytes == 800
    assert room_of("a-1", ApplianceReport(), 500, FileSet(), reserve_ratio=0.05) is None


catalogs = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 5)), max_size=12).map(
    lambda shapes: [
        title(f"t-{number}", at_s, size, 2 * number + 1, 2 * number + 2) for number, (size, at_s) in enumerate(shapes)
    ]
)


@settings(max_examples=200)
@given(catalogs, st.lists(st.tuples(st.integers(0, 300), st.integers(0, 20)), min_size=1, max_size=5))
def test_every_plan_passes_its_check_and_planning_again_changes_nothing(titles, shapes):
    rooms = [room(usable, reserve, name=f"a-{at}") for at, (usable, reserve) in enumerate(shapes)]
    plan = plan_placement(titles, rooms)
    check_plan(plan, titles, rooms)
    again = [replace(one, planned=plan.plans[one.appliance_id].files) for one in rooms]
    after = plan_placement(titles, again)
    for one in again:
        before_titles = {left.title_id for left in plan.plans[one.appliance_id].skipped}
        after_titles = {left.title_id for left in after.plans[one.appliance_id].skipped}
        assert after_titles == before_titles


@settings(max_examples=200)
@given(catalogs, st.integers(0, 300), st.integers(0, 20))
def test_a_title_is_left_out_only_when_newer_ones_leave_no_room(titles, usable, reserve):
    where = room(usable, reserve)
    one = plan_placement(titles, [where]).plans["a-1"]
    left_out = {left.title_id for left in one.skipped}
    for candidate in titles:
        rank = (-candidate.published_at_s, candidate.title_id)
        newer = sum(
            other.size_bytes
            for other in titles
            if other.title_id not in left_out and (-other.published_at_s, other.title_id) < rank
        )
        fits = newer + candidate.size_bytes <= usable - reserve
        assert fits is (candidate.title_id not in left_out)
