"""Real builds of nginx with known faults go through the levels: each is caught where the corpus says it can be seen."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.lab.errors import LabError
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.qualify.expectations import expectations, meet
from headrace.lab.qualify.record import FILE_NAME, life_of, load, save
from headrace.lab.qualify.runner import COUNTING, count_repeats, qualify
from headrace.lab.qualify.stand import Side, Stand, Subject
from headrace.release.config import parse_release_config
from headrace.release.errors import CheckError
from headrace.release.family import judge_family, level_verdict
from headrace.release.model import CheckResult, Level, Reason, Verdict
from headrace.release.states import CandidateState
from headrace.upstream.build import BuildVerdict
from headrace.workshop.adapters.tarball import unpack
from headrace.workshop.testing_nginx import Shop, fetch_nginx

REPO = Path(__file__).parents[2]
CORPUS = REPO / "corpus/nginx"
CONFIG = parse_release_config()
pytestmark = pytest.mark.timeout(400)  # the first run on a machine compiles nginx


class Bakery:
    """Builds nginx with a patch of the corpus, one after the other in one work tree."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shop = Shop()

    def bake(self, patch: str = "") -> Path:
        """The program with `patch` applied; '' for the plain one."""
        if patch:
            self._patch(patch)
        try:
            outcome = self._shop.build_folder(self._folder)
        finally:
            if patch:
                self._patch(patch, "--reverse")
        assert outcome.build.verdict is BuildVerdict.BUILT, outcome.build.failure
        return self._shop.program(outcome)

    def _patch(self, name: str, *options: str) -> None:
        command = ["git", "apply", *options, str(CORPUS / name)]
        subprocess.run(command, cwd=self._folder, check=True, timeout=20)


@pytest.fixture(scope="module")
def bakery(tmp_path_factory: pytest.TempPathFactory) -> Bakery:
    return Bakery(unpack(fetch_nginx(REPO / "scripts"), tmp_path_factory.mktemp("nginx")))


@pytest.fixture(scope="module")
def plain(bakery: Bakery) -> Path:
    return bakery.bake()


def make_stand(folder: Path, baseline: Path, candidate: Path) -> Stand:
    def subject(name: str, program: Path) -> Subject:
        machine = MachineSpec(kind=MachineKind.PROCESS, nginx=program)
        return Subject(name=name, digest=str(program), machine=machine)

    return Stand(
        baseline=subject("baseline", baseline),
        candidate=subject("candidate", candidate),
        folder=folder / "machines",
        clock=SystemClock(),
        time_scale=0.5,
    )


def test_the_corpus_is_whole() -> None:
    listed = tomllib.loads((CORPUS / "corpus.toml").read_text())["change"]
    assert sorted(one["patch"] for one in listed) == sorted(path.name for path in CORPUS.glob("*.patch"))
    levels = {level.name.lower() for level in Level} | {"none"}
    for one in listed:
        assert one["level"] in levels
        assert (one["level"] == "none") == one["patch"].startswith("harmless-")


@pytest.mark.parametrize(
    ("patch", "check", "reason"),
    [
        ("fault-suffix-range.patch", "function.bytes", Reason.EXPECTATION_BROKEN),
        ("fault-bytes-last-page.patch", "function.bytes", Reason.EXPECTATION_BROKEN),
        ("fault-crash-reset.patch", "impairment.aborts", Reason.CONSOLE_FAULT),
    ],
)
async def test_a_fault_is_caught(
    bakery: Bakery, plain: Path, tmp_path: Path, patch: str, check: str, reason: Reason
) -> None:
    stand = make_stand(tmp_path, plain, bakery.bake(patch))
    expectation = next(one for one in expectations(stand) if one.check_id == check)
    result = await meet(expectation, stand)
    assert (result.verdict, result.reason) == (Verdict.FAIL, reason), result.evidence


async def test_a_good_candidate_passes_and_a_stopped_run_goes_on(plain: Path, tmp_path: Path) -> None:
    stand, run = make_stand(tmp_path, plain, plain), tmp_path / "run"
    first = await qualify(stand, CONFIG, run, up_to=Level.BUILD)
    assert [result.check_id for result in first.results] == ["build.warnings"]
    steps: list[str] = []
    whole = await qualify(stand, CONFIG, run, up_to=Level.IMPAIRMENT, on_step=lambda step: steps.append(step.what))
    assert "no new warnings in patched files" not in steps, "done in the first run"
    assert {result.verdict for result in whole.results} == {Verdict.PASS}, whole.results
    assert life_of(whole, now_s=0.0).state is CandidateState.IMPAIRMENT_PASSED
    assert load(run) == whole


async def test_a_level_that_fails_stops_the_later_ones(bakery: Bakery, plain: Path, tmp_path: Path) -> None:
    stand = make_stand(tmp_path, plain, bakery.bake("fault-bytes-border.patch"))
    record = await qualify(stand, CONFIG, tmp_path / "run", up_to=Level.IMPAIRMENT)
    assert {result.level for result in record.results} == {Level.BUILD, Level.FUNCTION}
    assert life_of(record, now_s=0.0).state is CandidateState.FAILED


async def test_instructions_tell_one_percent_and_no_change(bakery: Bakery, plain: Path, tmp_path: Path) -> None:
    family = [one for one in CONFIG.definitions if one.metric.name.startswith("instructions.")]
    assert len(family) == 2
    for patch, verdict in (("fault-cpu-1.patch", Verdict.FAIL), ("harmless-refactor.patch", Verdict.PASS)):
        stand = make_stand(tmp_path, plain, bakery.bake(patch))
        counts = await count_repeats(stand, family, 2)
        results = judge_family(family, counts.measured, CONFIG)
        assert [result.verdict for result in results] == [verdict, verdict], results


async def test_a_candidate_that_breaks_while_it_is_counted_fails(plain: Path, tmp_path: Path) -> None:
    broken = tmp_path / "nginx"
    broken.write_text(f'#!/bin/sh\n[ "$1" != -V ] || exec {plain} -V\nexit 3\n')
    broken.chmod(0o755)
    stand, run = make_stand(tmp_path, plain, broken), tmp_path / "run"
    others = [one.check_id for one in CONFIG.definitions if not one.metric.name.startswith("instructions.")]
    config = parse_release_config("".join(f'[checks."{one}"]\nis_on = false\n' for one in others))
    record = await qualify(stand, config, run, up_to=Level.BUILD)
    for one in expectations(stand):
        record = record.with_met(
            CheckResult(check_id=one.check_id, level=one.level, verdict=Verdict.PASS, reason=Reason.ALL_AS_EXPECTED)
        )
    save(run, record)
    record = await qualify(stand, config, run, is_keeping_going=True)
    result = next(one for one in record.results if one.check_id == COUNTING)
    assert (result.verdict, result.reason) == (Verdict.FAIL, Reason.EXPECTATION_BROKEN)
    assert "nginx ended under callgrind" in result.summary
    assert level_verdict(record.results, Level.PERFORMANCE) is Verdict.FAIL
    assert await qualify(stand, config, run, is_keeping_going=True) == record, "it is not counted again"


async def test_a_record_of_other_builds_or_a_damaged_one_is_refused(plain: Path, tmp_path: Path) -> None:
    stand, run = make_stand(tmp_path, plain, plain), tmp_path / "run"
    await qualify(stand, CONFIG, run, up_to=Level.BUILD)
    other = make_stand(tmp_path, plain, Path("/nowhere/nginx"))
    with pytest.raises(CheckError, match="run of other builds"):
        await qualify(other, CONFIG, run, up_to=Level.BUILD)
    (run / FILE_NAME).write_text("{")
    with pytest.raises(LabError, match="remove it to begin anew"):
        await qualify(stand, CONFIG, run, up_to=Level.BUILD)


async def test_a_program_that_is_no_nginx_says_nothing_of_the_candidate(plain: Path, tmp_path: Path) -> None:
    stand = make_stand(tmp_path, plain, Path("/bin/true"))
    expectation = next(one for one in expectations(stand) if one.check_id == "function.serves")
    with pytest.raises(LabError, match="not a build of nginx"):
        await meet(expectation, stand)
    assert stand.subject(Side.CANDIDATE).machine.nginx == Path("/bin/true")
