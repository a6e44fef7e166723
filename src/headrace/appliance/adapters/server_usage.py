"""What the kernel knows of the running server: connections, CPU time, bytes written. nginx itself is not asked."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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


class ServerUsage:
    """Looks at the processes that `processes` names and at connections to the listening addresses."""

    def __init__(self, processes: Callable[[], tuple[int, ...]], listen: Iterable[str]) -> None:
        self._processes = processes
        self._listen = tuple(split_address(address) for address in listen)

    def read(self) -> UsageReading:
        """Look now; takes milliseconds."""
        usages = {pid: usage for pid in self._processes() if (usage := read_usage(pid))}
        written = {pid: usage.written_bytes for pid, usage in usages.items() if usage.written_bytes is not None}
        return UsageReading(
            connections=count_connections(self._listen),
            cpu_s={pid: usage.cpu_s for pid, usage in usages.items()},
            written_bytes=written if len(written) == len(usages) else None,
        )
