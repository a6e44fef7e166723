"""The guard before every route: proves the caller and asks the access table, before the body is read.

A secret comes as a bearer token, or as the cookie of a session; with a cookie, a request that changes something must
come from our own pages (the browser says so), so that no other site can use a signed-in browser.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.routing import APIRoute

from headrace.base.logs import event
from headrace.control.access import NOBODY, ROUTES, Access, Caller, may_call
from headrace.control.api.parts import Parts, parts_of
from headrace.control.api.problems import Refusal

_log = logging.getLogger(__name__)

COOKIE = "headrace-session"
_CHALLENGE = {"www-authenticate": 'Bearer realm="headrace"'}
_SAFE = ("GET", "HEAD", "OPTIONS")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class GuardedRoute(APIRoute):
    """A route that asks the table; one that is not in it cannot be made."""

    def get_route_handler(self) -> Handler:
        inner = super().get_route_handler()
        table = {method: ROUTES[method, self.path] for method in self.methods or ()}

        async def handle(request: Request) -> Response:
            parts = parts_of(request)
            started_s = parts.clock.monotonic_s()
            async with asyncio.timeout(parts.config.limits.request_timeout_s):
                request.state.caller = await admit(request, parts, table[request.method])
                response = await inner(request)
            _log_change(request, response, parts.clock.monotonic_s() - started_s)
            return response

        return handle


async def admit(request: Request, parts: Parts, access: Access) -> Caller:
    """The caller, when it may call this route.

    Raises:
        Refusal: 401 not proven, 403 proven but not allowed, 429 too many failures.
    """
    if "\x00" in request.url.path or "%00" in str(request.url):
        raise Refusal(422, "invalid", "addresses hold no NUL character")
    if access is Access.PUBLIC:
        return NOBODY
    text, is_cookie = secret_of(request)
    caller = await asyncio.to_thread(parts.gate.prove, text) if text else None
    if caller is None:
        raise not_proven(request, parts, "no token was sent" if not text else "unknown, expired or revoked token")
    if is_cookie and request.method not in _SAFE and not is_own_page(request):
        raise Refusal(403, "forbidden", "a session's cookie is taken from the control plane's own pages only")
    if not may_call(caller, access):
        raise Refusal(403, "forbidden", f"this needs {_NEEDED[access]}; this token is {_has(caller)}")
    return caller


def not_proven(request: Request, parts: Parts, detail: str) -> Refusal:
    """401, counted; 429 for a client that failed too often."""
    client = request.client.host if request.client else "unknown"
    if parts.failures.is_over(client):
        return Refusal(429, "too-many-failures", "too many failed attempts; wait a minute", {"retry-after": "60"})
    parts.failures.add(client)
    return Refusal(401, "unauthorized", detail, _CHALLENGE)


def secret_of(request: Request) -> tuple[str, bool]:
    """The secret that was sent ('' for none), and whether it came as a cookie."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return text.strip(), False
    return request.cookies.get(COOKIE, ""), True


def is_own_page(request: Request) -> bool:
    """Whether the browser says that the request comes from a page of this origin."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return urlsplit(request.headers.get("origin", "")).netloc == request.headers.get("host", "-")


_NEEDED = {
    Access.JOIN: "a join token",
    Access.APPLIANCE: "an appliance's credential",
    Access.READ: "the role read",
    Access.OPERATE: "the role operate",
    Access.ADMIN: "the role admin",
}


def _has(caller: Caller) -> str:
    if caller.appliance_id is not None:
        return f"appliance {caller.appliance_id}'s"
    return "a join token" if caller.role is None else f"of the role {caller.role}"


def _log_change(request: Request, response: Response, duration_s: float) -> None:
    level = logging.DEBUG if request.method in _SAFE or "/agent/" in request.url.path else logging.INFO
    event(
        _log,
        "request",
        level=level,
        method=request.method,
        path=request.url.path,
        status=response.status_code,
        actor=request.state.caller.actor,
        duration_s=duration_s,
    )
