"""What the kernel knows of the running server: connections, CPU time, bytes written, how busy its disks are.

Neither nginx nor a disk is asked itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from headrace.appliance.adapters.disk_usage import DiskUsage
from headrace.appliance.adapters.nginx_processes import read_usage
from headrace.appliance.adapters.sockets import count_connections
from headrace.appliance.nginx_conf import split_address


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReading:
    """One look, by process."""

    connections: int
    cpu_s: dict[int, float]
    written_bytes: dict[int, int] | None
    """Everything written, sendfile included; None when the kernel does not tell us."""
    disks_busy_s: dict[str, float] = field(default_factory=dict)
    """Time in which a disk of the store had something to do, by disk."""


class ServerUsage:
    """Looks at the processes that `processes` names, at connections to the addresses, at the disks of `folders`."""

    def __init__(
        self, processes: Callable[[], tuple[int, ...]], listen: Iterable[str], folders: Iterable[str] = ()
    ) -> None:
        self._processes = processes
        self._listen = tuple(split_address(address) for address in listen)
        self._disks = DiskUsage(folders)

    def read(self) -> UsageReading:
        """Look now; takes milliseconds."""
        usages = {pid: usage for pid in self._processes() if (usage := read_usage(pid))}
        written = {pid: usage.written_bytes for pid, usage in usages.items() if usage.written_bytes is not None}
        return UsageReading(
            connections=count_connections(self._listen),
            cpu_s={pid: usage.cpu_s for pid, usage in usages.items()},
            written_bytes=written if len(written) == len(usages) else None,
            disks_busy_s=self._disks.read(),
        )
