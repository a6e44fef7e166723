"""Misses over the API: who may tell them, who may see them, what is refused, what several nodes come to."""

from dataclasses import replace

import pytest

from headrace.control.testing_api import Api
from headrace.steering.misses import MissClass
from headrace.steering.used import UsedRow
from headrace.wire import misses as wire
from headrace.wire.codec import decode, encode
from headrace.wire.misses import MOST_ROWS, MissesHour, MissesSummary, MissesView

PATH = "/v1/misses"
NOTHING = {"nodes": [], "hours": [], "rows": []}


def a_summary(now_s: float, *, rows: int = 1) -> MissesSummary:
    """The most that is told, but for rows."""
    newest = int(now_s // 3_600)
    sizes = {name: 2**55 for name in MissClass}
    return MissesSummary(
        made_s=now_s,
        hours=tuple(MissesHour(hour=newest - ago, bytes_by_class=sizes) for ago in reversed(range(48))),
        rows=tuple(
            UsedRow(site_id="s" * 63, title_id=f"{number:0128d}", reason=MissClass.CONTENT, bytes=2**59)
            for number in range(rows)
        ),
        unjoined_bytes=0,
    )


async def test_nodes_tell_and_the_sum_is_shown(api: Api) -> None:
    assert await api.ok("GET", PATH) == NOTHING
    largest = a_summary(api.clock.now_s(), rows=MOST_ROWS)
    assert len(decode(MissesView, (await api.ask("PUT", f"{PATH}/steer-1", largest)).content).rows) == MOST_ROWS
    await api.ok("PUT", f"{PATH}/steer-1", replace(largest, rows=largest.rows[:1]))
    await api.ok("PUT", f"{PATH}/steer-2", replace(largest, rows=largest.rows[:2], hours=largest.hours[:1]))
    shown = decode(MissesView, (await api.ask("GET", PATH)).content)
    assert [one.node for one in shown.nodes] == ["steer-1", "steer-2"]
    assert [row.bytes for row in shown.rows] == [2**60, 2**59]
    assert shown.hours[0].bytes_by_class[MissClass.LOAD] == 2**56
    assert shown.hours[-1].bytes_by_class[MissClass.LOAD] == 2**55


async def test_readers_see_and_operators_tell(api: Api) -> None:
    reader, operator = await api.token_of("read"), await api.token_of("operate")
    summary = a_summary(api.clock.now_s())
    assert await api.refused("PUT", f"{PATH}/a", summary, token=reader) == (403, "forbidden")
    await api.ok("PUT", f"{PATH}/a", summary, token=operator)
    assert (await api.ok("GET", PATH, token=reader))["rows"][0]["reason"] == "content"
    assert await api.refused("GET", PATH, token="") == (401, "unauthorized")


async def test_what_cannot_be_is_refused_in_words(api: Api) -> None:
    good = a_summary(api.clock.now_s())
    assert await api.refused("PUT", f"{PATH}/a", replace(good, made_s=good.made_s + 3_600)) == (422, "invalid")
    assert await api.refused("PUT", f"{PATH}/a", encode(good).replace(b"content", b"moon")) == (422, "invalid")
    assert await api.refused("PUT", f"{PATH}/A%20b", good) == (422, "invalid")
    assert await api.refused("PUT", f"{PATH}/a", b" " * (2**18 + 1)) == (413, "too-large")
    assert await api.ok("GET", PATH) == NOTHING


async def test_what_another_version_left_is_nothing(api: Api) -> None:
    api.store.put_note("misses:a", "{}", now_s=api.clock.now_s())
    assert await api.ok("GET", PATH) == NOTHING


async def test_nodes_are_bounded_and_forgotten_after_two_days(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.control.api.misses.MOST_NODES", 2)
    assert wire.MOST_NODES > 2
    for name in ("a", "b", "a"):
        await api.ok("PUT", f"{PATH}/{name}", a_summary(api.clock.now_s()))
    assert await api.refused("PUT", f"{PATH}/c", a_summary(api.clock.now_s())) == (422, "invalid")
    api.clock.advance(48 * 3_600 + 1)
    assert await api.ok("GET", PATH) == NOTHING
    await api.ok("PUT", f"{PATH}/c", a_summary(api.clock.now_s()))
    assert [one["node"] for one in (await api.ok("GET", PATH))["nodes"]] == ["c"]
