"""Two control nodes on one PostgreSQL: one decides; killed with SIGKILL, the other takes over within seconds."""

import asyncio
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.base.tasks import Tasks
from headrace.control.adapters.store import open_store
from headrace.control.loops.testing import ServedAppliance, enrol, hasty, make_title, publish
from headrace.control.testing import running_postgres
from headrace.fleet.model import HealthState

NODE = Path(__file__).with_name("loop_node.py")
LEASE_S = hasty().lease_s


@pytest.fixture(scope="module")
def postgres():
    with running_postgres() as server:
        yield server


@contextmanager
def node(store_url, name, folder, *before):
    with (folder / f"{name}.log").open("wb") as log:
        command = [*before, sys.executable, NODE, store_url, name]
        process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


async def until(is_so, *, most_s, folder):
    start_s = time.monotonic()
    while not is_so():
        logs = "".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
        assert time.monotonic() - start_s < most_s, logs
        await asyncio.sleep(0.05)
    return time.monotonic() - start_s


async def test_the_other_node_takes_over_and_nobody_is_marked_down(postgres, tmp_path):
    store_url = postgres.new_database()
    store = open_store(store_url)
    film = publish(store, make_title("film"))

    def healthy():
        return {row.appliance.appliance_id for row in store.fleet() if row.health.state is HealthState.HEALTHY}

    def log_of(name):
        return (tmp_path / f"{name}.log").read_text()

    async with Tasks() as tasks:
        appliances = []
        for name in ("a-1", "a-2", "a-3"):
            one = ServedAppliance(appliance_id=name, store=store, interval_s=0.5)
            one.hold([film])
            await one.start()
            enrol(store, name, f"http://127.0.0.1:{one.port}")
            tasks.spawn(name, one.report())
            appliances.append(one)
        with node(store_url, "control-1", tmp_path) as first:
            await until(lambda: len(healthy()) == 3, most_s=25, folder=tmp_path)
            with node(store_url, "control-2", tmp_path) as second:
                await until(lambda: store.notes("probes/control-2"), most_s=15, folder=tmp_path)
                assert "lease_taken" not in log_of("control-2")
                changes = store.versions().events
                first.send_signal(signal.SIGKILL)
                took_s = await until(lambda: "lease_taken" in log_of("control-2"), most_s=10, folder=tmp_path)
                print(f"taken over after {took_s:.1f} s")
                await asyncio.sleep(2)
                assert store.versions().events == changes, store.events(after=changes)
                appliances[0].kill()
                await until(lambda: healthy() == {"a-2", "a-3"}, most_s=10, folder=tmp_path)
                assert second.poll() is None
        for one in appliances:
            one.kill()
    store.close()
    assert took_s < LEASE_S + 2


@pytest.mark.root
async def test_a_node_cut_off_from_the_network_marks_nobody_down_and_a_death_is_still_seen(postgres, tmp_path):
    """The node that decides has no network at all but the store's socket; the other one reaches every appliance."""
    store_url = postgres.new_database()
    store = open_store(store_url)
    film = publish(store, make_title("film"))

    def healthy():
        return {row.appliance.appliance_id for row in store.fleet() if row.health.state is HealthState.HEALTHY}

    def kinds():
        return [one.kind for one in store.events(limit=1000)]

    async with Tasks() as tasks:
        appliances = []
        for name in ("a-1", "a-2", "a-3"):
            one = ServedAppliance(appliance_id=name, store=store, interval_s=0.5)
            one.hold([film])
            await one.start()
            enrol(store, name, f"http://127.0.0.1:{one.port}")
            tasks.spawn(name, one.report())
            appliances.append(one)
        with node(store_url, "control-2", tmp_path, "unshare", "--net") as cut_off:
            await until(lambda: "lease_taken" in (tmp_path / "control-2.log").read_text(), most_s=20, folder=tmp_path)
            assert healthy() == set()  # alone, it proves nothing
            with node(store_url, "control-1", tmp_path):
                await until(lambda: len(healthy()) == 3, most_s=25, folder=tmp_path)
                await until(lambda: "prober.cut-off" in kinds(), most_s=10, folder=tmp_path)
                await asyncio.sleep(3)
                assert healthy() == {"a-1", "a-2", "a-3"}
                assert "fleet.health-held" not in kinds()
                appliances[0].kill()
                took_s = await until(lambda: healthy() == {"a-2", "a-3"}, most_s=10, folder=tmp_path)
                print(f"a death was concluded after {took_s:.1f} s by a node that reaches nobody")
                assert cut_off.poll() is None
        for one in appliances:
            one.kill()
    store.close()
