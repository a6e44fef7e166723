"""The live feed on a real store: what followers are told, who is let go, who may stay."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.base.tasks import Tasks
from headrace.control import feed as module
from headrace.control.adapters.store import SqlStore, open_store
from headrace.control.feed import Feed
from headrace.control.fleet_view import FleetViews
from headrace.control.testing import A_REASON, make_site


class Quick(SystemClock):
    """Sleeps a hundredth of what it is asked."""

    async def sleep(self, duration_s: float) -> None:
        await super().sleep(duration_s / 100)


@pytest.fixture
async def feed(tmp_path: Path) -> AsyncIterator[tuple[Feed, SqlStore]]:
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    clock = Quick()
    made = Feed(store, FleetViews(store, clock).newest, clock, most_followers=3)
    async with Tasks() as tasks:
        tasks.spawn("feed", made.run())
        yield made, store
    store.close()


async def words(follower: AsyncIterator[bytes], wanted: bytes) -> bytes:
    """All that is said up to the message that holds `wanted`."""
    heard = b""
    async with asyncio.timeout(10):
        async for message in follower:
            heard += message
            if wanted in message:
                return heard
    raise AssertionError(heard)


async def test_followers_are_told_of_events_and_changes(feed: tuple[Feed, SqlStore]) -> None:
    made, store = feed
    store.append_event(A_REASON, now_s=1.0)
    follower = made.follow(None, lambda: True)
    assert b"id: " not in await words(follower, b"event: fleet")
    await words(follower, b"event: fleet")
    store.put_site(make_site(), event=A_REASON, now_s=2.0)
    heard = await words(follower, b"site-a")
    heard += b"" if b"id: 2" in heard else await words(follower, b"id: 2")
    assert b"id: 2\nevent: event\ndata: {" in heard
    await follower.aclose()
    assert made.count == 0


async def test_who_comes_back_catches_up(feed: tuple[Feed, SqlStore]) -> None:
    made, store = feed
    for _ in range(5):
        store.append_event(A_REASON, now_s=1.0)
    follower = made.follow(3, lambda: True)
    heard = await words(follower, b"event: fleet")
    assert [line for line in heard.splitlines() if line.startswith(b"id:")] == [b"id: 4", b"id: 5"]
    await follower.aclose()


async def test_one_that_does_not_read_is_let_go_and_others_stay(feed: tuple[Feed, SqlStore]) -> None:
    made, store = feed
    slow, quick = made.follow(None, lambda: True), made.follow(None, lambda: True)
    await words(slow, b"event: fleet")
    await words(quick, b"event: fleet")
    await words(quick, b"event: fleet")
    for number in range(1, module.QUEUE + 4):
        store.append_event(A_REASON, now_s=1.0)
        await words(quick, b"id: %d\n" % number)
    assert made.count == 1
    assert [message async for message in slow] == []
    await quick.aclose()


async def test_there_is_room_for_so_many_and_none_after_the_end(feed: tuple[Feed, SqlStore]) -> None:
    made, _ = feed
    followers = [made.follow(None, lambda: True) for _ in range(3)]
    for one in followers:
        await words(one, b"event: fleet")
    assert made.is_full
    made.close()
    for one in followers:
        assert all([b"event: " in message async for message in one])
    assert made.is_full


async def test_a_broken_store_ends_nothing(feed: tuple[Feed, SqlStore], tmp_path: Path) -> None:
    made, store = feed
    follower = made.follow(None, lambda: True)
    await words(follower, b"event: fleet")
    store.close()
    await asyncio.to_thread(spoil, tmp_path)
    async with asyncio.timeout(10):
        while made.failures == 0:
            await asyncio.sleep(0.01)
    assert made.count == 1
    other = made.follow(1, lambda: True)
    assert b"does not answer" in await words(other, b": ")
    await other.aclose()
    await follower.aclose()


def spoil(folder: Path) -> None:
    for file in folder.glob("store.db*"):
        file.write_bytes(b"this is no database" * 100)
