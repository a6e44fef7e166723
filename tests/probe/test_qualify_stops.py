"""A run that is killed, starved of disk or failed by the lab goes on where it was, and counts no half pair."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.base.rng import make_rng
from headrace.lab.errors import LabError, MachineError, NotPossibleHereError
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.qualify import costs
from headrace.lab.qualify.calibration import (
    CalibrationRuns,
    Wanted,
    calibration_of,
    run_calibration,
    seconds_of_a_pair,
)
from headrace.lab.qualify.expectations import expectations, meet
from headrace.lab.qualify.measures import Part, Run
from headrace.lab.qualify.pairing import PairPlan, run_pair
from headrace.lab.qualify.record import Qualification, load, load_state, save
from headrace.lab.qualify.runner import Step, console_check, qualify
from headrace.lab.qualify.stand import Side, Stand, Subject
from headrace.lab.qualify.suites import Suite, run_suite
from headrace.release.config import ReleaseConfig, parse_release_config
from headrace.release.errors import CheckError
from headrace.release.model import CheckId, CheckResult, Fault, FaultKind, Level, Reason, Verdict
from headrace.release.verdicts import draw_order

CPU, THROUGHPUT = "performance.cpu-per-gb", "performance.throughput"
ONLY = "".join(
    f'[checks."{one.check_id}"]\nis_on = false\n'
    for one in parse_release_config().definitions
    if one.check_id not in {CPU, THROUGHPUT}
)
CONFIG = parse_release_config(ONLY + "[budget]\nmost_pairs = 3\n")
DRIVER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_qualify_stops import CONFIG, Played, make_stand
from headrace.lab.qualify.runner import qualify
folder, last = Path(sys.argv[1]), int(sys.argv[2])
class Waiting(Played):
    async def run(self, side, seed):
        run = await Played.run(self, side, seed)
        if len(self.made) == last:
            print("waiting", flush=True)
            await asyncio.sleep(60)
        return run
asyncio.run(qualify(make_stand(folder), CONFIG, folder / "run", is_keeping_going=True, make_runs=Waiting()))
"""
FIRST = PairPlan(level=Level.PERFORMANCE, number=0, parts=(Part.COSTS,))
FAULT = Fault(kind=FaultKind.PANIC, title="Kernel panic: x", trace=(), fingerprint="f1", line_no=1)


@dataclass(slots=True)
class Played:
    """Runs as a quiet machine would give them, and what it is told to get wrong."""

    failures: dict[int, LabError] = field(default_factory=dict)
    """By the number of the run, from 0."""
    faults: dict[int, Fault] = field(default_factory=dict)
    noise: float = 0.05
    made: list[Side] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    async def __call__(self, stand: Stand, part: Part, sides: Sequence[Side], seed: int) -> dict[Side, Run]:
        self.parts.append(part)
        return {side: await self.run(side, seed) for side in sides}

    async def run(self, side: Side, seed: int) -> Run:
        number = len(self.made)
        self.made.append(side)
        if number in self.failures:
            raise self.failures[number]
        if number in self.faults:
            return Run(faults=(self.faults[number],))
        noise = make_rng(f"{seed}-{side}").uniform(1 - self.noise, 1 + self.noise)
        return Run(values={"cpu_s_per_gb": noise, "throughput_bps": 1e9 * noise, "retransmitted_ratio.wifi": 0.04})


def make_stand(folder: Path) -> Stand:
    subject = Subject(name="same", digest="one", machine=MachineSpec(kind=MachineKind.PROCESS))
    return Stand(baseline=subject, candidate=subject, folder=folder / "machines", clock=SystemClock())


async def begin(stand: Stand, folder: Path, config: ReleaseConfig = CONFIG) -> None:
    """A record whose levels 0 to 2 are over; nothing is started for them."""
    record = await qualify(stand, config, folder, up_to=Level.BUILD)
    for one in expectations(stand):
        passed = CheckResult(
            check_id=one.check_id, level=one.level, verdict=Verdict.PASS, reason=Reason.ALL_AS_EXPECTED
        )
        record = record.with_met(passed)
    save(folder, record)


async def go_on(stand: Stand, run: Path, played: Played, on_step: Callable[[Step], None] = lambda step: None):
    """Level 4 of a record that `begin` made."""
    return await qualify(stand, CONFIG, run, is_keeping_going=True, on_step=on_step, make_runs=played)


def pairs_in(folder: Path) -> int:
    record = load(folder)
    assert record is not None
    return len(next(iter(record.measured.values())).pairs) if record.measured else 0


async def test_a_fault_of_the_lab_is_tried_once_more_and_then_no_verdict(tmp_path: Path) -> None:
    stand, once = make_stand(tmp_path), Played({1: MachineError("the guest did not boot")})
    pair = await run_pair(stand, 7, FIRST, once)
    assert pair.baseline["throughput_bps"] > 0
    assert once.made[:2] == once.made[2:], "again from the first run, in the same order"
    again = Played({1: LabError("h2load failed"), 3: MachineError("no answer")})
    with pytest.raises(MachineError, match=r"pair 1 of level performance could not be made.*no verdict rests"):
        await run_pair(stand, 7, FIRST, again)
    missing = Played({0: NotPossibleHereError("there is no h2load")})
    with pytest.raises(NotPossibleHereError):
        await run_pair(stand, 7, FIRST, missing)
    assert len(missing.made) == 1, "the machine will not be another one"


def test_the_order_of_a_pair_is_the_same_at_every_attempt() -> None:
    orders = [[draw_order(make_rng(f"{seed}-{Level.SOAK}-{pair}")) for pair in range(40)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert len(set(orders[0])) == 2


def end_in_run(script: Path, folder: Path, number: int, sent: signal.Signals) -> int:
    """End a command in its `number`-th run; gives its exit code."""
    command = [sys.executable, str(script), str(folder), str(number)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(sent)
    process.communicate(timeout=60)
    return process.returncode


async def test_ended_in_any_run_only_whole_pairs_count(tmp_path: Path) -> None:
    """Killed in the first run of a pair and in the second, interrupted in the second of the next."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(tests=str(Path(__file__).parent)))
    stand, run = make_stand(tmp_path), tmp_path / "run"
    await begin(stand, run)
    for number, sent, kept in ((1, signal.SIGKILL, 0), (2, signal.SIGKILL, 0), (4, signal.SIGINT, 1)):
        assert await asyncio.to_thread(end_in_run, script, tmp_path, number, sent) != 0
        assert pairs_in(run) == kept, "half a pair is thrown away"
    ended, whole = Played(), Played()
    stopped = await go_on(stand, run, ended)
    assert len(ended.made) == 4, "the two pairs that were missing"
    await begin(stand, tmp_path / "other")
    save(tmp_path / "other", replace(load(tmp_path / "other") or stopped, seed=stopped.seed))
    straight = await go_on(stand, tmp_path / "other", whole)
    assert straight.measured == stopped.measured, "as if it had never been stopped"


async def test_what_more_pairs_may_decide_is_told_with_effect_and_interval(tmp_path: Path) -> None:
    steps: list[Step] = []
    stand, run = make_stand(tmp_path), tmp_path / "run"
    await begin(stand, run)
    record = await go_on(stand, run, Played(), steps.append)
    own = [step for step in steps if step.level is Level.PERFORMANCE]
    assert [(step.what, step.pairs) for step in own] == [
        *((f"pair {number + 1} of at most 3", number) for number in range(3)),
        ("", 3),
    ]
    told = {one.check_id: one for one in own[1].still_open}
    assert set(told) == {CPU, THROUGHPUT}
    assert all(one.pairs == 1 and one.effect is not None and one.interval is not None for one in told.values())
    console = next(one for one in record.results if one.check_id == console_check(Level.PERFORMANCE))
    assert (console.verdict, console.pairs) == (Verdict.PASS, 3)
    assert record.spent_s[Level.PERFORMANCE] >= 0
    changed = parse_release_config(ONLY + f'[checks."{THROUGHPUT}"]\nmargin = 0.5\n')
    with pytest.raises(CheckError, match="margins are fixed before"):
        await qualify(stand, changed, run)
    more = parse_release_config(ONLY + "[budget]\nmost_pairs = 4\n")
    longer = await qualify(stand, more, run, is_keeping_going=True, make_runs=Played())
    assert pairs_in(run) == 4, "a larger budget may be given later: looking is free"
    assert longer.seed == record.seed


async def test_a_part_whose_checks_are_decided_is_not_run_again(tmp_path: Path) -> None:
    """Networks agree at once, costs never do."""
    wifi = "performance.retransmitted-wifi"
    only = ONLY.replace(f'[checks."{wifi}"]\nis_on = false\n', "")
    config = parse_release_config(only + "[budget]\nmost_pairs = 9\n")
    stand, run, played = make_stand(tmp_path), tmp_path / "run", Played(noise=0.9)
    await begin(stand, run, config)
    record = await qualify(stand, config, run, is_keeping_going=True, make_runs=played)
    found = {one.check_id: one for one in record.results}
    assert found[CheckId(wifi)].verdict is Verdict.PASS
    assert found[CheckId(CPU)].reason is Reason.BUDGET_ENDED
    made = {name: len(record.measured[CheckId(name)].pairs) for name in (wifi, CPU)}
    assert played.parts.count(Part.NETWORKS) == made[wifi] < 9
    assert played.parts.count(Part.COSTS) == made[CPU] == 9


async def test_builds_take_turns_under_one_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[tuple[str, int]] = []

    async def turn(stand: Stand, lab: str, seed: int) -> costs.Turn:
        order.append((lab, seed))
        return costs.Turn(values={"cpu_s_per_gb": float(len(order))}, slow=1, timed=100)

    async def warm(lab: str, seconds: int) -> None:
        order.append((lab, 0))

    monkeypatch.setattr(costs, "run_turn", turn)
    monkeypatch.setattr(costs, "run_range_volume", warm)
    found = await costs.measure_costs(make_stand(tmp_path), {Side.CANDIDATE: "c", Side.BASELINE: "b"}, 7)  # type: ignore[dict-item]
    assert order == [("c", 0), ("b", 0), *((lab, 7) for lab in "cbbccb")]
    assert found[Side.CANDIDATE] == {"cpu_s_per_gb": 6.0, "first_byte_slow_ratio": 0.01}, (
        "the median of turns 3, 6 and 7"
    )
    assert found[Side.BASELINE]["cpu_s_per_gb"] == 5.0


async def test_a_build_that_dies_is_no_fault_of_the_lab(tmp_path: Path) -> None:
    stand, run = make_stand(tmp_path), tmp_path / "run"
    await begin(stand, run)
    seed = (load(run) or Qualification(candidate="", baseline="", seed=0)).seed
    first = draw_order(make_rng(f"{seed}-{Level.PERFORMANCE}-0"))
    at = 0 if first.value.startswith("candidate") else 1
    record = await go_on(stand, run, Played(faults={at: FAULT}))
    result = next(one for one in record.results if one.check_id == "performance.console")
    assert (result.verdict, result.reason) == (Verdict.FAIL, Reason.CONSOLE_FAULT)
    assert result.faults == (FAULT,)
    assert pairs_in(run) == 1, "no further pair is made"
    with pytest.raises(LabError, match="the baseline itself fails: Kernel panic"):
        await run_pair(stand, seed, FIRST, Played(faults=dict.fromkeys(range(9), FAULT)))


@pytest.mark.root
def test_a_full_disk_keeps_the_record_before(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True, timeout=20)
    try:
        before = Qualification(candidate="c-1", baseline="c-0", seed=1)
        save(disk, before)
        (disk / "filler").write_bytes(b"x" * (44 << 10))
        with pytest.raises(LabError, match=r"no room left for .*the same command again"):
            save(disk, Qualification(candidate="c" * 30_000, baseline="c-0", seed=1))
        assert load(disk) == before
        assert [path.name for path in disk.iterdir() if path.name.endswith(".tmp")] == []
    finally:
        subprocess.run(["umount", str(disk)], check=True, timeout=20)


async def test_a_calibration_goes_on_and_grows(tmp_path: Path) -> None:
    path, stand, told = tmp_path / "calibration.json", make_stand(tmp_path), []
    wanted = Wanted(pairs=3, counts=0, levels=(Level.PERFORMANCE,))
    with pytest.raises(LabError, match="pair 3"):
        await run_calibration(stand, CONFIG, path, wanted, make_runs=Played({4: LabError("no"), 5: LabError("no")}))
    kept = load_state(path, CalibrationRuns)
    assert kept is not None
    assert len(kept.pairs[Level.PERFORMANCE]) == 2
    more = replace(wanted, pairs=20)
    runs = await run_calibration(stand, CONFIG, path, more, on_progress=told.append, make_runs=Played())
    assert (told[0].done, told[0].steps, told[-1].done) == (2, 20, 19)
    assert runs.pairs[Level.PERFORMANCE][:2] == kept.pairs[Level.PERFORMANCE]
    assert dict(runs.machine)["cores"].isdigit()
    calibration = calibration_of(runs, CONFIG)
    found = {check.check_id: check for check in calibration.checks}[CheckId(THROUGHPUT)]
    assert (found.pairs, found.smallest_effect) == (20, None), "three pairs are too few to find anything"
    assert 0.01 < (found.spread or 0) < 0.1
    assert (calibration.measured_alarms.runs, calibration.measured_alarms.hits) == (6, 0)
    assert seconds_of_a_pair(runs)["performance"] >= 0
    idle = Played()
    assert await run_calibration(stand, CONFIG, path, more, make_runs=idle) == runs
    assert not idle.made, "nothing is left to do"
    other = replace(stand, baseline=replace(stand.baseline, digest="two"))
    with pytest.raises(CheckError, match="another build"):
        await run_calibration(other, CONFIG, path, more)


@pytest.mark.root
@pytest.mark.parametrize(
    ("command", "problem", "last"),
    [
        ("echo fine; exit 0", "", "fine"),
        ("echo 'not ok 7'; exit 3", "ended with code 3: not ok 7", "not ok 7"),
        ("echo begun; sleep 60 & wait", "did not end in 1 s", "begun"),
        ('test "$PROGRAM" = /bin/nginx && pwd', "", "{folder}"),
    ],
)
async def test_a_suite_is_judged_by_its_exit_code(tmp_path: Path, command: str, problem: str, last: str) -> None:
    suite = Suite(
        check_id=CheckId("function.own"),
        about="",
        command=("sh", "-c", command),
        timeout_s=1.0 if "sleep" in command else 20.0,
        log=tmp_path / "suites" / "own.log",
        environment={"PROGRAM": "/bin/nginx"},
    )
    ran = await run_suite(suite, tmp_path / "scratch")
    assert ran.problem == problem
    assert ran.last == (last.format(folder=tmp_path / "scratch"), "whole log: suites/own.log")
    assert suite.log.read_text().startswith(ran.last[0])


async def test_a_suite_whose_program_is_missing_says_nothing_of_the_candidate(tmp_path: Path) -> None:
    suite = Suite(
        check_id=CheckId("function.own"), about="", command=("no-such",), timeout_s=5.0, log=tmp_path / "own.log"
    )
    stand = replace(make_stand(tmp_path), suites=(suite,))
    look = next(one for one in expectations(stand) if one.check_id == "function.own")
    result = await meet(look, stand)
    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, Reason.NOT_RUN)
    assert "no program 'no-such'" in result.summary
