"""What the agent needs of the parts around it, and the plain status value that it gives to them.

The adapters fulfil these by shape; nothing here touches a disk, socket, process or clock.
"""

from dataclasses import dataclass, field
from typing import Protocol

from headrace.base.ids import ApplianceId, Sha256
from headrace.catalog.model import CatalogFile
from headrace.fleet.model import ApplianceReport, LoadReport, NginxReport
from headrace.routes.model import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteReport:
    """What is heard over BGP, and how telling the control plane goes."""

    sessions: tuple[Session, ...] = ()
    flawed_messages: int = 0
    """Of the speaker, not understood."""
    speaker_restarts: int = 0
    report_failures: int = 0
    sent_bytes: int = 0
    sent_chunks: int = 0


@dataclass(slots=True)
class ShipCounts:
    """What was shipped of the access log since the agent started."""

    batches: int = 0
    rows: int = 0
    flawed_lines: int = 0
    failures: int = 0
    lost_bytes: int = 0
    """Of logs that were deleted before they were shipped."""
    waiting_bytes: int = 0
    """Not shipped yet, as of the last turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """All that /metrics and a person want to know of an agent; made anew at each call, without any waiting."""

    appliance_id: ApplianceId
    report: ApplianceReport = field(default_factory=ApplianceReport)
    """Disks, load, fill and nginx, exactly as reported to the control plane."""
    holdings_files: int = 0
    holdings_bytes: int = 0
    plan_version: int = 0
    plan_files: int = 0
    plan_bytes: int = 0
    desired_version: int = 0
    exchange_age_s: float | None = None
    """Since the last answer of the control plane; None when there was none since the start."""
    exchange_failures: int = 0
    """Since the agent started."""
    exchange_bytes: int = 0
    """Size of the last request."""
    filled_files: int = 0
    filled_bytes: int = 0
    """Bytes fetched since the agent started, those that had to be thrown away included."""
    source_failures: int = 0
    corrupt_files: int = 0
    """Found by verification since the agent started, withdrawn and filled again."""
    verified_bytes: int = 0
    routes: RouteReport = field(default_factory=RouteReport)


class WebServer(Protocol):
    """nginx, kept running. `point` never raises for a bad configuration: the old one stays, `report` says so."""

    async def run(self) -> None:
        """Keep it running until cancelled; cancelling leaves the server alive."""
        ...

    async def point(self, *, origin_url: str, redirect_url: str) -> None:
        """Serve on, sending requests for files not held to `redirect_url` (by proxying: to `origin_url`)."""
        ...

    async def stop(self) -> None:
        """Let running transfers finish (for a bounded time) and end the server."""
        ...

    def report(self) -> NginxReport: ...


class LoadSource(Protocol):
    """Tells what the web server does now."""

    def load(self) -> LoadReport: ...

    def missed(self) -> set[Sha256]:
        """Files that were asked for and not served from here since the last call; a bounded number, held or not."""
        ...

    def served(self) -> set[Sha256]:
        """Files that clients asked for since the last call; a bounded number, held or not."""
        ...


class FileNames(Protocol):
    """Tells which title and rendition a file is of, for log lines and counters."""

    def named(self, sha256: Sha256) -> CatalogFile | None: ...
