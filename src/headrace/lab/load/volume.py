"""Volume: nghttp2's h2load runs at the client, and its summary is read.

h2load because it is one kept tool for HTTP/1.1 and HTTP/2, clear and over TLS. It does not look at bodies.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from headrace.lab.adapters.cell import run_command
from headrace.lab.adapters.programs import find_program
from headrace.lab.assembly import Lab
from headrace.lab.errors import LoadError

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_EXTRA_S = 30.0


class Protocol(StrEnum):
    """What the client speaks."""

    HTTP1 = "http1"
    HTTP1_TLS = "http1-tls"
    HTTP2 = "http2"
    """Without TLS: from the first byte, known beforehand."""
    HTTP2_TLS = "http2-tls"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeReport:
    """What h2load counted."""

    seconds: float
    requests: int
    """Answered whole; 0 where the network is too slow for one of them."""
    bytes: int
    """Of bodies, unfinished ones included."""
    failed: int
    """Not answered, or not with 2xx."""
    mean_ms: float
    """Of whole requests."""
    first_byte_ms: float
    """Mean over connections, the time to connect included."""

    @property
    def throughput_bps(self) -> float:
        """Bits of bodies a second."""
        return 8 * self.bytes / self.seconds if self.seconds else 0.0


async def run_volume(
    lab: Lab, paths: tuple[str, ...], *, seconds: float, connections: int, protocol: Protocol, byte_range: str = ""
) -> VolumeReport:
    """Ask for `paths` in turn on all connections for a time.

    Args:
        byte_range: value of a Range header for all requests, such as `bytes=0-99999`.

    Raises:
        NotPossibleHereError: there is no h2load.
        LoadError: it could not be run, or nothing was answered.
    """
    tool = find_program("h2load", mend="apt-get install nghttp2-client")
    is_tls = protocol in {Protocol.HTTP1_TLS, Protocol.HTTP2_TLS}
    port = lab.machine.tls_port if is_tls else lab.machine.port
    argv = [str(tool), "-t1", f"-c{connections}", "-D", f"{seconds:g}", "-i", "-"]
    argv += ["--h1"] if protocol in {Protocol.HTTP1, Protocol.HTTP1_TLS} else []
    argv += ["-H", f"Range: {byte_range}"] if byte_range else []
    base = f"{'https' if is_tls else 'http'}://{lab.machine.address}:{port}"
    urls = "".join(f"{base}{path}\n" for path in paths)
    ran = await run_command(lab.at_client(argv), text=urls, timeout_s=seconds + _EXTRA_S)
    if ran.exit_code:
        raise LoadError(f"h2load failed: {ran.output.strip()[-400:]}")
    return parse_volume(ran.output)


def parse_volume(text: str) -> VolumeReport:
    """Read h2load's summary.

    Raises:
        LoadError: it is not one, or nothing was answered.
    """
    finished = re.search(r"finished in ([\d.]+)(us|ms|s|m)\b", text)
    counts = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed", text)
    data = re.search(r"\((\d+)\) data", text)
    mean = re.search(r"time for request: +\S+ +\S+ +([\d.]+)(us|ms|s|m)\b", text)
    first = re.search(r"time to 1st byte: +\S+ +\S+ +([\d.]+)(us|ms|s|m)\b", text)
    if not (finished and counts and data and mean and first) or not int(data[1]):
        raise LoadError(f"h2load got no answer: {text.strip()[-400:]}")
    return VolumeReport(
        seconds=_seconds(finished),
        requests=int(counts[2]),
        bytes=int(data[1]),
        failed=int(counts[3]),
        mean_ms=_seconds(mean) * 1000,
        first_byte_ms=_seconds(first) * 1000,
    )


def _seconds(match: re.Match[str]) -> float:
    return float(match[1]) * _UNITS_S[match[2]]
