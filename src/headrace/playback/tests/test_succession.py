"""Which snapshot may follow which."""

import pytest

from headrace.playback.succession import Verdict, judge
from headrace.steering.compile import CompiledSnapshot, compile_snapshot
from headrace.steering.testing import make_snapshot


def snapshot(version: int, store: str) -> CompiledSnapshot:
    return compile_snapshot(make_snapshot([], [], [], version=version, control_id=store))


@pytest.mark.parametrize(
    ("held", "pulled", "verdict"),
    [
        ((5, "s"), (6, "s"), Verdict.FOLLOW),
        ((5, "s"), (5, "s"), Verdict.SAME),
        ((5, "s"), (4, "s"), Verdict.OLDER),
        ((5, "s"), (9, "t"), Verdict.OTHER_STORE),
        ((5, "s"), (1, "t"), Verdict.OTHER_STORE),
        ((5, ""), (6, "t"), Verdict.FOLLOW),
        ((5, "s"), (4, ""), Verdict.OLDER),
    ],
)
def test_succession(held: tuple[int, str], pulled: tuple[int, str], verdict: Verdict) -> None:
    assert judge(snapshot(*held), snapshot(*pulled), is_older_accepted=False) is verdict
    assert judge(snapshot(*held), snapshot(*pulled), is_older_accepted=True) is Verdict.FOLLOW
    assert judge(None, snapshot(*pulled), is_older_accepted=False) is Verdict.FOLLOW
