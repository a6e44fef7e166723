"""The live feed: one poller of the store for all who follow /v1/stream on this node, whichever node made the change.

Each follower has a bounded queue; one that does not read is let go (its browser comes back and catches up).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from headrace.base.clock import Clock
from headrace.base.logs import event
from headrace.control.errors import StoreError
from headrace.control.ports import Store
from headrace.wire.codec import encode
from headrace.wire.operator import EventView, FleetView

_log = logging.getLogger(__name__)

POLL_S = 1.0
HEARTBEAT_S = 10.0
"""A comment line this often keeps proxies from closing the stream, and shows dead followers."""
QUEUE = 64
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

    @property
    def is_full(self) -> bool:
        """No more followers are taken."""
        return self._is_closed or len(self._followers) >= self._most

    @property
    def count(self) -> int:
        """Followers now."""
        return len(self._followers)

    async def run(self) -> None:
        """Poll while somebody follows; for ever."""
        while True:
            await self._wanted.wait()
            told = (await asyncio.to_thread(self._store.versions)).events
            while self._followers:
                try:
                    told = await self._turn(told)
                except StoreError as error:
                    event(_log, "feed_waits", level=logging.WARNING, error=error)
                await self._clock.sleep(POLL_S)
            self._wanted.clear()
            self._last_view = None

    async def follow(self, last_event_id: int | None, is_allowed: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Messages for one follower, until it goes, falls behind, may no longer listen, or the node stops.

        Args:
            last_event_id: what a follower that comes back saw last; None: only what happens from now on.
            is_allowed: asked (in a thread) at each heartbeat.
        """
        with self._queue() as queue:
            if last_event_id is not None:
                for one in await asyncio.to_thread(self._store.events, after=last_event_id, limit=CATCH_UP):
                    yield event_message(one)
            yield fleet_message(await asyncio.to_thread(self._newest))
            while True:
                try:
                    message = await asyncio.wait_for(queue.get(), HEARTBEAT_S)
                except TimeoutError:
                    if not await asyncio.to_thread(is_allowed):
                        return
                    message = b": still here\n\n"
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

    async def _turn(self, told: int) -> int:
        new = await asyncio.to_thread(self._store.events, after=told, limit=CATCH_UP)
        for one in new:
            self._tell(event_message(one))
        view = await asyncio.to_thread(self._newest)
        if self._last_view is None or replace(view, now_s=0.0) != replace(self._last_view, now_s=0.0):
            self._last_view = view
            self._tell(fleet_message(view))
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


def event_message(one: EventView) -> bytes:
    """An event, with its id so that a browser that comes back says where it was."""
    return b"id: %d\nevent: event\ndata: %s\n\n" % (one.event_id, encode(one))


def fleet_message(view: FleetView) -> bytes:
    """The fleet as it is now."""
    return b"event: fleet\ndata: %s\n\n" % encode(view)
