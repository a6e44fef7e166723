"""The agent's loops in this process, against a control plane and sources on sockets that misbehave."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.appliance.testing import body_of, file_of
from headrace.appliance.testing_agent import BODIES, FILES, Bed, open_bed
from headrace.base.clock import SystemClock
from headrace.base.rng import make_rng
from headrace.catalog.model import FileSuffix, content_path
from headrace.fleet.model import FillState


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    async with open_bed(tmp_path) as bed:
        yield bed


async def test_enrols_fills_and_reports(bed: Bed) -> None:
    bed.want(FILES)
    async with bed.running() as agent:
        await bed.until(bed.control.has_all, "all files reported")
        assert bed.is_whole(FILES)
        assert bed.web.redirect_url == bed.urls[2]
        await bed.until(lambda: agent.status().report.fill.state is FillState.IDLE, "idle")
        await asyncio.sleep(0.3)
    last = bed.control.last
    assert last
    assert last.report.fill.pending_files == 0
    assert last.holdings.added == ""
    assert bed.control.exchange_bytes[-1] < 2048
    assert (bed.folder / "state" / "credential.json").stat().st_mode & 0o777 == 0o600
    assert not bed.origin.asked, "the peer had everything"


async def test_what_leaves_the_plan_is_deleted_after_its_grace(bed: Bed) -> None:
    bed.want(FILES)
    async with bed.running():
        await bed.until(bed.control.has_all, "filled")
        bed.want(FILES[:2])
        await bed.until(lambda: bed.control.has_all() and bed.served(FILES[3]) is None, "deleted")
        assert bed.is_whole(FILES[:2])


@pytest.mark.parametrize("fault", ["redirect", "missing", "error", "cut", "wrong", "stall", "slow", "short-range"])
async def test_a_bad_peer_only_costs_time(bed: Bed, fault: str) -> None:
    bed.peer.fault = fault
    bed.want(FILES)
    async with bed.running(fill="stall_timeout_s = 0.3") as agent:
        await bed.until(bed.control.has_all, "filled from the origin")
        assert bed.is_whole(FILES)
        if fault == "wrong":
            assert agent.status().source_failures > 0


async def test_goes_on_in_the_middle_of_a_file_from_another_source(bed: Bed) -> None:
    bed.want(FILES[:1])
    bed.peer.fault = "cut"
    async with bed.running():
        await bed.until(bed.control.has_all, "filled")
    firsts = [int(asked.headers["range"].split("=")[1].split("-")[0]) for asked in bed.origin.asked]
    assert min(firsts) > 0, "the origin gave only what the peer had not"
    assert bed.is_whole(FILES[:1])


async def test_no_source_is_a_state_and_ends_when_one_is_back(bed: Bed) -> None:
    bed.peer.fault = bed.origin.fault = "error"
    bed.want(FILES)
    async with bed.running() as agent:
        await bed.until(lambda: agent.status().report.fill.state is FillState.NO_SOURCE, "no source")
        await bed.until(lambda: "503" in agent.status().report.fill.error, "says why")
        bed.origin.fault = ""
        await bed.until(bed.control.has_all, "filled")


async def test_only_a_slow_source_is_used_all_the_same(bed: Bed) -> None:
    bed.peer.fault = bed.origin.fault = "slow"
    small = body_of(77, 30_000)
    file = file_of(77, small)
    bed.peer.put(file, small)
    bed.origin.put(file, small)
    bed.want([file])
    async with bed.running(fill="stall_timeout_s = 0.2\nleast_source_bps = 100000000"):
        await bed.until(bed.control.has_all, "filled")


async def test_lost_repeated_and_late_messages_converge(bed: Bed) -> None:
    rng = make_rng(7)
    bed.control.page_files = 2
    async with bed.running():
        for turn in range(6):
            bed.want(rng.sample(FILES, 1 + turn % 6))
            bed.control.faults += [rng.choice(["", "lose-request", "lose-answer", "late"]) for _ in range(4)]
            await asyncio.sleep(0.15)
        bed.control.faults.clear()
        await bed.until(bed.control.has_all, "converged")
        wanted = list(bed.control.plan.by_sha256)
        await bed.until(lambda: [f for f in FILES if bed.served(f)] == [f for f in FILES if f.sha256 in wanted], "same")


async def test_a_control_plane_that_lost_the_holdings_gets_them_whole(bed: Bed) -> None:
    bed.want(FILES)
    async with bed.running():
        await bed.until(bed.control.has_all, "filled")
        bed.control.holdings = type(bed.control.holdings)([99])
        await bed.until(bed.control.has_all, "told again")


async def test_a_restart_without_control_plane_goes_on_filling(bed: Bed) -> None:
    bed.want(FILES)
    bed.peer.fault = bed.origin.fault = "error"
    async with bed.running() as agent:
        await bed.until(lambda: agent.status().plan_files == len(FILES), "plan in force")
    bed.urls[0] = "http://127.0.0.1:9"
    bed.peer.fault = ""
    async with bed.running() as agent:
        await bed.until(lambda: bed.is_whole(FILES), "filled alone")
        assert agent.status().exchange_age_s is None
        assert agent.status().exchange_failures > 0


async def test_rotates_its_credential_and_survives_a_restart(bed: Bed) -> None:
    bed.want(FILES[:1])
    bed.control.should_rotate = True
    async with bed.running():
        await bed.until(lambda: bed.control.credential.endswith("+"), "rotated")
        await bed.until(bed.control.has_all, "still speaks")
    bed.want(FILES[:2])
    async with bed.running():
        await bed.until(bed.control.has_all, "speaks after a restart")


async def test_a_new_join_token_mends_a_revoked_credential(bed: Bed) -> None:
    bed.want(FILES[:1])
    async with bed.running() as agent:
        await bed.until(bed.control.has_all, "filled")
        bed.control.credential, bed.control.join_token = "revoked", "join-2"
        await bed.until(lambda: agent.status().exchange_failures > 1, "refused")
        (bed.folder / "join").write_text("join-2")
        bed.want(FILES[:2])
        await bed.until(bed.control.has_all, "enrolled again")


async def test_keeps_to_its_fill_rate(bed: Bed) -> None:
    rate_bps = 4_000_000
    bed.want(FILES[:5], rate_bps=rate_bps)
    size_bytes = sum(file.size_bytes for file in FILES[:5])
    async with bed.running() as agent:
        await bed.until(lambda: agent.status().filled_bytes > 0, "begun")
        begun_s = SystemClock().monotonic_s()
        await bed.until(lambda: agent.status().filled_bytes == size_bytes, "done")
        took_s = SystemClock().monotonic_s() - begun_s
    ideal_s = size_bytes * 8 / rate_bps
    assert 0.85 * ideal_s < took_s < 1.1 * ideal_s + 0.1


async def test_a_corrupted_file_is_found_withdrawn_and_filled_again(bed: Bed) -> None:
    bed.want(FILES)
    async with bed.running(store="verify_pause_s = 0.0") as agent:
        await bed.until(bed.control.has_all, "filled")
        path = (bed.folder / "state" / "serve" / content_path(FILES[2].sha256, FileSuffix.MP4)[1:]).resolve()
        path.write_bytes(b"x" + BODIES[2][1:])
        await bed.until(lambda: agent.status().corrupt_files == 1, "found")
        await bed.until(lambda: bed.is_whole(FILES), "filled again")
        await bed.until(bed.control.has_all, "reported")


async def test_a_disk_that_vanishes_is_refilled_on_the_others(bed: Bed) -> None:
    bed.want(FILES)
    async with bed.running() as agent:
        await bed.until(bed.control.has_all, "filled")
        (bed.folder / "d0").rename(bed.folder / "gone")
        await bed.until(lambda: not agent.status().report.disks[0].is_ok, "dropped")
        await bed.until(lambda: agent.status().holdings_files == len(FILES), "refilled")
        assert bed.is_whole(FILES)
        (bed.folder / "gone").rename(bed.folder / "d0")
        await bed.until(lambda: agent.status().report.disks[0].is_ok, "back")
        assert bed.is_whole(FILES)


async def test_files_found_on_the_disks_are_verified_and_not_fetched(bed: Bed) -> None:
    bed.want(FILES)
    async with bed.running():
        await bed.until(bed.control.has_all, "filled")
    (bed.folder / "state" / "ledger.db").unlink()
    (bed.folder / "d0" / "partial" / f"{FILES[0].sha256}.part").write_bytes(b"a needless part")
    bed.peer.fault = bed.origin.fault = "error"
    async with bed.running() as agent:
        await bed.until(lambda: agent.status().holdings_files == len(FILES), "held again")
        await bed.until(lambda: not list((bed.folder / "d0" / "partial").iterdir()), "no part is left")
        assert bed.is_whole(FILES)
