"""The loops on a real store against real HTTP servers: turn-up, death, drain, mass loss, and why, in the record."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from headrace.base.clock import SystemClock
from headrace.base.ids import ApplianceId
from headrace.base.rng import make_rng
from headrace.base.tasks import Tasks
from headrace.control.adapters.store import open_store
from headrace.control.loops.memory import is_drained, turn_up_checks
from headrace.control.loops.service import run_loops
from headrace.control.loops.settings import FleetSettings, LoopUrls
from headrace.control.loops.state import LoopState
from headrace.control.loops.testing import EVENT, ServedAppliance, enrol, hasty, make_title, publish
from headrace.fleet.maintenance import MaintenanceWindow, WindowState
from headrace.fleet.model import AdminState, CheckState, HealthReason, HealthState, TurnUpCheck
from headrace.wire.snapshot import unpack_snapshot

URLS = LoopUrls(origin="http://origin.example", redirect="http://steer.example")
UP = HealthState.HEALTHY


class Network:
    """A store, its loops, and appliances that hold one published title."""

    def __init__(self, store, tasks, settings):
        self.store, self.tasks, self.settings = store, tasks, settings
        self.state = LoopState()
        self.appliances = []
        self.titles = []

    async def add(self, *names, site="site-a"):
        for name in names:
            one = ServedAppliance(appliance_id=name, store=self.store, interval_s=self.settings.report_interval_s)
            one.hold(self.titles)
            await one.start()
            enrol(self.store, name, f"http://127.0.0.1:{one.port}", site=site)
            self.tasks.spawn(f"agent {name}", one.report())
            self.appliances.append(one)

    def health(self):
        return {row.appliance.appliance_id: row.health for row in self.store.fleet()}

    def healthy(self):
        return {name for name, health in self.health().items() if health.state is UP}

    def given_out(self):
        """Whom a steering node that polls now would send clients to."""
        stored = self.store.snapshot()
        snapshot = unpack_snapshot(stored.packed)
        return {one.appliance_id for one in snapshot.appliances if one.health.state is UP}

    def events(self, kind):
        return [one for one in self.store.events(limit=1000) if one.kind == kind]

    def change(self, name, admin_state):
        row = self.store.appliance(name)
        changed = replace(row.appliance, admin_state=admin_state)
        assert self.store.change_appliance(changed, expected_version=row.version, event=EVENT, now_s=time.time())

    async def until(self, is_so, *, most_s):
        start_s = time.monotonic()
        while not is_so():
            waited_s = time.monotonic() - start_s
            assert waited_s < most_s, (self.health(), self.store.events(limit=1000)[-5:])
            await asyncio.sleep(0.05)
        return time.monotonic() - start_s


@asynccontextmanager
async def running(tmp_path, *, settings):
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    async with Tasks() as tasks:
        network = Network(store, tasks, settings)
        network.titles = [publish(store, make_title("film"))]
        loops = run_loops(
            store=store,
            settings=settings,
            urls=URLS,
            node="control-1",
            clock=SystemClock(),
            rng=make_rng(1),
            state=network.state,
        )
        tasks.spawn("loops", loops)
        yield network
        for one in network.appliances:
            one.kill()
        assert network.state.failed_turns == 0
    store.close()


async def test_with_the_default_settings_a_death_is_out_of_the_snapshot_within_ten_seconds(tmp_path):
    async with running(tmp_path, settings=FleetSettings()) as network:
        await network.add("a-1", "a-2")
        await network.until(lambda: network.given_out() == {"a-1", "a-2"}, most_s=15)
        network.appliances[0].kill()
        took_s = await network.until(lambda: network.given_out() == {"a-2"}, most_s=9)
        print(f"out of the snapshot after {took_s:.1f} s")
        await network.until(lambda: network.health()["a-1"].state is HealthState.LOST, most_s=8)
        told = network.events("appliance.health-changed")
        assert [one.reason for one in told if one.subject == "appliance/a-1"][-1] == HealthReason.NO_REPORT
        assert not network.events("fleet.health-held")


async def test_a_frozen_server_is_unhealthy_while_its_agent_reports_and_comes_back(tmp_path):
    async with running(tmp_path, settings=hasty()) as network:
        await network.add("a-1", "a-2", "a-3")
        await network.until(lambda: len(network.healthy()) == 3, most_s=10)
        network.appliances[0].is_frozen = True
        await network.until(lambda: network.healthy() == {"a-2", "a-3"}, most_s=5)
        health = network.health()["a-1"]
        assert (health.state, health.reason) == (HealthState.UNHEALTHY, HealthReason.PROBE_FAILED)
        assert health.detail == "probe: unreachable (timed out)"
        network.appliances[1].spoils_tag = True
        await network.until(lambda: network.healthy() == {"a-3"}, most_s=5)
        assert network.health()["a-2"].detail == "probe: wrong-bytes (wrong ETag)"
        network.appliances[0].is_frozen = network.appliances[1].spoils_tag = False
        await network.until(lambda: len(network.healthy()) == 3, most_s=12)


async def test_an_agent_that_stops_reporting_keeps_its_clients_while_probes_pass(tmp_path):
    async with running(tmp_path, settings=hasty()) as network:
        await network.add("a-1", "a-2")
        await network.until(lambda: len(network.healthy()) == 2, most_s=10)
        network.appliances[0].is_reporting = False
        await network.until(lambda: network.health()["a-1"].reason is HealthReason.NO_REPORT, most_s=5)
        await asyncio.sleep(2)
        assert network.healthy() == {"a-1", "a-2"}
        network.appliances[0].is_nginx_up = False
        network.appliances[0].is_reporting = True
        await network.until(lambda: network.health()["a-1"].reason is HealthReason.NGINX_DOWN, most_s=5)


async def test_a_drain_moves_new_sessions_at_once_and_ends_when_the_running_ones_have(tmp_path):
    async with running(tmp_path, settings=hasty()) as network:
        await network.add("a-1", "a-2")
        await network.until(lambda: len(network.healthy()) == 2, most_s=10)
        network.appliances[0].sessions = 3
        await asyncio.sleep(1)
        network.change("a-1", AdminState.DRAINING)
        await network.until(lambda: network.store.appliance("a-1").desired.admin_state is AdminState.DRAINING, most_s=3)
        snapshot = unpack_snapshot(network.store.snapshot().packed)
        assert {one.appliance_id: one.admin_state for one in snapshot.appliances}["a-1"] is AdminState.DRAINING
        await asyncio.sleep(2 * network.settings.drain_quiet_s)
        assert not is_drained(network.store.appliance("a-1").health_memory)
        assert [source.appliance_id for source in network.store.appliance("a-2").desired.sources] == [None]
        network.appliances[0].sessions = 0
        await network.until(lambda: is_drained(network.store.appliance("a-1").health_memory), most_s=6)
        assert [one.reason for one in network.events("appliance.drained")] == ["no-sessions"]
        network.change("a-1", AdminState.DISABLED)
        await network.until(lambda: not network.health()["a-1"].is_turned_up, most_s=3)
        network.change("a-1", AdminState.ENABLED)
        await network.until(lambda: network.health()["a-1"].state is UP, most_s=6)
        assert not is_drained(network.store.appliance("a-1").health_memory)


async def test_a_maintenance_window_drains_ahead_opens_and_comes_back_healthy(tmp_path):
    async with running(tmp_path, settings=hasty()) as network:
        await network.add("a-1", "a-2")
        await network.until(lambda: len(network.healthy()) == 2, most_s=10)
        now_s = time.time()
        window = MaintenanceWindow(
            window_id="",
            appliance_id=ApplianceId("a-1"),
            starts_s=now_s + 4,
            ends_s=now_s + 6,
            drain_ahead_s=3.5,
            reason="new disk",
        )
        assert network.store.add_window(window, expected=0, event=EVENT, now_s=now_s)

        def steered():
            snapshot = unpack_snapshot(network.store.snapshot().packed)
            return {one.appliance_id: one.admin_state for one in snapshot.appliances}["a-1"]

        await network.until(lambda: steered() is AdminState.DRAINING, most_s=3)
        assert network.store.appliance("a-1").appliance.admin_state is AdminState.ENABLED  # the operator's own
        await network.until(lambda: steered() is AdminState.DISABLED, most_s=6)
        network.appliances[0].is_frozen = True
        await network.until(lambda: network.store.windows()[0].window.state is WindowState.RETURNING, most_s=5)
        assert steered() is AdminState.DISABLED
        network.appliances[0].is_frozen = False
        await network.until(lambda: network.given_out() == {"a-1", "a-2"}, most_s=12)
        kinds = [one.kind.removeprefix("maintenance.") for one in network.store.events(limit=1000)]
        told = [kind for kind in kinds if kind in ("draining", "started", "ended", "done")]
        assert told == ["draining", "started", "ended", "done"]


async def test_when_everything_falls_silent_the_last_state_is_held_and_said(tmp_path):
    async with running(tmp_path, settings=hasty()) as network:
        everyone = {"a-1", "a-2", "b-1", "b-2"}
        await network.add("a-1", "a-2")
        await network.add("b-1", "b-2", site="site-b")
        await network.until(lambda: network.healthy() == everyone, most_s=10)
        for one in network.appliances:  # the control node's own network is cut: nothing comes, nothing answers
            one.is_frozen, one.is_reporting = True, False
        await network.until(network.store.is_health_held, most_s=6)
        await network.until(lambda: network.given_out() == everyone, most_s=3)
        await asyncio.sleep(3)
        assert network.given_out() == everyone
        assert {health.reason for health in network.health().values()} == {HealthReason.HELD_LAST_STATE}
        held = network.events("fleet.health-held")
        assert [one.detail for one in held] == ["4 of 4 healthy appliances do not answer, 0 others do"]
        for one in network.appliances[1:]:  # the link is back; a-1 died meanwhile
            one.is_frozen, one.is_reporting = False, True
        await network.until(lambda: network.healthy() == everyone - {"a-1"}, most_s=8)
        assert not network.store.is_health_held()
        assert len(network.events("fleet.health-released")) == 1


async def test_plans_and_desired_states_follow_titles_and_room(tmp_path):
    async with running(tmp_path, settings=hasty()) as network:
        await network.add("a-1", "a-2")
        network.appliances[1].disk_bytes = 20_000
        await network.until(lambda: len(network.healthy()) == 2, most_s=10)
        await network.until(lambda: network.store.appliance("a-2").plan.count == 2, most_s=3)

        def sources() -> list[str | None]:
            return [source.appliance_id for source in network.store.appliance("a-2").desired.sources]

        await network.until(lambda: sources() == ["a-1", None], most_s=3)
        publish(network.store, make_title("sequel", 6_000))
        await network.until(lambda: network.store.appliance("a-1").plan.count == 4, most_s=3)
        await network.until(lambda: network.store.appliance("a-2").plan.version == 2, most_s=3)
        newest = network.store.title("sequel").file_nos
        assert set(network.store.plan("a-2").files) == set(newest)
        told = network.events("fleet.planned")[-1]
        assert told.reason == "titles-changed"
        assert "titles left out on 1 appliances, on a-2 1, first film (no-room)" in told.detail
        before = network.store.snapshot().version
        await asyncio.sleep(2)  # Who lacks files has another share of the site's rate for a moment.
        desired = network.store.appliance("a-1").desired.version
        await asyncio.sleep(2)
        assert network.store.snapshot().version == before
        assert network.store.appliance("a-1").desired.version == desired
        network.store.withdraw_title("sequel", event=EVENT, now_s=time.time())
        await network.until(lambda: network.store.appliance("a-2").plan.version == 3, most_s=3)
        assert set(network.store.plan("a-2").files) == set(network.titles[0].file_nos)


async def test_an_appliance_whose_bytes_are_not_those_of_its_files_never_gets_a_client(tmp_path):
    async with running(tmp_path, settings=hasty()) as network:
        await network.add("a-1")
        network.appliances[0].spoils_bytes = True
        await asyncio.sleep(3)
        assert network.given_out() == set()
        checks = {one.check: one for one in turn_up_checks(network.store.appliance("a-1").health_memory)}
        assert checks[TurnUpCheck.REACHABLE].state is CheckState.PASSED
        assert checks[TurnUpCheck.RANGE].state is CheckState.FAILED
        assert "wrong SHA-256" in checks[TurnUpCheck.RANGE].detail
        network.appliances[0].spoils_bytes = False
        await network.until(lambda: network.given_out() == {"a-1"}, most_s=6)
        checks = turn_up_checks(network.store.appliance("a-1").health_memory)
        assert {one.state for one in checks} == {CheckState.PASSED}


@pytest.mark.parametrize("holds", [False, True])
async def test_no_client_before_the_turn_up(tmp_path, holds):
    async with running(tmp_path, settings=hasty()) as network:
        await network.add("a-1")
        one = network.appliances[0]
        one.is_frozen = holds
        if not holds:
            one.hold([])
        await asyncio.sleep(3)
        expected = HealthReason.PROBE_FAILED if holds else HealthReason.NOTHING_HELD
        assert network.health()["a-1"].state is HealthState.TURNING_UP
        assert network.health()["a-1"].reason is expected
        assert network.given_out() == set()
