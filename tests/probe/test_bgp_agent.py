"""Routes through the real `headrace agent`: killed, ended, told to try again; the control plane lives in the test."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from headrace.appliance.adapters.credential import CredentialFile
from headrace.appliance.bgp.testing import FakeRouteControl
from headrace.appliance.bgp.testing_routers import (
    BIRD,
    BIRD_AS,
    LOCAL_AS,
    OURS,
    Appliance,
    Bird,
    bird_route,
    own_network,
    peer,
)
from headrace.appliance.config import read_config
from headrace.appliance.control_link import ControlLink
from headrace.appliance.testing_peers import FakeControl, serving
from headrace.routes.model import SessionState
from headrace.wire.client import open_client
from headrace.wire.processes import is_alive

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]
A, B = "192.0.2.0/24", "198.51.100.0/24"
COMMAND = [sys.executable, "-c", "from headrace.cli.main import main; main()", "agent"]
CONTENT, METRICS = f"{OURS}:8080", f"{OURS}:9145"


@pytest.fixture(autouse=True)
def network():
    with own_network():
        yield


def configure(folder: Path, control_url: str, keep_s: float) -> Path:
    (folder / "join").write_text("join-1")
    path = folder / "agent.toml"
    path.write_text(
        f'[appliance]\nid = "a1"\ncontent_url = "http://{CONTENT}"\nstate = "{folder}/state"\n'
        f'[control]\nurls = ["{control_url}"]\njoin_token_file = "{folder}/join"\nretry_most_s = 0.3\n'
        f'[nginx]\nlisten = ["{CONTENT}"]\nworkers = 1\nstop_timeout_s = 1.0\n[metrics]\nlisten = "{METRICS}"\n'
        f'[store]\nfolders = ["{folder}/d0"]\nreserve_bytes = 0\n'
        f"[bgp]\nlocal_as = {LOCAL_AS}\nhold_time_s = 9\nkeep_s = {keep_s}\n"
        f'[[bgp.peers]]\naddress = "{BIRD}"\npeer_as = {BIRD_AS}\nlocal_address = "{OURS}"\nmost_prefixes = 3\n'
    )
    return path


@asynccontextmanager
async def agent(config: Path, ends_with: signal.Signals) -> AsyncIterator[None]:
    with (config.parent / "agent.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*COMMAND, "--config", str(config), stderr=log)
    try:
        yield
    finally:
        process.send_signal(ends_with)
        async with asyncio.timeout(20):
            await process.wait()


async def test_a_session_outlives_a_killed_agent_and_ends_with_one_that_is_told_to(tmp_path: Path):
    bird, control, routes = Bird(tmp_path), FakeControl(), FakeRouteControl()
    control.routes = routes.handle
    seen = Appliance(tmp_path / "state", peer(BIRD))
    seen.control = routes
    bird.v4 = [bird_route(A)]
    async with bird.running(), serving(control.handle) as url:
        config = configure(tmp_path, url, keep_s=30.0)
        async with agent(config, signal.SIGTERM):
            await seen.until(lambda: routes.has(BIRD, A), "the table", 30)
            async with httpx.AsyncClient(trust_env=False) as http:
                metrics = (await http.get(f"http://{METRICS}/metrics")).text
            assert f'bgp_session_state{{session="{BIRD}/ipv4",state="established"}} 1.0' in metrics
            since_s = routes.session(BIRD).since_s
        pid = int((tmp_path / "state" / "bgp" / "speaker.pid").read_text().split()[0])
        assert is_alive(pid), "told to end, an agent leaves it to the next"
        async with agent(config, signal.SIGKILL):
            await seen.until(lambda: len({request.boot_id for request in routes.requests}) == 2, "the next agent", 30)
        assert is_alive(pid), "and so does one that is killed"
        await bird.change(v4=[bird_route(A), bird_route(B)])
        config = configure(tmp_path, url, keep_s=0.0)
        async with agent(config, signal.SIGTERM):
            await seen.until(lambda: routes.has(BIRD, A, B), "what came while no agent lived", 30)
            assert (routes.session(BIRD).since_s, routes.session(BIRD).drops) == (since_s, 0)
            await bird.change(v4=[bird_route(f"10.{number}.0.0/16") for number in range(4)])
            await seen.until(lambda: seen.state(BIRD) is SessionState.OVER_LIMIT, "too many")
            await bird.change(v4=[bird_route(B)])
            said = await _said(*COMMAND, "--config", str(config), "--bgp-retry", "--json")
            assert [each["session"] for each in json.loads(said)["sessions"]] == [f"{BIRD}/ipv4"]
            await seen.until(lambda: routes.has(BIRD, B), "opened again", 30)
        assert not is_alive(pid)
    log = (tmp_path / "agent.log").read_text()
    assert log.count("bgp_speaker_taken_over") == 2
    assert "Traceback" not in log


async def _said(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    return (await asyncio.wait_for(process.communicate(), 20))[0].decode()


async def test_a_check_says_which_address_is_not_of_this_machine(tmp_path: Path):
    config = configure(tmp_path, "http://127.0.0.1:9", keep_s=0.0)
    assert json.loads(await _said(*COMMAND, "--config", str(config), "--check", "--json"))["is_ok"]
    config.write_text(config.read_text().replace(f'local_address = "{OURS}"', 'local_address = "198.51.100.250"'))
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--config", str(config), "--check", stderr=asyncio.subprocess.PIPE
    )
    said = (await asyncio.wait_for(process.communicate(), 20))[1].decode()
    assert process.returncode == 2
    assert "bgp.peers.0.local_address" in said


async def test_loops_that_start_together_enrol_once(tmp_path: Path):
    control = FakeControl()
    async with serving(control.handle) as url, open_client((url,), "") as client:
        config = read_config(configure(tmp_path, url, keep_s=0.0).read_text(), source="test")
        config.state.mkdir()
        link = ControlLink(config, client, CredentialFile(config.state))
        await asyncio.gather(*(link.enrol() for _ in range(3)))
    assert CredentialFile(config.state).read().token == control.credential
