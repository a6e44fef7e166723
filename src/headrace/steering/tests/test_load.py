"""Levels: gradual, with hysteresis, exact in shares; the ledger keeps a burst within bounds."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.steering.load import (
    MOST_MOVED,
    REFUSES,
    STEPS,
    TAKES,
    Ledger,
    LoadRules,
    draw_of,
    is_taken,
    level_at,
    next_level,
    outcome,
    use_ratio,
)
from headrace.steering.rendezvous import hash_key
from headrace.steering.testing import make_appliance, numbers_of

RULES = LoadRules()
USES = st.floats(0, 2)
LEVELS = st.integers(-MOST_MOVED, STEPS)


def appliance(name: str = "x", **changes: object):
    return make_appliance(name, "a", numbers_of([]), **changes)


@given(USES, USES)
def test_levels_never_rise_with_the_load(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert level_at(low, RULES) >= level_at(high, RULES)


@pytest.mark.parametrize(
    ("use", "level"),
    [(0.0, 64), (0.749, 64), (0.825, 32), (0.899, 1), (0.9, 0), (0.99, 0), (1.0, -1), (1.1, -16), (5.0, -32)],
)
def test_from_all_to_none_to_leaving(use: float, level: int) -> None:
    assert level_at(use, RULES) == level


def test_no_capacity_is_full() -> None:
    assert level_at(use_ratio(appliance(capacity_bps=0)), RULES) == -MOST_MOVED
    assert use_ratio(appliance(tx_bps=1e9, busy_ratio=0.8)) == 0.8


@given(st.lists(USES, min_size=1, max_size=40))
def test_a_level_stands_still_while_the_load_moves_less_than_the_hysteresis(uses: list[float]) -> None:
    level = STEPS
    for use in uses:
        level = next_level(level, use, RULES)
        assert level_at(use + RULES.hysteresis_ratio, RULES) <= level <= level_at(use, RULES)
        for wiggle in (0.9, 0.5, 0.0):
            assert (
                next_level(level, use - wiggle * RULES.hysteresis_ratio, RULES)
                == next_level(next_level(level, use - wiggle * RULES.hysteresis_ratio, RULES), use, RULES)
                or level_at(use, RULES) < level
            )


@given(level=LEVELS, name=st.text(min_size=1, max_size=12))
def test_shares_are_exact(level: int, name: str) -> None:
    key = hash_key(name)
    assert sum(is_taken(level, draw, key) for draw in range(STEPS)) == max(0, level)
    running = [outcome(level, draw, key, is_in_use=True) for draw in range(STEPS)]
    assert running.count(REFUSES) == max(0, -level)
    assert running.count(TAKES) == (STEPS if level > 0 else 0)


@given(one=LEVELS, other=LEVELS, draw=st.integers(0, STEPS - 1), name=st.text(max_size=9))
def test_a_change_of_level_moves_only_those_between(one: int, other: int, draw: int, name: str) -> None:
    low, high = sorted((one, other))
    key = hash_key(name)
    assert is_taken(high, draw, key) or not is_taken(low, draw, key)
    for is_in_use in (False, True):
        before, after = (outcome(level, draw, key, is_in_use=is_in_use) for level in (high, low))
        assert before <= after


def test_who_is_sent_away_by_one_is_not_sent_away_by_all() -> None:
    keys = [hash_key(f"a{number}") for number in range(60)]
    both = [
        sum(not is_taken(32, draw, one) and not is_taken(32, draw, other) for draw in range(STEPS))
        for one in keys
        for other in keys
        if one != other
    ]
    assert sum(both) / len(both) == pytest.approx(STEPS / 4, rel=0.1)


def test_draws_are_even() -> None:
    counts = Counter(draw_of(bytes([10, 0, high, low]), hash_key("t")) for high in range(64) for low in range(256))
    assert max(counts.values()) < 1.4 * 64 * 256 / STEPS
    assert len(counts) == STEPS
    assert draw_of(bytes(16), 5) == draw_of(bytes(8) + b"12345678", 5)


def ledger(workers: int = 1) -> Ledger:
    return Ledger(RULES, workers=workers, settle_s=4, most_age_s=60)


def report(book: Ledger, *fleet, loads_at_s: float, now_s: float) -> None:
    book.report({one.appliance_id: one for one in fleet}, loads_at_s=loads_at_s, now_s=now_s)


@settings(max_examples=30)
@given(
    nodes=st.integers(1, 8),
    before=st.floats(0, 0.6),
    session_bps=st.sampled_from([1e6, 5e6, 25e6]),
    sessions=st.integers(1, 10_000),
)
def test_a_burst_between_two_reports_stays_below_the_room(
    nodes: int, before: float, session_bps: float, sessions: int
) -> None:
    """10,000 sessions in one second, dealt to nodes that do not speak: each stops in time for all of them."""
    capacity = 10**10
    one = appliance(tx_bps=before * capacity, capacity_bps=capacity)
    books = [ledger(workers=nodes) for _ in range(nodes)]
    for book in books:
        report(book, one, loads_at_s=100, now_s=100)
    given_bps = 0.0
    for number in range(sessions):
        book = books[number % nodes]
        if is_taken(book.levels.get("x", STEPS), number * 37 % STEPS, hash_key("x")):
            book.give("x", session_bps, 100.5)
            given_bps += session_bps
    slack = nodes * session_bps + capacity / STEPS
    assert before * capacity + given_bps <= RULES.room_ratio * capacity + slack


def test_what_was_given_is_forgotten_when_a_report_shows_it() -> None:
    book = ledger()
    report(book, appliance(), loads_at_s=100, now_s=100)
    for _ in range(100):
        book.give("x", 85e6, 101)
    assert 0 < book.levels["x"] < STEPS
    level = book.levels["x"]
    report(book, appliance(), loads_at_s=103, now_s=103)
    assert book.levels["x"] == level
    report(book, appliance(tx_bps=8.5e9), loads_at_s=106, now_s=106)
    assert book.pending_bps("x") == 0
    assert 0 < book.levels["x"] < STEPS
    report(book, appliance(tx_bps=1e9), loads_at_s=111, now_s=111)
    assert book.levels == {}


def test_without_reports_what_was_given_is_forgotten_after_a_while() -> None:
    book = ledger()
    report(book, appliance(), loads_at_s=100, now_s=100)
    for _ in range(100):
        book.give("x", 85e6, 101)
    report(book, appliance(), loads_at_s=100, now_s=130)
    assert book.levels
    report(book, appliance(), loads_at_s=100, now_s=162)
    assert not book.levels


def test_an_appliance_that_left_is_forgotten() -> None:
    book = ledger()
    report(book, appliance(tx_bps=9.5e9), loads_at_s=1, now_s=1)
    assert book.levels == {"x": 0}
    report(book, loads_at_s=2, now_s=2)
    assert book.levels == {}
