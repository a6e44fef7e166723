"""The loop of reports against a control plane that forgets, fails, or is too old; the clock is turned by hand."""

import asyncio

import pytest

from headrace.appliance.bgp.reports import RouteReports
from headrace.appliance.bgp.testing import FakeRouteControl
from headrace.appliance.testing_peers import Asked
from headrace.base.clock import ManualClock
from headrace.base.ids import ApplianceId
from headrace.base.rng import make_rng
from headrace.base.tasks import Tasks
from headrace.routes.model import AddressFamily, Attributes, Prefix, RouteOrigin, Session, SessionState, parse_prefix
from headrace.routes.table import Table
from headrace.wire.codec import decode, encode
from headrace.wire.errors import NotFoundError, RefusedError
from headrace.wire.routes import ChunkRef, RoutesAnswer, SessionTable, TableAnswer

P = "192.0.2.1"


def prefix_of(number: int) -> Prefix:
    return parse_prefix(f"10.{number}.0.0/16" if number < 256 else f"11.{number >> 8}.{number & 255}.0/24")


class Heard:
    """A speaker with one session."""

    flawed = restarts = 0

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.table = Table(AddressFamily.IPV4)
        self.sessions: tuple[SessionTable, ...] | None = None
        self.packed = self.table.packed()

    def announce(self, *numbers: int) -> None:
        said = Attributes(as_path=(1,), origin=RouteOrigin.IGP, next_hop=P)
        self.table.announce(map(prefix_of, numbers), said, now_s=5)
        self._name()

    def withdraw(self, *numbers: int) -> None:
        self.table.withdraw(map(prefix_of, numbers))
        self._name()

    def _name(self) -> None:
        list(self.table.pack())
        self.packed = self.table.packed()
        session = Session(
            session_id=f"{P}/ipv4",
            peer_address=P,
            peer_as=1,
            local_as=2,
            family=AddressFamily.IPV4,
            state=SessionState.ESTABLISHED,
            since_s=1.0,
        )
        routes, times = self.packed.names
        self.sessions = (SessionTable(session=session, table_digest=routes, times_digest=times),)
        self.changed.set()

    async def chunks_of(self, table_digest: str) -> tuple[ChunkRef, ...]:
        parts = {each.digest: each.digests for each in (self.packed, self.packed.times)}
        return tuple(ChunkRef(number=number, digest=digest) for number, digest in sorted(parts[table_digest].items()))

    async def packed_chunks(self, digests: tuple[str, ...]) -> tuple[bytes, ...]:
        known = self.packed.chunks | self.packed.times.chunks
        return tuple(known[digest] for digest in digests if digest in known)


class Link:
    """Straight to the fake."""

    def __init__(self, control: FakeRouteControl) -> None:
        self.control, self.calls = control, 0

    async def _call(self, path: str, body: bytes) -> bytes:
        self.calls += 1
        told = await self.control.handle(Asked(method="POST", path=path, query={}, headers={}, body=body))
        if told.status >= 400:
            raise (NotFoundError if told.status == 404 else RefusedError)(told.status, "fault", "fault")
        return told.body

    async def routes(self, request):
        return decode(RoutesAnswer, await self._call("/v1/agent/routes", encode(request)))

    async def route_table(self, request):
        return decode(TableAnswer, await self._call("/v1/agent/routes/table", encode(request)))

    async def route_chunks(self, body):
        await self._call("/v1/agent/routes/chunks", body)


class Bed:
    def __init__(self) -> None:
        self.control, self.heard, self.clock = FakeRouteControl(), Heard(), ManualClock()
        self.link = Link(self.control)
        self.reports = RouteReports(
            ApplianceId("a1"), self.heard, self.link, retry_most_s=30.0, clock=self.clock, rng=make_rng(1)
        )

    async def turns(self, number: int = 60) -> None:
        for _ in range(number):
            await asyncio.sleep(0)


@pytest.fixture
async def bed():
    bed = Bed()
    async with Tasks() as tasks:
        tasks.spawn("reports", bed.reports.run("boot"))
        yield bed


async def test_nothing_is_said_before_something_is_known_and_then_at_once(bed):
    await bed.turns()
    assert bed.link.calls == 0
    bed.heard.announce(1, 2, 3)
    await bed.turns()
    assert bed.control.has(P, "10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16")
    assert [request.sequence for request in bed.control.requests] == [1, 2]
    assert bed.reports.report().sent_chunks == 2, "their times are the other one"
    assert {heard.learned_s for heard in bed.control.routes(P).values()} == {5}


async def test_a_change_sends_its_chunk_alone(bed):
    bed.heard.announce(1, 2, 3)
    await bed.turns()
    received = bed.control.received_chunks
    bed.heard.announce(9)
    await bed.turns()
    assert bed.control.has(P, "10.9.0.0/16")
    assert bed.control.received_chunks == received + 1


async def test_chunks_that_are_lost_are_sent_again(bed):
    bed.control.fault = "forgetful"
    bed.heard.announce(1)
    await bed.turns()
    assert bed.control.received_chunks > 1
    assert not bed.control.has(P, "10.1.0.0/16")
    bed.control.fault = ""
    await bed.turns()
    assert bed.control.has(P, "10.1.0.0/16")


async def test_failures_are_waited_out_with_growing_pauses(bed):
    bed.control.fault = "error"
    bed.heard.announce(1)
    before_s = bed.clock.monotonic_s()
    await bed.turns(30)
    failures = bed.reports.report().report_failures
    assert failures > 3
    assert bed.clock.monotonic_s() - before_s > 2 * failures
    bed.control.fault = ""
    await bed.turns()
    assert bed.control.has(P, "10.1.0.0/16")


async def test_an_old_control_plane_is_told_of_once_and_asked_rarely(bed, caplog):
    bed.control.fault = "unknown"
    bed.heard.announce(1)
    await bed.turns(30)
    assert bed.link.calls > 1
    assert bed.clock.monotonic_s() > 200 * (bed.link.calls - 1)
    assert sum("routes_not_known_to_control" in record.getMessage() for record in caplog.records) == 1
    assert bed.reports.report().report_failures == 0
    bed.control.fault = ""
    await bed.turns()
    assert bed.control.has(P, "10.1.0.0/16")


async def test_an_appliance_without_sessions_says_so_once(bed):
    bed.heard.sessions = ()
    bed.heard.changed.set()
    await bed.turns()
    assert [request.sessions for request in bed.control.requests] == [()]


async def test_only_the_chunks_that_differ_are_named_where_the_table_before_is_known(bed):
    bed.heard.announce(*range(6000))
    await bed.turns()
    bed.heard.announce(6001)
    await bed.turns()
    assert bed.control.has(P, "11.23.113.0/24", "10.7.0.0/16")
    assert bed.control.list_bytes[0] > 10_000
    assert max(bed.control.list_bytes[-2:]) < 800
    bed.heard.withdraw(*range(5990))
    await bed.turns()
    assert len(bed.control.routes(P)) == 11
    assert max(bed.control.list_bytes[-2:]) < 3_000


@pytest.mark.parametrize("fault", ["no-base", "forgets"])
async def test_the_whole_list_is_sent_where_the_table_before_is_not_known(bed, fault: str):
    bed.heard.announce(*range(6000))
    await bed.turns()
    if fault == "forgets":
        bed.control.tables.clear()
        bed.control.chunks.clear()
    else:
        bed.control.fault = fault
    lists = len(bed.control.list_bytes)
    bed.heard.announce(6001)
    await bed.turns()
    assert bed.control.has(P, "11.23.113.0/24", "10.7.0.0/16")
    assert max(bed.control.list_bytes[lists:]) > 10_000
    assert bed.reports.report().report_failures == 0
