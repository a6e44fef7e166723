"""Real players on the real network, hurt while they play: hls.js and dash.js in headless Chromium, and ffmpeg.

The network is the demo's: control, origin, five appliances at three sites, two steering nodes; each is a process.
Every test leaves it whole.
"""

import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from headrace.base.clock import SystemClock
from headrace.cli.demo.layout import TITLE, Layout, appliances
from headrace.cli.demo.network import Network, free_port_base
from headrace.cli.demo.player import CheckingPlayer
from headrace.cli.demo.testing import BUFFER_GOAL_S, Viewer, is_whole, until
from headrace.cli.demo.video import decode_with_ffmpeg, make_video

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

VIDEO_S = 60
WHOLE_S = 110
"""One that died again and again has to be well for up to 60 s (`recover_most_s`) before it is used."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("network")
    net = Network(Layout(folder=folder, port=free_port_base(18_400)), SystemClock())
    try:
        net.switch.start()
        net.start_control()
        net.start_origin()
        net.declare_sites()
        for appliance in appliances():
            net.start_appliance(appliance)
        for index in (0, 1):
            net.start_steering(index)
        net.publish(make_video(folder / "video.mkv", duration_s=VIDEO_S, size="640x360"), show=False)
        for index in (0, 1):
            net.wait_for_steering(index)
        net.wait_for_fleet("every appliance to be full", is_whole, within_s=120)
        until(lambda: len(pathways(net)) >= 3, "steering to offer three appliances", 30)
        yield net
    finally:
        net.stop()


def pathways(net: Network, node: int = 0) -> list[str]:
    with CheckingPlayer(net.layout.steer_urls[node]) as player:
        return [name for name in player.open_hls(TITLE)[0].pathways if name in appliances()]


@pytest.fixture
def open_viewer(chromium: Browser, network: Network) -> Iterator[Callable[..., Viewer]]:
    contexts = []

    def make(kind: str, node: int = 0) -> Viewer:
        context = chromium.new_context()
        contexts.append(context)
        viewer = Viewer(context.new_page(), network, kind, node)
        viewer.open()
        return viewer

    yield make
    for context in contexts:
        context.close()


@pytest.mark.parametrize("kind", ["hls", "dash"])
def test_a_player_survives_the_death_of_its_appliance(
    kind: str, network: Network, open_viewer: Callable[..., Viewer]
) -> None:
    viewer = open_viewer(kind)
    viewer.play()
    victim = viewer.state()["pathway"]
    assert victim in appliances()
    network.kill_appliance(victim)
    killed_s = time.monotonic()
    try:
        until(lambda: victim not in pathways(network), "the dead appliance to leave new answers", 10)
        left_s = time.monotonic() - killed_s
        viewer.play_on(BUFFER_GOAL_S + 6)
        assert viewer.state()["pathway"] != victim
        viewer.assert_unbroken()
        print(f"{kind}: {victim} left new answers after {left_s:.1f} s; now {viewer.state()['pathway']}")
    finally:
        network.start_appliance(victim)
    network.wait_for_fleet("the fleet to be whole again", is_whole, within_s=WHOLE_S)
    until(lambda: victim in pathways(network), "it to be used again", 15)


@pytest.mark.parametrize("kind", ["hls", "dash"])
def test_without_control_sessions_go_on_and_new_ones_start(
    kind: str, network: Network, open_viewer: Callable[..., Viewer]
) -> None:
    running, fresh = open_viewer(kind), open_viewer(kind, 1)
    running.play()
    network.processes.kill("control")
    try:
        running.play_on(4)
        fresh.play()
        fresh.play_on(4)
        running.assert_unbroken()
        fresh.assert_unbroken()
    finally:
        network.start_control()


def test_steering_restarts_without_control_and_new_sessions_start(
    network: Network, open_viewer: Callable[..., Viewer]
) -> None:
    viewers = [open_viewer("hls"), open_viewer("dash", 1)]
    network.processes.kill("control")
    try:
        for index in (0, 1):
            network.processes.kill(f"steer-{index + 1}")
        for index in (0, 1):
            network.start_steering(index)
        for index in (0, 1):
            network.wait_for_steering(index)
        for viewer in viewers:
            viewer.play()
        for viewer in viewers:
            viewer.play_on(3)
            viewer.assert_unbroken()
    finally:
        network.start_control()
    network.wait_for_fleet("the fleet to be whole again", is_whole, within_s=WHOLE_S)


def test_ffmpeg_decodes_every_frame(network: Network) -> None:
    """Over HLS: the ffmpeg of the wheel is built without libxml2, and so without DASH."""
    url = f"{network.layout.steer_urls[0]}/v1/titles/{TITLE}/master.m3u8"
    assert decode_with_ffmpeg(url) == VIDEO_S * 25


def test_ffmpeg_starts_on_another_appliance_after_a_death(network: Network) -> None:
    victim = pathways(network)[0]
    network.kill_appliance(victim)
    try:
        until(lambda: victim not in pathways(network), "the dead appliance to leave new answers", 10)
        until(lambda: victim not in pathways(network, 1), "the other node to know it too", 5)
        url = f"{network.layout.steer_urls[1]}/v1/titles/{TITLE}/master.m3u8"
        assert decode_with_ffmpeg(url, frames=250) == 250
    finally:
        network.start_appliance(victim)
    network.wait_for_fleet("the fleet to be whole again", is_whole, within_s=WHOLE_S)
