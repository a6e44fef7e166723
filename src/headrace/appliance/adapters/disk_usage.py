"""How long the disks below some folders have been busy, by the kernel's own count.

Nothing is asked of the disks themselves: one that hangs must not hold up whoever measures. Which device a folder is on
stands in /proc/self/mountinfo, how long it was busy in /proc/diskstats. A folder on no device that the kernel counts
(tmpfs, a network's file system) is left out.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_MS_BUSY = 12
"""Column of diskstats: milliseconds with at least one request in flight (Documentation/admin-guide/iostats.rst)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mounted file system."""

    point: str
    number: str
    """`major:minor`; of a file system over several devices (Btrfs) a number that is no device's."""
    source: str


class DiskUsage:
    """Looks at the disks that hold `folders`."""

    def __init__(self, folders: Iterable[str], *, proc: Path = _PROC) -> None:
        # Taken now: a path that is a link is followed once, while its disk is likely to answer.
        self._folders = tuple(os.path.realpath(folder) for folder in folders)
        self._proc = proc

    def read(self) -> dict[str, float]:
        """Seconds since the start of the system in which each disk had something to do, by its `major:minor`."""
        if not self._folders:
            return {}
        try:
            mounts = parse_mounts((self._proc / "self/mountinfo").read_text(errors="surrogateescape"))
            stats = parse_diskstats((self._proc / "diskstats").read_text(errors="surrogateescape"))
        except OSError:
            return {}
        found = {device_of(folder, mounts, stats) for folder in self._folders}
        return {number: stats[number][1] for number in found if number}


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Read mountinfo (proc_pid_mountinfo(5)); lines of another form are left out."""
    mounts = []
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        fields, behind = head.split(" "), tail.split(" ")
        if len(fields) >= 6 and len(behind) >= 2:
            mounts.append(Mount(point=_unescaped(fields[4]), number=fields[2], source=_unescaped(behind[1])))
    return tuple(mounts)


def parse_diskstats(text: str) -> dict[str, tuple[str, float]]:
    """Name and busy seconds by `major:minor`; lines of another form are left out."""
    found = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > _MS_BUSY and fields[_MS_BUSY].isdecimal():
            found[f"{fields[0]}:{fields[1]}"] = (fields[2], int(fields[_MS_BUSY]) / 1000)
    return found


def device_of(folder: str, mounts: Iterable[Mount], stats: Mapping[str, tuple[str, float]]) -> str:
    """The `major:minor` of the device below a folder (absolute, without links); '' for none that is counted.

    Of mounts at the same point the last one counts: it hides the others.
    """
    around = [one for one in mounts if one.point == "/" or f"{folder}/".startswith(f"{one.point}/")]
    if not around:
        return ""
    longest = max(len(one.point) for one in around)
    mount = [one for one in around if len(one.point) == longest][-1]
    if mount.number in stats:
        return mount.number
    name = os.path.basename(os.path.realpath(mount.source)) if mount.source.startswith("/dev/") else ""
    return next((number for number, (known, _) in stats.items() if name and known == name), "")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
