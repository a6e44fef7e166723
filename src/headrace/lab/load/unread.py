"""Connections whose bytes nobody looks at: reset at any moment, or drained as fast as they come, with odd pauses.

Blocking, in a thread of its own for each player. What comes is thrown away by the kernel unread (MSG_TRUNC), so that
the server meets both: a client that is always quicker than itself, and one that makes it wait and then goes on. Bytes
are counted here; other players compare them.
"""

import contextlib
import socket
import struct
from dataclasses import dataclass

from headrace.base.clock import Clock
from headrace.base.rng import Rng
from headrace.lab.content import PAGE_BYTES, KnownFile, remainder_ranges

_LINGER = struct.pack("ii", 1, 0)
"""For SO_LINGER: on, and no time to send what is left; closing is a reset then."""
_MOST_AT_ONCE = 1 << 20
_NOWHERE = bytearray(_MOST_AT_ONCE)
"""The kernel asks for room, and writes nothing there."""
_SILENT, _HALF = 0.03, 0.06
"""Shares of resets, added up: without a word, and in the middle of the request."""
_RESET_WITHIN_S = 0.012
"""A transfer of some MiB takes about so long on a fast link."""
_RANGES = 12
"""One after the other on a connection: only the later ones find wide windows and large buffers."""
_LONG = 0.5
"""Share of ranges that are most of a file: many of a server's chunks, one after the other."""
_PAUSES = 0.4
"""Share of drains that stop for a moment in each range."""
_PAUSE_S = 0.03
_SMALL_BUFFERS = (0, 0, 16_384, 131_072)
"""Of the receiver; 0: as the kernel likes."""


class ShortAnswerError(Exception):
    """The answer was not one, or ended too early; says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """One connection that is reset."""

    path: str
    sent_ratio: float
    """Share of the request that is sent."""
    after_s: float
    """From the request to the reset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """One connection whose answers are read to their ends."""

    path: str
    ranges: tuple[tuple[int, int], ...]
    """Half open."""
    pause_at: int = 0
    """After so many bytes of each answer the client reads nothing for `pause_s`."""
    pause_s: float = 0.0
    buffer_bytes: int = 0


def draw_reset(paths: tuple[str, ...], rng: Rng) -> Reset:
    """Choose what one connection does."""
    kind = rng.random()
    sent_ratio = 0.0 if kind < _SILENT else rng.random() if kind < _HALF else 1.0
    return Reset(path=rng.choice(paths), sent_ratio=sent_ratio, after_s=rng.uniform(0, _RESET_WITHIN_S))


def draw_drain(file: KnownFile, rng: Rng) -> Drain:
    """Choose ranges whose last pieces may have any length, and how they are read."""
    known = remainder_ranges(file.size_bytes) or ((0, file.size_bytes),)
    is_pausing = rng.random() < _PAUSES
    return Drain(
        path=file.path,
        ranges=tuple(_long(file, rng) if rng.random() < _LONG else rng.choice(known) for _ in range(_RANGES)),
        pause_at=rng.randrange(file.size_bytes // 4 + 1),
        pause_s=rng.uniform(0, _PAUSE_S) if is_pausing else 0.0,
        buffer_bytes=rng.choice(_SMALL_BUFFERS) if is_pausing else 0,
    )


def _long(file: KnownFile, rng: Rng) -> tuple[int, int]:
    """Nearly the whole file, up to the end of a page: what is left after each of the server's chunks is whole pages."""
    pages = file.size_bytes // PAGE_BYTES
    first = rng.randrange(file.size_bytes // 8 + 1)
    return first, max(first + 1, (pages - rng.randrange(pages // 8 + 1)) * PAGE_BYTES)


def reset_once(to: tuple[str, int], reset: Reset, clock: Clock, *, stall_s: float) -> int:
    """Do it; the bytes that came. A server that ends the connection first is none of its business.

    Raises:
        OSError: refused, or not connected in time.
    """
    came = 0
    with socket.create_connection(to, timeout=stall_s) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        request = _request(reset.path)
        until_s = clock.monotonic_s() + reset.after_s
        with contextlib.suppress(OSError):  # too late is as good as ended
            connection.sendall(request[: round(len(request) * reset.sent_ratio)])
            while (left_s := until_s - clock.monotonic_s()) > 0:
                connection.settimeout(left_s)
                got = _discard(connection, _MOST_AT_ONCE)
                came += got
                if not got:
                    break
    return came


def drain_once(to: tuple[str, int], drain: Drain, clock: Clock, *, stall_s: float) -> int:
    """Read all ranges to their ends; the bytes of their bodies.

    Raises:
        TimeoutError: nothing came for `stall_s`.
        ShortAnswerError: it is no 206 of the right length, or it ended too early.
        OSError: refused or reset.
    """
    with socket.socket() as connection:
        connection.settimeout(stall_s)
        if drain.buffer_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, drain.buffer_bytes)
        connection.connect(to)
        for first, end in drain.ranges:
            connection.sendall(_request(drain.path, f"Range: bytes={first}-{end - 1}\r\n"))
            _drain_body(connection, end - first, drain, clock)
    return sum(end - first for first, end in drain.ranges)


def _drain_body(connection: socket.socket, length: int, drain: Drain, clock: Clock) -> None:
    left, pause_s = _after_head(connection, length), drain.pause_s
    while left > 0:
        if pause_s and length - left >= drain.pause_at:
            clock.block(pause_s)
            pause_s = 0.0
        got = _discard(connection, min(left, _MOST_AT_ONCE))
        if not got:
            raise ShortAnswerError(f"ended {left} bytes before the end of {length}")
        left -= got


def _after_head(connection: socket.socket, length: int) -> int:
    """Read the head of an answer; how much of the body is still to come."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = connection.recv(4096)
        if not more:
            raise ShortAnswerError("no answer")
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    if b" 206 " not in head.partition(b"\r\n")[0] or f"content-length: {length}\r\n".encode() not in head.lower():
        raise ShortAnswerError(f"no 206 of {length} bytes: {head[:80]!r}")
    return length - len(body)


def _discard(connection: socket.socket, most: int) -> int:
    return connection.recv_into(_NOWHERE, most, socket.MSG_TRUNC)


def _request(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: lab\r\n{more}\r\n".encode()
