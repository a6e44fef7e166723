"""Agents: enrolment, the exchange, pages of the plan, rotation of the credential."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from headrace.base.ids import ApplianceId, FileNo
from headrace.catalog.fileset import FileSet
from headrace.control.access import Caller
from headrace.control.api.guard import GuardedRoute
from headrace.control.api.openapi import body_of
from headrace.control.api.parts import Parts, WithCaller, WithParts, noted
from headrace.control.api.problems import Refusal, invalid, not_found
from headrace.control.checks import VERSIONS_END, check_address, check_message, check_storable
from headrace.control.exchange import Arrival, judge_arrival, merge_holdings, next_report, page_plan
from headrace.control.model import Enrolment, FleetRow, SetHead, StoredSet, TokenKind, TokenRow
from headrace.control.secret_text import SecretKind, new_secret
from headrace.fleet.model import Appliance
from headrace.wire.agent import (
    CredentialAnswer,
    EnrolAnswer,
    EnrolRequest,
    ExchangeAnswer,
    ExchangeRequest,
    PlanUpdate,
)
from headrace.wire.codec import decode, encode

router = APIRouter(route_class=GuardedRoute, tags=["agents"])

_RACES = 5

_REFUSED_ENROLMENTS = {
    Enrolment.TOKEN_SPENT: (403, "token-spent", "this join token has been used, or is bound to another appliance"),
    Enrolment.TOKEN_EXPIRED: (403, "token-expired", "this join token has expired"),
    Enrolment.ALREADY_ENROLLED: (409, "already-enrolled", "this id is taken: make a join token bound to it"),
    Enrolment.NO_SUCH_SITE: (409, "no-such-site", "the site of this join token is gone"),
}


@router.post("/v1/enrol")
def enrol(parts: WithParts, caller: WithCaller, asked: EnrolRequest) -> EnrolAnswer:
    """Enrol an appliance with a join token; the credential in the answer is shown once."""
    assert caller.join is not None
    check_address(asked.appliance_id, asked.content_url, asked.capacity_bps)
    site_id = caller.join.site_id
    appliance = Appliance(
        appliance_id=asked.appliance_id,
        site_id=site_id,
        content_url=asked.content_url,
        capacity_bps=asked.capacity_bps,
    )
    credential = new_secret(SecretKind.APPLIANCE)
    now_s = parts.clock.now_s()
    row = TokenRow(
        token_id=credential.secret_id,
        kind=TokenKind.APPLIANCE,
        name=asked.appliance_id,
        secret_sha256=credential.sha256,
        created_at_s=now_s,
        rotated_at_s=now_s,
        appliance_id=asked.appliance_id,
    )
    subject = f"appliance/{asked.appliance_id}"
    happened = noted(caller, "appliance.enrolled", subject, "join-token-used", f"site {site_id}, {asked.content_url}")
    outcome = parts.store.enrol(caller.join.join_id, appliance, row, event=happened, now_s=now_s)
    if outcome is not Enrolment.DONE:
        raise Refusal(*_REFUSED_ENROLMENTS[outcome])
    return EnrolAnswer(appliance_id=asked.appliance_id, site_id=site_id, credential=credential.text)


@router.post(
    "/v1/agent/exchange",
    response_model=ExchangeAnswer,
    openapi_extra={"requestBody": body_of(ExchangeRequest)},
)
async def exchange(request: Request, parts: WithParts, caller: WithCaller) -> Response:
    """Report what an appliance is, and fetch what it shall be. Read and written without FastAPI's own passes over the
    body: this is the one call that a large fleet makes all the time."""
    body = await request.body()
    answer = await run_in_threadpool(_exchange, parts, caller, body)
    return Response(answer, media_type="application/json")


@router.get("/v1/agent/plan")
def plan(
    parts: WithParts,
    caller: WithCaller,
    version: Annotated[int, Query(ge=0, lt=VERSIONS_END)],
    base: Annotated[int | None, Query(ge=0, lt=VERSIONS_END)] = None,
    after: Annotated[int, Query(ge=0, lt=2**32)] = 0,
) -> PlanUpdate:
    """A page of a plan: entries with numbers above `after` that differ from version `base` (none: an empty plan)."""
    name = own_id(caller)
    wanted = parts.store.plan(name, version)
    start = None if base is None else parts.store.plan(name, base)
    if wanted is None or (base is not None and start is None):
        raise not_found(f"plan of version {version} from {base}: exchange again for the newest one")
    return _plan_update(parts, wanted, start, after=after)


@router.post("/v1/agent/credential")
def rotate_credential(parts: WithParts, caller: WithCaller) -> CredentialAnswer:
    """Give a new credential; the old one ends when the new one is first used."""
    assert caller.token is not None
    new = new_secret(SecretKind.APPLIANCE, caller.token.token_id)
    if not parts.store.start_rotation(caller.token.token_id, next_sha256=new.sha256):
        raise Refusal(401, "unauthorized", "this credential has been revoked")
    return CredentialAnswer(credential=new.text)


def own_id(caller: Caller) -> ApplianceId:
    """The appliance whose credential the caller showed."""
    assert caller.appliance_id is not None
    return caller.appliance_id


def _exchange(parts: Parts, caller: Caller, body: bytes) -> bytes:
    asked = decode(ExchangeRequest, body)
    name = own_id(caller)
    if asked.appliance_id != name:
        raise impostor(parts, caller, asked.appliance_id)
    check_message(asked.boot_id, asked.sequence)
    if not (0 <= asked.plan_version < VERSIONS_END and 0 <= asked.desired_version < VERSIONS_END):
        raise invalid("plan_version, desired_version: use the version in force, 0 for none")
    check_storable("report", asked.report)
    now_s = parts.clock.now_s()
    row, arrival = _take_report(parts, name, asked, now_s)
    holdings_digest = row.holdings.digest
    if arrival in (Arrival.NEW, Arrival.NEW_BOOT) and asked.holdings.digest != holdings_digest:
        holdings_digest = _take_holdings(parts, name, asked)
    is_current = row.desired is not None and row.desired.version == asked.desired_version
    answer = ExchangeAnswer(
        sequence=asked.sequence,
        now_s=now_s,
        interval_s=parts.config.fleet.report_interval_s,
        holdings_digest=holdings_digest,
        desired=None if is_current else row.desired,
        plan=_newer_plan(parts, row, asked),
        should_rotate_credential=_is_old(caller, now_s, parts.config.auth.credential_age_s),
    )
    return encode(answer)


def impostor(parts: Parts, caller: Caller, claimed: str) -> Refusal:
    """The refusal for a message in another appliance's name; it is kept in the record."""
    detail = f"it claimed to be {claimed[:63]!r}"
    happened = noted(caller, "appliance.impersonation-refused", f"appliance/{caller.appliance_id}", "wrong-id", detail)
    parts.store.append_event(happened, now_s=parts.clock.now_s())
    return Refusal(403, "forbidden", f"this credential is appliance {caller.appliance_id}'s")


def _take_report(parts: Parts, name: ApplianceId, asked: ExchangeRequest, now_s: float) -> tuple[FleetRow, Arrival]:
    """Store the report if it counts; the row as it was read, and how the message arrived."""
    for _ in range(_RACES):
        row = parts.store.appliance(name)
        if row is None:
            raise not_found(f"appliance {name}")
        stored = row.report
        arrival = judge_arrival(stored, asked.boot_id, asked.sequence)
        if arrival in (Arrival.REPEATED, Arrival.LATE):
            parts.store.note_message(name, now_s=now_s)
            return row, arrival
        new = next_report(stored, asked, now_s=now_s)
        if parts.store.save_report(name, new, expected_boot_id=stored.boot_id, expected_sequence=stored.sequence):
            return row, arrival
    raise Refusal(503, "busy", "other messages of this appliance came at the same moment", {"retry-after": "1"})


def _take_holdings(parts: Parts, name: ApplianceId, asked: ExchangeRequest) -> str:
    """Store the holdings if they fit; the digest of what is stored then."""
    stored = parts.store.holdings(name)
    if stored is None:
        raise not_found(f"appliance {name}")
    merged = merge_holdings(stored.files, stored.head.digest, asked.holdings)
    if merged is None:
        return stored.head.digest
    total_bytes = asked.holdings.total_bytes
    if not 0 <= total_bytes < 2**63:
        raise invalid("holdings.total_bytes is out of range")
    head = SetHead(digest=asked.holdings.digest, count=len(merged), total_bytes=total_bytes)
    new = StoredSet(head=head, files=merged)
    if parts.store.save_holdings(name, new, expected_digest=stored.head.digest):
        return head.digest
    now = parts.store.holdings(name)  # another message of this appliance was quicker
    return stored.head.digest if now is None else now.head.digest


def _newer_plan(parts: Parts, row: FleetRow, asked: ExchangeRequest) -> PlanUpdate | None:
    head = row.plan
    if head.version == 0 or (asked.plan_version, asked.plan_digest) == (head.version, head.digest):
        return None
    name = row.appliance.appliance_id
    newest = parts.store.plan(name)
    base = parts.store.plan(name, asked.plan_version) if asked.plan_version else None
    if base is not None and base.head.digest != asked.plan_digest:
        base = None
    return None if newest is None else _plan_update(parts, newest, base, after=0)


def _plan_update(parts: Parts, wanted: StoredSet, base: StoredSet | None, *, after: int) -> PlanUpdate:
    page = page_plan(wanted.files, FileSet() if base is None else base.files, after=after)
    return PlanUpdate(
        version=wanted.head.version,
        digest=wanted.head.digest,
        count=wanted.head.count,
        base_version=None if base is None else base.head.version,
        added=parts.store.files(page.added),
        removed=page.removed,
        more_after=None if page.more_after is None else FileNo(page.more_after),
    )


def _is_old(caller: Caller, now_s: float, most_s: float) -> bool:
    assert caller.token is not None
    return now_s - caller.token.rotated_at_s > most_s
