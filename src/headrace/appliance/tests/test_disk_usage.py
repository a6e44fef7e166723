"""Which disks hold a folder and how busy they were, from the texts that the kernel gives."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.appliance.adapters.disk_usage import DiskUsage, device_of, parse_diskstats, parse_mounts
from headrace.appliance.log_reader import DiskMeter

MOUNTS = r"""
22 28 0:21 / /proc rw,nosuid - proc proc rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 28 8:17 / /srv/a rw,noatime - xfs /dev/sdb1 rw
31 28 0:44 /store /srv/b rw - btrfs /dev/sdc rw,subvol=/store
32 28 0:45 / /srv/ram rw - tmpfs tmpfs rw
33 28 8:33 / /srv/with\040space rw - ext4 /dev/sdc1 rw
34 30 8:49 / /srv/a rw - xfs /dev/sdd1 rw
broken
"""
STATS = """
 254       0 vda 5635402 841348 141163146 15689785 2775531 8573244 366793408 5173849 0 2692944 21976852 6363521
   8      17 sdb1 1 2 3 4 5 6 7 8 9 1500 11
   8      32 sdc 1 2 3 4 5 6 7 8 9 250 11 12 13 14 15
   8      33 sdc1 1 2 3 4 5 6 7 8 9 125 11 12 13 14 15
   8      49 sdd1 1 2 3 4 5 6 7 8 9 2000 11 12 13 14 15
   8      99 odd 1 2 3
"""


def usage(folder: Path, *folders: str) -> DiskUsage:
    (folder / "self").mkdir(exist_ok=True)
    (folder / "self/mountinfo").write_text(MOUNTS)
    (folder / "diskstats").write_text(STATS)
    return DiskUsage(folders, proc=folder)


@pytest.mark.parametrize(
    ("folder", "device"),
    [
        ("/", "254:0"),
        ("/srv", "254:0"),
        ("/srv/abc", "254:0"),
        ("/srv/a", "8:49"),
        ("/srv/a/disk", "8:49"),
        ("/srv/b/disk", "8:32"),
        ("/srv/ram", ""),
        ("/srv/with space/x", "8:33"),
    ],
)
def test_the_device_below_a_folder(folder: str, device: str) -> None:
    assert device_of(folder, parse_mounts(MOUNTS), parse_diskstats(STATS)) == device


def test_each_disk_is_read_once(tmp_path: Path) -> None:
    assert usage(tmp_path, "/srv/a/1", "/srv/a/2", "/srv/b", "/srv/ram").read() == {"8:49": 2.0, "8:32": 0.25}
    assert usage(tmp_path).read() == {}
    (tmp_path / "diskstats").unlink()
    assert DiskUsage(["/srv/a"], proc=tmp_path).read() == {}


@given(st.text(max_size=200), st.text(max_size=200))
def test_takes_any_text(mounts: str, stats: str) -> None:
    device_of("/srv/a", parse_mounts(mounts), parse_diskstats(stats))


def test_the_busiest_disk_counts_over_the_last_seconds() -> None:
    meter = DiskMeter()
    assert meter.turn({"8:1": 100.0, "8:2": 50.0}, now_s=0.0) == 0.0
    assert meter.turn({"8:1": 100.2, "8:2": 50.75}, now_s=1.0) == pytest.approx(0.75)
    assert meter.turn({"8:1": 101.2}, now_s=2.0) == pytest.approx(0.6), "one that is gone does not count"
    assert meter.turn({"8:1": 900.0}, now_s=3.0) == 1.0
    assert meter.turn({}, now_s=4.0) == 0.0
