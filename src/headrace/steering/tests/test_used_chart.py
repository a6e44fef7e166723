"""The picture of served bytes: well formed, as high as the bytes, and no picture is a sentence."""

from xml.etree import ElementTree

import pytest

from headrace.steering.misses import MissClass
from headrace.steering.used import HourRow
from headrace.steering.used_chart import COLOURS, FOOT, HEIGHT, MOST_HOURS, TOP, draw_used

_RECT = "{http://www.w3.org/2000/svg}rect"


def bars(text: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(text)
    return [one for one in root.iter(_RECT) if len(one)]


def hour(number: int, reason: MissClass, size: int) -> HourRow:
    return HourRow(hour_s=1_800_000_000 + 3600 * number, reason=reason, bytes=size)


def test_a_bar_is_as_high_as_its_hour():
    rows = [hour(0, MissClass.NONE, 300), hour(0, MissClass.CHOICE, 100), hour(2, MissClass.LOAD, 200)]
    drawn = bars(draw_used(rows))
    heights = [float(one.get("height", "")) for one in drawn]
    full = HEIGHT - FOOT - TOP
    assert heights == pytest.approx([full * 0.75, full * 0.25, full * 0.5], abs=0.1)
    assert [one.get("fill") for one in drawn] == [COLOURS[row.reason] for row in rows]


def test_only_the_last_hours_are_drawn():
    drawn = bars(draw_used([hour(number, MissClass.NONE, 1) for number in range(MOST_HOURS + 5)]))
    assert len(drawn) == MOST_HOURS


def test_nothing_is_said():
    assert "Nothing was served" in "".join(ElementTree.fromstring(draw_used([])).itertext())


def test_each_class_has_a_colour():
    assert set(COLOURS) == set(MissClass)
