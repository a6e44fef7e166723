import logging

import pytest

from headrace.base.clock import ManualClock
from headrace.control.adapters.outage import SETTLED_S, Outage


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [message.split()[0] for message in caplog.messages]


def test_an_outage_is_said_once_and_its_end_once(clock, said, caplog):
    outage = Outage(clock)
    outage.note_answer()
    for _ in range(5):
        outage.note_failure("refused")
        clock.advance(1)
    assert said() == ["store_away"]
    clock.advance(SETTLED_S)
    outage.note_answer()
    outage.note_answer()
    assert said() == ["store_away", "store_back"]
    assert "after_s=7 failures=5" in caplog.messages[-1]
    outage.note_failure("again")
    assert said()[2:] == ["store_away"]


def test_one_that_reads_but_cannot_write_does_not_flap(clock, said):
    outage = Outage(clock)
    outage.note_answer()
    for _ in range(50):
        outage.note_failure("disk full")
        clock.advance(SETTLED_S / 4)
        outage.note_answer()
    assert said() == ["store_away"]


def test_before_the_first_answer_nothing_is_said(clock, said):
    outage = Outage(clock)
    outage.note_failure("refused")
    assert said() == []
