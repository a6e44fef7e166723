"""Penalties and their decay."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.routes.damping import DampingRules, Flap, Flaps, Penalty, points_at, punish, reuse_s, settle
from headrace.routes.model import RouteError, parse_prefix

RULES = DampingRules()
P, Q = parse_prefix("192.0.2.0/24"), parse_prefix("198.51.100.0/24")


def flap(times: int, gap_s: float, kind: Flap = Flap.WITHDRAWN) -> tuple[Penalty, float]:
    penalty = Penalty()
    for step in range(times):
        penalty = punish(penalty, kind, RULES, now_s=step * gap_s)
    return penalty, (times - 1) * gap_s


def test_a_few_changes_are_not_punished_many_are() -> None:
    assert not flap(6, 1)[0].is_suppressed
    assert flap(7, 1)[0].is_suppressed
    assert not flap(60, 900)[0].is_suppressed
    assert not flap(12, 1, Flap.CHANGED)[0].is_suppressed
    assert flap(13, 1, Flap.CHANGED)[0].is_suppressed


def test_half_after_a_half_life() -> None:
    assert points_at(Penalty(points=1000, at_s=0), RULES, now_s=900) == pytest.approx(500)


def test_used_again_when_quiet_and_forgotten_later() -> None:
    penalty, now_s = flap(8, 1)
    back_s = reuse_s(penalty, RULES)
    before, after = (settle(penalty, RULES, now_s=back_s + each) for each in (-1, 1))
    assert before is not None
    assert before.is_suppressed
    assert after is not None
    assert not after.is_suppressed
    assert settle(after, RULES, now_s=back_s + 1000) is None
    assert back_s - now_s == pytest.approx(900 * math.log2(penalty.points / 750))


@given(st.lists(st.floats(0.1, 2000), min_size=1, max_size=40))
def test_nothing_is_left_out_for_longer_than_the_bound(gaps: list[float]) -> None:
    penalty, now_s = Penalty(), 0.0
    for gap_s in gaps:
        now_s += gap_s
        penalty = punish(penalty, Flap.WITHDRAWN, RULES, now_s=now_s)
        assert penalty.points <= RULES.most
        assert reuse_s(penalty, RULES) <= now_s + RULES.longest_s + 1e-6


def test_it_can_be_turned_off() -> None:
    penalty = punish(Penalty(), Flap.WITHDRAWN, DampingRules(is_on=False), now_s=0, times=50)
    assert not penalty.is_suppressed


def test_prefixes_of_a_session_are_bounded_and_settle() -> None:
    flaps = Flaps()
    assert flaps.punish([P, Q], Flap.WITHDRAWN, RULES, now_s=0, room=1) == 1
    for step in range(8):
        flaps.punish([P], Flap.WITHDRAWN, RULES, now_s=step, room=0)
    assert (len(flaps), flaps.suppressed) == (1, frozenset({P}))
    same = flaps.suppressed
    flaps.settle(RULES, now_s=10)
    assert flaps.suppressed is same
    flaps.settle(RULES, now_s=10_000)
    assert (len(flaps), flaps.suppressed) == (0, frozenset())


def test_a_session_that_drops_again_and_again_is_left_out() -> None:
    flaps = Flaps()
    flaps.drop(7, RULES, now_s=0)
    assert flaps.session.is_suppressed
    flaps.settle(RULES, now_s=4_000)
    assert not flaps.session.is_suppressed


def test_what_is_remembered_is_packed_and_read_again():
    flaps = Flaps()
    assert flaps.pack() == b""
    assert len(Flaps.unpack(b"")) == 0
    flaps.punish([b"\x0a\0\0\0\x08"] * 8 + [bytes(16) + b"\0"], Flap.WITHDRAWN, DampingRules(), now_s=7.5, room=9)
    flaps.drop(3, DampingRules(), now_s=8.5)
    packed = flaps.pack()
    again = Flaps.unpack(packed)
    assert dict(again.penalties()) == dict(flaps.penalties())
    assert (again.session, again.suppressed) == (flaps.session, flaps.suppressed)
    assert len(again.suppressed) == 1
    assert again.pack() == packed
    for size in (1, 16, 18, 30, len(packed) - 1):
        with pytest.raises(RouteError, match="cut off"):
            Flaps.unpack(packed[:size])
