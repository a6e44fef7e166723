"""Tokens of operators, join tokens, and browsers' sessions."""

from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from headrace.base.ids import appliance_id, site_id
from headrace.control.access import Caller
from headrace.control.api.guard import COOKIE, GuardedRoute, is_own_page, not_proven, secret_of
from headrace.control.api.parts import Parts, WithCaller, WithParts, noted
from headrace.control.api.problems import Refusal, invalid, not_found
from headrace.control.checks import check_words
from headrace.control.model import JoinRow, TokenKind, TokenRow
from headrace.control.secret_text import SecretKind, new_secret
from headrace.wire.operator import JoinToken, JoinTokenRequest, Role, TokenRequest, TokenSecret, TokenView

router = APIRouter(route_class=GuardedRoute, tags=["tokens"])

_LONGEST_JOIN_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """POST /v1/session."""

    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """What a session may do."""

    role: Role
    name: str


@router.post("/v1/join-tokens", status_code=201)
def create_join_token(parts: WithParts, caller: WithCaller, asked: JoinTokenRequest) -> JoinToken:
    """A token that enrols one appliance, once; shown once."""
    site_id(asked.site_id)
    if asked.appliance_id is not None:
        appliance_id(asked.appliance_id)
    if not 0 < asked.lifetime_s <= _LONGEST_JOIN_S:
        raise invalid(f"lifetime_s: use up to {_LONGEST_JOIN_S:.0f} seconds")
    secret, now_s = new_secret(SecretKind.JOIN), parts.clock.now_s()
    join = JoinRow(
        join_id=secret.secret_id,
        secret_sha256=secret.sha256,
        site_id=asked.site_id,
        appliance_id=asked.appliance_id,
        expires_at_s=now_s + asked.lifetime_s,
    )
    detail = f"join token {secret.secret_id}" + (f", for {asked.appliance_id}" if asked.appliance_id else "")
    happened = noted(caller, "join-token.created", f"site/{asked.site_id}", "operator-asked", detail)
    if not parts.store.add_join_token(join, event=happened, now_s=now_s):
        raise not_found(f"site {asked.site_id}")
    return JoinToken(token=secret.text, expires_at_s=join.expires_at_s)


@router.get("/v1/tokens")
def list_tokens(parts: WithParts) -> tuple[TokenView, ...]:
    """Operators' tokens in force, without their secrets."""
    return tuple(
        TokenView(
            token_id=row.token_id,
            name=row.name,
            role=row.role or Role.READ,
            created_at_s=row.created_at_s,
            last_used_at_s=row.last_used_at_s,
        )
        for row in parts.store.tokens()
    )


@router.post("/v1/tokens", status_code=201)
def create_token(parts: WithParts, caller: WithCaller, asked: TokenRequest) -> TokenSecret:
    """A new operator's token; shown once."""
    check_words("name", asked.name, most=60)
    secret, now_s = new_secret(SecretKind.OPERATOR), parts.clock.now_s()
    row = TokenRow(
        token_id=secret.secret_id,
        kind=TokenKind.OPERATOR,
        name=asked.name,
        role=asked.role,
        secret_sha256=secret.sha256,
        created_at_s=now_s,
        rotated_at_s=now_s,
    )
    detail = f"{asked.name}, role {asked.role}"
    happened = noted(caller, "token.created", f"token/{secret.secret_id}", "operator-asked", detail)
    parts.store.add_token(row, event=happened, now_s=now_s)
    return TokenSecret(token_id=secret.secret_id, name=asked.name, role=asked.role, token=secret.text)


@router.delete("/v1/tokens/{token_id}", status_code=204)
def revoke_token(parts: WithParts, caller: WithCaller, token_id: str) -> None:
    """End an operator's token and the sessions opened with it; never the last admin's."""
    row = _operators_token(parts, token_id)
    happened = noted(caller, "token.revoked", f"token/{token_id}", "operator-asked", row.name)
    if parts.store.revoke_token(token_id, event=happened, now_s=parts.clock.now_s(), keeps_last_admin=True):
        return
    _operators_token(parts, token_id)  # else another request has just ended it
    raise Refusal(409, "last-admin", "this is the last admin's token: create another one first")


def _operators_token(parts: Parts, token_id: str) -> TokenRow:
    row = parts.store.token(token_id)
    if row is None or row.kind is not TokenKind.OPERATOR or row.is_revoked:
        raise not_found(f"token {token_id}")
    return row


@router.get("/v1/session")
def show_session(caller: WithCaller) -> SessionView:
    """What the caller's token or session may do."""
    return _view(caller)


@router.post("/v1/session")
def open_session(request: Request, response: Response, parts: WithParts, asked: SessionRequest) -> SessionView:
    """Sign a browser in: an operator's token becomes a cookie that scripts cannot read."""
    caller = parts.gate.prove(asked.token.strip())
    if caller is None or caller.token is None or caller.token.kind is not TokenKind.OPERATOR:
        raise not_proven(request, parts, "unknown, expired or revoked token")
    secret, now_s = new_secret(SecretKind.SESSION), parts.clock.now_s()
    row = TokenRow(
        token_id=secret.secret_id,
        kind=TokenKind.SESSION,
        name=caller.token.name,
        role=caller.role,
        parent_id=caller.token.token_id,
        secret_sha256=secret.sha256,
        created_at_s=now_s,
        rotated_at_s=now_s,
        expires_at_s=now_s + parts.config.auth.session_s,
    )
    if not parts.store.add_token(row, event=None, now_s=now_s):  # it was revoked at this moment
        raise not_proven(request, parts, "unknown, expired or revoked token")
    response.set_cookie(
        COOKIE,
        secret.text,
        max_age=int(parts.config.auth.session_s),
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return _view(caller)


@router.delete("/v1/session", status_code=204)
def close_session(request: Request, response: Response, parts: WithParts) -> None:
    """Sign a browser out."""
    text, is_cookie = secret_of(request)
    caller = parts.gate.prove(text) if text and is_cookie and is_own_page(request) else None
    if caller is not None and caller.token is not None and caller.token.kind is TokenKind.SESSION:
        parts.store.revoke_token(caller.token.token_id, event=None, now_s=parts.clock.now_s())
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


def _view(caller: Caller) -> SessionView:
    assert caller.role is not None
    assert caller.token is not None
    return SessionView(role=caller.role, name=caller.token.name)
