"""What agents tell of the routes they hear: sessions with the digests of their tables, lists of chunks, chunks."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from headrace.base.ids import ApplianceId
from headrace.control.access import Caller
from headrace.control.api.agents import impostor, own_id
from headrace.control.api.guard import GuardedRoute
from headrace.control.api.openapi import body_of
from headrace.control.api.parts import Parts, WithCaller, WithParts
from headrace.control.api.problems import Refusal, invalid, not_found
from headrace.control.exchange import Arrival, judge_arrival
from headrace.control.model import StoredReport
from headrace.control.routes import (
    StoredSpeaker,
    base_of,
    check_request,
    check_table,
    lay_over,
    named_lists,
    take_message,
    unknown_tables,
)
from headrace.routes.chunks import chunk_digest, split_chunks
from headrace.routes.columns import count_routes
from headrace.routes.model import RouteError
from headrace.wire.codec import decode, encode
from headrace.wire.routes import MOST_BODY_BYTES, RoutesAnswer, RoutesRequest, TableAnswer, TableRequest

router = APIRouter(route_class=GuardedRoute, tags=["agents"])

_RACES = 5


@router.post("/v1/agent/routes", response_model=RoutesAnswer, openapi_extra={"requestBody": body_of(RoutesRequest)})
async def report_routes(request: Request, parts: WithParts, caller: WithCaller) -> Response:
    """All sessions of an appliance's speaker, each with the digests of its table and of the times of its routes; the
    answer names unknown ones."""
    answer = await run_in_threadpool(_report, parts, caller, await request.body())
    return Response(answer, media_type="application/json")


@router.post("/v1/agent/routes/table", response_model=TableAnswer, openapi_extra={"requestBody": body_of(TableRequest)})
async def report_table(request: Request, parts: WithParts, caller: WithCaller) -> Response:
    """The chunks that a table, or its times, is made of; the answer names those that are missing."""
    answer = await run_in_threadpool(_report_table, parts, caller, await request.body())
    return Response(answer, media_type="application/json")


@router.post(
    "/v1/agent/routes/chunks",
    status_code=204,
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
    },
)
async def report_chunks(request: Request, parts: WithParts, caller: WithCaller) -> None:
    """Chunks as `routes/chunks.py` packs them, each with its size before it; only those that a table of this appliance
    misses are kept."""
    await run_in_threadpool(_take_chunks, parts, caller, await request.body())


def _report(parts: Parts, caller: Caller, body: bytes) -> bytes:
    asked = decode(RoutesRequest, body)
    name = _checked_name(parts, caller, asked.appliance_id)
    check_request(asked)
    now_s = parts.clock.now_s()
    whole = parts.store.whole_lists(named_lists(asked))
    _take_report(parts, name, asked, whole, now_s)
    answer = RoutesAnswer(
        sequence=asked.sequence,
        unknown_tables=unknown_tables(asked, whole),
        interval_s=parts.config.routes.report_interval_s,
    )
    return encode(answer)


def _take_report(parts: Parts, name: ApplianceId, asked: RoutesRequest, whole: dict[str, int], now_s: float) -> None:
    """Store what counts; a repeated or late message changes nothing and gets its answer all the same."""
    settings = parts.config.routes
    for _ in range(_RACES):
        before = parts.store.speaker(name)
        if before is None:
            raise not_found(f"appliance {name}")
        if _arrival(before, asked) in (Arrival.REPEATED, Arrival.LATE):
            return
        if parts.store.save_speaker(
            take_message(before, asked, whole, settings, now_s=now_s),
            expected_boot_id=before.boot_id,
            expected_sequence=before.sequence,
            history_step_s=settings.history_step_s,
            now_s=now_s,
        ):
            return
    raise Refusal(503, "busy", "other messages of this appliance came at the same moment", {"retry-after": "1"})


def _arrival(before: StoredSpeaker, asked: RoutesRequest) -> Arrival:
    order = StoredReport(boot_id=before.boot_id, sequence=before.sequence, past_boots=before.past_boots)
    return judge_arrival(order, asked.boot_id, asked.sequence)


def _report_table(parts: Parts, caller: Caller, body: bytes) -> bytes:
    asked = decode(TableRequest, body)
    name = _checked_name(parts, caller, asked.appliance_id)
    base_digest = base_of(asked)
    whole = lay_over(asked, parts.store.route_list(base_digest) if base_digest else None)
    if whole is None:
        raise not_found(f"table {base_digest}")
    places = check_table(whole)
    missing = parts.store.put_list(asked.table_digest, places, by=name, now_s=parts.clock.now_s())
    if missing is None:
        raise not_found(f"appliance {name}")
    return encode(TableAnswer(unknown_chunks=missing))


def _take_chunks(parts: Parts, caller: Caller, body: bytes) -> None:
    name = own_id(caller)
    try:
        packed = {chunk_digest(one): one for one in split_chunks(body, most_bytes=MOST_BODY_BYTES)}
        wanted = parts.store.wanted_chunks(list(packed), by=name)
        counts = count_routes(packed[digest] for digest in wanted)
        chunks = {digest: (packed[digest], count) for digest, count in zip(wanted, counts, strict=True)}
        parts.store.put_chunks(chunks, by=name, now_s=parts.clock.now_s())
    except RouteError as error:
        raise invalid(error) from None


def _checked_name(parts: Parts, caller: Caller, claimed: ApplianceId) -> ApplianceId:
    name = own_id(caller)
    if claimed != name:
        raise impostor(parts, caller, claimed)
    return name
