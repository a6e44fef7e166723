"""A viewer's browser tab on the demo's network, and waiting for what it or the fleet comes to: for tests."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from headrace.base.clock import SystemClock
from headrace.cli.demo.layout import TITLE, appliances
from headrace.cli.demo.network import Network
from headrace.fleet.model import HealthState
from headrace.wire.operator import FleetView

_CLOCK = SystemClock()
BUFFER_GOAL_S = 12
"""Short enough that a player still has most of the title to fetch when its appliance dies."""


def is_whole(view: FleetView, wanted: frozenset[str] = frozenset(appliances())) -> bool:
    """Whether these appliances, and no others, are well and full."""
    full = {
        one.appliance.appliance_id
        for one in view.appliances
        if one.health.state is HealthState.HEALTHY and 0 < one.plan_count <= one.holdings_count
    }
    return full == wanted


def until(is_so: Callable[[], bool], what: str, within_s: float) -> None:
    """Look ten times a second."""
    ends_s = _CLOCK.monotonic_s() + within_s
    while not is_so():
        assert _CLOCK.monotonic_s() < ends_s, f"{what}: not within {within_s} s"
        _CLOCK.block(0.1)


class Viewer:
    """One browser tab that plays the title."""

    def __init__(self, page: Page, net: Network, kind: str, node: int = 0) -> None:
        self.page = page
        self._kind = kind
        self._rebuffers = 0
        steer = net.layout.steer_urls[node]
        self._address = (
            f"{net.layout.control_url}/player?title={TITLE}&steer={steer}&kind={kind}&buffer={BUFFER_GOAL_S}"
            f"#token={net.layout.admin_token_file.read_text().strip()}"
        )

    def open(self) -> None:
        """Load the page and the player's scripts (control serves them)."""
        self.page.goto(self._address)
        self.page.evaluate("kind => import(`/static/js/player/${kind}.js`).then(() => true)", self._kind)

    def play(self) -> None:
        """Start and wait for the first seconds and a full buffer."""
        self.until(self._plays, "the first second to be played", 60)
        self.until(lambda: self.state()["bufferS"] > BUFFER_GOAL_S * 0.6, "the buffer to fill", 30)
        self._rebuffers = self.state()["rebuffers"]
        self.page.evaluate(
            """() => { window.leastBufferS = Infinity;
                 setInterval(() => { const v = document.querySelector('video'); const b = v.buffered;
                   let ahead = 0;
                   for (let i = 0; i < b.length; i++)
                     if (b.start(i) <= v.currentTime + 0.1 && b.end(i) >= v.currentTime)
                       ahead = b.end(i) - v.currentTime;
                   if (v.currentTime < v.duration - 1) window.leastBufferS = Math.min(window.leastBufferS, ahead);
                 }, 50); }"""
        )

    def _plays(self) -> bool:
        """Press play, as a viewer does until the picture moves: the page may just be starting its player anew."""
        self.page.evaluate(
            "() => { const v = document.querySelector('video'); v.muted = true;"
            " if (v.paused) v.play().catch(() => {}); }"
        )
        return bool(self.state()["currentTime"] > 1)

    def state(self) -> dict[str, Any]:
        """What the page says of itself."""
        found: dict[str, Any] = self.page.evaluate(
            "() => { const s = window.headracePlayer ?? {}; return {currentTime: s.currentTime ?? 0,"
            " bufferS: s.bufferS ?? 0, pathway: s.pathway ?? '', rebuffers: s.rebuffers ?? 0}; }"
        )
        return found

    def until(self, is_so: Callable[[], bool], what: str, within_s: float) -> None:
        """Wait; what the page logged is in the message of a failure."""
        try:
            until(is_so, what, within_s)
        except AssertionError as error:
            raise AssertionError(f"{self._kind}: {error}\n{self.page.locator('#log').inner_text()}") from error

    def play_on(self, seconds: float) -> None:
        """Wait until the play head has moved on so far."""
        goal_s = self.state()["currentTime"] + seconds
        self.until(lambda: self.state()["currentTime"] >= goal_s, f"{seconds} more seconds to be played", seconds + 20)

    def assert_unbroken(self) -> None:
        """The buffer never ran empty since `play`."""
        least_s = self.page.evaluate("() => window.leastBufferS")
        assert least_s > 0.25, f"the buffer fell to {least_s} s"
        assert self.state()["rebuffers"] == self._rebuffers
