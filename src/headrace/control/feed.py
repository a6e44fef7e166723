"""The live feed: one poller of the store for all who follow /v1/stream on this node, whichever node made the change.

Each follower has a bounded queue; one that does not read is let go (its browser comes back and catches up).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from headrace.base.clock import Clock
from headrace.control.errors import StoreAwayError, StoreError
from headrace.control.ports import Store
from headrace.wire.codec import encode
from headrace.wire.operator import EventView, FleetView

_log = logging.getLogger(__name__)

POLL_S = 1.0
HEARTBEAT_S = 10.0
"""A comment line this often keeps proxies from closing the stream, and shows dead followers."""
QUEUE = 16
"""Polls that a follower may lag behind."""
CATCH_UP = 500
"""Events that a follower that comes back is given at once."""


class Feed:
    """Followers and their poller."""

    def __init__(self, store: Store, newest: Callable[[], FleetView], clock: Clock, *, most_followers: int) -> None:
        self._store = store
        self._newest = newest
        self._clock = clock
        self._most = most_followers
        self._followers: set[asyncio.Queue[bytes | None]] = set()
        self._wanted = asyncio.Event()
        self._is_closed = False
        self._last_view: FleetView | None = None
        self.failures = 0
        """Polls that ended in an error."""

    @property
    def is_full(self) -> bool:
        """No more followers are taken."""
        return self._is_closed or len(self._followers) >= self._most

    @property
    def count(self) -> int:
        """Followers now."""
        return len(self._followers)

    async def run(self) -> None:
        """Poll while somebody follows; for ever. The top of a loop: no error ends it."""
        told: int | None = None
        while True:
            if not self._followers:
                told = self._last_view = None
                self._wanted.clear()
                await self._wanted.wait()
            try:
                told = await self._turn(told)
            except StoreAwayError:  # the store's adapter has logged it
                self.failures += 1
            except Exception:
                self.failures += 1
                _log.exception("turn_failed loop=feed failures=%d", self.failures)
            await self._clock.sleep(POLL_S)

    async def follow(self, last_event_id: int | None, is_allowed: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Messages for one follower, until it goes, falls behind, may no longer listen, or the node stops.

        Args:
            last_event_id: what a follower that comes back saw last; None: only what happens from now on.
            is_allowed: asked (in a thread) at each heartbeat.
        """
        with self._queue() as queue:
            yield await asyncio.to_thread(self._first_words, last_event_id)
            while True:
                try:
                    message = await asyncio.wait_for(queue.get(), HEARTBEAT_S)
                except TimeoutError:
                    message = b": still here\n\n" if await asyncio.to_thread(_may_stay, is_allowed) else None
                if message is None:
                    return
                yield message

    def close(self) -> None:
        """Let every follower go, and take no new ones."""
        self._is_closed = True
        for queue in list(self._followers):
            self._let_go(queue)

    @contextmanager
    def _queue(self) -> Iterator[asyncio.Queue[bytes | None]]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE)
        self._followers.add(queue)
        self._wanted.set()
        try:
            yield queue
        finally:
            self._followers.discard(queue)

    def _first_words(self, last_event_id: int | None) -> bytes:
        try:
            missed = () if last_event_id is None else self._store.events(after=last_event_id, limit=CATCH_UP)
            return b"".join(event_message(one) for one in missed) + fleet_message(self._newest())
        except StoreError:
            return b": the store does not answer; more follows when it does\n\n"

    async def _turn(self, told: int | None) -> int:
        """Tell what is new since event `told` (None: from now on), all of it as one message."""
        if told is None:
            told = (await asyncio.to_thread(self._store.versions)).events
        new = await asyncio.to_thread(self._store.events, after=told, limit=CATCH_UP)
        message = b"".join(event_message(one) for one in new)
        view = await asyncio.to_thread(self._newest)
        if self._last_view is None or replace(view, now_s=0.0) != replace(self._last_view, now_s=0.0):
            self._last_view = view
            message += fleet_message(view)
        if message:
            self._tell(message)
        return new[-1].event_id if new else told

    def _tell(self, message: bytes) -> None:
        for queue in list(self._followers):
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                self._let_go(queue)

    def _let_go(self, queue: asyncio.Queue[bytes | None]) -> None:
        self._followers.discard(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)


def _may_stay(is_allowed: Callable[[], bool]) -> bool:
    try:
        return is_allowed()
    except StoreError:
        return True  # nobody can say; the next heartbeat asks again


def event_message(one: EventView) -> bytes:
    """An event, with its id so that a browser that comes back says where it was."""
    return b"id: %d\nevent: event\ndata: %s\n\n" % (one.event_id, encode(one))


def fleet_message(view: FleetView) -> bytes:
    """The fleet as it is now."""
    return b"event: fleet\ndata: %s\n\n" % encode(view)
