"""What a store must keep to, on one disk and on several, on real folders."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from headrace.appliance.adapters.disk import Disk
from headrace.appliance.errors import DiskError, DiskFullError
from headrace.appliance.testing import StoreBed, body_of, file_of
from headrace.base.tasks import Tasks
from headrace.catalog.model import CatalogFile, FileSuffix, content_path

BODY = body_of(1, 300_000)
FILE = file_of(1, BODY)


@pytest.fixture(params=[1, 3])
async def bed(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[StoreBed]:
    bed = StoreBed(tmp_path / "state", [tmp_path / f"d{number}" for number in range(request.param)])
    await bed.open()
    yield bed
    bed.close()


async def until(condition, what: str, limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.02)
    assert condition(), what


async def restart(bed: StoreBed, **changed: object) -> None:
    bed.close()
    await bed.open(**changed)


def object_of(bed: StoreBed, file: CatalogFile) -> Path:
    return next(path for folder in bed.folders if (path := Disk(folder).object_path(file.sha256, file.suffix)).exists())


async def test_a_file_is_served_only_when_whole_and_verified(bed: StoreBed) -> None:
    disk_id = bed.store.rooms()[0].disk_id
    part = await bed.store.open_part(disk_id, FILE)
    await bed.store.append(disk_id, FILE, part, bytearray(BODY[:-1]))
    assert bed.served(FILE) is None
    assert FILE.sha256 not in bed.store.held()
    await bed.store.append(disk_id, FILE, part, bytearray(BODY[-1:]))
    assert await bed.store.publish(disk_id, FILE, part)
    assert bed.served(FILE) == BODY
    assert bed.store.held() == {FILE.sha256}
    assert bed.store.held_bytes == len(BODY)
    assert not bed.store.parts()


async def test_folders_on_one_file_system_share_its_room_and_do_not_each_promise_all_of_it(bed: StoreBed) -> None:
    await bed.store.refresh_rooms()
    free_bytes = shutil.disk_usage(bed.folders[0]).free
    promised_bytes = sum(room.room_bytes for room in bed.store.rooms())
    assert 0.9 * free_bytes < promised_bytes <= 1.01 * free_bytes


async def test_wrong_bytes_are_thrown_away(bed: StoreBed) -> None:
    assert not await bed.put(FILE, bytes(len(BODY)))
    assert bed.served(FILE) is None
    assert not bed.store.parts()
    assert await bed.put(FILE, BODY)


async def test_a_part_is_taken_up_after_a_restart(bed: StoreBed) -> None:
    disk_id = bed.store.rooms()[0].disk_id
    part = await bed.store.open_part(disk_id, FILE)
    await bed.store.append(disk_id, FILE, part, bytearray(BODY[:100_000]))
    part.close()
    await restart(bed)
    assert bed.store.parts() == {FILE.sha256: (disk_id, 100_000)}
    part = await bed.store.open_part(disk_id, FILE)
    assert part.resumed_bytes == 100_000
    part.close()
    assert await bed.put(FILE, BODY, disk_id=disk_id)


async def test_a_part_longer_than_its_file_starts_anew(bed: StoreBed) -> None:
    disk_id = bed.store.rooms()[0].disk_id
    folder = next(folder for folder in bed.folders if Disk(folder).read_marker() == disk_id)
    (folder / "partial" / f"{FILE.sha256}.part").write_bytes(BODY + b"more")
    part = await bed.store.open_part(disk_id, FILE)
    assert part.size_bytes == 0
    part.close()


async def test_a_restart_is_warm(bed: StoreBed) -> None:
    await bed.put(FILE, BODY)
    await restart(bed)
    assert bed.store.held() == {FILE.sha256}
    assert bed.served(FILE) == BODY
    assert bed.store.in_doubt() is None


async def test_deleting_stops_serving_first_and_is_harmless_twice(bed: StoreBed) -> None:
    await bed.put(FILE, BODY)
    await bed.store.delete([FILE.sha256])
    await bed.store.delete([FILE.sha256])
    assert bed.served(FILE) is None
    assert not bed.store.held()
    await restart(bed)
    assert not bed.store.held()


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
async def test_verification_withdraws_a_bad_file(bed: StoreBed, damage: str) -> None:
    await bed.put(FILE, BODY)
    path = object_of(bed, FILE)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(BODY[:-1] + b"x" if damage == "flip" else BODY[:-9])
    holding = bed.store.holding(FILE.sha256)
    assert holding
    assert not await bed.store.verify(holding, lambda size: None)
    assert bed.served(FILE) is None
    assert not bed.store.held()
    assert not path.exists()
    assert await bed.put(FILE, BODY)


async def test_a_look_withdraws_a_file_that_is_gone_and_mends_a_link(bed: StoreBed) -> None:
    await bed.put(FILE, BODY)
    holding = bed.store.holding(FILE.sha256)
    assert holding
    link = bed.state / "serve" / content_path(FILE.sha256, FILE.suffix)[1:]
    link.unlink()
    assert await bed.store.look_for(holding)
    assert bed.served(FILE) == BODY
    path = object_of(bed, FILE)
    path.unlink()
    assert not await bed.store.look_for(holding)
    assert not bed.store.held()
    assert not link.is_symlink()
    assert await bed.store.look_for(holding), "what is not held any more is nobody's loss"


async def test_looks_at_one_time_all_see_what_is_gone(bed: StoreBed) -> None:
    files = [file_of(number, BODY[:number]) for number in range(1, 5)]
    for number, file in enumerate(files, 1):
        await bed.put(file, BODY[:number])
        object_of(bed, file).unlink()
    holdings = [bed.store.holding(file.sha256) for file in files]
    assert not any(await asyncio.gather(*[bed.store.look_for(one) for one in holdings if one]))
    assert not bed.store.held()


async def test_a_look_tells_a_disk_that_is_gone_from_a_file_that_is_gone(bed: StoreBed, tmp_path: Path) -> None:
    await bed.put(FILE, BODY)
    holding = bed.store.holding(FILE.sha256)
    assert holding
    folder = next(folder for folder in bed.folders if Disk(folder).read_marker() == holding.disk_id)
    folder.rename(tmp_path / "aside")
    assert await bed.store.look_for(holding)
    assert not bed.store.held()
    (tmp_path / "aside").rename(folder)
    await restart(bed)
    assert bed.store.held() == {FILE.sha256}, "the ledger still knows it"


async def test_verification_of_a_good_file_renews_it(bed: StoreBed) -> None:
    await bed.put(FILE, BODY)
    holding = bed.store.holding(FILE.sha256)
    read: list[int] = []
    assert holding
    assert await bed.store.verify(holding, read.append)
    assert sum(read) == len(BODY)
    now_s = bed.clock.now_s()
    assert bed.store.due_for_verification(now_s=now_s) == []
    assert bed.store.due_for_verification(now_s=now_s + 90_000) == [FILE.sha256]
    assert bed.store.due_for_verification(now_s=now_s - 90_000) == [FILE.sha256]


async def test_after_a_start_everything_is_verified_once(bed: StoreBed) -> None:
    await bed.put(FILE, BODY)
    assert bed.store.due_for_verification(now_s=bed.clock.now_s()) == []
    await restart(bed)
    assert bed.store.due_for_verification(now_s=bed.clock.now_s()) == [FILE.sha256]
    holding = bed.store.holding(FILE.sha256)
    assert holding
    assert await bed.store.verify(holding, lambda size: None)
    assert bed.store.due_for_verification(now_s=bed.clock.now_s()) == []


@pytest.mark.parametrize("damage", ["cut", "gone"])
async def test_a_start_notices_missing_and_short_files(bed: StoreBed, damage: str) -> None:
    await bed.put(FILE, BODY)
    path = object_of(bed, FILE)
    bed.close()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(BODY[:-9])
    await bed.open()
    async with Tasks() as tasks:
        tasks.spawn("watch", bed.store.watch())
        await until(lambda: not bed.store.held(), "the file is withdrawn")
    assert bed.served(FILE) is None


async def test_a_lost_ledger_costs_a_verification_and_no_fetch(bed: StoreBed) -> None:
    await bed.put(FILE, BODY)
    bed.close()
    (bed.state / "ledger.db").write_bytes(b"this is no database at all, it was damaged by somebody")
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (bed.state / name).unlink(missing_ok=True)
    await bed.open()
    assert not bed.store.held()
    async with Tasks() as tasks:
        tasks.spawn("watch", bed.store.watch())
        await until(lambda: bed.store.in_doubt() is not None, "the file is found")
    assert bed.served(FILE) is None
    doubtful = bed.store.in_doubt()
    assert doubtful
    assert await bed.store.verify(doubtful, lambda size: None)
    assert bed.served(FILE) == BODY


async def test_strangers_among_the_files_are_left_alone(bed: StoreBed) -> None:
    stranger = bed.folders[0] / "objects" / "ab" / "readme.txt"
    stranger.write_text("not ours")
    async with Tasks() as tasks:
        tasks.spawn("watch", bed.store.watch())
        await asyncio.sleep(0.2)
    assert bed.store.in_doubt() is None
    assert stranger.exists()


@pytest.mark.parametrize("loss", ["renamed", "emptied", "unmarked", "file-in-place"])
async def test_a_disk_that_vanishes_is_dropped_and_comes_back(tmp_path: Path, loss: str) -> None:
    folders = [tmp_path / "d0", tmp_path / "d1"]
    bed = StoreBed(tmp_path / "state", folders)
    await bed.open()
    try:
        ids = [disk.disk_id for disk in bed.store.rooms()]
        other = file_of(2, BODY[:1000])
        await bed.put(FILE, BODY, disk_id=ids[0])
        await bed.put(other, BODY[:1000], disk_id=ids[1])
        aside = tmp_path / "aside"
        async with Tasks() as tasks:
            tasks.spawn("watch", bed.store.watch())
            take_away(folders[0], aside, loss)
            await until(lambda: not bed.store.reports()[0].is_ok, "the disk is dropped")
            assert bed.store.held() == {other.sha256}
            assert bed.served(FILE) is None
            assert bed.served(other) == BODY[:1000]
            assert [disk.disk_id for disk in bed.store.rooms()] == [ids[1]]
            assert str(folders[0]) in bed.store.reports()[0].error
            with pytest.raises(DiskError):
                await bed.store.open_part(ids[0], FILE)
            bring_back(folders[0], aside, loss)
            await until(lambda: bed.store.reports()[0].is_ok, "the disk is back")
            assert bed.store.held() == {FILE.sha256, other.sha256}
            assert bed.served(FILE) == BODY
    finally:
        bed.close()


def take_away(folder: Path, aside: Path, loss: str) -> None:
    folder.rename(aside)
    if loss == "emptied":
        folder.mkdir()
    elif loss == "unmarked":
        (folder / "objects").mkdir(parents=True)
    elif loss == "file-in-place":
        folder.write_text("no folder")


def bring_back(folder: Path, aside: Path, loss: str) -> None:
    if folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
    aside.rename(folder)


async def test_an_absent_disk_is_never_filled_onto_the_system_disk(tmp_path: Path) -> None:
    bed = StoreBed(tmp_path / "state", [tmp_path / "d0"])
    await bed.open()
    await bed.put(FILE, BODY)
    bed.close()
    (tmp_path / "d0").rename(tmp_path / "aside")
    (tmp_path / "d0").mkdir()
    await bed.open()
    assert not bed.store.reports()[0].is_ok
    assert "is gone" in bed.store.reports()[0].error
    assert list((tmp_path / "d0").iterdir()) == []
    bed.ledger.forget_disk(str(tmp_path / "d0"))
    await restart(bed)
    assert bed.store.reports()[0].is_ok
    bed.close()


async def test_a_folder_with_other_things_or_without_a_mount_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    bed = StoreBed(tmp_path / "state", [folder])
    await bed.open()
    assert "letter.txt" in bed.store.reports()[0].error
    (folder / "letter.txt").unlink()
    await restart(bed, require_mounts=True)
    assert "mount" in bed.store.reports()[0].error
    bed.close()


async def test_one_disk_in_two_folders_is_used_once(tmp_path: Path) -> None:
    bed = StoreBed(tmp_path / "state", [tmp_path / "d0", tmp_path / "d1"])
    await bed.open()
    bed.close()
    shutil.rmtree(tmp_path / "d1")
    (tmp_path / "d1").symlink_to(tmp_path / "d0")
    await bed.open()
    assert sorted(report.is_ok for report in bed.store.reports()) == [False, True]
    bed.close()


async def test_a_file_filled_again_elsewhere_is_kept_once(tmp_path: Path) -> None:
    folders = [tmp_path / "d0", tmp_path / "d1"]
    bed = StoreBed(tmp_path / "state", folders)
    await bed.open()
    try:
        first, second = (disk.disk_id for disk in bed.store.rooms())
        await bed.put(FILE, BODY, disk_id=first)
        async with Tasks() as tasks:
            tasks.spawn("watch", bed.store.watch())
            folders[0].rename(tmp_path / "aside")
            await until(lambda: not bed.store.reports()[0].is_ok, "dropped")
            await bed.put(FILE, BODY, disk_id=second)
            (tmp_path / "aside").rename(folders[0])
            copy = Disk(folders[0]).object_path(FILE.sha256, FILE.suffix)
            await until(lambda: bed.store.reports()[0].is_ok and not copy.exists(), "the double is removed")
        assert bed.served(FILE) == BODY
        holding = bed.store.holding(FILE.sha256)
        assert holding
        assert holding.disk_id == second
    finally:
        bed.close()


async def test_links_are_mended_at_start(bed: StoreBed) -> None:
    await bed.put(FILE, BODY)
    bed.close()
    shutil.rmtree(bed.state / "serve")
    stray = file_of(9, b"stray")
    (bed.state / "serve" / "f" / stray.sha256[:2]).mkdir(parents=True)
    link = bed.state / "serve" / "f" / stray.sha256[:2] / f"{stray.sha256}.{FileSuffix.MP4}"
    link.symlink_to("/etc/passwd")
    await bed.open()
    async with Tasks() as tasks:
        tasks.spawn("watch", bed.store.watch())
        await until(lambda: bed.served(FILE) == BODY and not link.is_symlink(), "the links are as they should be")


async def test_links_to_a_disk_that_is_away_at_the_start_are_kept(tmp_path: Path) -> None:
    bed = StoreBed(tmp_path / "state", [tmp_path / "d0"])
    await bed.open()
    await bed.put(FILE, BODY)
    bed.close()
    (tmp_path / "d0").rename(tmp_path / "aside")
    await bed.open()
    link = bed.state / "serve" / content_path(FILE.sha256, FILE.suffix)[1:]
    before = link.lstat()
    try:
        async with Tasks() as tasks:
            tasks.spawn("watch", bed.store.watch())
            await asyncio.sleep(0.3)
            assert not bed.store.held()
            (tmp_path / "aside").rename(tmp_path / "d0")
            await until(bed.store.held, "the disk is back")
        assert bed.served(FILE) == BODY
        assert link.lstat().st_ino == before.st_ino, "with 100,000 files it would take long to make them again"
    finally:
        bed.close()


def mount_tmpfs(folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True, timeout=10)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", folder], check=True, timeout=10)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount_tmpfs(folder)
    yield folder
    unmount(folder)


@pytest.mark.root
async def test_a_full_disk_says_so_and_keeps_what_it_has(tmp_path: Path, small_disk: Path) -> None:
    bed = StoreBed(tmp_path / "state", [small_disk])
    await bed.open()
    big_body = body_of(3, 4 << 20)
    big = file_of(3, big_body)
    await bed.put(FILE, BODY)
    with pytest.raises(DiskFullError, match="no room"):
        await bed.put(big, big_body)
    assert bed.store.reports()[0].is_ok
    assert bed.served(FILE) == BODY
    await bed.store.delete_part(big.sha256)
    await bed.store.refresh_rooms()
    assert bed.store.rooms()[0].room_bytes > 1 << 20
    bed.close()


@pytest.mark.root
async def test_a_new_disk_in_the_place_of_a_mounted_one_is_set_up(tmp_path: Path, small_disk: Path) -> None:
    bed = StoreBed(tmp_path / "state", [small_disk])
    await bed.open(require_mounts=True)
    await bed.put(FILE, BODY)
    async with Tasks() as tasks:
        tasks.spawn("watch", bed.store.watch())
        unmount(small_disk)
        await until(lambda: not bed.store.reports()[0].is_ok, "dropped")
        assert not (small_disk / "objects").exists()
        mount_tmpfs(small_disk)
        await until(lambda: bed.store.reports()[0].is_ok, "set up")
    assert not bed.store.held()
    assert await bed.put(FILE, BODY)
    bed.close()
