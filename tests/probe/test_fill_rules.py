"""One agent under the rules of its site: windows, orders, waiting for peers, what stays, and a bad night."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.appliance.testing_agent import BODIES, FILES, Bed, open_bed
from headrace.base.clock import SystemClock
from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.fill.escalation import place_in_line
from headrace.fill.model import Escalation, FillRules, FillSource, SourceKind
from headrace.fleet.model import FillState
from headrace.wire.agent import FileSources, SourcesAnswer

NIGHT_S = datetime(2026, 1, 10, 3, 0, tzinfo=UTC).timestamp()
"""02:00 is past in London, 14:00 is not."""
EVENING_S = NIGHT_S + 17 * 3600
WINDOW = FillRules(hours="02:00-14:00", zone="Europe/London")
PEERS = (ApplianceId("a1"), ApplianceId("a2"))


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    async with open_bed(tmp_path) as bed:
        yield bed


def state_of(bed: Bed) -> FillState:
    return bed.agent.status().report.fill.state


def asked(bed: Bed) -> int:
    return len(bed.peer.asked) + len(bed.origin.asked)


async def test_nothing_is_fetched_before_the_window_opens_and_all_of_it_then(bed: Bed) -> None:
    bed.control.rules, bed.control.now_s = WINDOW, EVENING_S
    bed.want(FILES)
    async with bed.running():
        await bed.until(lambda: state_of(bed) is FillState.WAITING, "waits")
        report = bed.agent.status().report.fill
        assert "opens 2026-01-11 02:00 GMT" in report.error
        assert report.pending_files == len(FILES)
        await asyncio.sleep(0.5)
        assert asked(bed) == 0
        bed.control.now_s = NIGHT_S + 86_400
        await bed.until(bed.control.has_all, "filled")
        assert bed.is_whole(FILES)


async def test_a_window_that_closes_stops_a_file_in_its_middle_and_the_next_one_goes_on_there(bed: Bed) -> None:
    bed.control.rules, bed.control.now_s = WINDOW, NIGHT_S
    bed.want(FILES[:2], rate_bps=800_000)
    async with bed.running() as agent:
        await bed.until(lambda: agent.status().filled_bytes > 80_000, "under way")
        bed.control.now_s = EVENING_S
        await bed.until(lambda: state_of(bed) is FillState.WAITING, "stopped")
        came, ranges = agent.status().filled_bytes, asked(bed)
        assert all(bed.served(file) is None for file in FILES[:2]), "nothing half visible"
        await asyncio.sleep(0.5)
        assert (agent.status().filled_bytes, asked(bed)) == (came, ranges)
        bed.control.now_s = NIGHT_S + 86_400
        bed.want(FILES[:2])
        await bed.until(bed.control.has_all, "filled")
        assert agent.status().filled_bytes < sum(file.size_bytes for file in FILES[:2]) + 2 * 65_536
        assert bed.is_whole(FILES[:2])


async def test_what_is_urgent_passes_the_window_at_its_own_rate_and_nothing_else_does(bed: Bed) -> None:
    urgent = replace(WINDOW, urgent=FileSet([FILES[4].file_no]).encode(), urgent_bps=1_600_000)
    bed.control.rules, bed.control.now_s = urgent, EVENING_S
    bed.want(FILES, rate_bps=1)
    async with bed.running() as agent:
        started_s = SystemClock().monotonic_s()
        await bed.until(lambda: bed.served(FILES[4]) is not None, "the urgent one is there")
        took_s = SystemClock().monotonic_s() - started_s
        assert took_s > (200_000 - 65_536) * 8 / 1_600_000, "at its rate, after a first burst of one piece"
        await asyncio.sleep(0.5)
        assert [file for file in FILES if bed.served(file)] == [FILES[4]]
        assert agent.status().report.fill.window_bytes == 0


async def test_the_volume_of_a_window_is_kept_and_the_next_one_begins_anew(bed: Bed) -> None:
    bed.control.rules, bed.control.now_s = replace(WINDOW, volume_bytes=300_000), NIGHT_S
    bed.want(FILES[:4], rate_bps=4_000_000)
    async with bed.running() as agent:
        await bed.until(lambda: "the most in one window" in agent.status().report.fill.error, "volume fetched")
        await asyncio.sleep(0.4)
        fetched = agent.status().report.fill.window_bytes
        assert 300_000 <= fetched <= 300_000 + 4 * 65_536, "a piece for each file under way"
        bed.control.now_s = NIGHT_S + 86_400
        await bed.until(lambda: agent.status().report.fill.window_opened_s > NIGHT_S, "the next window")
        assert agent.status().report.fill.window_bytes <= fetched
        bed.control.rules = WINDOW
        bed.want(FILES[:4])
        await bed.until(bed.control.has_all, "filled")


async def test_a_restart_does_not_begin_the_volume_anew(bed: Bed) -> None:
    bed.control.rules, bed.control.now_s = replace(WINDOW, volume_bytes=150_000), NIGHT_S
    bed.want(FILES[:4])
    async with bed.running() as agent:
        await bed.until(lambda: "the most in one window" in agent.status().report.fill.error, "volume fetched")
    before = asked(bed)
    async with bed.running() as agent:
        await bed.until(lambda: "the most in one window" in agent.status().report.fill.error, "still so")
        await asyncio.sleep(0.4)
        assert asked(bed) == before
        assert agent.status().report.fill.window_bytes >= 150_000


class JumpingClock(SystemClock):
    """A wall clock that somebody sets."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now_s(self) -> float:
        return super().now_s() + self.ahead_s


@pytest.mark.parametrize("jump_s", [-40 * 86_400.0, 12 * 3600.0, 9 * 365 * 86_400.0])
async def test_a_clock_that_jumps_moves_no_window(bed: Bed, jump_s: float) -> None:
    clock = bed.clock = JumpingClock()
    bed.control.rules, bed.control.now_s = WINDOW, EVENING_S
    bed.want(FILES)
    async with bed.running():
        await bed.until(lambda: state_of(bed) is FillState.WAITING, "waits")
        clock.ahead_s = jump_s
        await asyncio.sleep(0.6)
        assert asked(bed) == 0
        bed.control.now_s = NIGHT_S + 86_400
        await bed.until(bed.control.has_all, "the control plane's night is night")


async def test_alone_it_opens_its_windows_by_its_own_clock(bed: Bed) -> None:
    """The rules are in the ledger, so no control plane is needed for a night."""
    bed.control.rules, bed.control.now_s = WINDOW, EVENING_S
    bed.want(FILES)
    async with bed.running() as agent:
        await bed.until(lambda: agent.status().plan_files == len(FILES), "plan in force")
    bed.urls[0] = "http://127.0.0.1:9"
    clock = bed.clock = JumpingClock()
    clock.ahead_s = EVENING_S - SystemClock().now_s()
    async with bed.running():
        await bed.until(lambda: state_of(bed) is FillState.WAITING, "waits")
        assert asked(bed) == 0
        clock.ahead_s = NIGHT_S - SystemClock().now_s()
        await bed.until(lambda: bed.is_whole(FILES), "filled alone")


def one_source_each(bed: Bed, *, place: int, peer: bool = False) -> SourcesAnswer:
    kinds = ((SourceKind.PEER, bed.urls[1]),) if peer else ()
    sources = [FillSource(kind=kind, base_url=url) for kind, url in kinds]
    sources.append(FillSource(kind=SourceKind.ORIGIN, base_url=bed.urls[2]))
    files = (FileSources(file_no=one.file_no, sources=tuple(range(len(sources))), place=place) for one in FILES)
    return SourcesAnswer(sources=tuple(sources), files=tuple(files), valid_s=5.0)


async def test_who_is_no_master_waits_for_its_peers_and_goes_out_when_they_bring_nothing(bed: Bed) -> None:
    waits = Escalation(near_s=0.5, network_s=1.0, origin_s=2.0)
    bed.control.rules = FillRules(members=PEERS, escalation=waits)
    bed.control.files = lambda _: one_source_each(bed, place=1)
    bed.want(FILES)
    async with bed.running():
        await bed.until(lambda: "peers bring" in bed.agent.status().report.fill.error, "waits")
        await asyncio.sleep(0.8)
        assert asked(bed) == 0
        await bed.until(bed.control.has_all, "gone out in the end")
        assert len(bed.origin.asked) >= len(FILES)


async def test_with_peers_that_bring_files_nobody_goes_out(bed: Bed) -> None:
    bed.control.rules = FillRules(members=PEERS)
    bed.control.files = lambda _: one_source_each(bed, place=1)
    bed.want(FILES)
    async with bed.running():
        await bed.until(lambda: state_of(bed) is FillState.WAITING, "waits")
        bed.control.files = lambda _: one_source_each(bed, place=1, peer=True)
        await bed.until(bed.control.has_all, "brought", 20.0)
        assert not bed.origin.asked


async def test_alone_each_file_has_one_master_among_the_members(bed: Bed) -> None:
    """The control plane does not answer: the line is worked out here, over what it last said of the site."""
    bed.control.rules = FillRules(members=PEERS)
    bed.want(FILES)
    bed.peer.files.clear()
    own = {file.sha256 for file in FILES if place_in_line(PEERS[0], PEERS, file.sha256) == 0}
    assert 0 < len(own) < len(FILES)
    async with bed.running():
        await bed.until(lambda: {file.sha256 for file in FILES if bed.served(file)} == own, "its own part")
        await bed.until(lambda: state_of(bed) is FillState.WAITING, "waits for the other's part")
        assert len(bed.origin.asked) < len(FILES) * 6


async def test_two_masters_cost_one_transfer_and_nothing_else(bed: Bed) -> None:
    """Both believe that they are the first in line: the other has the file already when ours comes."""
    bed.control.rules = FillRules(members=PEERS, masters=2)
    bed.control.files = lambda _: one_source_each(bed, place=1, peer=True)
    bed.want(FILES)
    async with bed.running():
        await bed.until(bed.control.has_all, "filled")
        assert bed.is_whole(FILES)


async def test_a_share_of_nothing_leaves_only_peers(bed: Bed) -> None:
    bed.control.rules = FillRules(inbound_bps=0)
    bed.peer.fault = "missing"
    bed.want(FILES)
    async with bed.running():
        await bed.until(lambda: state_of(bed) in (FillState.WAITING, FillState.NO_SOURCE), "held up")
        await asyncio.sleep(0.3)
        assert not bed.origin.asked
        bed.peer.fault = ""
        await bed.until(bed.control.has_all, "from its peer")
        assert not bed.origin.asked


async def test_an_origin_that_is_away_all_night_is_asked_seldom_and_found_when_it_is_back(bed: Bed) -> None:
    bed.peer.fault, bed.origin.fault = "missing", "error"
    bed.want(FILES)
    async with bed.running() as agent:
        await bed.until(lambda: state_of(bed) is FillState.NO_SOURCE, "no source")
        before = len(bed.origin.asked)
        await asyncio.sleep(3.0)
        assert len(bed.origin.asked) - before <= 4 * 3.0 / 0.2, "it rests, for each slot"
        assert all(bed.served(file) is None for file in FILES)
        bed.origin.fault = ""
        await bed.until(bed.control.has_all, "back")
        assert agent.status().report.fill.wrong_bytes == ()


async def test_a_plan_that_changes_again_and_again_in_a_fill_ends_as_the_last_one(bed: Bed) -> None:
    bed.control.rules, bed.control.now_s = WINDOW, NIGHT_S
    async with bed.running():
        for turn in range(5):
            bed.want(FILES[turn:] if turn % 2 else FILES[: 6 - turn], rate_bps=4_000_000)
            await asyncio.sleep(0.25)
        bed.want(FILES[1:4])
        await bed.until(lambda: bed.control.has_all() and state_of(bed) is FillState.IDLE, "the last plan")
        await bed.until(lambda: [one for one in FILES if bed.served(one)] == FILES[1:4], "and nothing else", 12.0)


async def test_gone_for_a_week_it_comes_back_without_a_storm(bed: Bed) -> None:
    """Another plan, old parts, an old window: it waits for its night, and then keeps to slots and rate."""
    bed.control.rules, bed.control.now_s = WINDOW, NIGHT_S
    bed.want(FILES[:3])
    async with bed.running():
        await bed.until(bed.control.has_all, "filled")
    bed.control.now_s = EVENING_S + 7 * 86_400
    bed.want(FILES[2:], rate_bps=2_000_000)
    before = asked(bed)
    async with bed.running(fill="files_at_once = 2"):
        await bed.until(lambda: state_of(bed) is FillState.WAITING, "waits for the night")
        assert asked(bed) == before
        bed.control.now_s = NIGHT_S + 8 * 86_400
        started_s = SystemClock().monotonic_s()
        await bed.until(bed.control.has_all, "filled", 20.0)
        assert SystemClock().monotonic_s() - started_s > 600_000 * 8 / 2_000_000 * 0.9
        assert asked(bed) - before <= 3 * 4 + 3


async def test_a_last_copy_and_what_is_played_are_not_deleted(bed: Bed) -> None:
    bed.want(FILES)
    async with bed.running():
        await bed.until(bed.control.has_all, "filled")
        bed.control.rules = FillRules(keep=FileSet([FILES[0].file_no]).encode())
        bed.web.played = {FILES[1].sha256}
        bed.want(FILES[3:])
        await bed.until(lambda: bed.served(FILES[2]) is None, "deleted")
        await asyncio.sleep(0.3)
        assert bed.served(FILES[0]) == BODIES[0]
        assert bed.served(FILES[1]) == BODIES[1]
        bed.web.played = set()
        bed.control.rules = FillRules()
        bed.want(FILES[3:])
        await bed.until(lambda: bed.served(FILES[0]) is None and bed.served(FILES[1]) is None, "let go")


async def test_wrong_bytes_are_reported_with_who_gave_them_and_what_is_doubted_is_verified(bed: Bed) -> None:
    bed.peer.fault = "wrong"
    bed.want(FILES[:2])
    async with bed.running() as agent:
        await bed.until(bed.control.has_all, "filled from the origin")
        told = agent.status().report.fill.wrong_bytes
        assert told
        assert {one.base_url for one in told} == {bed.urls[1]}
        path = next((bed.folder / "state" / "serve").rglob(f"{FILES[0].sha256}*")).resolve()
        path.write_bytes(bytes(len(BODIES[0])))
        bed.peer.fault = ""
        bed.control.rules = FillRules(doubt=FileSet([FILES[0].file_no, 999]).encode())
        bed.want(FILES[:2])
        await bed.until(lambda: agent.status().corrupt_files == 1, "found")
        await bed.until(lambda: bed.is_whole(FILES[:2]), "filled anew")
