"""What the routes work with: made once for an application, handed to each route."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends, Request

from headrace.base.clock import Clock
from headrace.control.access import Caller
from headrace.control.adapters.vrp_file import VrpFile
from headrace.control.config import ControlConfig
from headrace.control.feed import Feed
from headrace.control.fill_desk import FillDesk
from headrace.control.fleet_view import FleetViews
from headrace.control.gate import FailureCount, Gate
from headrace.control.holders import Holders
from headrace.control.loops.routing import Routing
from headrace.control.loops.state import LoopState
from headrace.control.model import NewEvent
from headrace.control.ports import Store


@dataclass(slots=True, kw_only=True)
class RequestCounts:
    """Answers by route and status, for /metrics."""

    answers: dict[tuple[str, str, int], int] = field(default_factory=dict)
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything behind the routes."""

    config: ControlConfig
    store: Store
    clock: Clock
    gate: Gate
    failures: FailureCount
    views: FleetViews
    holders: Holders
    fill: FillDesk
    feed: Feed
    loop_state: LoopState
    routing: Routing
    counts: RequestCounts = field(default_factory=RequestCounts)


def make_parts(
    config: ControlConfig,
    store: Store,
    clock: Clock,
    loop_state: LoopState | None = None,
    *,
    folder: Path | None = None,
) -> Parts:
    """Put the parts of one control node together; relative paths of the configuration lie in `folder`."""
    views = FleetViews(store, clock)
    rpki = config.routes.rpki
    vrp_file = VrpFile((folder or Path()) / rpki.file if rpki.file else None, rpki)
    return Parts(
        config=config,
        store=store,
        clock=clock,
        gate=Gate(store, clock),
        failures=FailureCount(clock, config.auth.failures_per_minute),
        views=views,
        holders=Holders(store),
        fill=FillDesk(store, config.fleet, config.loop_urls.origin, clock),
        feed=Feed(store, views.newest, clock, most_followers=config.limits.streams),
        loop_state=loop_state or LoopState(),
        routing=Routing(store, config.routes, clock, vrp_file),
    )


def parts_of(request: Request) -> Parts:
    """The parts of the application that this request came to."""
    return cast("Parts", request.app.state.parts)


# FastAPI runs what is not async in its thread pool, which costs more than the look.
async def _given_parts(request: Request) -> Parts:
    return parts_of(request)


async def _given_caller(request: Request) -> Caller:
    return cast("Caller", request.state.caller)


WithParts = Annotated[Parts, Depends(_given_parts)]
WithCaller = Annotated[Caller, Depends(_given_caller)]


def noted(caller: Caller, kind: str, subject: str, reason: str, detail: str = "") -> NewEvent:
    """An event about what `caller` did."""
    return NewEvent(actor=caller.actor, kind=kind, subject=subject, reason=reason, detail=detail)
