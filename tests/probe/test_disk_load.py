"""How busy a real disk is, by the kernel's count: a file system on a loop device that is written to."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.appliance.adapters.disk_usage import DiskUsage

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    image, folder = tmp_path / "image", tmp_path / "a disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(32 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, timeout=20, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True, timeout=20, capture_output=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=20, capture_output=True)


def test_a_disk_that_is_written_to_is_busy(disk: Path) -> None:
    usage = DiskUsage([str(disk / "store"), str(disk)])
    ((number, before_s),) = usage.read().items()
    assert number.startswith("7:"), "the loop device, not the disk below it"
    began_s = time.monotonic()
    with (disk / "file").open("wb") as file:
        while usage.read()[number] <= before_s:
            assert time.monotonic() < began_s + 30
            file.seek(0)
            file.write(os.urandom(2**20))
            file.flush()
            os.fsync(file.fileno())
    busy_s = usage.read()[number] - before_s
    assert 0 < busy_s <= time.monotonic() - began_s + 0.5
