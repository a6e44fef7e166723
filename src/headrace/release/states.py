"""The life of a candidate: which states there are, which moves are legal, and why each was made.

Synced, built, through the levels, qualified; then canary, rings, current, withdrawn, which keep their places here for
the fleet's part of the loop. A failed level ends the way up, and a new attempt begins at the level that failed. Runs
nothing."""

from dataclasses import dataclass, replace
from enum import StrEnum

from headrace.release.errors import TransitionError
from headrace.release.model import Level, Verdict


class CandidateState(StrEnum):
    """Where a candidate is."""

    SYNCED = "synced"
    """Upstream's head with the patch queue on top; nothing built."""
    BUILT = "built"
    """Level 0 passed."""
    FUNCTION_PASSED = "function-passed"
    IMPAIRMENT_PASSED = "impairment-passed"
    SOAK_PASSED = "soak-passed"
    QUALIFIED = "qualified"
    """Level 4 passed: may go to appliances."""
    FAILED = "failed"
    """A check failed; `failed_level` says where."""
    STUCK = "stuck"
    """A level ended inconclusive, which does not pass."""
    CANARY = "canary"
    RINGS = "rings"
    CURRENT = "current"
    WITHDRAWN = "withdrawn"
    """Given up, before or after it was in the fleet."""


class Event(StrEnum):
    """What happened."""

    LEVEL_PASSED = "level-passed"
    LEVEL_FAILED = "level-failed"
    LEVEL_INCONCLUSIVE = "level-inconclusive"
    TRIED_AGAIN = "tried-again"
    CANARY_STARTED = "canary-started"
    CANARY_PASSED = "canary-passed"
    ROLLED_OUT = "rolled-out"
    WITHDRAWN = "withdrawn"


AFTER_LEVEL = {
    Level.BUILD: CandidateState.BUILT,
    Level.FUNCTION: CandidateState.FUNCTION_PASSED,
    Level.IMPAIRMENT: CandidateState.IMPAIRMENT_PASSED,
    Level.SOAK: CandidateState.SOAK_PASSED,
    Level.PERFORMANCE: CandidateState.QUALIFIED,
}
BEFORE_LEVEL = {
    Level.BUILD: CandidateState.SYNCED,
    Level.FUNCTION: CandidateState.BUILT,
    Level.IMPAIRMENT: CandidateState.FUNCTION_PASSED,
    Level.SOAK: CandidateState.IMPAIRMENT_PASSED,
    Level.PERFORMANCE: CandidateState.SOAK_PASSED,
}
IN_FLEET = {
    (CandidateState.QUALIFIED, Event.CANARY_STARTED): CandidateState.CANARY,
    (CandidateState.CANARY, Event.CANARY_PASSED): CandidateState.RINGS,
    (CandidateState.RINGS, Event.ROLLED_OUT): CandidateState.CURRENT,
}
_ENDED_BY = {
    Verdict.PASS: Event.LEVEL_PASSED,
    Verdict.FAIL: Event.LEVEL_FAILED,
    Verdict.INCONCLUSIVE: Event.LEVEL_INCONCLUSIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move, for the record."""

    event: Event
    state: CandidateState
    level: Level | None
    at_s: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateLife:
    """A candidate's state and how it came there."""

    candidate_id: str
    state: CandidateState = CandidateState.SYNCED
    failed_level: Level | None = None
    """The level that failed or was inconclusive, while FAILED or STUCK."""
    moves: tuple[Move, ...] = ()

    @property
    def next_level(self) -> Level | None:
        """The level to run now; None when there is none."""
        return next((level for level, state in BEFORE_LEVEL.items() if state is self.state), None)

    @property
    def is_qualified(self) -> bool:
        """Whether every level passed."""
        passed = {move.level for move in self.moves if move.event is Event.LEVEL_PASSED}
        return set(Level) <= passed and self.state is not CandidateState.WITHDRAWN


def level_ended(life: CandidateLife, level: Level, verdict: Verdict, *, now_s: float, why: str) -> CandidateLife:
    """The life after a level ended.

    Raises:
        TransitionError: it is not this level's turn. With `--keep-going` later levels run for their evidence, but do
        not move it.
    """
    if life.next_level is not level:
        raise _illegal(life, f"level {level.name.lower()} cannot end")
    state = {
        Verdict.PASS: AFTER_LEVEL[level],
        Verdict.FAIL: CandidateState.FAILED,
        Verdict.INCONCLUSIVE: CandidateState.STUCK,
    }[verdict]
    left_at = None if verdict is Verdict.PASS else level
    return _moved(replace(life, failed_level=left_at), _ENDED_BY[verdict], state, level, (now_s, why))


def tried_again(life: CandidateLife, *, now_s: float, why: str) -> CandidateLife:
    """Back to before the level that failed or was inconclusive; the reason stays on record.

    Raises:
        TransitionError: no level failed.
    """
    if life.failed_level is None or life.state not in {CandidateState.FAILED, CandidateState.STUCK}:
        raise _illegal(life, "there is no failed level to try again")
    level = life.failed_level
    return _moved(replace(life, failed_level=None), Event.TRIED_AGAIN, BEFORE_LEVEL[level], level, (now_s, why))


def moved_in_fleet(life: CandidateLife, event: Event, *, now_s: float, why: str) -> CandidateLife:
    """The life after a move among canary, rings, current and withdrawn.

    Raises:
        TransitionError: the move is not legal from here; only what is qualified gets near appliances.
    """
    if event is Event.WITHDRAWN and life.state is not CandidateState.WITHDRAWN:
        return _moved(replace(life, failed_level=None), event, CandidateState.WITHDRAWN, None, (now_s, why))
    state = IN_FLEET.get((life.state, event))
    if state is None or not life.is_qualified:
        raise _illegal(life, f"{event.value} is not possible")
    return _moved(life, event, state, None, (now_s, why))


def _moved(
    life: CandidateLife, event: Event, state: CandidateState, level: Level | None, record: tuple[float, str]
) -> CandidateLife:
    move = Move(event=event, state=state, level=level, at_s=record[0], why=record[1])
    return replace(life, state=state, moves=(*life.moves, move))


def _illegal(life: CandidateLife, what: str) -> TransitionError:
    history = " > ".join([CandidateState.SYNCED.value, *(move.state.value for move in life.moves)])
    return TransitionError(f"candidate {life.candidate_id} is {life.state.value}: {what} (was {history})")
