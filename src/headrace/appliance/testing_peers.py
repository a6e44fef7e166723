"""What an agent talks to, for tests: a control plane and fill sources that misbehave on demand, on real sockets.

`tests/probe/test_agent_control.py` runs the same conversation with the real control plane.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, urlsplit

from headrace.appliance.plan import FillPlan, make_plan
from headrace.base.clock import Clock, SystemClock
from headrace.base.ids import FileNo, SiteId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogFile, content_path
from headrace.fill.model import FillRules, FillSource, SourceKind
from headrace.fleet.model import AdminState
from headrace.wire.agent import (
    CredentialAnswer,
    DesiredState,
    EnrolAnswer,
    EnrolRequest,
    ExchangeAnswer,
    ExchangeRequest,
    PlanUpdate,
    SourcesAnswer,
    SourcesRequest,
)
from headrace.wire.codec import decode, encode
from headrace.wire.operator import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One answer; `pieces` with pauses in seconds between them, the connection cut after them if `is_cut`."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    piece_bytes: int = 1 << 20
    pause_s: float = 0.0
    is_cut: bool = False


Handler = Callable[[Asked], Awaitable[Told]]


@asynccontextmanager
async def serving(handler: Handler, *, clock: Clock | None = None) -> AsyncIterator[str]:
    """A small HTTP/1.1 server on an ephemeral port of loopback; its base URL."""
    connections: set[asyncio.Task[None]] = set()

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            while (asked := await _read(reader)) is not None:
                if not await _answer(writer, await handler(asked), clock or SystemClock()):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    url = urlsplit(target)
    return Asked(
        method=method,
        path=url.path,
        query={name: values[0] for name, values in parse_qs(url.query).items()},
        headers=headers,
        body=await reader.readexactly(int(headers.get("content-length", "0"))),
    )


async def _answer(writer: asyncio.StreamWriter, told: Told, clock: Clock) -> bool:
    headers = {"content-length": str(len(told.body)), **told.headers}
    lines = [f"HTTP/1.1 {told.status} x", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    end = len(told.body) // 2 if told.is_cut else len(told.body)
    for start in range(0, end, told.piece_bytes):
        writer.write(told.body[start : min(end, start + told.piece_bytes)])
        await writer.drain()
        await clock.sleep(told.pause_s)
    await writer.drain()
    return not told.is_cut


class FakeSource:
    """An origin or peer with files in memory, and faults."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[Asked] = []
        self.fault = ""
        """'', 'slow', 'stall', 'wrong', 'cut', 'error', 'redirect', 'missing' or 'short-range'."""

    def put(self, file: CatalogFile, body: bytes) -> None:
        """Hold a file."""
        self.files[content_path(file.sha256, file.suffix)] = body

    async def handle(self, asked: Asked) -> Told:
        """Answer like a web server with byte ranges."""
        self.asked.append(asked)
        body = self.files.get(asked.path)
        if self.fault == "redirect":
            return Told(status=302, headers={"location": "http://127.0.0.1:1/elsewhere"})
        if body is None or self.fault == "missing":
            return Told(status=404)
        if self.fault == "error":
            return Told(status=503)
        first, _, last = asked.headers["range"].removeprefix("bytes=").partition("-")
        whole = bytes(len(body)) if self.fault == "wrong" else body
        piece = whole[int(first) : int(last) + 1]
        end = int(first) + len(piece) - 1
        if self.fault == "short-range":
            first = str(int(first) + 1)
        told = Told(status=206, headers={"content-range": f"bytes {first}-{end}/{len(body)}"}, body=piece)
        match self.fault:
            case "slow":
                return replace(told, piece_bytes=1000, pause_s=0.05)
            case "stall":
                return replace(told, piece_bytes=max(1, len(piece) // 2), pause_s=3600.0)
            case "cut":
                return replace(told, is_cut=True)
        return told


class FakeControl:
    """The control plane's side of the conversation, for one appliance."""

    def __init__(self) -> None:
        self.plan = FillPlan()
        self.desired: DesiredState | None = None
        self.holdings = FileSet()
        self.last: ExchangeRequest | None = None
        self.exchange_bytes: list[int] = []
        self.join_token, self.credential = "join-1", ""
        self.should_rotate = False
        self.page_files = 2_000
        self.interval_s = 0.1
        self.faults: list[str] = []
        """For the next exchanges, in order: '', 'lose-request', 'lose-answer', 'late' (the answer before this one)."""
        self.rules = FillRules()
        """What `want` puts into the desired state from then on."""
        self.now_s = 0.0
        """What its clock shows."""
        self.files: Callable[[FileSet], SourcesAnswer] | None = None
        """Answers for single files; None: as a control plane that does not know them."""
        self.files_asked: list[FileSet] = []
        self._late: ExchangeAnswer | None = None
        self.routes: Handler | None = None
        """Takes what is said of routes (bgp/testing.py); None: as a control plane that does not know them."""

    def want(self, files: list[CatalogFile], *, sources: list[str], origin_url: str = "", rate_bps: int = 0) -> None:
        """Change the plan and the desired state."""
        self.plan = make_plan(self.plan.version + 1, {file.file_no: file for file in files})
        ranked = tuple(FillSource(kind=SourceKind.PEER, base_url=url) for url in sources)
        self.desired = DesiredState(
            version=(self.desired.version if self.desired else 0) + 1,
            admin_state=AdminState.ENABLED,
            origin_url=origin_url,
            redirect_url=origin_url,
            sources=ranked,
            fill_rate_bps=rate_bps,
            fill=self.rules,
        )

    def has_all(self) -> bool:
        """The appliance reported every file of the plan."""
        return self.holdings == FileSet(self.plan.files)

    async def handle(self, asked: Asked) -> Told:
        """Route one call."""
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if asked.path == "/v1/enrol":
            return self._enrol(decode(EnrolRequest, asked.body), token)
        if token != self.credential:
            return _refused(401)
        if asked.path == "/v1/agent/credential":
            self.credential = f"{self.credential}+"
            self.should_rotate = False
            return Told(body=encode(CredentialAnswer(credential=self.credential)))
        if asked.path.startswith("/v1/agent/routes"):
            return await self.routes(asked) if self.routes else _refused(404)
        if asked.path == "/v1/agent/sources":
            return self._file_sources(asked)
        if asked.path == "/v1/agent/plan":
            if int(asked.query["version"]) != self.plan.version:
                return _refused(404)
            return Told(body=encode(self._page(FileNo(int(asked.query["after"])))))
        self.exchange_bytes.append(len(asked.body))
        return self._exchange(decode(ExchangeRequest, asked.body))

    def _file_sources(self, asked: Asked) -> Told:
        if self.files is None:
            return _refused(404)
        self.files_asked.append(FileSet.decode(decode(SourcesRequest, asked.body).files))
        return Told(body=encode(self.files(self.files_asked[-1])))

    def _enrol(self, request: EnrolRequest, token: str) -> Told:
        if token != self.join_token:
            return _refused(401)
        self.join_token, self.credential = "", f"credential-{token}"
        answer = EnrolAnswer(appliance_id=request.appliance_id, site_id=SiteId("s1"), credential=self.credential)
        return Told(body=encode(answer))

    def _exchange(self, request: ExchangeRequest) -> Told:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "lose-request":
            return Told(status=502)
        self._take(request)
        answer = ExchangeAnswer(
            sequence=request.sequence,
            now_s=self.now_s,
            interval_s=self.interval_s,
            holdings_digest=self.holdings.digest(),
            desired=self.desired if self.desired and self.desired.version != request.desired_version else None,
            plan=self._page(None) if self.plan.version and request.plan_digest != self.plan.digest else None,
            should_rotate_credential=self.should_rotate,
        )
        late, self._late = self._late or answer, answer
        if fault == "lose-answer":
            return Told(status=502)
        return Told(body=encode(late if fault == "late" else answer))

    def _take(self, request: ExchangeRequest) -> None:
        told = request.holdings
        if told.base_digest is None:
            base = FileSet()
        elif told.base_digest == self.holdings.digest():
            base = self.holdings
        else:
            return
        now = (base | FileSet.decode(told.added)) - FileSet.decode(told.removed)
        if now.digest() == told.digest:
            self.holdings = now
        self.last = request

    def _page(self, after: FileNo | None) -> PlanUpdate:
        rest = [self.plan.files[number] for number in sorted(self.plan.files) if after is None or number > after]
        page = rest[: self.page_files]
        return PlanUpdate(
            version=self.plan.version,
            digest=self.plan.digest,
            count=len(self.plan.files),
            base_version=None,
            added=tuple(page),
            removed=(),
            more_after=page[-1].file_no if len(rest) > len(page) else None,
        )


def _refused(status: int) -> Told:
    problem = Problem(title="refused", status=status, code="refused", detail="no")
    return Told(status=status, headers={"content-type": "application/problem+json"}, body=encode(problem))
