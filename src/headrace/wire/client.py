"""The HTTP client of the control plane: agents, steering nodes and the CLI all speak through it.

It takes several control nodes and goes on to the next when one does not answer. Foreign errors become ours here.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from headrace.wire.codec import MAX_MESSAGE_BYTES, decode, encode
from headrace.wire.errors import (
    ConflictError,
    MalformedError,
    NotFoundError,
    RefusedError,
    UnauthorizedError,
    UnreachableError,
    WireError,
)
from headrace.wire.operator import Problem

T = TypeVar("T")

_BY_STATUS: dict[int, type[RefusedError]] = {
    401: UnauthorizedError,
    403: UnauthorizedError,
    404: NotFoundError,
    409: ConflictError,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAnswer:
    """An answer that is not JSON: its status, entity tag and body."""

    status: int
    etag: str
    body: bytes


class ControlClient:
    """Calls to one of several control nodes."""

    def __init__(self, http: httpx.AsyncClient, urls: tuple[str, ...], token: str) -> None:
        self._http = http
        self._urls = [url.rstrip("/") for url in urls]
        self.token = token
        """Bearer token; may be replaced after a rotation."""

    async def call(
        self, method: str, path: str, *, body: Any = None, answer: type[T], params: dict[str, str] | None = None
    ) -> T:
        """Send `body` (a dataclass) and read `answer`.

        Raises:
            UnreachableError: no control node answered in time.
            RefusedError: one answered 4xx or 5xx; its leaves say which kind.
            MalformedError: the answer is not of the agreed shape.
        """
        content = None if body is None else encode(body)
        raw = await self.raw(method, path, content=content, params=params)
        return decode(answer, raw.body or b"null")

    async def raw(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> RawAnswer:
        """Send bytes and give back the bytes of a 2xx or 304 answer; raises as `call` does."""
        failures: list[str] = []
        for url in list(self._urls):
            sent = {"authorization": f"Bearer {self.token}", "content-type": "application/json", **(headers or {})}
            try:
                response = await self._http.request(method, url + path, content=content, params=params, headers=sent)
            except (httpx.HTTPError, ssl.SSLError, OSError) as error:
                failures.append(f"{url}: {type(error).__name__} {error}".rstrip())
                self._urls.remove(url)
                self._urls.append(url)
                continue
            if len(response.content) > MAX_MESSAGE_BYTES * 16:
                raise MalformedError(f"answer of {len(response.content)} bytes from {url} is over the limit")
            if response.is_success or response.status_code == 304:
                etag = response.headers.get("etag", "")
                return RawAnswer(status=response.status_code, etag=etag, body=response.content)
            raise _refusal(response)
        raise UnreachableError("no control node answered: " + "; ".join(failures))


@asynccontextmanager
async def open_client(
    urls: tuple[str, ...], token: str, *, ca_file: Path | None = None, timeout_s: float = 10.0
) -> AsyncIterator[ControlClient]:
    """A ControlClient for the block; `ca_file` is the private CA that `headrace init` made."""
    verify: ssl.SSLContext | bool = True
    if ca_file is not None:
        try:
            verify = ssl.create_default_context(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise WireError(f"cannot read the CA certificate {ca_file}: {error}") from None
    async with httpx.AsyncClient(verify=verify, timeout=timeout_s, trust_env=False) as http:
        yield ControlClient(http, urls, token)


def _refusal(response: httpx.Response) -> RefusedError:
    try:
        problem = decode(Problem, response.content)
        code, detail = problem.code, problem.detail
    except MalformedError:
        code, detail = "unknown", f"HTTP {response.status_code} {response.reason_phrase}"
    return _BY_STATUS.get(response.status_code, RefusedError)(response.status_code, code, detail)
