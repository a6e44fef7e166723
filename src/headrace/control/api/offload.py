"""Offload: whoever counts demand tells it, pages show it. A note in the store: each count tells it anew."""

from fastapi import APIRouter

from headrace.control.api.guard import GuardedRoute
from headrace.control.api.parts import Parts, WithParts
from headrace.control.offload import check_offload
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.offload import OffloadSummary, OffloadView

router = APIRouter(route_class=GuardedRoute, tags=["watching"])

_NOTE = "offload"


@router.get("/v1/offload")
def show_offload(parts: WithParts) -> OffloadView:
    """Bytes by who served them, by hour of the last 48, and the own share of each site in the last 24 hours."""
    return _view(parts)


@router.put("/v1/offload")
def put_offload(parts: WithParts, summary: OffloadSummary) -> OffloadView:
    """Replace what was told before; `headrace demand count` does, after each count. The last one wins."""
    now_s = parts.clock.now_s()
    check_offload(summary, now_s=now_s)
    parts.store.put_note(_NOTE, encode(summary).decode(), now_s=now_s)
    return _view(parts)


def _view(parts: Parts) -> OffloadView:
    text = parts.store.notes(_NOTE).get(_NOTE)
    if text is None:
        return OffloadView(summary=None)
    try:
        return OffloadView(summary=decode(OffloadSummary, text))
    except MalformedError:  # of another version; the next count tells it anew
        return OffloadView(summary=None)
