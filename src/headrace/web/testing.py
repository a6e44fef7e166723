"""A stand-in for the control plane's API, with a fleet made up here, so that pages can be tried without a network.

Used by tests only. It keeps to the shapes of `wire.operator`, so a page that works on it works on the real API.
"""

import asyncio
import dataclasses
import math
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from headrace.base.clock import Clock
from headrace.base.ids import ApplianceId, RenditionId, Sha256, SiteId, TitleId
from headrace.catalog.model import FileSuffix, PublishedFile, Rendition, Title, TrackKind
from headrace.demand.offload import Tier
from headrace.fleet.maintenance import MaintenanceWindow
from headrace.fleet.model import (
    AdminState,
    Appliance,
    ApplianceReport,
    DiskReport,
    FillReport,
    FillState,
    Health,
    HealthReason,
    HealthState,
    LoadReport,
    NginxReport,
    ReleaseReport,
    Site,
    SiteKind,
)
from headrace.steering.misses import MissClass
from headrace.steering.used import UsedRow
from headrace.web import pages
from headrace.wire.codec import decode, encode
from headrace.wire.misses import MissesHour, MissesNode, MissesView
from headrace.wire.offload import OffloadHour, OffloadSite, OffloadSummary, OffloadView
from headrace.wire.operator import (
    FORCE_HINT,
    ApplianceChange,
    ApplianceView,
    EventView,
    FleetView,
    Problem,
    TitleView,
)

TOKENS = {"read-token": "read", "operate-token": "operate"}
GIB = 1024**3


class StandInControl:
    """The routes that the pages use, over a fleet that a test may change at any time."""

    def __init__(self, clock: Clock, *, steering_urls: tuple[str, ...] = (), demo_url: str = "") -> None:
        self._clock = clock
        self.fleet = make_fleet(clock.now_s())
        self.titles = make_titles(clock.now_s())
        self.events = make_events(clock.now_s())
        self.windows: tuple[MaintenanceWindow, ...] = ()
        self.offload = OffloadView(summary=None)
        self.misses = NO_MISSES
        self.is_streaming = True
        """Set to False to cut every stream and refuse new ones, as a dying control plane would."""
        self.app = Starlette(
            routes=[
                Route("/v1/session", self._session, methods=["GET", "POST", "DELETE"]),
                Route("/v1/fleet", self._allowed(lambda _request: encode(self._now()))),
                Route("/v1/titles", self._allowed(self._titles)),
                Route("/v1/events", self._allowed(self._events)),
                Route(
                    "/v1/maintenance",
                    self._allowed(lambda _request: encode(self.windows, tuple[MaintenanceWindow, ...])),
                ),
                Route("/v1/offload", self._allowed(lambda _request: encode(self.offload))),
                Route("/v1/misses", self._allowed(lambda _request: encode(self.misses))),
                Route("/v1/stream", self._stream),
                Route("/v1/appliances/{id}", self._change, methods=["PATCH"]),
            ]
        )
        pages.mount(self.app, demo_url=demo_url, steering_urls=steering_urls)

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve on a free port of the loopback for the block; gives the base URL."""
        config = uvicorn.Config(self.app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="stand-in", daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                self.is_streaming = False
                server.should_exit = True
                thread.join(timeout=10)

    def change(self, appliance: str, edit: Callable[[ApplianceView], ApplianceView]) -> None:
        """Replace one appliance's view; streams tell it within a second."""
        self.fleet = dataclasses.replace(
            self.fleet,
            appliances=tuple(
                edit(view) if view.appliance.appliance_id == appliance else view for view in self.fleet.appliances
            ),
        )

    def record(
        self, kind: str, subject: str, *, reason: str = "", detail: str = "", actor: str = "control:test"
    ) -> None:
        """Append an event; streams tell it at once."""
        number = self.events[-1].event_id + 1
        self.events.append(
            EventView(
                event_id=number,
                at_s=self._clock.now_s(),
                actor=actor,
                kind=kind,
                subject=subject,
                reason=reason,
                detail=detail,
            )
        )

    def _now(self) -> FleetView:
        return dataclasses.replace(self.fleet, now_s=self._clock.now_s())

    def _titles(self, request: Request) -> bytes:
        asked = request.query_params
        words = asked.get("q", "").casefold().split()
        ordered = sorted(self.titles, key=lambda view: (view.published_at_s, view.title.title_id), reverse=True)
        names = [view.title.title_id for view in ordered]
        behind = ordered[names.index(TitleId(asked["after"])) + 1 :] if "after" in asked else ordered
        found = [
            view
            for view in behind
            if all(word in f"{view.title.title_id} {view.title.name}".casefold() for word in words)
        ]
        return encode(tuple(found[: int(asked.get("limit", "1000"))]), tuple[TitleView, ...])

    def _events(self, request: Request) -> bytes:
        limit = int(request.query_params.get("limit", "100"))
        is_newest = request.query_params.get("newest") == "true"
        return encode(self.events[-limit:] if is_newest else self.events[:limit], list[EventView])

    def _allowed(self, answer: Callable[[Request], bytes]) -> Callable[[Request], Response]:
        def route(request: Request) -> Response:
            if _role(request) is None:
                return _problem(401, "unauthorized", "there is no session; sign in with a token")
            return Response(answer(request), media_type="application/json")

        return route

    async def _session(self, request: Request) -> Response:
        if request.method == "DELETE":
            response = Response(status_code=204)
            response.delete_cookie("session")
            return response
        token = (await request.json())["token"] if request.method == "POST" else request.cookies.get("session", "")
        if token not in TOKENS:
            return _problem(401, "unauthorized", "unknown or revoked token")
        response = Response(encode({"role": TOKENS[token]}, dict[str, str]), media_type="application/json")
        response.set_cookie("session", token, httponly=True, samesite="strict")
        return response

    async def _change(self, request: Request) -> Response:
        if _role(request) != "operate":
            return _problem(403, "forbidden", "this needs the role operate; the session has read")
        name = request.path_params["id"]
        change = decode(ApplianceChange, await request.body())
        wanted = change.admin_state
        if wanted is AdminState.DISABLED and name == "lhr-1" and not change.is_forced:
            detail = "lhr-1 has the last copy of 2 files" + FORCE_HINT
            return _problem(409, "last-copies", detail)
        if wanted is not None:
            self.change(
                name,
                lambda view: dataclasses.replace(
                    view, appliance=dataclasses.replace(view.appliance, admin_state=wanted)
                ),
            )
            self.record(
                "appliance.admin-changed",
                f"appliance/{name}",
                reason=change.reason,
                detail=f"now {wanted}",
                actor="operator:test",
            )
        return Response(b"null", media_type="application/json")

    async def _stream(self, request: Request) -> Response:
        if _role(request) is None:
            return _problem(401, "unauthorized", "there is no session; sign in with a token")
        if not self.is_streaming:
            return _problem(503, "shutting-down", "going down")
        return StreamingResponse(self._messages(), media_type="text/event-stream")

    async def _messages(self) -> AsyncIterator[bytes]:
        told = self.events[-1].event_id
        next_fleet_s = 0.0
        while self.is_streaming:
            for one in [one for one in self.events if one.event_id > told]:
                told = one.event_id
                yield b"event: event\ndata: " + encode(one) + b"\n\n"
            if self._clock.monotonic_s() >= next_fleet_s:
                next_fleet_s = self._clock.monotonic_s() + 0.9
                yield b"event: fleet\ndata: " + encode(self._now()) + b"\n\n"
            await asyncio.sleep(0.1)


def _role(request: Request) -> str | None:
    return TOKENS.get(request.cookies.get("session", ""))


def _problem(status: int, code: str, detail: str) -> Response:
    body = encode(Problem(title="Refused", status=status, code=code, detail=detail))
    return Response(body, status_code=status, media_type="application/problem+json")


def make_fleet(now_s: float) -> FleetView:
    """Three sites and seven appliances in as many states."""
    sites = (
        Site(site_id=SiteId("ams-ix"), name="Amsterdam exchange", kind=SiteKind.PUBLIC_PEERING, is_last_resort=True),
        Site(site_id=SiteId("fra"), name="Frankfurt", prefixes=("192.0.2.0/24", "2001:db8:40::/44")),
        Site(site_id=SiteId("lhr"), name="London", prefixes=("198.51.100.0/24",)),
    )
    appliances = (
        make_appliance("ams-1", "ams-ix", now_s, tx_bps=6.1e9, held=1204, planned=1204),
        make_appliance("ams-2", "ams-ix", now_s, tx_bps=5.2e9, held=1204, planned=1204, admin=AdminState.DRAINING),
        make_appliance("fra-1", "fra", now_s, tx_bps=8.4e9, held=980, planned=980),
        make_appliance("fra-2", "fra", now_s, tx_bps=2.2e9, held=412, planned=980, fill=FillState.FILLING),
        make_appliance(
            "fra-3", "fra", now_s, tx_bps=3.0e8, held=980, planned=980,
            health=_health(HealthState.UNHEALTHY, HealthReason.NGINX_DOWN, now_s - 42),
        ),
        make_appliance(
            "lhr-1", "lhr", now_s, tx_bps=4.4e9, held=730, planned=731, fill=FillState.DISK_FULL, failed_disks=1,
        ),
        make_appliance(
            "lhr-2", "lhr", now_s, tx_bps=1.0e9, held=730, planned=731, report_age_s=190,
            health=_health(HealthState.LOST, HealthReason.NO_REPORT, now_s - 185),
        ),
    )  # fmt: skip
    return FleetView(
        now_s=now_s,
        sites=sites,
        appliances=appliances,
        title_count=3,
        file_count=1204,
        total_bytes=1204 * 3 * GIB // 4,
        is_health_held=False,
    )


def _health(state: HealthState, reason: HealthReason, since_s: float) -> Health:
    return Health(state=state, reason=reason, since_s=since_s, is_turned_up=True)


def make_appliance(  # noqa: PLR0913  each argument is one thing that a page shows differently
    name: str,
    site: str,
    now_s: float,
    *,
    tx_bps: float = 0.0,
    held: int = 0,
    planned: int = 0,
    admin: AdminState = AdminState.ENABLED,
    health: Health | None = None,
    fill: FillState = FillState.IDLE,
    failed_disks: int = 0,
    report_age_s: float = 1.0,
) -> ApplianceView:
    """One appliance with three disks."""
    pending = (planned - held) * 3 * GIB // 4
    report = ApplianceReport(
        disks=_disks(failed_disks, is_full=fill is FillState.DISK_FULL),
        load=LoadReport(
            tx_bps=tx_bps,
            requests_per_s=tx_bps / 8e6,
            connections=int(tx_bps / 4e6),
            cpu_ratio=tx_bps / 2.4e10,
            sessions=int(tx_bps / 5e6),
        ),
        fill=FillReport(
            state=fill,
            pending_files=planned - held,
            pending_bytes=pending,
            done_files=held,
            done_bytes=held * 3 * GIB // 4,
            rate_bps=9.4e8 if fill is FillState.FILLING else 0.0,
        ),
        nginx=NginxReport(is_running=True, version="1.31.0", restarts=0),
        release=ReleaseReport(headrace="0.1.0", nginx="1.31.0", kernel="6.12.48"),
    )
    return ApplianceView(
        appliance=Appliance(
            appliance_id=ApplianceId(name),
            site_id=SiteId(site),
            content_url=f"http://{name}.cdn.example",
            admin_state=admin,
        ),
        health=health
        or Health(
            state=HealthState.HEALTHY, reason=HealthReason.ALL_CHECKS_PASS, since_s=now_s - 86_000, is_turned_up=True
        ),
        report=report,
        last_report_s=now_s - report_age_s,
        holdings_count=held,
        holdings_bytes=held * 3 * GIB // 4,
        plan_count=planned,
        plan_bytes=planned * 3 * GIB // 4,
        is_drained=False,
    )


def _disks(failed: int, *, is_full: bool) -> tuple[DiskReport, ...]:
    return tuple(
        DiskReport(
            folder=f"/srv/headrace/disk{number}",
            is_ok=number > failed,
            total_bytes=4000 * GIB,
            free_bytes=(0 if is_full else 1870) * GIB,
            error="input/output error" if number <= failed else "",
        )
        for number in (1, 2, 3)
    )


NO_MISSES = MissesView(nodes=(), hours=(), rows=())


def make_misses(now_s: float) -> MissesView:
    """Two days in which nearly all came from the best appliances; an evening with too much load."""
    newest = int(now_s // 3_600)
    hours = []
    for ago in reversed(range(48)):
        total = (2.0 + math.cos(ago / 12 * math.pi)) * 1e12
        shares = {MissClass.CONTENT: 0.03, MissClass.LOAD: 0.12 if 5 <= ago <= 8 else 0.004, MissClass.CHOICE: 0.011}
        sizes = {name: int(total * share) for name, share in shares.items()}
        hours.append(
            MissesHour(hour=newest - ago, bytes_by_class={MissClass.NONE: int(total) - sum(sizes.values()), **sizes})
        )
    rows = (
        ("fra", "big-buck-bunny", MissClass.LOAD, 1.9e12),
        ("ams", "a-series-with-a-long-name-season-2-episode-11", MissClass.CONTENT, 8.1e11),
        ("fra", "sintel", MissClass.CONTENT, 2.2e11),
        ("lhr", "sintel", MissClass.CHOICE, 9e10),
        ("", "sintel", MissClass.ROUTE, 4e9),
    )
    return MissesView(
        nodes=tuple(MissesNode(node=name, made_s=now_s - 500) for name in ("steer-1", "steer-2")),
        hours=tuple(hours),
        rows=tuple(
            UsedRow(site_id=site, title_id=title, reason=why, bytes=int(size)) for site, title, why, size in rows
        ),
    )


def make_offload(now_s: float) -> OffloadView:
    """Two days in which most bytes stayed in their sites, with a bad evening and an hour without anybody."""
    newest = int(now_s // 3_600)
    hours = []
    for ago in reversed(range(48)):
        if ago == 30:
            continue
        busy = 2.0 + math.cos(ago / 12 * math.pi)
        elsewhere = 0.25 if 5 <= ago <= 8 else 0.05
        total = busy * 1e12
        hours.append(
            OffloadHour(
                hour=newest - ago,
                bytes_by_tier={
                    Tier.OWN: int(total * (0.93 - 1.8 * elsewhere)),
                    Tier.PRIVATE_PEERING: int(total * elsewhere),
                    Tier.PUBLIC_PEERING: int(total * elsewhere * 0.8),
                    Tier.ORIGIN_SIDE: int(total * 0.04),
                    Tier.THROUGH: int(total * 0.01),
                    Tier.NO_HOME: int(total * 0.02),
                },
            )
        )
    sites = tuple(
        OffloadSite(site_id=SiteId(name), own_bytes=int(share * 1e13), total_bytes=10**13)
        for name, share in (("ams", 0.93), ("fra", 0.71), ("lhr", 1.0))
    )
    return OffloadView(summary=OffloadSummary(made_s=now_s - 200, hours=tuple(hours), sites=sites))


def make_titles(now_s: float) -> tuple[TitleView, ...]:
    """Three titles."""
    named = (
        ("big-buck-bunny", "Big Buck Bunny", 596.0),
        ("sintel", "Sintel", 888.0),
        ("tears-of-steel", "Tears of Steel", 734.0),
    )
    return tuple(
        TitleView(
            title=make_title(title_id, name, duration_s),
            version=1 + index % 2,
            published_at_s=now_s - 4000 * (index + 1),
            size_bytes=int(duration_s * 1.9e6),
            holders=6 - index,
        )
        for index, (title_id, name, duration_s) in enumerate(named)
    )


def make_title(title_id: str, name: str, duration_s: float) -> Title:
    """A ladder of four heights, one audio, one subtitle."""
    kinds = [(TrackKind.VIDEO, height) for height in (240, 480, 720, 1080)] + [
        (TrackKind.AUDIO, 0),
        (TrackKind.TEXT, 0),
    ]
    renditions = tuple(
        Rendition(
            rendition_id=RenditionId(f"{kind}{height}"),
            kind=kind,
            group=str(kind),
            file=Sha256(f"{index:064x}"),
            playlist=Sha256(f"{index + 100:064x}"),
            codecs="",
            bandwidth_bps=0,
            average_bandwidth_bps=0,
            height=height,
        )
        for index, (kind, height) in enumerate(kinds)
    )
    files = tuple(
        PublishedFile(sha256=one.file, size_bytes=1, suffix=FileSuffix.MP4, rendition_id=one.rendition_id)
        for one in renditions
    )
    return Title(title_id=TitleId(title_id), name=name, duration_s=duration_s, renditions=renditions, files=files)


def make_events(now_s: float) -> list[EventView]:
    """Some history, oldest first."""
    rows = (
        (4000.0, "operator:anna", "title.published", "title/big-buck-bunny", "", "version 1, 6 renditions"),
        (3600.0, "appliance:lhr-2", "appliance.enrolled", "appliance/lhr-2", "join-token", ""),
        (
            900.0,
            "control:health",
            "appliance.health-changed",
            "appliance/fra-1",
            "all-checks-pass",
            "turning-up to healthy",
        ),
        (600.0, "operator:anna", "appliance.admin-changed", "appliance/ams-2", "new disks tomorrow", "now draining"),
        (185.0, "control:health", "appliance.health-changed", "appliance/lhr-2", "no-report", "healthy to lost"),
        (42.0, "control:health", "appliance.health-changed", "appliance/fra-3", "nginx-down", "healthy to unhealthy"),
    )
    return [
        EventView(
            event_id=number, at_s=now_s - age_s, actor=actor, kind=kind, subject=subject, reason=reason, detail=detail
        )
        for number, (age_s, actor, kind, subject, reason, detail) in enumerate(rows, start=1)
    ]


def sway(stand_in: StandInControl, at_s: float) -> None:
    """Let the traffic of all appliances rise and fall, so that plots have a shape."""

    def swayed(view: ApplianceView, index: int) -> ApplianceView:
        base_bps = view.report.load.tx_bps
        load = dataclasses.replace(view.report.load, tx_bps=base_bps * (1 + 0.05 * math.sin(at_s / 3 + index)))
        report = dataclasses.replace(view.report, load=load)
        is_lost = view.health.state is HealthState.LOST
        last = view.last_report_s if is_lost else at_s - 1
        return dataclasses.replace(view, report=report, last_report_s=last)

    views = tuple(swayed(view, index) for index, view in enumerate(stand_in.fleet.appliances))
    stand_in.fleet = dataclasses.replace(stand_in.fleet, appliances=views)
