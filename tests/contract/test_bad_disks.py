"""What the store does with a disk that is there and does not work: errors of the device, no answer, no writing.

A device with errors is a loop device whose file is cut off under it. A disk that hangs is one whose marker is a pipe
that nobody writes to: opening it blocks, as any call does on a frozen network disk. Root needs no permissions, so what
is not permitted is tried with a folder that even root may not change.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.appliance.adapters.disk import MARKER, Disk
from headrace.appliance.errors import DiskError
from headrace.appliance.testing import StoreBed, body_of, file_of
from headrace.base.clock import SystemClock
from headrace.base.tasks import Tasks

BODY, OTHER_BODY = body_of(1, 300_000), body_of(2, 1000)
FILE, OTHER = file_of(1, BODY), file_of(2, OTHER_BODY)
IMAGE_BYTES = 16 << 20
LIMIT_S = 15.0


def run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, timeout=20, capture_output=True)


class Hanging:
    """The first call on the disk never ends."""

    reason = "no answer within 2 s"

    def __init__(self, folder: Path, aside: Path) -> None:
        self.marker, self.kept = folder / MARKER, aside
        folder.mkdir()

    def spoil(self) -> None:
        self.marker.rename(self.kept)
        os.mkfifo(self.marker)

    def mend(self) -> None:
        pipe = self.marker.with_suffix(".pipe")
        self.marker.rename(pipe)
        self.kept.rename(self.marker)
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))  # lets the thread go that hangs there
        pipe.unlink()

    def end(self) -> None:
        pass


class Mounted:
    """An ext4 file system of its own."""

    def __init__(self, folder: Path, aside: Path) -> None:
        self.folder, self.image, self.kept = folder, aside, aside.with_suffix(".kept")
        folder.mkdir()
        with aside.open("wb") as image:
            image.truncate(IMAGE_BYTES)
        run("mke2fs", "-q", "-F", "-t", "ext4", aside)
        self.mount()
        shutil.rmtree(folder / "lost+found")

    def mount(self) -> None:
        run("mount", "-o", "loop", self.image, self.folder)

    def end(self) -> None:
        run("umount", self.folder)


class Failing(Mounted):
    """The device answers with errors."""

    reason = "Input/output error"

    def device(self) -> str:
        words = ["losetup", "--noheadings", "--output", "NAME", "--associated", str(self.image)]
        return subprocess.run(words, check=True, timeout=20, capture_output=True, text=True).stdout.strip()

    def spoil(self) -> None:
        os.sync()
        shutil.copy(self.image, self.kept)
        os.truncate(self.image, 4096)
        run("losetup", "--set-capacity", self.device())  # or the kernel would let the file grow again

    def mend(self) -> None:
        self.end()
        shutil.copy(self.kept, self.image)
        self.mount()


class ReadOnly(Mounted):
    """What the kernel makes of a file system after errors."""

    reason = "Read-only file system"

    def spoil(self) -> None:
        run("mount", "-o", "remount,ro", self.folder)

    def mend(self) -> None:
        run("mount", "-o", "remount,rw", self.folder)


class Forbidden(Mounted):
    """Nothing may be made there."""

    reason = "Operation not permitted"

    def spoil(self) -> None:
        run("chattr", "+i", self.folder)

    def mend(self) -> None:
        run("chattr", "-i", self.folder)

    def end(self) -> None:
        self.mend()
        super().end()


Fault = Hanging | Failing | ReadOnly | Forbidden


@pytest.fixture(
    params=[Hanging, *(pytest.param(kind, marks=pytest.mark.root) for kind in (Failing, ReadOnly, Forbidden))],
    ids=lambda kind: kind.__name__.lower(),
)
def fault(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fault]:
    made: Fault = request.param(tmp_path / "d0", tmp_path / "aside")
    yield made
    made.end()


async def until(is_so: Callable[[], object], what: str) -> None:
    clock = SystemClock()
    end_s = clock.monotonic_s() + LIMIT_S
    while not is_so():
        assert clock.monotonic_s() < end_s, what
        await clock.sleep(0.02)


async def test_it_is_dropped_with_its_reason_and_comes_back_when_mended(tmp_path: Path, fault: Fault) -> None:
    bed = StoreBed(tmp_path / "state", [tmp_path / "d0", tmp_path / "d1"])
    store = await bed.open(check_timeout_s=2.0 if isinstance(fault, Hanging) else 5.0)
    try:
        ids = [Disk(folder).read_marker() for folder in bed.folders]
        assert await bed.put(FILE, BODY, disk_id=ids[0])
        assert await bed.put(OTHER, OTHER_BODY, disk_id=ids[1])
        async with Tasks() as tasks:
            tasks.spawn("watch", store.watch())
            fault.spoil()
            await until(lambda: not store.reports()[0].is_ok, "the disk is dropped")
            assert fault.reason in store.reports()[0].error
            assert store.held() == {OTHER.sha256}
            assert bed.served(FILE) is None
            assert bed.served(OTHER) == OTHER_BODY
            assert [disk.disk_id for disk in store.rooms()] == [ids[1]]
            third = file_of(3, OTHER_BODY[::-1])
            assert await bed.put(third, OTHER_BODY[::-1]), "the other disk takes files"
            fault.mend()
            await until(lambda: store.reports()[0].is_ok, "the disk is back")
            assert store.reports()[0].error == ""
            assert store.held() == {FILE.sha256, OTHER.sha256, third.sha256}
            assert bed.served(FILE) == BODY
    finally:
        bed.close()


@pytest.mark.root
async def test_errors_while_a_file_is_written_are_the_disks_and_not_the_agents(tmp_path: Path) -> None:
    fault = Failing(tmp_path / "d0", tmp_path / "aside")
    bed = StoreBed(tmp_path / "state", [tmp_path / "d0", tmp_path / "d1"])
    store = await bed.open(check_timeout_s=5.0)
    try:
        ids = [Disk(folder).read_marker() for folder in bed.folders]
        assert await bed.put(FILE, BODY, disk_id=ids[0])
        part = await store.open_part(str(ids[0]), OTHER)
        await store.append(str(ids[0]), OTHER, part, bytearray(OTHER_BODY))
        fault.spoil()
        with pytest.raises(DiskError):
            await store.publish(str(ids[0]), OTHER, part)
        part.close()
        assert OTHER.sha256 not in store.held()
        assert not store.reports()[0].is_ok
        assert bed.served(OTHER) is None
        assert await bed.put(OTHER, OTHER_BODY), "elsewhere"
        assert bed.served(OTHER) == OTHER_BODY
    finally:
        bed.close()
        fault.end()
