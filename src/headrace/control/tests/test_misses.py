"""Which summaries of misses are taken, and what several nodes' come to."""

import math
from dataclasses import replace

import pytest

from headrace.base.errors import HeadraceError, UsageError
from headrace.control.misses import add_up, check_misses, check_node
from headrace.steering.misses import MissClass
from headrace.steering.used import UsedRow
from headrace.wire.misses import MOST_ROWS, MissesHour, MissesNode, MissesSummary

NOW_S = 1_800_000_000.0
HOUR = int(NOW_S // 3_600)
ROW = UsedRow(site_id="ams", title_id="film-1", reason=MissClass.CONTENT, bytes=10)
GOOD = MissesSummary(
    made_s=NOW_S,
    hours=tuple(
        MissesHour(hour=HOUR - ago, bytes_by_class={MissClass.NONE: 90, MissClass.CONTENT: 10})
        for ago in reversed(range(48))
    ),
    rows=(ROW,),
    unjoined_bytes=5,
)


def many_rows(count: int) -> tuple[UsedRow, ...]:
    return tuple(replace(ROW, title_id=f"film-{number}") for number in range(count))


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        replace(GOOD, hours=(), rows=()),
        replace(GOOD, rows=(replace(ROW, site_id=""),)),
        replace(GOOD, rows=many_rows(MOST_ROWS)),
        replace(GOOD, rows=(ROW, replace(ROW, reason=MissClass.LOAD))),
    ],
)
def test_what_explaining_makes_is_taken(good: MissesSummary) -> None:
    check_misses(good, now_s=NOW_S)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (replace(GOOD, made_s=NOW_S + 301), "clock"),
        (replace(GOOD, made_s=math.nan), "made_s"),
        (replace(GOOD, hours=GOOD.hours * 2), "limit of 48"),
        (replace(GOOD, hours=GOOD.hours[::-1]), "ascending"),
        (replace(GOOD, hours=(MissesHour(hour=HOUR + 1, bytes_by_class={}),)), "none of the 48"),
        (replace(GOOD, hours=(MissesHour(hour=HOUR, bytes_by_class={MissClass.LOAD: -1}),)), "load: -1"),
        (replace(GOOD, rows=many_rows(MOST_ROWS + 1)), "limit of 200"),
        (replace(GOOD, rows=(ROW, replace(ROW, bytes=1))), "twice"),
        (replace(GOOD, rows=(replace(ROW, site_id="<b>"),)), "not allowed"),
        (replace(GOOD, rows=(replace(ROW, title_id="a/b"),)), "not allowed"),
        (replace(GOOD, rows=(replace(ROW, reason=MissClass.NONE),)), "no miss"),
        (replace(GOOD, rows=(replace(ROW, bytes=2**61),)), "film-1"),
        (replace(GOOD, unjoined_bytes=-1), "unjoined_bytes"),
    ],
)
def test_what_it_does_not_make_is_refused(bad: MissesSummary, words: str) -> None:
    with pytest.raises(HeadraceError, match=words):
        check_misses(bad, now_s=NOW_S)


@pytest.mark.parametrize("name", ["", "A", "../x", "a b", "-a", "x" * 64, "a\n"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="node"):
        check_node(name)


def test_nodes_are_added_up_and_old_hours_go() -> None:
    first = replace(GOOD, hours=(MissesHour(hour=HOUR - 48, bytes_by_class={MissClass.NONE: 1}), GOOD.hours[-1]))
    other = replace(GOOD, hours=GOOD.hours[-1:], rows=(replace(ROW, bytes=1), replace(ROW, site_id="fra", bytes=12)))
    view = add_up({"steer-2": other, "steer-1": first}, now_s=NOW_S)
    assert view.nodes == (MissesNode(node="steer-1", made_s=NOW_S), MissesNode(node="steer-2", made_s=NOW_S))
    assert view.hours == (MissesHour(hour=HOUR, bytes_by_class={MissClass.NONE: 180, MissClass.CONTENT: 20}),)
    assert view.rows == (replace(ROW, site_id="fra", bytes=12), replace(ROW, bytes=11))
    assert add_up({}, now_s=NOW_S).hours == ()
