"""Fetches a few bytes of a held file from an appliance, as a player would, and says what came of it.

A new connection for each probe: a player's first request needs one too, and a kept one would not see a server that no
longer accepts. Never raises for what the appliance does; concludes nothing.
"""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from headrace.catalog.model import CatalogFile, content_path
from headrace.control.errors import ControlError
from headrace.control.loops.settings import ProbeSettings
from headrace.fleet.evidence import PROBE_USER_AGENT, ProbeOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """What came of one probe."""

    outcome: ProbeOutcome
    detail: str = ""
    is_verified: bool = False
    """A whole file came, and its SHA-256 was right."""


VERIFIED_MOST_BYTES = 8 << 20
"""Larger files are not fetched whole."""


@asynccontextmanager
async def open_probe_client(settings: ProbeSettings) -> AsyncIterator[httpx.AsyncClient]:
    """The client for all probes of this process."""
    limits = httpx.Limits(max_connections=settings.most_at_once, max_keepalive_connections=0)
    headers = {"user-agent": PROBE_USER_AGENT, "accept-encoding": "identity"}
    async with httpx.AsyncClient(
        verify=_tls(settings), timeout=settings.timeout_s, limits=limits, headers=headers, trust_env=False
    ) as http:
        yield http


async def probe(
    http: httpx.AsyncClient, base_url: str, file: CatalogFile, first: int, *, settings: ProbeSettings
) -> ProbeAnswer:
    """Fetch `settings.range_bytes` of `file` from byte `first` on and check status, range, length and entity tag."""
    last = min(first + settings.range_bytes, file.size_bytes) - 1
    return await _fetch(http, base_url, file, (first, last), settings)


async def verify(http: httpx.AsyncClient, base_url: str, file: CatalogFile, *, settings: ProbeSettings) -> ProbeAnswer:
    """Fetch all of `file` as one range, check what `probe` checks, and that the SHA-256 of what came is its name."""
    return await _fetch(http, base_url, file, (0, file.size_bytes - 1), settings)


async def _fetch(
    http: httpx.AsyncClient, base_url: str, file: CatalogFile, span: tuple[int, int], settings: ProbeSettings
) -> ProbeAnswer:
    first, last = span
    url = base_url + content_path(file.sha256, file.suffix)
    try:
        async with asyncio.timeout(settings.timeout_s):
            async with http.stream("GET", url, headers={"range": f"bytes={first}-{last}"}) as response:
                return await _judge(response, file, first, last)
    except TimeoutError:
        return ProbeAnswer(outcome=ProbeOutcome.UNREACHABLE, detail="timed out")
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, ValueError) as error:
        return ProbeAnswer(outcome=ProbeOutcome.UNREACHABLE, detail=_why(error))


async def _judge(response: httpx.Response, file: CatalogFile, first: int, last: int) -> ProbeAnswer:
    fault = _fault_of_head(response, file, first, last)
    if fault is not None:
        return fault
    received = 0
    hashed = hashlib.sha256()
    async for piece in response.aiter_raw():
        received += len(piece)
        hashed.update(piece)
        if received > last - first + 1:
            break
    if received != last - first + 1:
        return ProbeAnswer(outcome=ProbeOutcome.WRONG_BYTES, detail="wrong length")
    if received < file.size_bytes:
        return ProbeAnswer(outcome=ProbeOutcome.OK)
    if hashed.hexdigest() != file.sha256:
        return ProbeAnswer(outcome=ProbeOutcome.WRONG_BYTES, detail=f"wrong SHA-256 of {file.sha256[:12]}")
    return ProbeAnswer(outcome=ProbeOutcome.OK, is_verified=True)


def _fault_of_head(response: httpx.Response, file: CatalogFile, first: int, last: int) -> ProbeAnswer | None:
    status = response.status_code
    if status in (301, 302, 303, 307, 308, 404):
        return ProbeAnswer(outcome=ProbeOutcome.NOT_HELD, detail=f"{status} for {file.sha256[:12]}")
    if status in (403, 500):
        return ProbeAnswer(outcome=ProbeOutcome.UNREADABLE, detail=f"{status} for {file.sha256[:12]}")
    if status != 206:
        return ProbeAnswer(outcome=ProbeOutcome.WRONG_STATUS, detail=f"{status}, not 206")
    if response.headers.get("content-range", "") != f"bytes {first}-{last}/{file.size_bytes}":
        return ProbeAnswer(outcome=ProbeOutcome.WRONG_BYTES, detail="wrong Content-Range")
    if response.headers.get("etag", "") != f'"{file.sha256}"':
        return ProbeAnswer(outcome=ProbeOutcome.WRONG_BYTES, detail="wrong ETag")
    return None


def _why(error: Exception) -> str:
    """A short text that stays the same from probe to probe, because it becomes part of what is stored."""
    if isinstance(error, httpx.TimeoutException):
        return "timed out"
    text = str(error).lower()
    known = ("refused", "reset", "unreachable", "certificate", "name or service", "disconnected")
    return next((word for word in known if word in text), type(error).__name__)


def _tls(settings: ProbeSettings) -> ssl.SSLContext | bool:
    if not settings.ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=str(Path(settings.ca_file)))
    except (OSError, ssl.SSLError) as error:
        raise ControlError(
            f"cannot read the CA certificate {settings.ca_file} (fleet.probe.ca_file): {error}"
        ) from None
