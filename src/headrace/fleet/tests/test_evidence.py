import pytest

from headrace.fleet.evidence import ProbeOutcome, judge_probes
from headrace.fleet.testing import make_probe

OK, GONE, WRONG = ProbeOutcome.OK, ProbeOutcome.UNREACHABLE, ProbeOutcome.WRONG_BYTES


def seen(*outcomes):
    return tuple(make_probe(100.0, outcome, failures=3, vantage=f"c-{at}") for at, outcome in enumerate(outcomes))


@pytest.mark.parametrize(
    ("outcomes", "is_pass", "is_fail"),
    [
        ((), False, False),
        ((OK,), True, False),
        ((GONE,), False, True),
        ((OK, GONE), True, False),
        ((OK, GONE, GONE), False, True),
        ((OK, OK, WRONG), True, False),
        ((GONE, WRONG), False, True),
    ],
)
def test_the_majority_of_vantage_points_decides_and_a_tie_passes(outcomes, is_pass, is_fail):
    verdict = judge_probes(seen(*outcomes), after_s=50.0)
    assert (verdict.is_pass, verdict.is_fail) == (is_pass, is_fail)


def test_old_probes_say_nothing():
    verdict = judge_probes(seen(GONE, GONE), after_s=100.0)
    assert not verdict.is_pass
    assert not verdict.is_fail


def test_failures_before_the_watch_are_not_counted():
    assert judge_probes((make_probe(100.0, GONE, failures=3),), after_s=98.5).failures == 2


def test_a_wrong_answer_is_an_answer():
    assert not judge_probes(seen(WRONG), after_s=0.0).is_unreachable
    assert judge_probes(seen(GONE), after_s=0.0).is_unreachable
