"""Watching: the fleet at once, events, the live feed, the steering snapshot, health and metrics of this node."""

import asyncio
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from headrace.control.api.guard import GuardedRoute, secret_of
from headrace.control.api.parts import Parts, WithParts
from headrace.control.api.problems import Refusal, not_found
from headrace.control.loops.metrics import metric_lines
from headrace.control.loops.route_metrics import metric_lines as route_lines
from headrace.wire.codec import encode
from headrace.wire.operator import EventView, FleetView

router = APIRouter(route_class=GuardedRoute, tags=["watching"])

_NO_STORE = {"cache-control": "no-store"}


@router.get("/v1/fleet", response_model=FleetView)
def show_fleet(parts: WithParts) -> Response:
    """All sites and appliances with their state, and totals."""
    return Response(encode(parts.views.newest()), media_type="application/json", headers=_NO_STORE)


@router.get("/v1/events")
def list_events(
    parts: WithParts,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    newest: Annotated[bool, Query(description="The newest instead of the oldest ones; still oldest first.")] = False,
) -> tuple[EventView, ...]:
    """Events with ids above `after`, oldest first. Ids have no gaps."""
    start = max(after, parts.store.versions().events - limit) if newest else after
    return parts.store.events(after=start, limit=limit)


@router.get(
    "/v1/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "`fleet` and `event` messages."}},
)
async def stream(
    request: Request, parts: WithParts, last_event_id: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """Server-sent events: `fleet` (FleetView) about each second when it changed, `event` (EventView) as they happen."""
    if parts.feed.is_full:
        raise Refusal(503, "too-many-streams", "this node has no more room for streams", {"retry-after": "5"})
    text, _ = secret_of(request)
    seen = int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 19 else None
    messages = parts.feed.follow(seen, lambda: parts.gate.prove(text) is not None)
    headers = {**_NO_STORE, "x-accel-buffering": "no"}
    return StreamingResponse(messages, media_type="text/event-stream", headers=headers)


@router.get(
    "/v1/snapshot",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "wire/snapshot.py's format."},
        304: {"description": "The snapshot with this entity tag is still the newest."},
    },
)
def show_snapshot(parts: WithParts, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """The compiled steering snapshot, with its entity tag."""
    head = parts.store.snapshot_etag()
    if head is None:
        raise not_found("snapshot yet: the first is compiled when the loops have turned once")
    if if_none_match is not None and head[1] in (tag.strip() for tag in if_none_match.split(",")):
        return Response(status_code=304, headers={"etag": head[1], **_NO_STORE})
    found = parts.store.snapshot()
    if found is None:
        raise not_found("snapshot")
    headers = {"etag": found.etag, "x-snapshot-version": str(found.version), **_NO_STORE}
    return Response(found.packed, media_type="application/octet-stream", headers=headers)


@router.get(
    "/v1/snapshot/parts/{digest}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "A large section of the snapshot."}},
)
def show_snapshot_part(parts: WithParts, digest: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]) -> Response:
    """A section that the snapshot names by its SHA-256; it never changes."""
    body = parts.store.snapshot_part(digest)
    if body is None:
        raise not_found(f"part {digest} of a snapshot")
    return Response(body, media_type="application/octet-stream", headers=_NO_STORE)


@router.get("/healthz", response_class=Response)
async def healthz(parts: WithParts) -> Response:
    """200 while this node can ask its store, else 503."""
    async with asyncio.timeout(5):
        await asyncio.to_thread(parts.store.versions)
    return Response("ok\n", media_type="text/plain", headers=_NO_STORE)


@router.get("/metrics", response_class=Response)
def metrics(parts: WithParts) -> Response:
    """This node's counters in Prometheus' text format."""
    text = "\n".join((*metric_lines(parts.loop_state), *route_lines(parts.routing), *_own_lines(parts))) + "\n"
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8", headers=_NO_STORE)


def _own_lines(parts: Parts) -> Iterator[str]:
    yield "# HELP headrace_control_streams Followers of the live feed on this node."
    yield "# TYPE headrace_control_streams gauge"
    yield f"headrace_control_streams {parts.feed.count}"
    yield "# HELP headrace_control_requests_total Answers by route and status."
    yield "# TYPE headrace_control_requests_total counter"
    for (method, route, status), count in sorted(parts.counts.answers.items()):
        yield f'headrace_control_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}'
    yield "# HELP headrace_control_request_seconds_total Time spent on answers by route."
    yield "# TYPE headrace_control_request_seconds_total counter"
    for (method, route), seconds in sorted(parts.counts.seconds.items()):
        yield f'headrace_control_request_seconds_total{{method="{method}",route="{route}"}} {seconds:.6f}'
