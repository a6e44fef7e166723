import logging

import pytest

from headrace.base.logs import event


def test_values_are_quoted_when_they_could_be_misread(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    event(logging.getLogger("headrace.test"), "fill_done", file="ab", why="no room", nothing="", ratio=0.25, bad="a\nb")
    assert caplog.messages == ["fill_done file=ab why='no room' nothing='' ratio=0.25 bad='a\\nb'"]


def test_a_level_that_is_off_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    event(logging.getLogger("headrace.test"), "turn")
    assert caplog.messages == []
