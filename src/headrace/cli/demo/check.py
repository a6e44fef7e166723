"""The demo plays by itself: each step hurts or asks something and says what it saw; a step that fails is named and the
rest still runs, so that the table shows all there is to know.
"""

from collections.abc import Callable
from dataclasses import dataclass

import httpx

from headrace.base.clock import Clock
from headrace.base.units import show_bytes
from headrace.cli.demo.layout import TITLE, appliances
from headrace.cli.demo.network import Network
from headrace.cli.demo.player import CheckingPlayer, PlaybackError
from headrace.cli.demo.processes import DemoError
from headrace.cli.demo.video import decode_with_ffmpeg
from headrace.fleet.model import AdminState, HealthState
from headrace.wire.operator import ApplianceView, FleetView

DEATH_LIMIT_S = 10.0
"""An appliance that dies is out of new answers within this (issue of the delivery loop; the README promises it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One row of the table."""

    step: str
    is_ok: bool
    seen: str
    took_s: float


class Check:
    """Runs the steps in order on a running network."""

    def __init__(self, network: Network, clock: Clock) -> None:
        self._net = network
        self._clock = clock
        self._victim = ""
        self._killed_s = 0.0

    def run(self, report: Callable[[StepResult], None]) -> bool:
        """Run all steps, report each as it ends; True when all passed."""
        results = []
        for name, step in self._steps():
            began_s = self._clock.monotonic_s()
            try:
                seen, is_ok = step(), True
            except Exception as error:  # the top of the loop: whatever fails is a row of the table
                seen, is_ok = f"{type(error).__name__}: {error}", False
            results.append(StepResult(step=name, is_ok=is_ok, seen=seen, took_s=self._clock.monotonic_s() - began_s))
            report(results[-1])
        return all(result.is_ok for result in results)

    def _steps(self) -> tuple[tuple[str, Callable[[], str]], ...]:
        return (
            ("fill: every appliance holds its whole plan", self.filled),
            ("HLS: a client plays, every byte verified", self.plays_hls),
            ("DASH: a client plays, every byte verified", self.plays_dash),
            ("ffmpeg decodes the whole title over HLS", self.ffmpeg_decodes),
            ("routes: another network is steered elsewhere", self.other_network),
            ("kill -9 of the serving appliance in mid-play", self.killed_while_playing),
            ("the dead appliance leaves new answers", self.dead_leaves_answers),
            ("it comes back and is used again", self.comes_back),
            ("drain moves new sessions away", self.drains),
            ("a file not held is redirected, not pulled", self.miss_redirects),
            ("control killed: sessions start all the same", self.without_control),
            ("steering restarted without control", self.steering_restarts_alone),
            ("control comes back: the fleet is whole", self.control_returns),
        )

    # delivery

    def filled(self) -> str:
        took_s = self._net.wait_for_fleet("every appliance to be healthy and full", _is_whole, within_s=180)
        view = self._view()
        held = sum(one.holdings_count for one in view.appliances)
        size = sum(one.holdings_bytes for one in view.appliances)
        self._until(lambda: len(self._pathways()) >= 3, "steering to offer three appliances", 15)
        return f"{len(view.appliances)} appliances, {held} files, {show_bytes(size)} in {took_s:.1f} s"

    def plays_hls(self) -> str:
        with _player(self._net) as player:
            session = player.play_hls(TITLE)
        return f"{session.ranges} ranges, {show_bytes(session.received_bytes)} from {' → '.join(session.served_by)}"

    def plays_dash(self) -> str:
        with _player(self._net) as player:
            session = player.play_dash(TITLE)
        return f"{session.ranges} ranges, {show_bytes(session.received_bytes)} from {' → '.join(session.served_by)}"

    def ffmpeg_decodes(self) -> str:
        url = f"{self._net.layout.steer_urls[0]}/v1/titles/{TITLE}/master.m3u8"
        return f"{decode_with_ffmpeg(url)} frames without an error"

    # steering

    def other_network(self) -> str:
        campus, elsewhere = self._pathways("198.51.100.7"), self._pathways("203.0.113.9")
        if campus[0] != "campus-1" or "campus-1" in elsewhere:
            raise DemoError(f"campus client got {campus}, another network's client {elsewhere}")
        return f"198.51.100.7 → {', '.join(campus)};  203.0.113.9 → {', '.join(elsewhere)}"

    def killed_while_playing(self) -> str:
        with _player(self._net) as player:
            session, play = player.open_hls(TITLE)
            for _ in range(3):
                play.step()
            self._victim = session.served_by[-1]
            self._net.kill_appliance(self._victim)
            self._killed_s = self._clock.monotonic_s()
            longest_s, more = 0.0, True
            while more:
                began_s = self._clock.monotonic_s()
                more = play.step()
                longest_s = max(longest_s, self._clock.monotonic_s() - began_s)
        if not session.is_verified or len(session.served_by) < 2:
            raise DemoError(f"played from {session.served_by}, verified: {session.is_verified}")
        return f"{' → '.join(session.served_by)}, longest wait for a range {longest_s:.2f} s, bytes verified"

    def dead_leaves_answers(self) -> str:
        self._until(lambda: self._victim not in self._pathways(), f"{self._victim} to leave", 30)
        took_s = self._clock.monotonic_s() - self._killed_s
        if took_s > DEATH_LIMIT_S:
            raise DemoError(f"{self._victim} left new answers only after {took_s:.1f} s")
        return f"{self._victim} left after {took_s:.1f} s (limit {DEATH_LIMIT_S:.0f} s): {', '.join(self._pathways())}"

    def comes_back(self) -> str:
        self._net.start_appliance(self._victim)
        self._until(lambda: self._victim in self._pathways(), f"{self._victim} to come back", 60)
        return f"{self._victim} serves again, nothing was filled twice"

    def drains(self) -> str:
        self._net.set_admin_state(self._victim, AdminState.DRAINING)
        self._until(lambda: self._victim not in self._pathways(), "the drain to show in new answers", 15)
        self._net.wait_for_fleet(
            f"{self._victim} to be drained", lambda view: _of(view, self._victim).is_drained, within_s=90
        )
        self._net.set_admin_state(self._victim, AdminState.ENABLED)
        self._until(lambda: self._victim in self._pathways(), f"{self._victim} to be enabled", 60)
        return f"{self._victim} drained, then enabled again"

    def miss_redirects(self) -> str:
        path = f"/f/00/{'0' * 64}.mp4"
        answer = httpx.get(self._net.layout.content_url(self._victim) + path, timeout=5, trust_env=False)
        if answer.status_code != 302 or path not in answer.headers.get("location", ""):
            raise DemoError(f"HTTP {answer.status_code} {answer.headers.get('location', '')}")
        return f"302 to {answer.headers['location'].split('/f/')[0]}; {answer.headers.get('cache-status', '')}"

    # static stability

    def without_control(self) -> str:
        self._net.processes.kill("control")
        return f"{self.plays_hls()}; control is dead"

    def steering_restarts_alone(self) -> str:
        for index in (0, 1):
            self._net.processes.kill(f"steer-{index + 1}")
        for index in (0, 1):
            self._net.start_steering(index)
        took_s = max(self._net.wait_for_steering(index) for index in (0, 1))
        with _player(self._net, node=1) as player:
            session = player.play_hls(TITLE)
        return f"both nodes answered {took_s:.1f} s after they started; {session.ranges} ranges verified"

    def control_returns(self) -> str:
        self._net.start_control()
        took_s = self._net.wait_for_fleet("the fleet to be whole", _is_whole, within_s=60)
        return f"all {len(appliances())} appliances healthy {took_s:.1f} s after control answered"

    # asking

    def _view(self) -> FleetView:
        view = self._net.fleet()
        if view is None:
            raise DemoError("the control plane does not answer")
        return view

    def _pathways(self, client: str = "") -> list[str]:
        with _player(self._net, client=client) as player:
            try:
                session, _ = player.open_hls(TITLE)
            except (PlaybackError, httpx.HTTPError):
                return []
        return [name for name in session.pathways if name in appliances()]

    def _until(self, is_so: Callable[[], bool], what: str, within_s: float) -> None:
        ends_s = self._clock.monotonic_s() + within_s
        while not is_so():
            if self._clock.monotonic_s() > ends_s:
                raise DemoError(f"{what}: not within {within_s:.0f} s; steering offers {', '.join(self._pathways())}")
            self._clock.block(0.2)


def _player(network: Network, *, client: str = "", node: int = 0) -> CheckingPlayer:
    return CheckingPlayer(network.layout.steer_urls[node], client=client)


def _is_whole(view: FleetView) -> bool:
    names = {one.appliance.appliance_id for one in view.appliances if _is_full(one)}
    return set(appliances()) <= names


def _is_full(one: ApplianceView) -> bool:
    return one.health.state is HealthState.HEALTHY and one.plan_count > 0 and one.holdings_count >= one.plan_count


def _of(view: FleetView, appliance: str) -> ApplianceView:
    return next(one for one in view.appliances if one.appliance.appliance_id == appliance)
