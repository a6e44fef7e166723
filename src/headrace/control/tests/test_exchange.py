import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogError
from headrace.control.exchange import (
    MOST_FILES,
    PAST_BOOTS,
    Arrival,
    judge_arrival,
    merge_holdings,
    next_report,
    page_plan,
)
from headrace.control.model import StoredReport
from headrace.fleet.model import ApplianceReport
from headrace.wire.agent import ExchangeRequest, HoldingsReport

SETS = st.frozensets(st.integers(1, 60)).map(FileSet)


def told(files, base=None, *, added=None, removed=None):
    return HoldingsReport(
        digest=files.digest(),
        count=len(files),
        total_bytes=0,
        base_digest=None if base is None else base.digest(),
        added=(files if base is None else files - base).encode() if added is None else added.encode(),
        removed=("" if base is None else (base - files).encode()) if removed is None else removed.encode(),
    )


def request(boot_id, sequence):
    return ExchangeRequest(
        appliance_id=ApplianceId("a1"),
        boot_id=boot_id,
        sequence=sequence,
        report=ApplianceReport(),
        holdings=told(FileSet()),
        desired_version=0,
        plan_version=0,
        plan_digest="",
    )


@pytest.mark.parametrize(
    ("boot_id", "sequence", "arrival"),
    [
        ("b2", 8, Arrival.NEW),
        ("b2", 7, Arrival.REPEATED),
        ("b2", 1, Arrival.REPEATED),
        ("b1", 5, Arrival.LATE),
        ("b1", 6, Arrival.NEW_BOOT),
        ("b0", 99, Arrival.LATE),
        ("b3", 1, Arrival.NEW_BOOT),
    ],
)
def test_arrivals(boot_id, sequence, arrival):
    stored = StoredReport(boot_id="b2", sequence=7, past_boots=("b1#5", "b0"))
    assert judge_arrival(stored, boot_id, sequence) is arrival


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=40))
def test_time_never_runs_backwards_whatever_the_order_of_messages(messages):
    stored, order = StoredReport(), []
    for boot, sequence in messages:
        if judge_arrival(stored, f"b{boot}", sequence) in (Arrival.NEW, Arrival.NEW_BOOT):
            stored = next_report(stored, request(f"b{boot}", sequence), now_s=1.0)
            order.append((boot, sequence))
    for boot in range(4):
        sequences = [sequence for each, sequence in order if each == boot]
        assert sequences == sorted(set(sequences))
    assert len(stored.past_boots) <= PAST_BOOTS


@given(SETS, SETS)
def test_a_whole_set_is_always_taken(stored, new):
    assert merge_holdings(stored, stored.digest(), told(new)) == new


@given(SETS, SETS, SETS)
def test_a_delta_is_taken_only_from_what_is_stored(stored, base, new):
    merged = merge_holdings(stored, stored.digest(), told(new, base))
    assert merged == (new if base == stored else None)


@given(SETS, SETS, SETS)
def test_a_delta_that_gives_another_set_than_it_says_is_refused(stored, new, wrong):
    lying = told(new, stored, added=wrong, removed=FileSet())
    merged = merge_holdings(stored, stored.digest(), lying)
    assert merged is None or merged == new


def test_sets_that_are_no_sets_or_too_many_are_refused():
    broken = HoldingsReport(digest="x", count=1, total_bytes=0, base_digest=None, added="bm90IGEgYml0bWFw")
    with pytest.raises(CatalogError, match="not a bitmap"):
        merge_holdings(FileSet(), FileSet().digest(), broken)
    bomb = FileSet(range(1, MOST_FILES + 2)).encode()
    assert len(bomb) < 5_000
    with pytest.raises(CatalogError, match="limit"):
        merge_holdings(FileSet(), "", HoldingsReport(digest="x", count=1, total_bytes=0, base_digest=None, added=bomb))


@given(SETS, SETS, st.integers(1, 7))
def test_pages_put_together_give_the_plan(base, plan, limit):
    added, removed, after, pages = [], [], 0, 0
    while True:
        page = page_plan(plan, base, after=after, limit=limit)
        assert len(page.added) + len(page.removed) <= limit
        added += page.added
        removed += page.removed
        pages += 1
        if page.more_after is None:
            break
        assert page.more_after > after
        after = page.more_after
    assert (base | FileSet(added)) - FileSet(removed) == plan
    assert len(added) + len(removed) == len(plan - base) + len(base - plan)
    assert pages <= max(1, -(-len(added + removed) // limit))
