"""A small fleet for tests of the loops: each appliance a real HTTP server, reporting into a real store.

The servers speak just enough HTTP/1.1 for probes and can be killed, frozen and revived; the reports go into the store
as the API writes them.
"""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from headrace.base.clock import SystemClock
from headrace.base.ids import ApplianceId, RenditionId, Sha256, SiteId, TitleId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import FileSuffix, PublishedFile, Rendition, Title, TrackKind, content_path
from headrace.control.loops.settings import FleetSettings, ProbeSettings
from headrace.control.model import (
    JoinRow,
    NewEvent,
    SetHead,
    StoredReport,
    StoredSet,
    StoredTitle,
    TitleConflict,
    TokenKind,
    TokenRow,
)
from headrace.control.ports import Store
from headrace.fleet.evidence import HealthRules
from headrace.fleet.model import Appliance, ApplianceReport, DiskReport, LoadReport, NginxReport, Site

EVENT = NewEvent(actor="operator:test", kind="test.happened", subject="fleet", reason="a test")
_RANGE = re.compile(rb"range: bytes=(\d+)-(\d+)", re.IGNORECASE)


def hasty(factor: float = 0.25) -> FleetSettings:
    """The default settings, `factor` as slow."""
    health, probe, fleet = HealthRules(), ProbeSettings(), FleetSettings()
    return replace(
        fleet,
        report_interval_s=fleet.report_interval_s * factor,
        turn_interval_s=fleet.turn_interval_s * factor,
        lease_s=fleet.lease_s * factor,
        drain_quiet_s=fleet.drain_quiet_s * factor,
        health=replace(
            health,
            silent_after_s=health.silent_after_s * factor,
            silent_probe_fresh_s=health.silent_probe_fresh_s * factor,
            turn_up_s=health.turn_up_s * factor,
            recover_s=health.recover_s * factor,
            prober_present_s=health.prober_present_s * factor,
            prober_member_s=health.prober_member_s * factor,
            mass_window_s=health.mass_window_s * factor,
            witness_s=health.witness_s * factor,
        ),
        probe=replace(
            probe,
            interval_s=probe.interval_s * factor,
            suspect_interval_s=probe.suspect_interval_s * factor,
            late_after_s=probe.late_after_s * factor,
            timeout_s=probe.timeout_s * factor,
        ),
    )


def content_of(name: str, suffix: FileSuffix, size_bytes: int) -> bytes:
    """The bytes of a file of a title."""
    word = f"{name} {suffix} ".encode()
    return (word * (size_bytes // len(word) + 1))[:size_bytes]


def make_title(name: str, size_bytes: int = 4096) -> Title:
    """A title of one rendition: a CMAF file and a playlist."""
    files = tuple(
        PublishedFile(
            sha256=Sha256(hashlib.sha256(content_of(name, suffix, size_bytes)).hexdigest()),
            size_bytes=size_bytes,
            suffix=suffix,
            rendition_id=RenditionId("v0"),
        )
        for suffix in (FileSuffix.MP4, FileSuffix.M3U8)
    )
    rendition = Rendition(
        rendition_id=RenditionId("v0"),
        kind=TrackKind.VIDEO,
        group="video",
        file=files[0].sha256,
        playlist=files[1].sha256,
        codecs="avc1.64001f",
        bandwidth_bps=1_000_000,
        average_bandwidth_bps=800_000,
    )
    return Title(title_id=TitleId(name), name=name, duration_s=60.0, renditions=(rendition,), files=files)


@dataclass(slots=True)
class ServedAppliance:
    """A real HTTP server and the reports of its agent."""

    appliance_id: ApplianceId
    store: Store
    interval_s: float
    sessions: int = 0
    is_frozen: bool = False
    """Connections are taken, nothing is answered."""
    is_reporting: bool = True
    is_nginx_up: bool = True
    spoils_tag: bool = False
    """Serves another file's entity tag."""
    spoils_bytes: bool = False
    """Serves other bytes under the right entity tag."""
    disk_bytes: int = 10**9
    probes: int = 0
    port: int = 0
    held: FileSet = field(default_factory=FileSet)
    _server: asyncio.Server | None = None
    _files: dict[bytes, tuple[PublishedFile, bytes]] = field(default_factory=dict)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _sequence: int = 0
    _digest: str = FileSet().digest()

    async def start(self) -> None:
        """Listen, on the port of before when there was one."""
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def kill(self) -> None:
        """As SIGKILL for server and agent: the port refuses, open connections break, reports stop."""
        self.is_reporting = False
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    def hold(self, titles: Sequence[StoredTitle]) -> None:
        """Hold the files of these titles; the next report says so."""
        self.held = FileSet(number for title in titles for number in title.file_nos)
        self._files = {
            content_path(file.sha256, file.suffix).encode(): (
                file,
                content_of(title.title.title_id, file.suffix, file.size_bytes),
            )
            for title in titles
            for file in title.title.files
        }

    async def report(self) -> None:
        """Report for ever, as an agent does."""
        clock = SystemClock()
        while True:
            if self.is_reporting:
                await asyncio.to_thread(self._report_once, clock.now_s())
            await clock.sleep(self.interval_s)

    def _report_once(self, now_s: float) -> None:
        if self.held.digest() != self._digest:
            size = sum(file.size_bytes for file, _ in self._files.values())
            head = SetHead(digest=self.held.digest(), count=len(self.held), total_bytes=size)
            new = StoredSet(head=head, files=self.held)
            self.store.save_holdings(self.appliance_id, new, expected_digest=self._digest)
            self._digest = head.digest
        disk = DiskReport(folder="/cache", is_ok=True, total_bytes=self.disk_bytes, free_bytes=self.disk_bytes // 2)
        report = ApplianceReport(
            disks=(disk,),
            nginx=NginxReport(is_running=self.is_nginx_up),
            load=LoadReport(sessions=self.sessions),
        )
        self._sequence += 1
        boot = "" if self._sequence == 1 else "boot"
        new_report = StoredReport(
            boot_id="boot", sequence=self._sequence, received_at_s=now_s, heard_at_s=now_s, report=report
        )
        self.store.save_report(
            self.appliance_id, new_report, expected_boot_id=boot, expected_sequence=self._sequence - 1
        )

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            request = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            if self.is_frozen:
                await reader.read()
                return
            self.probes += b"headrace-probe" in request
            writer.write(self._response(request))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    def _response(self, request: bytes) -> bytes:
        found = self._files.get(request.split(b" ", 2)[1])
        asked = _RANGE.search(request)
        if found is None or asked is None:
            return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        file, content = found
        first, last = int(asked[1]), int(asked[2])
        tag = "0" * 64 if self.spoils_tag else file.sha256
        head = (
            f'HTTP/1.1 206 Partial Content\r\netag: "{tag}"\r\ncontent-length: {last - first + 1}\r\n'
            f"content-range: bytes {first}-{last}/{file.size_bytes}\r\nconnection: close\r\n\r\n"
        )
        body = content[first : last + 1]
        return head.encode() + (b"x" * len(body) if self.spoils_bytes else body)


def publish(store: Store, title: Title) -> StoredTitle:
    """Register a title that is not there yet."""
    stored = store.register_title(title, expected_version=0, event=EVENT, now_s=SystemClock().now_s())
    assert not isinstance(stored, TitleConflict)
    return stored


def enrol(store: Store, name: str, content_url: str, *, site: str = "site-a") -> Appliance:
    """An appliance enrolled at a site, which is made when it is not there."""
    now_s = SystemClock().now_s()
    if all(one.site_id != site for one in store.sites()):
        store.put_site(Site(site_id=SiteId(site)), event=EVENT, now_s=now_s)
    appliance = Appliance(appliance_id=ApplianceId(name), site_id=SiteId(site), content_url=content_url)
    join = JoinRow(
        join_id=f"join-{name}", secret_sha256="0" * 64, site_id=SiteId(site), appliance_id=None, expires_at_s=now_s + 60
    )
    credential = TokenRow(
        token_id=f"token-{name}",
        kind=TokenKind.APPLIANCE,
        name=name,
        secret_sha256="0" * 64,
        created_at_s=now_s,
        appliance_id=ApplianceId(name),
    )
    store.add_join_token(join, event=EVENT, now_s=now_s)
    store.enrol(join.join_id, appliance, credential, event=EVENT, now_s=now_s)
    return appliance
