"""Open a connection to a machine of the lab and wait on it: whatever goes wrong is counted in the tally, then Gone."""

import asyncio
import ssl
from collections.abc import Awaitable
from typing import TypeVar

from headrace.lab.load.tally import Tally

_T = TypeVar("_T")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_MOST_BUFFERED_BYTES = 256 * 1024
"""Also the most that the head of an answer may have."""


class Gone(Exception):
    """The connection cannot be used any more; what happened is in the tally."""


async def open_streams(address: str, port: int, tls: ssl.SSLContext | None, tally: Tally, *, stall_s: float) -> Streams:
    """Open a connection.

    Raises:
        Gone: refused, or not open in `stall_s` seconds.
    """
    opening = asyncio.open_connection(address, port, ssl=tls, limit=_MOST_BUFFERED_BYTES)
    return await in_time(opening, tally, stall_s=stall_s, what="connect: ")


async def in_time(work: Awaitable[_T], tally: Tally, *, stall_s: float, what: str = "") -> _T:
    """What `work` gives. `what` goes before the name of an error where it is counted.

    Raises:
        Gone: it took longer than `stall_s` seconds, or the connection broke.
    """
    try:
        return await asyncio.wait_for(work, stall_s)
    except TimeoutError:
        tally.stalled += 1
        raise Gone from None
    except (OSError, ssl.SSLError) as error:
        tally.failure(f"{what}{type(error).__name__}")
        raise Gone from None


def lab_tls(*protocols: str) -> ssl.SSLContext:
    """TLS to a machine of the lab. `protocols` are offered by ALPN."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate is the lab's own; what is checked here is every byte
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
