"""Offload over the API: who may tell it, who may see it, what is refused."""

from dataclasses import replace

from headrace.base.ids import SiteId
from headrace.control.testing_api import Api
from headrace.demand.offload import Tier
from headrace.wire.codec import decode, encode
from headrace.wire.offload import MOST_SITES, OffloadHour, OffloadSite, OffloadSummary, OffloadView

PATH = "/v1/offload"


def a_summary(now_s: float, *, sites: int = 1) -> OffloadSummary:
    """The most that is told, but for sites."""
    newest = int(now_s // 3_600)
    tiers = {tier: 2**55 for tier in Tier}
    return OffloadSummary(
        made_s=now_s,
        hours=tuple(OffloadHour(hour=newest - ago, bytes_by_tier=tiers) for ago in reversed(range(48))),
        sites=tuple(
            OffloadSite(site_id=SiteId(f"{number:063d}"), own_bytes=2**58, total_bytes=2**59) for number in range(sites)
        ),
    )


async def test_the_last_summary_is_shown(api: Api) -> None:
    assert await api.ok("GET", PATH) == {"summary": None}
    now_s = api.clock.now_s()
    largest = a_summary(now_s, sites=MOST_SITES)
    told = await api.ask("PUT", PATH, largest)
    assert decode(OffloadView, told.content) == OffloadView(summary=largest)
    after = replace(a_summary(now_s), hours=())
    await api.ok("PUT", PATH, after)
    assert decode(OffloadView, (await api.ask("GET", PATH)).content) == OffloadView(summary=after)


async def test_readers_see_and_operators_tell(api: Api) -> None:
    reader, operator = await api.token_of("read"), await api.token_of("operate")
    summary = a_summary(api.clock.now_s())
    assert await api.refused("PUT", PATH, summary, token=reader) == (403, "forbidden")
    await api.ok("PUT", PATH, summary, token=operator)
    assert (await api.ok("GET", PATH, token=reader))["summary"]["sites"][0]["total_bytes"] == 2**59
    assert await api.refused("GET", PATH, token="") == (401, "unauthorized")


async def test_what_cannot_be_is_refused_in_words(api: Api) -> None:
    good = a_summary(api.clock.now_s())
    assert await api.refused("PUT", PATH, replace(good, made_s=good.made_s + 3_600)) == (422, "invalid")
    assert await api.refused("PUT", PATH, replace(good, hours=good.hours * 2)) == (422, "invalid")
    assert await api.refused("PUT", PATH, encode(good).replace(b"fetched-through", b"moon")) == (422, "invalid")
    assert await api.refused("PUT", PATH, b"{") == (422, "invalid")
    assert await api.refused("PUT", PATH, b" " * (2**20 + 1)) == (413, "too-large")
    assert await api.ok("GET", PATH) == {"summary": None}


async def test_what_another_version_left_is_nothing(api: Api) -> None:
    api.store.put_note("offload", "{}", now_s=api.clock.now_s())
    assert await api.ok("GET", PATH) == {"summary": None}


async def test_it_is_in_the_reference(api: Api) -> None:
    paths = (await api.ok("GET", "/openapi.json"))["paths"]
    assert set(paths[PATH]) == {"get", "put"}
    assert "Needs: operate" in paths[PATH]["put"]["description"]
