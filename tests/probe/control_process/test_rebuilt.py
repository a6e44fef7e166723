"""A control plane that was rebuilt is not followed by steering by itself."""

import asyncio
import time
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.cli.testing import Cli
from headrace.control.testing_process import Node, running
from headrace.playback.adapters.disk import PullLock, SnapshotFile
from headrace.playback.adapters.history import History
from headrace.playback.counters import Counters
from headrace.playback.keeper import Keeper
from headrace.wire.client import open_client


def test_steering_does_not_follow_a_rebuilt_control_plane_by_itself(
    tmp_path: Path, cli: Cli, caplog: pytest.LogCaptureFixture
) -> None:
    """Both have the same version and content: only the store's name tells them apart."""
    folder = tmp_path / "net"
    assert cli("init", str(folder), "--host", "127.0.0.1").code == 0
    state = tmp_path / "steering"
    lock = PullLock(state)
    keeper = _keeper(state, lock)
    with running(folder) as node:
        assert _pulls(node, keeper, 2) == ["follow", "unchanged"]
    assert keeper.held is not None
    held = keeper.held
    for file in folder.glob("headrace.db*"):
        file.unlink()
    with running(folder, name="rebuilt") as node:
        assert _pulls(node, keeper, 2) == ["other-store", "other-store"]
        assert keeper.held is held
        refusals = [one.message for one in caplog.records if one.message.startswith("snapshot_refused")]
        assert len(refusals) == 1
        assert f"reason=other-store held_version={held.version}" in refusals[0]
        assert f"held_store={held.control_id} pulled_store=" in refusals[0]
        assert "--accept-older" in refusals[0]
        told = _keeper(state, lock, is_older_accepted=True)
        told.load()
        assert told.held is not None
        assert told.held.control_id == held.control_id
        assert _pulls(node, told, 2) == ["follow", "unchanged"]
        assert told.held.control_id not in {"", held.control_id}
    lock.release()


def _keeper(state: Path, lock: PullLock, *, is_older_accepted: bool = False) -> Keeper:
    file = SnapshotFile(state)
    return Keeper(
        file,
        History(state / "history", file.parts, most_age_s=3600, most_bytes=10**9),
        lock,
        Counters(),
        lambda _compiled: None,
        SystemClock(),
        is_older_accepted=is_older_accepted,
    )


def _pulls(node: Node, keeper: Keeper, count: int) -> list[str]:
    """What comes of the first pulls once the node has a snapshot."""
    with node.client() as client:
        ends_s = time.monotonic() + 20
        while client.get("/v1/snapshot").status_code != 200:
            assert time.monotonic() < ends_s, node.log.read_text()
            time.sleep(0.05)

    async def pull() -> list[str]:
        token = (node.folder / "steering.token").read_text().strip()
        async with open_client((node.url,), token, ca_file=node.folder / "ca.pem") as client:
            return [await keeper.pull(client) for _ in range(count)]

    return asyncio.run(pull())
