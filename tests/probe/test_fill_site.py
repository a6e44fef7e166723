"""Several real agents on a real control plane: a file crosses the edge of a site once, and windows and orders hold."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.appliance.agent import Agent
from headrace.appliance.assembly import open_agent, open_ledger
from headrace.appliance.bgp.speaker import BgpSpeaker
from headrace.appliance.config import read_config
from headrace.appliance.gate import FillGate
from headrace.appliance.testing import body_of, file_of
from headrace.appliance.testing_agent import StillWeb
from headrace.appliance.testing_peers import Asked, FakeSource, Told, serving
from headrace.base.clock import SystemClock
from headrace.base.ids import RenditionId, SiteId, TitleId
from headrace.base.rng import make_rng
from headrace.base.tasks import Tasks
from headrace.catalog.model import FileSuffix, PublishedFile, Rendition, Title, TrackKind
from headrace.control.secret_text import SecretKind, new_secret
from headrace.control.testing_process import HEADRACE, wait_for_port
from headrace.fleet.model import FillState, Site
from headrace.wire.client import ControlClient, open_client
from headrace.wire.codec import encode
from headrace.wire.fill import FillView, SiteFill
from headrace.wire.operator import EventView, JoinToken, JoinTokenRequest, TitleRegistration, TitleView

COUNT, SIZE = 16, 120_000
BODIES = {number: body_of(number, SIZE + number) for number in range(COUNT)}
FILES = {number: file_of(number + 1, body) for number, body in BODIES.items()}
UNIQUE_BYTES = sum(len(body) for body in BODIES.values())


def a_title(name: str, numbers: range) -> Title:
    """A title of these files, each second one a playlist."""
    pairs = [(FILES[at], FILES[at + 1]) for at in numbers[::2]]
    renditions = tuple(
        Rendition(
            rendition_id=RenditionId(f"v{at}"),
            kind=TrackKind.VIDEO,
            group="video",
            file=media.sha256,
            playlist=playlist.sha256,
            codecs="avc1.64001f",
            bandwidth_bps=800_000,
            average_bandwidth_bps=800_000,
        )
        for at, (media, playlist) in enumerate(pairs)
    )
    files = tuple(
        PublishedFile(sha256=one.sha256, size_bytes=one.size_bytes, suffix=suffix, rendition_id=RenditionId(f"v{at}"))
        for at, pair in enumerate(pairs)
        for one, suffix in zip(pair, (FileSuffix.MP4, FileSuffix.M3U8), strict=True)
    )
    return Title(title_id=TitleId(name), name=name, duration_s=4.0, renditions=renditions, files=files)


class Web(StillWeb):
    """Serves what an agent shows, as its nginx would; one set of files for a site's worth of agents."""

    def __init__(self, serve: Path) -> None:
        super().__init__()
        self.serve = serve
        self.given_bytes = 0
        self.lies_about: set[str] = set()

    async def handle(self, asked: Asked) -> Told:
        path = self.serve / asked.path[1:]
        if not path.is_file():
            return Told(status=404)
        body = path.read_bytes()
        name = path.name.partition(".")[0]
        first, _, last = asked.headers["range"].removeprefix("bytes=").partition("-")
        piece = body[int(first) : int(last) + 1]
        if asked.headers.get("user-agent", "").startswith("headrace-fill"):
            self.given_bytes += len(piece)
            piece = bytes(len(piece)) if name in self.lies_about else piece
        end = int(first) + len(piece) - 1
        headers = {"content-range": f"bytes {first}-{end}/{len(body)}", "etag": f'"{name}"'}
        return Told(status=206, headers=headers, body=piece)


class Fleet:
    """A control node as a process, an origin, and agents in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.origin = FakeSource()
        self.agents: dict[str, Agent] = {}
        self.gates: dict[str, FillGate] = {}
        self.webs: dict[str, Web] = {}
        self.client: ControlClient
        self.control_url = ""
        for number, body in BODIES.items():
            for suffix in (FileSuffix.MP4, FileSuffix.M3U8):
                self.origin.put(file_of(number + 1, body, suffix=suffix), body)

    @asynccontextmanager
    async def running(self, *, fill: str = "") -> AsyncIterator["Fleet"]:
        admin = new_secret(SecretKind.OPERATOR).text
        (self.folder / "admin").write_text(admin)
        async with AsyncExitStack() as stack:
            origin_url = await stack.enter_async_context(serving(self.origin.handle))
            config = self.folder / "control.toml"
            config.write_text(
                f'[listen]\nport = 0\n[store]\nurl = "sqlite:///{self.folder}/db"\n[urls]\norigin = "{origin_url}"\n'
                f'[auth]\nadmin_token_file = "{self.folder}/admin"\n[fleet]\nreport_interval_s = 0.3\n'
                f"turn_interval_s = 0.3\n[fleet.fill]\n{fill}\n"
                "[fleet.health]\nsilent_after_s = 2.0\n[fleet.probe]\ninterval_s = 0.5\nsuspect_interval_s = 0.3\n"
            )
            log = self.folder / "control.log"
            with log.open("wb") as file:
                process = await asyncio.create_subprocess_exec(
                    *HEADRACE, "control", "--config", str(config), stdout=file, stderr=file
                )
            try:
                port = await asyncio.to_thread(wait_for_port, log)
                self.control_url = f"http://127.0.0.1:{port}"
                self.client = await stack.enter_async_context(open_client((self.control_url,), admin, ca_file=None))
                yield self
            finally:
                process.kill()
                await process.wait()

    async def put_site(self, name: str, **fields: object) -> None:
        site = Site(site_id=SiteId(name), **fields)  # type: ignore[arg-type]
        await self.client.raw("PUT", f"/v1/sites/{name}", content=encode(site))

    async def publish(self, name: str, numbers: range) -> None:
        body = TitleRegistration(title=a_title(name, numbers), expected_version=0)
        await self.client.call("PUT", f"/v1/titles/{name}", body=body, answer=TitleView)

    @asynccontextmanager
    async def appliance(self, name: str, site: str) -> AsyncIterator[Agent]:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        asked = JoinTokenRequest(site_id=SiteId(site))
        token = await self.client.call("POST", "/v1/join-tokens", body=asked, answer=JoinToken)
        (folder / "join").write_text(token.token)
        web = self.webs[name] = Web(folder / "state" / "serve")
        async with serving(web.handle) as url:
            config = read_config(
                f'[appliance]\nid = "{name}"\ncontent_url = "{url}"\nstate = "{folder}/state"\n'
                f'[control]\nurls = ["{self.control_url}"]\njoin_token_file = "{folder}/join"\nretry_most_s = 0.5\n'
                f'[store]\nfolders = ["{folder}/d0"]\nreserve_bytes = 0\n[nginx]\nlisten = ["127.0.0.1:1"]\n'
                "[fill]\nturn_interval_s = 0.1\nsource_retry_s = 0.2\nsource_retry_most_s = 1.0\n",
                source="test",
            )
            config.state.mkdir(exist_ok=True)
            clock = SystemClock()
            heard = BgpSpeaker(config.state / "bgp", config.bgp, clock=clock, rng=make_rng(1))
            with open_ledger(config.state) as ledger:
                async with (
                    open_agent(
                        config, ledger=ledger, web=web, load=web, heard=heard, clock=clock, rng=make_rng(1)
                    ) as agent,
                    Tasks() as tasks,
                ):
                    self.agents[name], self.gates[name] = agent, agent.gate
                    tasks.spawn(f"agent {name}", agent.run())
                    yield agent
                    del self.agents[name]

    def knows_members(self, count: int) -> Callable[[], Awaitable[bool]]:
        async def ask() -> bool:
            return all(len(gate.rules.members) == count for gate in self.gates.values())

        return ask

    async def view(self, site: str) -> SiteFill:
        view = await self.client.call("GET", f"/v1/fill?site={site}", answer=FillView)
        return view.sites[0]

    async def events(self) -> tuple[EventView, ...]:
        return await self.client.call("GET", "/v1/events?limit=500", answer=tuple[EventView, ...])

    async def command(self, *words: str) -> str:
        """What a command of the CLI prints."""
        options = ("--control", self.control_url, "--token-file", str(self.folder / "admin"))
        process = await asyncio.create_subprocess_exec(*HEADRACE, *words, *options, stdout=asyncio.subprocess.PIPE)
        async with asyncio.timeout(60):
            printed, _ = await process.communicate()
        assert process.returncode == 0, printed
        return printed.decode()

    def origin_bytes(self) -> int:
        sizes = 0
        for asked in self.origin.asked:
            first, _, last = asked.headers["range"].removeprefix("bytes=").partition("-")
            sizes += int(last) - int(first) + 1
        return sizes

    def whole(self, name: str, numbers: range) -> bool:
        serve = self.webs[name].serve
        paths = {path.name.partition(".")[0]: path for path in serve.rglob("*") if path.is_file()}
        return all(FILES[at].sha256 in paths and paths[FILES[at].sha256].read_bytes() == BODIES[at] for at in numbers)


async def until(ask: Callable[[], Awaitable[bool]], what: str, limit_s: float = 45.0) -> None:
    try:
        async with asyncio.timeout(limit_s):
            while not await ask():
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(what) from None


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


async def test_a_file_crosses_the_edge_of_a_site_once(fleet: Fleet) -> None:
    """Two sites of three: nobody waits so long that it goes out beside the fill masters."""
    sites = {"ams": ("a1", "a2", "a3"), "fra": ("f1", "f2", "f3")}
    async with fleet.running(), AsyncExitStack() as stack:
        for site, members in sites.items():
            await fleet.put_site(site)
            for name in members:
                await stack.enter_async_context(fleet.appliance(name, site))

        await until(fleet.knows_members(3), "everybody knows the members of its site")
        await fleet.publish("film", range(COUNT))

        async def all_whole() -> bool:
            return all(fleet.whole(name, range(COUNT)) for members in sites.values() for name in members)

        await until(all_whole, f"{[agent.status().report.fill for agent in fleet.agents.values()]}")
        outside = {
            site: sum(fleet.agents[name].status().report.fill.outside_bytes for name in members) / UNIQUE_BYTES
            for site, members in sites.items()
        }
        assert all(share <= 1.1 for share in outside.values()), outside
        assert fleet.origin_bytes() <= 2.2 * UNIQUE_BYTES
        given = sum(web.given_bytes for web in fleet.webs.values())
        assert given >= 3.6 * UNIQUE_BYTES, "the rest came from peers"


async def test_a_master_that_dies_is_replaced_and_what_it_brought_is_not_fetched_again(fleet: Fleet) -> None:
    """The site takes in 3 Mb/s, so that it dies in the middle of its work."""
    async with fleet.running(), AsyncExitStack() as stack, AsyncExitStack() as dying:
        await fleet.put_site("ams", fill_bps=3_000_000)
        for name in ("a1", "a2"):
            await stack.enter_async_context(fleet.appliance(name, "ams"))
        await dying.enter_async_context(fleet.appliance("a3", "ams"))
        await until(fleet.knows_members(3), "members known")
        await fleet.publish("film", range(COUNT))

        async def is_under_way() -> bool:
            return fleet.agents["a3"].status().filled_files >= 2

        await until(is_under_way, "under way")
        brought = fleet.agents["a3"].status().report.fill.outside_bytes
        await dying.aclose()
        await fleet.put_site("ams")

        async def rest_have_all() -> bool:
            return all(fleet.whole(name, range(COUNT)) for name in ("a1", "a2"))

        await until(rest_have_all, "the others bring its part")
        outside = sum(fleet.agents[name].status().report.fill.outside_bytes for name in ("a1", "a2"))
        assert outside + brought <= 1.7 * UNIQUE_BYTES, "only its part came twice"


def hours_from_now(first_h: int, last_h: int) -> str:
    """Hours in UTC that begin and end so many hours from now."""
    start, end = (datetime.now(tz=UTC) + timedelta(hours=one) for one in (first_h, last_h))
    return f"{start:%H:%M}-{end:%H:%M}"


async def test_a_site_waits_for_its_window_but_for_what_is_ordered_and_says_what_will_not_fit(fleet: Fleet) -> None:
    """In the words of the command line; the rate is such that two hours do not do."""
    window = hours_from_now(3, 5)
    async with fleet.running(), AsyncExitStack() as stack:
        await fleet.put_site("ams", time_zone="UTC", fill_window=window, fill_bps=1000)
        for name in ("a1", "a2"):
            await stack.enter_async_context(fleet.appliance(name, "ams"))
        await until(fleet.knows_members(2), "members known")
        await fleet.publish("film", range(8))
        await fleet.publish("news", range(8, 10))

        async def all_wait() -> bool:
            states = [one.state for one in (await fleet.view("ams")).appliances]
            return states == [FillState.WAITING, FillState.WAITING]

        await until(all_wait, "wait")
        view = await fleet.view("ams")
        assert (view.hours, view.zone, view.is_open) == (window, "UTC", False)
        assert view.missing_bytes == 2 * sum(len(BODIES[at]) for at in range(10))
        assert view.inbound_bytes == view.missing_bytes // 2
        assert 0 < view.left_over_bytes < view.missing_bytes
        assert view.expected_end_s is not None
        assert {one.title_id: one.fits for one in view.titles} == {"film": False, "news": True}

        async def has_told() -> bool:
            return any(one.kind == "fill.will-not-fit" for one in await fleet.events())

        await until(has_told, "told before the window opens")
        given = await fleet.command("fill", "now", "news", "--site", "ams", "--reason", "faulty encode", "--json")
        assert json.loads(given)["order_id"] == "o1"
        assert "news" in await fleet.command("fill", "show", "--site", "ams")

        async def has_news() -> bool:
            return all(fleet.whole(name, range(8, 10)) for name in ("a1", "a2"))

        await until(has_news, "the order passes the window")
        assert not any(fleet.whole(name, range(at, at + 1)) for name in ("a1", "a2") for at in range(8))

        async def is_over() -> bool:
            return "order-ended" in " ".join(f"{one.kind} {one.reason}" for one in await fleet.events())

        async def lists_none() -> bool:
            return not (await fleet.client.call("GET", "/v1/fill", answer=FillView)).orders

        await until(is_over, "the order is done")
        await until(lists_none, "it is no longer listed")
        await fleet.put_site("ams", time_zone="UTC", fill_window="always")

        async def has_film() -> bool:
            return all(fleet.whole(name, range(10)) for name in ("a1", "a2"))

        await until(has_film, "without a window all is filled")


async def test_a_peer_that_gives_wrong_bytes_is_named_in_the_record_and_left(fleet: Fleet) -> None:
    async with fleet.running(), AsyncExitStack() as stack:
        await fleet.put_site("ams")
        await stack.enter_async_context(fleet.appliance("a1", "ams"))
        await fleet.publish("film", range(4))

        async def first_has_all() -> bool:
            return fleet.whole("a1", range(4))

        await until(first_has_all, "the first is filled")
        fleet.webs["a1"].lies_about = {FILES[0].sha256}
        await stack.enter_async_context(fleet.appliance("a2", "ams"))

        async def second_has_all() -> bool:
            return fleet.whole("a2", range(4))

        await until(second_has_all, "the second is filled all the same")

        async def is_named() -> bool:
            named = [one for one in await fleet.events() if one.kind == "fill.wrong-bytes"]
            return bool(named) and named[0].subject == "appliance/a1" and named[0].actor == "appliance:a2"

        await until(is_named, "named")
        assert fleet.whole("a1", range(4)), "what it holds is right: it was verified and kept"
