"""Two network namespaces joined by a veth pair of MTU 1500, with cubic on both ends.

Why not loopback: its MTU of 64 KB with `tcp_nopush` stalls, and the congestion control of the machine may pace (BBR
delivers 4 MiB 3 to 8 times slower there). Needs root. What is changed of the machine itself, one sysctl that lets
namespaces choose cubic, is put back at the end; everything else lies in the namespaces and goes with them.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CONGESTION = "cubic"
MTU = 1500
_ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
_AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")


class NeedsRoot(Exception):
    """The bench makes network namespaces; run it as root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Both ends; commands run inside one by the prefix of `at_server` or `at_client`."""

    server_namespace: str
    client_namespace: str
    server_address: str = "10.203.0.1"
    client_address: str = "10.203.0.2"

    def at_server(self, argv: list[str], *, core: int = 0) -> list[str]:
        """`argv`, run in the server's namespace and pinned to `core`."""
        return ["ip", "netns", "exec", self.server_namespace, "taskset", "-c", str(core), "nice", "-n", "-10", *argv]

    def at_client(self, argv: list[str], *, core: int = 1) -> list[str]:
        """`argv`, run in the client's namespace and pinned to `core`."""
        return ["ip", "netns", "exec", self.client_namespace, "taskset", "-c", str(core), "nice", "-n", "-10", *argv]


@contextlib.contextmanager
def veth_network() -> Iterator[Network]:
    """Make the network for the time of the block.

    Raises:
        NeedsRoot: not root, or namespaces are forbidden here.
    """
    if os.geteuid() != 0:
        raise NeedsRoot("this bench makes network namespaces and pins processes: run it as root")
    network = Network(server_namespace=f"bench-{os.getpid()}-s", client_namespace=f"bench-{os.getpid()}-c")
    before = _ALLOWED.read_text().split()
    try:
        if CONGESTION not in before:
            _ALLOWED.write_text(" ".join([*before, CONGESTION]))
        _join(network)
        yield network
    finally:
        for namespace in (network.server_namespace, network.client_namespace):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True, timeout=30)
        if CONGESTION not in before:
            _ALLOWED.write_text(" ".join(before))


def _join(network: Network) -> None:
    ends = [
        (network.server_namespace, "server0", network.server_address),
        (network.client_namespace, "client0", network.client_address),
    ]
    for namespace, _, _ in ends:
        _ip("netns", "add", namespace)
    (server, server_end, _), (client, client_end, _) = ends
    _ip("-n", server, "link", "add", server_end, "type", "veth", "peer", "name", client_end, "netns", client)
    for namespace, end, address in ends:
        _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", end)
        _ip("-n", namespace, "link", "set", end, "mtu", str(MTU), "up")
        choose = f"echo {CONGESTION} > /proc/sys/net/ipv4/tcp_congestion_control"
        _ip("netns", "exec", namespace, "sh", "-c", choose)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise NeedsRoot(
            f"ip {' '.join(words)}: {done.stderr.strip() or 'failed'} (available: {_AVAILABLE.read_text().strip()})"
        )
