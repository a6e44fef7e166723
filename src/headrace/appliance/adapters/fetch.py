"""Fetches ranges of files over HTTP from fill sources. Whether the bytes are right the store decides."""

import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import httpx

from headrace.appliance.errors import SourceError
from headrace.base.clock import Clock
from headrace.base.errors import ConfigError
from headrace.base.ids import ApplianceId
from headrace.catalog.model import CatalogFile, content_path

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class NotHeldError(SourceError):
    """The source does not hold the file (404, 410 or a redirect elsewhere)."""


class SlowSourceError(SourceError):
    """The source gives bytes, but below the least rate."""


class RangeFetcher:
    """One HTTP client for all fills."""

    def __init__(
        self, appliance_id: ApplianceId, *, stall_timeout_s: float, files_at_once: int, ca_file: str, clock: Clock
    ) -> None:
        self._clock, self._stall_s = clock, stall_timeout_s
        self._http = httpx.AsyncClient(
            verify=_verify(ca_file),
            timeout=httpx.Timeout(stall_timeout_s),
            limits=httpx.Limits(max_connections=files_at_once * 2, keepalive_expiry=30.0),
            follow_redirects=False,
            trust_env=False,
            headers={"user-agent": f"headrace-fill ({appliance_id})", "accept-encoding": "identity"},
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def fetch(
        self, base_url: str, file: CatalogFile, first: int, last: int, *, least_bps: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes `first` to `last` (both inclusive) of a file as they come.

        Args:
            least_bps: measured over the time that the network takes, not over the reader's; 0 for no bound.

        Raises:
            NotHeldError, SlowSourceError, SourceError: nothing more comes; what was yielded before is good to keep.
        """
        url = base_url.rstrip("/") + content_path(file.sha256, file.suffix)
        try:
            headers = {"range": f"bytes={first}-{last}"}
            async with self._http.stream("GET", url, headers=headers) as response:
                _check_answer(response, file, first, last)
                async with aclosing(self._body(response, url, last - first + 1, least_bps)) as chunks:
                    async for chunk in chunks:
                        yield chunk
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            raise SourceError(f"{url}: {type(error).__name__} {error}".rstrip()) from error

    async def _body(
        self, response: httpx.Response, url: str, size_bytes: int, least_bps: int
    ) -> AsyncGenerator[bytes, None]:
        left_bytes, waited_s, came_bytes = size_bytes, 0.0, 0
        chunks = response.aiter_raw()
        while left_bytes:
            asked_s = self._clock.monotonic_s()
            chunk = await anext(chunks, b"")
            waited_s += self._clock.monotonic_s() - asked_s
            if not chunk:
                raise SourceError(f"{url}: ended {left_bytes} bytes early")
            chunk = chunk[:left_bytes]
            left_bytes -= len(chunk)
            came_bytes += len(chunk)
            yield chunk
            if waited_s >= self._stall_s:
                if came_bytes * 8 < least_bps * waited_s:
                    raise SlowSourceError(f"{url}: {came_bytes * 8 / waited_s:.0f} b/s, the least is {least_bps}")
                waited_s, came_bytes = 0.0, 0


def _check_answer(response: httpx.Response, file: CatalogFile, first: int, last: int) -> None:
    status = response.status_code
    if status in (404, 410) or response.is_redirect:
        raise NotHeldError(f"{response.url}: HTTP {status}")
    if status == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if match is None or (int(match[1]), int(match[3])) != (first, file.size_bytes) or int(match[2]) > last:
            told = response.headers.get("content-range", "nothing")
            raise SourceError(f"{response.url}: asked bytes {first}-{last}/{file.size_bytes}, offered {told}")
    elif status != 200 or first != 0:
        raise SourceError(f"{response.url}: HTTP {status}")
    elif response.headers.get("content-length", str(file.size_bytes)) != str(file.size_bytes):
        raise SourceError(f"{response.url}: the file has {response.headers['content-length']} bytes there")


def _verify(ca_file: str) -> ssl.SSLContext | bool:
    if not ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=str(Path(ca_file)))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"fill.ca_file: cannot read {ca_file}: {error}") from None
