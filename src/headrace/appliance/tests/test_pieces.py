"""Which piece of a log is shipped next, and that a kill at any point changes no piece that was decided."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from headrace.appliance.pieces import LogFile, Piece, ShipLimits, Shipped, advance, decide, forget, learn, next_piece

LIMITS = ShipLimits(batch_bytes=100, batch_s=60.0)
LOG = LogFile(name="access.log", log="l1", day="2027-01-15", size_bytes=40, idle_s=0.0, is_current=True)


def piece(first: int, end: int, log: str = "l1") -> Piece:
    return Piece(log=log, day="2027-01-15", first=first, end=end)


def test_a_piece_is_due_by_size_by_age_or_because_its_log_is_closed() -> None:
    assert next_piece([LOG], Shipped(), LIMITS, waited_s={}) is None
    assert next_piece([LOG], Shipped(), LIMITS, waited_s={"l1": 60.0}) == piece(0, 40)
    assert next_piece([replace(LOG, size_bytes=100)], Shipped(), LIMITS, waited_s={}) == piece(0, 100)
    closed = replace(LOG, is_current=False)
    assert next_piece([closed], Shipped(), LIMITS, waited_s={}) is None
    assert next_piece([replace(closed, idle_s=5.0)], Shipped(), LIMITS, waited_s={}) == piece(0, 40)


def test_a_piece_goes_on_where_the_last_one_ended_and_is_bounded() -> None:
    large = replace(LOG, size_bytes=350)
    assert next_piece([large], Shipped(ends={"l1": 120}), LIMITS, waited_s={}) == piece(120, 220)
    assert next_piece([large], Shipped(ends={"l1": 350}), LIMITS, waited_s={"l1": 1e9}) is None
    # A log that was cut short by somebody has less than what was shipped of it.
    assert next_piece([large], Shipped(ends={"l1": 400}), LIMITS, waited_s={"l1": 1e9}) is None


def test_the_oldest_log_comes_first() -> None:
    newer = replace(LOG, log="l2", size_bytes=200)
    assert next_piece([replace(LOG, size_bytes=150), newer], Shipped(), LIMITS, waited_s={}) == piece(0, 100)


def test_a_decided_piece_is_shipped_as_it_was_whatever_happened_since() -> None:
    shipped = decide(Shipped(ends={"l1": 10}), piece(10, 30))
    shipped = learn(shipped, "l2", 0)
    grown = [replace(LOG, size_bytes=5_000), replace(LOG, log="l2", size_bytes=5_000)]
    assert next_piece(grown, forget(shipped, grown), LIMITS, waited_s={}) == piece(10, 30)
    assert advance(shipped, piece(10, 30)).ends == {"l1": 30, "l2": 0}


def test_what_is_gone_is_forgotten() -> None:
    shipped = decide(Shipped(ends={"l1": 10, "l2": 20}), piece(10, 30))
    assert forget(shipped, [replace(LOG, log="l2")]) == Shipped(ends={"l2": 20})


@given(st.lists(st.tuples(st.integers(1, 250), st.booleans(), st.booleans()), max_size=40))
def test_pieces_never_overlap_and_leave_nothing_out(turns: list[tuple[int, bool, bool]]) -> None:
    log, shipped = replace(LOG, size_bytes=0), Shipped()
    stored: set[tuple[int, int]] = set()
    for grows, is_killed_before, is_killed_after in turns:
        log = replace(log, size_bytes=log.size_bytes + grows)
        found = next_piece([log], shipped, LIMITS, waited_s={"l1": 60.0})
        if found is None:
            continue
        shipped = decide(shipped, found)
        if is_killed_before:
            continue
        stored.add((found.first, found.end))
        if is_killed_after:
            continue
        shipped = advance(shipped, found)
    ends = [0, *(end for _, end in sorted(stored))]
    assert [first for first, _ in sorted(stored)] == ends[:-1]
