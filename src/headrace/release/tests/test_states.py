"""A candidate's life: up the levels one by one, never to appliances unqualified, with its whole record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.release.errors import TransitionError
from headrace.release.model import Level, Verdict
from headrace.release.states import CandidateLife, CandidateState, Event, level_ended, moved_in_fleet, tried_again

NEW = CandidateLife(candidate_id="c-0123456789ab")
FLEET = [Event.CANARY_STARTED, Event.CANARY_PASSED, Event.ROLLED_OUT]


def up_to(level: Level) -> CandidateLife:
    life = NEW
    for one in Level:
        if one >= level:
            break
        life = level_ended(life, one, Verdict.PASS, now_s=float(one), why="all checks passed")
    return life


def test_all_the_way_up_and_into_the_fleet() -> None:
    life = level_ended(up_to(Level.PERFORMANCE), Level.PERFORMANCE, Verdict.PASS, now_s=9.0, why="all passed")
    assert (life.state, life.next_level, life.is_qualified) == (CandidateState.QUALIFIED, None, True)
    for event in FLEET:
        life = moved_in_fleet(life, event, now_s=10.0, why="ordered")
    assert life.state is CandidateState.CURRENT
    assert [move.state for move in life.moves][-4:] == [
        CandidateState.QUALIFIED, CandidateState.CANARY, CandidateState.RINGS, CandidateState.CURRENT,
    ]  # fmt: skip
    assert not moved_in_fleet(life, Event.WITHDRAWN, now_s=11.0, why="too slow").is_qualified


@pytest.mark.parametrize(
    ("verdict", "state"), [(Verdict.FAIL, CandidateState.FAILED), (Verdict.INCONCLUSIVE, CandidateState.STUCK)]
)
def test_a_level_that_did_not_pass_stops_the_way_and_can_be_tried_again(
    verdict: Verdict, state: CandidateState
) -> None:
    life = level_ended(up_to(Level.SOAK), Level.SOAK, verdict, now_s=5.0, why="soak.sockets")
    assert (life.state, life.failed_level, life.next_level) == (state, Level.SOAK, None)
    again = tried_again(life, now_s=6.0, why="other machine")
    assert (again.state, again.next_level, again.failed_level) == (CandidateState.IMPAIRMENT_PASSED, Level.SOAK, None)
    assert "soak.sockets" in [move.why for move in again.moves]


def test_illegal_moves_name_state_and_history() -> None:
    with pytest.raises(TransitionError, match=r"is built: level soak cannot end .was synced > built"):
        level_ended(up_to(Level.FUNCTION), Level.SOAK, Verdict.PASS, now_s=1.0, why="")
    with pytest.raises(TransitionError, match="no failed level"):
        tried_again(NEW, now_s=1.0, why="")
    with pytest.raises(TransitionError, match="canary-started is not possible"):
        moved_in_fleet(NEW, Event.CANARY_STARTED, now_s=1.0, why="")


moves = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(list(Level)), st.sampled_from(list(Verdict))),
        st.sampled_from([*FLEET, Event.WITHDRAWN]),
        st.just("again"),
    ),
    max_size=30,
)


@given(orders=moves)
def test_whatever_is_tried_only_the_qualified_get_to_appliances(orders: list) -> None:
    life = NEW
    for order in orders:
        before = life
        try:
            if order == "again":
                life = tried_again(life, now_s=0.0, why="")
            elif isinstance(order, Event):
                life = moved_in_fleet(life, order, now_s=0.0, why="")
            else:
                life = level_ended(life, *order, now_s=0.0, why="")
        except TransitionError:
            assert life == before
            continue
        assert len(life.moves) == len(before.moves) + 1
        if life.state in {CandidateState.CANARY, CandidateState.RINGS, CandidateState.CURRENT}:
            assert {move.level for move in life.moves if move.event is Event.LEVEL_PASSED} == set(Level)
        assert (life.failed_level is not None) == (life.state in {CandidateState.FAILED, CandidateState.STUCK})
