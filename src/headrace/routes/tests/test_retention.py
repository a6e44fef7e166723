"""Which table counts while sessions come and go."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.routes.model import SessionState
from headrace.routes.retention import (
    NO_TABLE,
    Counting,
    RetentionRules,
    Standing,
    TableRef,
    Told,
    choose_table,
    hear,
)

RULES = RetentionRules(grace_s=120, relearn_s=30)
UP, DOWN = SessionState.ESTABLISHED, SessionState.DOWN
BIG, SMALL = TableRef(digest="big", routes=100), TableRef(digest="small", routes=3)


def story(*messages: tuple[float, SessionState, TableRef | None]) -> Told:
    told: Told | None = None
    for now_s, state, table in messages:
        told = hear(told, state, table, RULES, now_s=now_s)
    assert told is not None
    return told


def at(told: Told, now_s: float) -> tuple[str, Standing]:
    chosen = choose_table(told, RULES, now_s=now_s)
    return chosen.table.digest, chosen.standing


def test_a_drop_keeps_the_table_for_a_while() -> None:
    told = story(
        (0, UP, BIG), (1000, DOWN, NO_TABLE), (1060, SessionState.CONNECTING, NO_TABLE), (1100, DOWN, NO_TABLE)
    )
    assert at(told, 1119) == ("big", Standing.HELD)
    assert at(told, 1120) == ("", Standing.WITHDRAWN)
    late = story((0, UP, BIG), (1000, DOWN, NO_TABLE), (1200, DOWN, NO_TABLE))
    assert at(late, 1201) == ("", Standing.WITHDRAWN)


def test_a_session_that_comes_back_is_not_empty_for_a_moment() -> None:
    told = story((0, UP, BIG), (1000, DOWN, NO_TABLE), (1010, UP, NO_TABLE), (1012, UP, SMALL))
    assert at(told, 1013) == ("big", Standing.RELEARNING)
    assert at(told, 1040) == ("small", Standing.ESTABLISHED)
    assert at(hear(told, UP, BIG, RULES, now_s=1015), 1016) == ("big", Standing.ESTABLISHED)


def test_an_established_table_may_shrink_at_once() -> None:
    assert at(story((0, UP, BIG), (1000, UP, SMALL)), 1000) == ("small", Standing.ESTABLISHED)
    assert at(story((0, UP, BIG), (1000, UP, NO_TABLE)), 1000) == ("", Standing.ESTABLISHED)


def test_a_table_of_which_parts_are_missing_does_not_count_yet() -> None:
    assert at(story((0, UP, BIG), (1000, UP, None)), 1001) == ("big", Standing.ESTABLISHED)


def test_what_was_closed_here_has_no_routes() -> None:
    for state, standing in (
        (SessionState.OVER_LIMIT, Standing.OVER_LIMIT),
        (SessionState.DISABLED, Standing.DISABLED),
    ):
        told = story((0, UP, BIG), (1000, state, BIG))
        assert at(told, 1000) == ("", standing)
        assert at(hear(told, DOWN, BIG, RULES, now_s=1001), 1002) == ("", Standing.WAITING)


def test_silence_changes_nothing() -> None:
    assert at(story((0, UP, BIG)), 1e9) == ("big", Standing.ESTABLISHED)
    assert at(story((0, SessionState.CONNECTING, NO_TABLE)), 5) == ("", Standing.WAITING)


STATES = st.sampled_from([UP, DOWN, SessionState.CONNECTING])
TABLES = st.sampled_from([None, NO_TABLE, SMALL, BIG])


@given(st.lists(st.tuples(st.floats(0.1, 60), STATES, TABLES), min_size=1, max_size=12))
def test_a_table_counts_until_grace_ends_whatever_comes(
    steps: list[tuple[float, SessionState, TableRef | None]],
) -> None:
    """Nothing but an established session or the end of the graceful time takes routes away."""
    told, now_s = None, 0.0
    down_since: float | None = None
    for gap_s, state, table in steps:
        now_s += gap_s
        before = Counting(table=NO_TABLE, standing=Standing.WAITING)
        if told is not None:
            before = choose_table(told, RULES, now_s=now_s)
        told = hear(told, state, table, RULES, now_s=now_s)
        after = choose_table(told, RULES, now_s=now_s)
        down_since = None if state is UP else now_s if down_since is None else down_since
        if state is not UP and before.table.routes and now_s < down_since + RULES.grace_s:
            assert after.table == before.table
