"""What tests of the service share."""

from pathlib import Path

import pytest

from headrace.playback.testing_node import Node


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path).install()
