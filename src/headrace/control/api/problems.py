"""Every refusal as an RFC 9457 problem document with a stable code; nothing else leaves the API as an error."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from headrace.base.errors import HeadraceError, UsageError
from headrace.base.logs import event
from headrace.catalog.model import CatalogError
from headrace.control.errors import StoreAwayError, StoreError
from headrace.fleet.model import FleetError
from headrace.wire.codec import encode
from headrace.wire.errors import MalformedError
from headrace.wire.operator import Problem

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_CODES = {400: "malformed", 404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "media-type"}


class Refusal(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.headers = dict(headers or {})


def not_found(what: str) -> Refusal:
    """404 with a sentence."""
    return Refusal(404, "not-found", f"there is no {what}")


def invalid(detail: object) -> Refusal:
    """422: readable, but not what may be written."""
    return Refusal(422, "invalid", str(detail))


def problem_response(refusal: Refusal) -> Response:
    """The document."""
    title = HTTPStatus(refusal.status).phrase
    problem = Problem(title=title, status=refusal.status, code=refusal.code, detail=refusal.detail)
    return Response(encode(problem), status_code=refusal.status, media_type=MEDIA_TYPE, headers=refusal.headers)


def add_handlers(app: FastAPI) -> None:
    """Turn everything that a request can end in into a problem document."""
    kinds: tuple[type[Exception], ...] = (
        Refusal,
        HeadraceError,
        HTTPException,
        RequestValidationError,
        TimeoutError,
        Exception,
    )
    for kind in kinds:
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, error: Exception) -> Response:
    refusal = _as_refusal(error)
    if refusal.status >= 500:
        fields: dict[str, Any] = {"method": request.method, "path": request.url.path, "code": refusal.code}
        level = logging.DEBUG if isinstance(error, StoreAwayError) else logging.ERROR  # that one is logged already
        event(_log, "request_failed", level=level, **fields, error=f"{type(error).__name__}: {error}")
    return problem_response(refusal)


def _as_refusal(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, UsageError | CatalogError | FleetError | MalformedError):
        return invalid(error)
    if isinstance(error, RequestValidationError):
        return invalid(_first_fault(error))
    if isinstance(error, StoreError):
        return Refusal(503, "store-unavailable", "the store could not be asked; try again", {"retry-after": "2"})
    if isinstance(error, TimeoutError):
        return Refusal(503, "timed-out", "the request took too long; try again", {"retry-after": "2"})
    if isinstance(error, HTTPException):
        code = _CODES.get(error.status_code, "refused")
        return Refusal(error.status_code, code, str(error.detail), error.headers)
    return Refusal(500, "internal", "the control plane failed to answer; its log says why")


def _first_fault(error: RequestValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    return f"{where}: {first['msg']}"
