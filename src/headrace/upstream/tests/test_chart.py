"""The picture is whole SVG, within its frame, whatever the figures."""

from collections.abc import Iterator

import pytest
from lxml import etree

from headrace.upstream.chart import WIDTH, draw_upstream
from headrace.upstream.model import Reached, Stage, UpstreamRecord
from headrace.upstream.testing import NOW_S, commit_named, make_entry, make_landed, make_record

SVG = "{http://www.w3.org/2000/svg}"


def record(days: int, **changes: object) -> UpstreamRecord:
    reached = tuple(
        Reached(
            commit=commit_named(str(day)), stage=Stage.CANDIDATE, at_s=NOW_S + day * 86400, landed=make_landed(NOW_S)
        )
        for day in range(days)
    )
    return make_record(history=tuple(make_entry(day, **changes) for day in range(days)), reached=reached)


def numbers(root: etree._Element, *names: str) -> Iterator[float]:
    for element in root.iter():
        for name in names:
            if element.get(name) is not None:
                yield float(element.get(name))


@pytest.mark.parametrize("days", [1, 2, 400])
def test_everything_lies_within_the_frame(days: int) -> None:
    root = etree.fromstring(draw_upstream(record(days, conflicts=("a", "b"), lag_commits=123_456)).encode())
    assert all(0 <= x <= WIDTH for x in numbers(root, "x", "x1", "x2", "cx"))
    assert all(0 <= y <= float(root.get("height")) for y in numbers(root, "y", "y1", "y2", "cy"))
    texts = [one.text for one in root.iter(f"{SVG}text")]
    assert "lag before the sync, commits" in texts
    assert len(list(root.iter(f"{SVG}circle"))) == 3 * days


def test_no_sync_is_said() -> None:
    assert "No sync yet." in draw_upstream(make_record())


def test_foreign_words_are_no_markup() -> None:
    odd = make_record()
    branch = "<b>&"
    text = draw_upstream(
        type(odd)(
            upstream=type(odd.upstream)(name=odd.upstream.name, url="u", branch=branch, patches="p"), added_at_s=0
        )
    )
    assert etree.fromstring(text.encode()) is not None
    assert "&lt;b&gt;&amp;" in text
