"""Churn: an exact number of connections that come and go, many of them in mid-transfer, from the client's place.

By number and not by time, so that both builds of a pair do the same work, and a leak shows as the same growth on a slow
machine as on a quick one. Decision record 0014 says why this client is our own.
"""

import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from headrace.lab.adapters import churner
from headrace.lab.adapters.cell import run_command
from headrace.lab.assembly import Lab
from headrace.lab.errors import LoadError
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError

_AT_ONCE = 4
_STALL_S = 5.0
_TIMEOUT_S = 120.0
_SMALL_BYTES = 100


class Visit(StrEnum):
    """What one connection does; see churner.py."""

    SHORT = "short"
    CLOSED = "closed"
    KEPT = "kept"
    STEADY = "steady"
    SILENT = "silent"
    ABORT = "abort"
    TLS = "tls"
    TLS_ABORT = "tls-abort"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnReport:
    """What was done."""

    done: dict[str, int]
    """Visits that went as they should, by kind."""
    failed: int
    why: tuple[str, ...] = ()
    """The first failures."""
    timed: int = 0
    """Answers that were timed."""
    slow: int = 0
    """Those of them that took longer than 10 ms."""

    @property
    def connections(self) -> int:
        """All of those done."""
        return sum(self.done.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    address: str
    port: int
    tls_port: int
    small: str
    large: str
    seed: int
    workers: int
    stall_s: float = _STALL_S
    visits: dict[str, int] = field(default_factory=dict)


async def run_churn(lab: Lab, visits: dict[Visit, int], *, seed: int, at_once: int = _AT_ONCE) -> ChurnReport:
    """Make so many visits, in an order that the seed gives.

    Raises:
        LoadError: not one went well, or the client itself failed.
        LabError: it did not end in time.
    """
    files = sorted(lab.setup.content, key=lambda file: file.size_bytes)
    plan = _Plan(
        address=lab.machine.address,
        port=lab.machine.port,
        tls_port=lab.machine.tls_port,
        small=next((file for file in files if file.size_bytes >= _SMALL_BYTES), files[-1]).path,
        large=files[-1].path,
        seed=seed,
        workers=at_once,
        visits={kind.value: count for kind, count in visits.items()},
    )
    argv = lab.at_client([sys.executable, "-I", "-S", str(Path(churner.__file__))])
    ran = await run_command(argv, text=encode(plan).decode(), timeout_s=_TIMEOUT_S)
    try:
        report = decode(ChurnReport, ran.output.encode())
    except MalformedError:
        raise LoadError(f"the client of short connections failed: {ran.output.strip()[-400:]}") from None
    if not report.connections:
        raise LoadError(f"not one connection went well: {'; '.join(report.why)}")
    return report
