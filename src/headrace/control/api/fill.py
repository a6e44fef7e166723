"""Fills: progress and forecasts, orders of operators, sources of single files for agents."""

import math
from dataclasses import replace

from fastapi import APIRouter

from headrace.base.ids import SiteId, sha256, site_id, title_id
from headrace.catalog.fileset import FileSet
from headrace.control.api.agents import own_id
from headrace.control.api.guard import GuardedRoute
from headrace.control.api.parts import WithCaller, WithParts, noted
from headrace.control.api.problems import Refusal, invalid, not_found
from headrace.control.checks import check_words
from headrace.fill.orders import FillOrder, OrderEnd
from headrace.wire.agent import SOURCES_PAGE_FILES, FileSources, SourcesAnswer, SourcesRequest
from headrace.wire.fill import FillOrderRequest, FillView

router = APIRouter(route_class=GuardedRoute, tags=["fill"])

VALID_S = 30.0
"""For so long agents go by an answer: holdings that came meanwhile are found by asking again, those gone by a 404."""
ORDER_LASTS_S = 7 * 86_400.0
_MOST_ORDERS = 1_000
_MOST_AHEAD_S = 366 * 86_400.0


@router.post("/v1/agent/sources")
def sources(parts: WithParts, caller: WithCaller, asked: SourcesRequest) -> SourcesAnswer:
    """Who has files that an appliance lacks, best first, and whether it goes out for them."""
    wanted = FileSet.decode(asked.files)
    if len(wanted) > SOURCES_PAGE_FILES:
        raise invalid(f"files: ask for at most {SOURCES_PAGE_FILES} at once, not for {len(wanted)}")
    found = parts.fill.sources(own_id(caller), wanted)
    if found is None:
        raise not_found(f"appliance {own_id(caller)}")
    return SourcesAnswer(
        sources=found.sources,
        files=tuple(FileSources(file_no=one.file_no, sources=one.sources, place=one.place) for one in found.files),
        valid_s=VALID_S,
    )


@router.get("/v1/fill")
def view(parts: WithParts, site: str | None = None) -> FillView:
    """How far fills are, when they will have ended, and what will not fit; with `site` also by title."""
    only = None if site is None else site_id(site)
    if only is not None and not parts.fill.knows_site(only):
        raise not_found(f"site {only}")
    return parts.fill.view(only=only)


@router.post("/v1/fill/orders", status_code=201)
def order(parts: WithParts, caller: WithCaller, wanted: FillOrderRequest) -> FillOrder:
    """Fill a title or a file now, past windows, or by a date."""
    now_s = parts.clock.now_s()
    _check(parts, wanted, now_s)
    if len(parts.store.fill_orders()) >= _MOST_ORDERS:
        raise Refusal(409, "too-many", f"{_MOST_ORDERS} orders have not ended yet: cancel some")
    new = FillOrder(
        order_id="",
        title_id=wanted.title_id,
        sha256=wanted.sha256,
        site_id=wanted.site_id,
        by_s=wanted.by_s,
        expires_s=max(now_s, wanted.by_s or 0.0) + ORDER_LASTS_S,
        reason=wanted.reason,
        ordered_by=caller.actor,
        ordered_at_s=now_s,
    )
    subject = f"title/{wanted.title_id}" if wanted.title_id is not None else "fleet"
    when = "now" if wanted.by_s is None else f"by {wanted.by_s:.0f}"
    detail = f"{new.target} {when}" + (f", site {wanted.site_id}" if wanted.site_id else "")
    happened = noted(caller, "fill.ordered", subject, wanted.reason or "operator-asked", detail)
    return parts.store.add_fill_order(new, event=happened, now_s=now_s)


@router.delete("/v1/fill/orders/{order_id}")
def cancel(parts: WithParts, caller: WithCaller, order_id: str) -> FillOrder:
    """End an order; its files go on as any others."""
    found = next((one for one in parts.store.fill_orders() if one.order_id == order_id), None)
    if found is None:
        raise not_found(f"fill order {order_id[:60]}")
    now_s = parts.clock.now_s()
    ended = replace(found, ended=OrderEnd.CANCELLED, ended_at_s=now_s)
    happened = noted(caller, "fill.order-ended", "fleet", "cancelled", f"{order_id}, {found.target}")
    if not parts.store.end_fill_order(ended, event=happened, now_s=now_s):
        raise Refusal(409, "has-ended", f"fill order {order_id} has ended at the same moment")
    return ended


def _check(parts: WithParts, wanted: FillOrderRequest, now_s: float) -> None:
    check_words("reason", wanted.reason, may_be_empty=True)
    if (wanted.title_id is None) == (wanted.sha256 is None):
        raise invalid("name one title (title_id) or one file (sha256)")
    if wanted.title_id is not None and parts.store.title(title_id(wanted.title_id)) is None:
        raise not_found(f"title {wanted.title_id}")
    if wanted.sha256 is not None and not parts.fill.publishes(sha256(wanted.sha256)):
        raise not_found(f"file {wanted.sha256}")
    if wanted.site_id is not None and not _is_site(parts, wanted.site_id):
        raise not_found(f"site {wanted.site_id}")
    if wanted.by_s is not None and not (math.isfinite(wanted.by_s) and now_s < wanted.by_s < now_s + _MOST_AHEAD_S):
        raise invalid("by_s: use an instant between now and a year ahead, in UTC epoch seconds")


def _is_site(parts: WithParts, name: SiteId) -> bool:
    return any(site.site_id == name for site in parts.store.sites())
