"""A fill plan comes into force whole and well formed, or not at all."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.appliance.plan import FillPlan, PlanPages, PlanRefusedError, apply_pages, make_plan
from headrace.appliance.testing import body_of, file_of, plan_of
from headrace.base.ids import FileNo, Sha256
from headrace.catalog.fileset import FileSet
from headrace.wire.agent import PlanUpdate

FILES = [file_of(number, body_of(number, 100 + number)) for number in range(1, 30)]


def update_to(plan, *, base=None, added=None, removed=(), more_after=None):
    return PlanUpdate(
        version=plan.version,
        digest=plan.digest,
        count=len(plan.files),
        base_version=base,
        added=tuple(plan.files.values() if added is None else added),
        removed=tuple(removed),
        more_after=more_after,
    )


def pages_of(*updates):
    pages = PlanPages(first=updates[0])
    for update in updates:
        pages.add(update)
    return pages


def test_a_whole_plan_applies():
    plan = plan_of(FILES)
    made = apply_pages(FillPlan(), pages_of(update_to(plan)))
    assert made.files == plan.files
    assert made.digest == FileSet(plan.files).digest()
    assert made.total_bytes == sum(file.size_bytes for file in FILES)


@given(st.sets(st.integers(0, 28)), st.sets(st.integers(0, 28)), st.integers(1, 7))
def test_any_delta_in_any_pages_gives_the_same_as_the_whole(before, after, page_files):
    old = plan_of([FILES[n] for n in before], version=1)
    new = plan_of([FILES[n] for n in after], version=2)
    added = [new.files[number] for number in sorted(new.files.keys() - old.files.keys())]
    gone = sorted(old.files.keys() - new.files.keys())
    chunks = [added[start : start + page_files] for start in range(0, len(added), page_files)] or [[]]
    updates = [
        update_to(
            new,
            base=1,
            added=chunk,
            removed=gone if index == 0 else (),
            more_after=chunk[-1].file_no if index < len(chunks) - 1 else None,
        )
        for index, chunk in enumerate(chunks)
    ]
    assert apply_pages(old, pages_of(*updates)).files == new.files


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: replace(one, digest="0" * 32),
        lambda one: replace(one, count=1),
        lambda one: replace(one, base_version=7),
        lambda one: replace(one, more_after=FileNo(5)),
        lambda one: replace(one, added=one.added[:-1]),
        lambda one: replace(one, added=(replace(one.added[0], sha256=Sha256("../../etc/passwd")), *one.added[1:])),
        lambda one: replace(one, added=(replace(one.added[0], size_bytes=0), *one.added[1:])),
    ],
)
def test_anything_else_is_refused(spoil):
    with pytest.raises(PlanRefusedError):
        apply_pages(FillPlan(), pages_of(spoil(update_to(plan_of(FILES)))))


def test_pages_of_two_plans_do_not_mix():
    one, other = plan_of(FILES, version=1), plan_of(FILES[:3], version=2)
    with pytest.raises(PlanRefusedError, match="changed"):
        pages_of(update_to(one, more_after=FileNo(5)), update_to(other))


def test_pages_must_go_on():
    page = update_to(plan_of(FILES), more_after=FileNo(5))
    with pytest.raises(PlanRefusedError, match="go on"):
        pages_of(page, page)


def test_an_empty_plan_is_a_plan():
    empty = make_plan(3, {})
    assert apply_pages(plan_of(FILES), pages_of(update_to(empty))).files == {}
