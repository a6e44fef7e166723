"""Misses: each steering node's log, explained, tells them; pages show their sum. Notes in the store, as offload is."""

from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as InPath

from headrace.base.errors import UsageError
from headrace.control.api.guard import GuardedRoute
from headrace.control.api.parts import Parts, WithParts
from headrace.control.misses import add_up, check_misses, check_node
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.misses import HOURS, MOST_NODES, MissesSummary, MissesView

router = APIRouter(route_class=GuardedRoute, tags=["watching"])

_NOTES = "misses:"
_KEPT_S = HOURS * 3_600


@router.get("/v1/misses")
def show_misses(parts: WithParts) -> MissesView:
    """Served bytes by what kept the best appliances from them, by hour of the last 48, and the largest misses."""
    return _view(parts)


@router.put("/v1/misses/{node}")
def put_misses(
    parts: WithParts, node: Annotated[str, InPath(description="Name of the steering node.")], summary: MissesSummary
) -> MissesView:
    """Replace what this steering node told before; `headrace misses explain --tell` does."""
    now_s = parts.clock.now_s()
    check_node(node)
    check_misses(summary, now_s=now_s)
    parts.store.drop_notes(_NOTES, before_s=now_s - _KEPT_S)
    told = parts.store.notes(_NOTES)
    if _NOTES + node not in told and len(told) >= MOST_NODES:
        raise UsageError(f"misses of {len(told)} nodes are kept already, {MOST_NODES} at most; is {node} a new name?")
    parts.store.put_note(_NOTES + node, encode(summary).decode(), now_s=now_s)
    return _view(parts)


def _view(parts: Parts) -> MissesView:
    now_s, told = parts.clock.now_s(), dict[str, MissesSummary]()
    for key, text in parts.store.notes(_NOTES, since_s=now_s - _KEPT_S).items():
        try:
            told[key.removeprefix(_NOTES)] = decode(MissesSummary, text)
        except MalformedError:  # of another version; the next log that is explained tells it anew
            continue
    return add_up(told, now_s=now_s)
