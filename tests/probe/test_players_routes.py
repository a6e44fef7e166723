"""Real players on live routes, while the network around them is hurt: hls.js and dash.js in headless Chromium.

In a network of its own, a real BIRD announces the client's prefix to three appliances, each with nginx and ExaBGP:
to metro-1 the longest one, to campus-1 the shortest. What routes say is the only reason to prefer one of them. The
players begin on metro-1; then BIRD, an agent, the control plane and a steering node are killed one after the other,
and at last metro-1's route is withdrawn.
"""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from headrace.appliance.bgp.testing_routers import BIRD, BIRD_AS, LOCAL_AS, own_network
from headrace.base.clock import SystemClock
from headrace.cli.demo.layout import SITES, TITLE, Layout
from headrace.cli.demo.network import Network, free_port_base, headrace_command
from headrace.cli.demo.testing import Viewer, is_whole, until
from headrace.cli.demo.video import make_video
from headrace.wire.operator import FleetView

pytestmark = [pytest.mark.root, pytest.mark.browser, pytest.mark.timeout(400)]

VIDEO_S = 120
"""Longer than all that happens, on a slow machine too."""
CLIENT = "10.9.0.40"
"""Players ask steering at this address of the machine, so it is their own as well."""
SPEAKERS = {"metro-1": "10.9.0.11", "metro-2": "10.9.0.12", "campus-1": "10.9.0.13"}
PREFIXES = {"metro-1": "10.9.0.0/24", "metro-2": "10.9.0.0/23", "campus-1": "10.9.0.0/22"}
SLOW_S = 60.0
"""For what takes seconds on a quiet machine."""


class Router:
    """One BIRD with a session and a table for each appliance."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.routes = dict(PREFIXES)
        folder.mkdir()

    def start(self) -> None:
        self._write()
        command = ["bird", "-f", "-c", str(self._folder / "bird.conf"), "-s", str(self._folder / "bird.ctl")]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def withdraw(self, appliance: str) -> None:
        del self.routes[appliance]
        self._write()
        command = ["birdc", "-s", str(self._folder / "bird.ctl"), "configure"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        assert "Reconfigur" in said.stdout

    def _write(self) -> None:
        text = [f"router id {BIRD};", "protocol device {}"]
        for number, (appliance, address) in enumerate(SPEAKERS.items()):
            routes = f"route {self.routes[appliance]} unreachable;" if appliance in self.routes else ""
            table = f"ipv4 {{ table t{number}; "
            text += [
                f"ipv4 table t{number};",
                f"protocol static s{number} {{ {table} }}; {routes} }}",
                f"protocol bgp b{number} {{ local {BIRD} port 179 as {BIRD_AS}; neighbor {address} port 179 "
                f"as {LOCAL_AS}; multihop; strict bind on; connect retry time 1; connect delay time 1; "
                f"error wait time 1,2; {table} import none; export where source = RTS_STATIC; next hop self; }}; }}",
            ]
        (self._folder / "bird.conf").write_text("\n".join(text))


class RoutedLayout(Layout):
    """The demo's, with routes over BGP instead of prefixes that an operator set."""

    @property
    def steer_urls(self) -> tuple[str, str]:
        return (f"http://{CLIENT}:{self.port + 100}", f"http://{CLIENT}:{self.port + 101}")

    def control_toml(self, *, demo_url: str) -> str:
        """A session that came back keeps what it had for a short time only: a route is withdrawn soon after."""
        return super().control_toml(demo_url=demo_url) + (
            "[routes.hygiene]\ntakes_bogons = true\n[routes.retention]\nrelearn_s = 5.0\n"
        )

    def agent_toml(self, appliance: str) -> str:
        return super().agent_toml(appliance) + (
            f"[bgp]\nlocal_as = {LOCAL_AS}\nhold_time_s = 9\n"
            f'[[bgp.peers]]\naddress = "{BIRD}"\npeer_as = {BIRD_AS}\nlocal_address = "{SPEAKERS[appliance]}"\n'
        )

    def publish_toml(self) -> str:
        return super().publish_toml().replace("veryfast", "ultrafast")

    def steer_toml(self, index: int) -> str:
        """At every address: what it explains, it explains to 127.0.0.1 only."""
        text = super().steer_toml(index)
        return text.replace('host = "127.0.0.1"', 'host = "0.0.0.0"').replace("ttl_s = 10", "ttl_s = 5")


class RoutedNetwork(Network):
    """Three appliances of the demo, whose sites have no prefixes."""

    def declare_sites(self) -> None:
        for site in SITES:
            self.command(f"site-{site.site_id}", "site", "add", site.site_id, "--kind", "embedded")

    def ask(self, url: str, **params: str) -> Any:
        """JSON of a good answer, else None: whoever is asked may be away just now."""
        token = self.layout.admin_token_file.read_text().strip()
        headers = {"authorization": f"Bearer {token}"} if url.startswith(self.layout.control_url) else {}
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(url, params=params, headers=headers, timeout=10, trust_env=False)
            return answer.json() if answer.status_code == 200 else None
        return None

    def reasons(self, node: int = 0) -> dict[str, str]:
        """Why each appliance is or is not chosen for the client, in order of rank."""
        url = f"http://127.0.0.1:{self.layout.port + 100 + node}/v1/explain"
        said = self.ask(url, client=CLIENT, title=TITLE) or {"appliances": []}
        rows = sorted(said["appliances"], key=lambda row: row["rank"] or len(said["appliances"]) + 1)
        return {row["appliance_id"]: row["reason"] for row in rows}

    def wait_for_reports(self, *names: str) -> None:
        """Until these have spoken to the control plane from now on, and the fleet is whole."""
        began_s = SystemClock().now_s()

        def is_so(view: FleetView) -> bool:
            told_s = {one.appliance.appliance_id: one.last_report_s or 0.0 for one in view.appliances}
            return is_whole(view, frozenset(SPEAKERS)) and all(told_s[name] > began_s for name in names)

        self.wait_for_fleet(f"{', '.join(names)} to report", is_so, within_s=SLOW_S)

    def sessions(self) -> dict[str, Any]:
        """The routes' sessions by appliance, as the control plane knows them."""
        said = self.ask(f"{self.layout.control_url}/v1/routes/sessions") or {"rows": []}
        return {row["appliance_id"]: row for row in said["rows"]}


@pytest.fixture(scope="module", autouse=True)
def namespace() -> Iterator[None]:
    """First of all: browser and network live in it."""
    with own_network():
        lines = "\n".join(f"addr add {address}/32 dev lo" for address in (*SPEAKERS.values(), CLIENT))
        subprocess.run(["ip", "-batch", "-"], input=lines.encode(), check=True, timeout=10)
        yield


@pytest.fixture
def router(tmp_path: Path, namespace: None) -> Iterator[Router]:
    bird = Router(tmp_path / "bird")
    bird.start()
    yield bird
    bird.kill()


@pytest.fixture
def network(tmp_path: Path, router: Router) -> Iterator[RoutedNetwork]:
    folder = tmp_path / "network"
    net = RoutedNetwork(RoutedLayout(folder=folder, port=free_port_base(18_400)), SystemClock())
    try:
        net.switch.start()
        net.start_control()
        net.start_origin()
        net.declare_sites()
        for appliance in SPEAKERS:
            net.start_appliance(appliance)
        for index in (0, 1):
            net.start_steering(index)
        net.publish(make_video(folder / "video.mkv", duration_s=VIDEO_S, size="320x180"), show=False)
        for index in (0, 1):
            net.wait_for_steering(index)
        net.wait_for_fleet("appliances to be full", lambda view: is_whole(view, frozenset(SPEAKERS)), within_s=120)
        yield net
    finally:
        net.stop()


def until_on(viewers: list[Viewer], appliance: str) -> None:
    """A player that met an error or a slow second may be elsewhere for one steering TTL."""
    for viewer in viewers:
        viewer.until(lambda viewer=viewer: viewer.state()["pathway"] == appliance, f"{appliance} to serve", SLOW_S)
        print(viewer.page.locator("#log").inner_text())


def test_players_go_on_and_end_where_the_routes_say(network: RoutedNetwork, router: Router, chromium: Browser) -> None:
    by_routes = {name: "chosen" for name in SPEAKERS}

    def until_chosen(what: str, wanted: dict[str, str]) -> None:
        for node in (0, 1):
            until(lambda node=node: list(network.reasons(node).items()) == list(wanted.items()), what, SLOW_S)

    until_chosen("all three to be chosen in the order of their prefixes", by_routes)
    viewers = [
        Viewer(chromium.new_context().new_page(), network, kind, node) for node, kind in enumerate(("hls", "dash"))
    ]
    for viewer in viewers:
        viewer.open()
    for viewer in viewers:
        viewer.play()
    until_on(viewers, "metro-1")

    router.kill()
    until(lambda: {one["state"] for one in network.sessions().values()} == {"down"}, "sessions to be lost", SLOW_S)
    until_chosen("routes to count on without a router", by_routes)
    router.start()
    until(lambda: {one["state"] for one in network.sessions().values()} == {"established"}, "sessions again", SLOW_S)

    network.processes.kill("metro-1")
    network.start_appliance("metro-1")
    network.wait_for_reports("metro-1")
    network.processes.kill("control")
    until_chosen("steering to go on by itself", by_routes)
    network.start_control()
    network.processes.kill("steer-1")
    network.start_steering(0)
    network.wait_for_steering(0)
    network.wait_for_reports(*SPEAKERS)
    until(lambda: len(network.sessions()) == len(SPEAKERS), "control to know the sessions again", SLOW_S)
    until_chosen("the same order as before", by_routes)
    dropped = {name: one["drops"] for name, one in network.sessions().items()}
    assert dropped == dict.fromkeys(SPEAKERS, 1), "BIRD's death, and no other"
    for viewer in viewers:
        viewer.assert_unbroken()

    router.withdraw("metro-1")
    until_chosen("metro-1 to hear nothing", {"metro-2": "chosen", "campus-1": "chosen", "metro-1": "no-route"})
    until_on(viewers, "metro-2")
    for viewer in viewers:
        viewer.play_on(3)
        viewer.assert_unbroken()
    asked = ("--client", CLIENT, "--title", TITLE, "--snapshot", str(network.layout.folder / "steer-1/snapshot.bin"))
    command = headrace_command("steer", "explain", *asked, "--json")
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    first = json.loads(told.stdout)["appliances"][0]
    assert (first["appliance_id"], first["reason"], first["prefix"]) == ("metro-2", "chosen", PREFIXES["metro-2"])
