"""One sample: the load generator runs against one server, and both ends' CPU time is taken around it."""

import dataclasses
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rig.network import Network
from rig.processes import read_cpu

WARM_S = 0.15
"""Load before the clock starts: connections open, congestion windows grown, files found."""


class LoadFailed(Exception):
    """The server gave a wrong answer, or none; the message holds what the generator saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one run against one server gave."""

    requests: int
    bytes: int
    reopened: int
    """Connections that the server ended between two answers."""
    seconds: float
    p50_ms: float
    p99_ms: float
    server_cpu_s: float
    client_cores: float
    foreign_cores: float

    @property
    def requests_per_cpu_s(self) -> float:
        return self.requests / self.server_cpu_s if self.server_cpu_s else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to send which requests."""

    name: str
    """For messages."""
    port: int
    is_tls: bool
    requests: Path
    """File of lines as tools/load.c reads them."""
    pids: list[int]
    """Roots of the server's process trees."""


def take_sample(network: Network, load_tool: Path, target: Target, *, connections: int, seconds: float) -> Sample:
    """Run the generator for `seconds` and measure.

    Raises:
        LoadFailed: an answer differed from what was asked, or the generator hung.
    """
    argv = [str(load_tool), network.server_address, str(target.port), str(connections), str(WARM_S), str(seconds)]
    argv += [str(target.requests), "tls" if target.is_tls else "clear"]
    with subprocess.Popen(network.at_client(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        try:
            return _measure(client, target, seconds)
        finally:
            client.kill()


def _measure(client: "subprocess.Popen[str]", target: Target, seconds: float) -> Sample:
    assert client.stdout is not None
    assert client.stderr is not None
    if client.stdout.readline() != "start\n":
        raise LoadFailed(f"{target.name}: " + (client.stderr.read().strip() or "the load generator did not start"))
    before = read_cpu(servers=target.pids, clients=[client.pid])
    line = client.stdout.readline()
    after = read_cpu(servers=target.pids, clients=[client.pid])
    if not line:
        raise LoadFailed(f"{target.name}: " + (client.stderr.read().strip() or "the load generator said nothing"))
    facts = json.loads(line)
    return Sample(
        **facts,
        server_cpu_s=round(after.servers - before.servers, 4),
        client_cores=round((after.clients - before.clients) / facts["seconds"], 3),
        foreign_cores=round(after.foreign_since(before) / facts["seconds"], 3),
    )


def as_json(sample: Sample) -> dict[str, float | int]:
    """Plain values for the results file."""
    return dataclasses.asdict(sample)
