"""The application: routes, problem documents, security headers, counts. Its parts come from outside."""

import json
from importlib import resources
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace import __version__
from headrace.control.api import (
    agents,
    appliances,
    fill,
    maintenance,
    misses,
    offload,
    route_reports,
    routes,
    sites,
    titles,
    tokens,
    watching,
)
from headrace.control.api.limits import BodyLimit
from headrace.control.api.openapi import describe
from headrace.control.api.parts import Parts
from headrace.control.api.problems import add_handlers

_ROUTERS = (
    agents.router,
    watching.router,
    sites.router,
    appliances.router,
    maintenance.router,
    fill.router,
    misses.router,
    offload.router,
    routes.router,
    route_reports.router,
    titles.router,
    tokens.router,
)

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_API_POLICY = b"default-src 'none'; frame-ancestors 'none'"
_DOCS_POLICY = (
    # Swagger UI writes style attributes and draws its icons as data URLs.
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HSTS = (b"strict-transport-security", b"max-age=31536000")


def make_app(parts: Parts) -> FastAPI:
    """The API as an ASGI application; the pages of `headrace.web` are mounted by the CLI."""
    app = FastAPI(
        title="Headrace control plane",
        version=__version__,
        description="Sites, appliances, titles, holdings, desired and observed state, events.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.parts = parts
    for router in _ROUTERS:
        app.include_router(router)
    add_handlers(app)
    _add_docs(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(_Envelope, parts=parts)
    return app


def _add_docs(app: FastAPI) -> None:
    folder = Path(str(resources.files("headrace.control").joinpath("static")))

    async def document(_request: Request) -> Response:
        return Response(_as_json(app), media_type="application/json")

    async def page(_request: Request) -> Response:
        headers = {"content-security-policy": _DOCS_POLICY}
        return FileResponse(folder / "docs.html", media_type="text/html; charset=utf-8", headers=headers)

    app.add_route("/openapi.json", document, include_in_schema=False)
    app.add_route("/docs", page, include_in_schema=False)
    app.mount("/docs", StaticFiles(directory=folder, check_dir=False))


def _as_json(app: FastAPI) -> bytes:
    return json.dumps(describe(app)).encode()


class _Envelope:
    """Adds headers that every answer carries, and counts answers by route."""

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = self._parts.clock.monotonic_s()

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(scope, message["status"], self._parts.clock.monotonic_s() - started_s)
                message["headers"] = _with_headers(message["headers"], scope["scheme"])
            await send(message)

        await self._app(scope, receive, send_on)

    def _count(self, scope: Scope, status: int, duration_s: float) -> None:
        route = scope.get("route")
        path = route.path if isinstance(route, APIRoute) else "other"
        method = scope["method"] if path != "other" else "any"
        counts = self._parts.counts
        counts.answers[method, path, status] = counts.answers.get((method, path, status), 0) + 1
        counts.seconds[method, path] = counts.seconds.get((method, path), 0.0) + duration_s


def _with_headers(given: list[tuple[bytes, bytes]], scheme: str) -> list[tuple[bytes, bytes]]:
    """Add what is not there yet; pages bring their own policy."""
    names = {name.lower() for name, _ in given}
    own = [*_HEADERS, (b"content-security-policy", _API_POLICY), (b"cache-control", b"no-store")]
    if scheme == "https":
        own.append(_HSTS)
    return [*given, *((name, value) for name, value in own if name not in names)]
