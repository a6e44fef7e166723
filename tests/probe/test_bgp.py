"""An appliance's routes over BGP from real BIRD and FRR, as far as the control plane: changes, ends, returns."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from headrace.appliance.bgp.speaker import Patience
from headrace.appliance.bgp.testing_routers import (
    BAD,
    BAD_AS,
    BIRD,
    BIRD6,
    FRR,
    FRR_AS,
    OURS,
    Appliance,
    Bird,
    Frr,
    bird_route,
    message,
    open_message,
    own_network,
    peer,
)
from headrace.routes.model import SessionState
from headrace.wire.processes import is_alive

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]
A, B, C = "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"
A6, B6 = "2001:db8:1::/48", "2001:db8:2::/48"


@pytest.fixture(autouse=True)
def network():
    with own_network():
        yield


async def test_both_families_are_heard_and_changes_arrive_within_seconds(tmp_path: Path):
    appliance, bird = Appliance(tmp_path, peer(BIRD), peer(BIRD6)), Bird(tmp_path)
    bird.v4 = [
        bird_route(A, path=(64999, 65010), med=50, communities=f"bgp_community.add(({64500},7));"),
        bird_route(B),
    ]
    bird.v6 = [bird_route(A6, path=(65011,))]
    control = appliance.control
    async with bird.running(), appliance.agent():
        await appliance.until(lambda: control.has(BIRD, A, B) and control.has(BIRD6, A6), "both tables")
        first = control.routes(BIRD)
        assert first[A].attributes.as_path == (64500, 64999, 65010)
        assert (first[A].attributes.med, first[A].attributes.communities) == (50, ("64500:7",))
        assert (first[A].attributes.next_hop, first[B].attributes.med) == (BIRD, None)
        assert control.routes(BIRD6)[A6].attributes.as_path == (64500, 65011)
        session = control.session(BIRD)
        assert (session.state, session.prefixes, session.drops) == (SessionState.ESTABLISHED, 2, 0)

        clock = asyncio.get_running_loop().time
        began_s = clock()
        await bird.change(v4=[bird_route(A, path=(65010,), med=70), bird_route(C)], v6=[bird_route(B6)])
        await appliance.until(lambda: control.has(BIRD, C) and control.has(BIRD6, B6), "what is new", 8)
        await appliance.until(lambda: not control.has(BIRD, B) and not control.has(BIRD6, A6), "what is gone", 4)
        assert clock() - began_s < 5
        later = control.routes(BIRD)
        assert (later[A].attributes.as_path, later[A].attributes.med) == ((64500, 65010), 70)
        assert later[A].learned_s >= first[A].learned_s
        assert later.keys() == {A, C}


async def test_a_lost_session_keeps_its_routes_and_ends_the_old_ones_once_it_has_learned_again(tmp_path: Path):
    appliance, bird = Appliance(tmp_path, peer(BIRD)), Bird(tmp_path)
    bird.v4 = [bird_route(A), bird_route(B)]
    control = appliance.control
    async with appliance.agent():
        async with bird.running():
            await appliance.until(lambda: control.has(BIRD, A, B), "the table")
            before = control.routes(BIRD)
        await appliance.until(lambda: appliance.state(BIRD) is SessionState.DOWN, "the loss")
        assert control.routes(BIRD) == before
        assert control.session(BIRD).drops == 1
        assert control.session(BIRD).detail
        bird.v4 = [bird_route(A)]
        async with bird.running():
            await appliance.until(lambda: control.has(BIRD, A) and not control.has(BIRD, B), "the new table", 40)
            assert control.routes(BIRD)[A].learned_s == before[A].learned_s
            digests = {table.table_digest for request in control.requests for table in request.sessions}
            assert len(digests - {""}) == 2


async def test_frr_connects_to_us_and_a_peer_that_says_why_it_ends_is_heard(tmp_path: Path):
    appliance, frr = Appliance(tmp_path, peer(FRR, FRR_AS, passive=True)), Frr(tmp_path)
    control = appliance.control
    async with appliance.agent(), frr.running(A, B):
        await appliance.until(lambda: control.has(FRR, A, B), "the table")
        assert control.routes(FRR)[A].attributes.as_path == (FRR_AS,)
        await frr.tell(f"no network {B}", f"network {C}")
        await appliance.until(lambda: control.has(FRR, C) and not control.has(FRR, B), "the change", 8)
        await frr.tell(f"neighbor {OURS} shutdown")
        await appliance.until(lambda: appliance.state(FRR) is SessionState.DOWN, "the end")
        assert "administrative shutdown" in control.session(FRR).detail
        assert control.has(FRR, A, C)
        await frr.tell(f"no network {A}", f"no neighbor {OURS} shutdown")
        await appliance.until(lambda: appliance.state(FRR) is SessionState.ESTABLISHED, "the next session")
        await appliance.until(lambda: not control.has(FRR, A), "FRR says when it has said all", 10)
        assert control.has(FRR, C)


async def test_a_killed_agent_and_a_killed_speaker_lose_nothing(tmp_path: Path):
    appliance, bird = Appliance(tmp_path, peer(BIRD)), Bird(tmp_path)
    bird.v4 = [bird_route(A), bird_route(B)]
    control = appliance.control
    async with bird.running():
        async with appliance.agent(is_killed=True):
            await appliance.until(lambda: control.has(BIRD, A, B), "the table")
            since_s = control.session(BIRD).since_s
        control.requests.clear()
        async with appliance.agent():
            await appliance.until(lambda: control.has(BIRD, A, B), "the table of the speaker that lived on")
            session = control.session(BIRD)
            assert (session.since_s, session.drops) == (since_s, 0)
            pid = int((appliance.folder / "speaker.pid").read_text().split()[0])
        control.requests.clear()
        async with appliance.agent():
            await appliance.until(lambda: appliance.state(BIRD) is SessionState.ESTABLISHED, "a new session", 40)
            another = int((appliance.folder / "speaker.pid").read_text().split()[0])
            assert another != pid
            os.killpg(another, signal.SIGKILL)
            await appliance.until(lambda: appliance.reports.report().speaker_restarts == 1, "the next speaker", 40)
            await appliance.until(lambda: appliance.state(BIRD) is SessionState.ESTABLISHED, "its session", 40)
            assert control.has(BIRD, A, B)
            assert all(table.table_digest for request in control.requests for table in request.sessions)


async def test_a_speaker_that_hangs_is_ended_with_its_collector_and_started_again(tmp_path: Path):
    appliance, bird = Appliance(tmp_path, peer(BIRD)), Bird(tmp_path)
    bird.v4 = [bird_route(A)]
    control = appliance.control
    appliance.patience = Patience(look_s=1.0, answer_s=2.0, end_s=0.5)
    async with bird.running(), appliance.agent():
        await appliance.until(lambda: control.has(BIRD, A), "the table")
        before = session_of(appliance)
        assert len(before) == 2
        for pid in before:
            os.kill(pid, signal.SIGSTOP)
        await appliance.until(lambda: appliance.state(BIRD) is SessionState.DOWN, "nobody answers")
        await appliance.until(lambda: appliance.state(BIRD) is SessionState.ESTABLISHED, "the next speaker", 40)
        assert control.has(BIRD, A)
        assert not [pid for pid in before if is_alive(pid)]


def session_of(appliance: Appliance) -> list[int]:
    """Pids of ExaBGP and its collector."""
    leader = (appliance.folder / "speaker.pid").read_text().split()[0]
    return [int(leader), *map(int, Path(f"/proc/{leader}/task/{leader}/children").read_text().split())]


async def test_over_its_limit_a_session_is_closed_and_opened_again_when_told(tmp_path: Path):
    appliance, bird = Appliance(tmp_path, peer(BIRD, most_prefixes=5), peer(BIRD6)), Bird(tmp_path)
    bird.v4 = [bird_route(f"10.{number}.0.0/16") for number in range(4)]
    bird.v6 = [bird_route(A6)]
    control = appliance.control
    async with bird.running(), appliance.agent():
        await appliance.until(lambda: control.has(BIRD, "10.3.0.0/16"), "the table")
        assert "near its limit" in control.session(BIRD).detail
        await bird.change(v4=[bird_route(f"10.{number}.0.0/16") for number in range(6)])
        await appliance.until(lambda: appliance.state(BIRD) is SessionState.OVER_LIMIT, "closed")
        assert control.table(BIRD).table_digest == ""
        assert "more than 5 prefixes" in control.session(BIRD).detail
        await asyncio.sleep(3)
        assert "Maximum number of prefixes reached" in (tmp_path / "bird.log").read_text()
        assert appliance.state(BIRD) is SessionState.OVER_LIMIT
        assert appliance.state(BIRD6) is SessionState.ESTABLISHED
        assert control.session(BIRD6).drops == 0
        await bird.change(v4=[bird_route(A)])
        await appliance.speaker.retry()
        await appliance.until(lambda: control.has(BIRD, A), "opened again", 40)


@pytest.mark.parametrize("has_opened", [False, True])
async def test_garbage_from_one_peer_ends_its_session_and_nothing_else(tmp_path: Path, has_opened: bool):
    appliance = Appliance(tmp_path, peer(BIRD), peer(BAD, BAD_AS, passive=True))
    bird, control = Bird(tmp_path), appliance.control
    bird.v4 = [bird_route(A)]
    async with bird.running(), appliance.agent():
        await appliance.until(lambda: control.has(BIRD, A), "the good peer's table")
        for garbage in (os.urandom(4000), message(2, os.urandom(64)), b"\xff" * 16 + b"\xff\xff\x02", message(9)):
            reader, writer = await asyncio.open_connection(OURS, 179, local_addr=(BAD, 0))
            if has_opened:
                writer.write(open_message(BAD_AS) + message(4))
                await appliance.until(lambda: appliance.state(BAD) is SessionState.ESTABLISHED, "the bad peer is up")
            writer.write(garbage)
            with suppress(ConnectionResetError):
                async with asyncio.timeout(10):
                    await reader.read()
            writer.close()
            await appliance.until(lambda: appliance.state(BAD) is not SessionState.ESTABLISHED, "the bad peer is down")
        assert control.session(BAD).prefixes == 0
        assert (control.session(BIRD).drops, appliance.reports.report().speaker_restarts) == (0, 0)
        await bird.change(v4=[bird_route(A), bird_route(B)])
        await appliance.until(lambda: control.has(BIRD, A, B), "the good peer is heard")


async def test_two_hundred_thousand_routes_come_at_once(tmp_path: Path):
    appliance, bird = Appliance(tmp_path, peer(BIRD)), Bird(tmp_path)
    bird.v4 = [f"route {10 + n // 65536}.{n // 256 % 256}.{n % 256}.0/24 unreachable;" for n in range(200_000)]
    control = appliance.control
    clock = asyncio.get_running_loop().time
    async with bird.running(), appliance.agent():
        began_s = clock()
        await appliance.until(lambda: control.count(BIRD) == 200_000, "all of them", 60)
        assert clock() - began_s < 60
        sent = control.received_chunks
        assert sent == 1024
        await bird.change(v4=bird.v4[1:])
        await appliance.until(lambda: control.count(BIRD) == 199_999, "one gone", 20)
        assert control.received_chunks == sent + 1


async def test_md5_and_ttl_security_hold_and_the_own_address_is_announced(tmp_path: Path):
    appliance = Appliance(tmp_path, peer(BIRD, md5_password="between us", ttl_security_hops=1), peer(BIRD6))
    appliance.configure(announce=("192.0.2.77/32",))
    bird, control = Bird(tmp_path), appliance.control
    bird.v4, bird.v6 = [bird_route(A)], [bird_route(A6)]
    bird.options = 'password "between us"; ttl security on;'
    async with bird.running(), appliance.agent():
        await appliance.until(lambda: control.has(BIRD, A), "the table")
        assert "192.0.2.77/32" in await bird.tell("show", "route", "all", "192.0.2.77/32")
        await asyncio.sleep(2)
        assert appliance.state(BIRD6) is not SessionState.ESTABLISHED


async def test_a_control_plane_that_forgets_fails_or_is_old_does_not_matter(tmp_path: Path):
    appliance, bird = Appliance(tmp_path, peer(BIRD)), Bird(tmp_path)
    bird.v4 = [bird_route(A)]
    control = appliance.control
    control.fault = "error"
    async with bird.running(), appliance.agent():
        await appliance.until(lambda: appliance.reports.report().report_failures >= 2, "failures")
        control.fault = "forgetful"
        await appliance.until(lambda: control.received_chunks >= 2, "chunks that were lost are sent again")
        control.fault = ""
        await appliance.until(lambda: control.has(BIRD, A), "the table")
    control.fault = "unknown"
    control.requests.clear()
    async with bird.running(), appliance.agent():
        await appliance.until(lambda: bool(appliance.reports.report().sessions), "it hears on")
        assert appliance.reports.report().report_failures == 0
