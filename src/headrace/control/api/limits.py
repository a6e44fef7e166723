"""How large a body may be, by path; a larger one is refused before it is read, or as soon as it shows."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.control.api.problems import Refusal, problem_response

MIB = 1024 * 1024
BODY_BYTES = 64 * 1024
LARGER = (
    ("/v1/agent/exchange", 8 * MIB),  # 100,000 files scattered at random are about 300 kB of bitmap
    ("/v1/agent/routes/chunks", 8 * MIB),
    ("/v1/agent/routes", MIB // 4),  # 1024 digests, or 64 sessions
    ("/v1/misses/", MIB // 4),  # 48 hours and 200 rows
    ("/v1/offload", MIB),  # 48 hours and 5,000 sites
    ("/v1/titles/", 16 * MIB),  # some ten thousand renditions
    ("/v1/sites/", 16 * MIB),  # 200,000 prefixes
)
"""Paths that begin so may carry more."""


def limit_of(path: str) -> int:
    """The bound for a request to `path`, in bytes."""
    return next((most for start, most in LARGER if path.startswith(start)), BODY_BYTES)


class BodyLimit:
    """Refuses bodies over the limit with 413, told or not by Content-Length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = limit_of(scope["path"])
        told = Headers(scope=scope).get("content-length", "0")
        if not told.isdecimal() or len(told) > 18 or int(told) > most:
            refusal = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", _too_large(most))
            await problem_response(refusal)(scope, receive, send)
            return
        taken = 0

        async def receive_counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(most))
            return message

        await self._app(scope, receive_counted, send)


def _too_large(most: int) -> str:
    return f"the body may have at most {most} bytes"
