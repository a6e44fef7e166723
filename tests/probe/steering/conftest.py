"""A steering node and what it pulls from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.playback.testing_process import SNAPSHOT, SnapshotServer, SteeringNode


@pytest.fixture
def control() -> Iterator[SnapshotServer]:
    server = SnapshotServer()
    server.give(SNAPSHOT)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def node(tmp_path: Path, control: SnapshotServer) -> Iterator[SteeringNode]:
    one = SteeringNode(tmp_path, control.port)
    yield one
    one.close()
