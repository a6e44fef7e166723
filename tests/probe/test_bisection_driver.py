"""The driver on real git and real builds of one file: our patches, lost patches, merges, what does not build, twins.

The lab is played: a reading looks at the program, which is the file itself. It fails where the file says `fault`.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.lab.bisection.begin import begin, go_on
from headrace.lab.bisection.builds import Works
from headrace.lab.bisection.driver import Driver
from headrace.lab.bisection.grounds import borrow_repository, grounds_of_candidates, grounds_of_repository, resolve_in
from headrace.lab.bisection.model import Bisection, Kind
from headrace.lab.bisection.readings import Check, NotingStand
from headrace.lab.bisection.record import load
from headrace.lab.bisection.result import lines_of, make_report
from headrace.lab.errors import LabError
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.qualify.stand import Subject
from headrace.release.answers import Reading, Way
from headrace.release.bisect import Ending, Outcome
from headrace.release.config import parse_release_config
from headrace.release.model import CheckId
from headrace.upstream.candidate import Component, make_component
from headrace.upstream.model import CommitId, upstream_name
from headrace.upstream.recipe import parse_recipe
from headrace.upstream.tree import TreeId
from headrace.workshop.adapters.locks import hold_lock
from headrace.workshop.builder import Builder
from headrace.workshop.candidates import CandidateStore
from headrace.workshop.config import read_workshop_config
from headrace.workshop.errors import RepositoryError, StoreError
from headrace.workshop.grafts import Refused, without
from headrace.workshop.repository import Mirror
from headrace.workshop.store import BuildStore
from headrace.workshop.sync import add_upstream, sync_upstream
from headrace.workshop.testing_git import SourceRepository
from headrace.workshop.tracked import tracked_source
from headrace.workshop.work import Progress

NAME = upstream_name("nginx")
RECIPE = parse_recipe(
    "copy",
    'about = "one file"\n[build]\ncommands = [["sh", "-c", "! grep -q broken a && cat a ours* > b"]]\n'
    '[outputs]\nnginx = "b"\n[toolchain]\ncommands = [["true"]]\n',
    {},
    source="copy.toml",
)
CHECK = Check(check_id=CheckId("function.bytes"), way=Way.RUNS)
SETTINGS = parse_release_config().bisection


async def look(check: Check, stand: NotingStand, seed: int, number: int, *, may_not_start: bool) -> Reading:
    """Whether the program has a fault."""
    assert stand.candidate.machine.nginx is not None
    text = stand.candidate.machine.nginx.read_text()
    return Reading(outcome=Outcome.FAIL if "fault" in text else Outcome.PASS, summary=text[-20:], cost_s=1.0)


@dataclass
class Shop:
    """A release folder, and a developer's repository."""

    root: Path
    source: SourceRepository = field(init=False)
    clock: SystemClock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self.source = SourceRepository(folder=self.root / "source")
        self.source.commit("begin", {"a": "1\n", "ours0": ""})
        self.store = BuildStore(self.root / "builds", clock=self.clock)
        self._config = read_workshop_config('[build]\nnice = 0\nmin_free = "1MiB"', source="test").build

    def make_builder(self, watch: Callable[[Progress], None] = lambda progress: None) -> Builder:
        return Builder(
            self.store, CandidateStore(self.root / "candidates"), self._config, clock=self.clock, watch=watch
        )

    def change(self, text: str, subject: str = "") -> CommitId:
        return self.source.commit(subject or f"to {text}", {"a": f"{text}\n"})

    def queue(self, name: str, text: str) -> None:
        """One more patch of ours: a file of its own."""
        self.source.branch("local", "main")
        self.source.commit(f"ours: {text}", {name: f"{text}\n"})
        folder = self.root / "upstreams/nginx/patches"
        (folder / f"{name}.patch").write_bytes(self.source.patch())
        self.source.switch("main")

    def follow(self) -> None:
        url = str(self.source.folder)
        add_upstream(self.root, NAME, url, branch="main", patches=None, now_s=self.clock.now_s())

    def candidate(self) -> tuple[Component, TreeId]:
        """Sync, and build what came of it."""
        sync_upstream(self.root, NAME, clock=self.clock, watch=lambda line: None)
        tree, origin = tracked_source(self.root, NAME, "", line="copy@main", store=self.store, clock=self.clock)
        build = self.make_builder().build(RECIPE, tree, origin).build
        return make_component("nginx", build), build.provenance.inputs.tree

    def between(self, good: tuple[Component, TreeId], bad: tuple[Component, TreeId]) -> Driver:
        grounds, mirror = grounds_of_candidates(self.root, good, bad)
        return self.driver(mirror, grounds)

    def in_repository(self, good: str, bad: str) -> Driver:
        mirror = borrow_repository(self.source.folder, self.root / "run/repository.git")
        ends = [resolve_in(self.source.folder, revision) for revision in (good, bad)]
        return self.driver(mirror, grounds_of_repository(mirror, self.source.folder, *ends, component="nginx"))

    def driver(self, mirror: Mirror, grounds) -> Driver:  # type: ignore[no-untyped-def]
        works = Works(
            mirror=mirror,
            grounds=grounds,
            recipe=RECIPE,
            store=self.store,
            make_builder=self.make_builder,
            clock=self.clock,
            watch=lambda progress: None,
        )
        return Driver(
            works=works,
            check=CHECK,
            rest=Subject(name="", machine=MachineSpec(kind=MachineKind.PROCESS)),
            run=self.root / "run",
            machines=self.root / "machines",
            settings=SETTINGS,
            clock=self.clock,
            watch=lambda doing: None,
            reader=look,
        )

    async def search(self, driver: Driver) -> Bisection:
        record = go_on(driver.run, RECIPE) or begin(
            driver.run, driver.works.grounds, RECIPE, CHECK.check_id, names=("bad", "good"), clock=self.clock
        )
        return await driver.search(record)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "release")


def named(record: Bisection) -> tuple[Ending, tuple[str, ...]]:
    assert record.conclusion is not None
    return record.conclusion.ending, record.conclusion.commit_ids


async def test_an_upstream_commit_below_patches_that_both_ends_have(shop: Shop) -> None:
    shop.follow()
    shop.queue("ours1", "one")
    good = shop.candidate()
    commits = [shop.change(text) for text in ("2", "3", "4 fault", "5 fault", "6 fault")]
    shop.queue("ours2", "two")
    driver = shop.between(good, shop.candidate())
    assert [one.kind for one in driver.works.grounds.commits] == [Kind.UPSTREAM] * 5 + [Kind.PATCH]
    record = await shop.search(driver)
    assert named(record) == (Ending.CULPRIT_NOT_REVERTED, (commits[2],)), "the next ones changed the same line"
    assert record.fails_without_patches is True
    report = make_report(record, RECIPE, None)
    assert report is not None
    assert report.culprit is not None
    assert (report.culprit.commit, report.culprit.reverted_passed) == (commits[2], None)
    tested = [build.sources[-1] for build in shop.store.builds() if build.sources[-1].commit == commits[2]]
    assert [len(source.patches) for source in tested] == [1], "the patch of both ends was put on"


async def test_a_patch_of_ours_is_dropped_not_reverted(shop: Shop) -> None:
    shop.follow()
    shop.queue("ours1", "one")
    good = shop.candidate()
    shop.change("2")
    shop.queue("ours2", "two fault")
    shop.queue("ours3", "three")
    driver = shop.between(good, shop.candidate())
    record = await shop.search(driver)
    ending, (culprit,) = named(record)
    assert (ending, record.grounds.find(culprit).subject) == (Ending.CULPRIT, "ours: two fault")
    assert make_report(record, RECIPE, None) is None, "upstream has nothing to do with it"
    assert "since our patch" in lines_of(record)[0]


async def test_a_patch_that_left_the_queue_is_the_cause(shop: Shop) -> None:
    """The file `ours0` is faulty upstream, and our patch mends it."""
    shop.source.commit("a fault of old", {"ours0": "fault\n"})
    shop.follow()
    shop.queue("ours0", "mended")
    good = shop.candidate()
    (shop.root / "upstreams/nginx/patches/ours0.patch").unlink()
    shop.change("2")
    shop.change("3")
    record = await shop.search(shop.between(good, shop.candidate()))
    ending, (culprit,) = named(record)
    assert (ending, record.grounds.find(culprit).kind) == (Ending.CULPRIT, Kind.DROPPED)
    assert "patches that left the queue" in lines_of(record)[0]


async def test_what_does_not_build_leaves_a_range(shop: Shop) -> None:
    good = shop.source.head()
    shop.change("2")
    commits = [shop.change(text) for text in ("3 broken", "4 broken", "5 fault")]
    record = await shop.search(shop.in_repository(good, "HEAD"))
    ending, found = named(record)
    assert (ending, set(found)) == (Ending.RANGE, set(commits))
    assert len(lines_of(record)) > 4


async def test_ends_that_are_not_what_they_should_be(shop: Shop) -> None:
    first = shop.source.head()
    fine = shop.change("2")
    fault = shop.change("fault")
    broken = shop.change("broken")
    worse = shop.change("fault again")
    for good, bad, ending in (
        (first, fine, Ending.BAD_END_PASSES),
        (fault, worse, Ending.GOOD_END_FAILS),
        (first, broken, Ending.END_UNBUILDABLE),
    ):
        driver = shop.in_repository(good, bad)
        record = await shop.search(dataclasses.replace(driver, run=shop.root / ending))
        assert named(record) == (ending, ())
        assert "nothing to search" in lines_of(record)[0]


async def test_a_merge_at_fault_is_not_reverted(shop: Shop) -> None:
    good = shop.source.head()
    shop.source.branch("side")
    shop.source.commit("side", {"ours5": "x\n"})
    shop.source.switch("main")
    shop.change("2")
    shop.source.git.run("merge", "--quiet", "--no-ff", "--no-commit", "side")
    merge = shop.source.commit("Merge with a slip of the hand", {"a": "2 fault\n"})
    shop.source.commit("more", {"ours6": "y\n"})
    record = await shop.search(shop.in_repository(good, "HEAD"))
    assert named(record) == (Ending.CULPRIT_NOT_REVERTED, (merge,))
    assert "is a merge" in record.steps[-1].what


async def test_equal_programs_are_run_once(shop: Shop) -> None:
    good = shop.source.head()
    for number in range(6):
        shop.source.commit(f"words {number}", {"README": f"{number}\n"})
    culprit = shop.change("fault")
    for number in range(6):
        shop.source.commit(f"more words {number}", {"notes": f"{number}\n"})
    read: list[str] = []

    async def noting(check: Check, stand: NotingStand, seed: int, number: int, *, may_not_start: bool) -> Reading:
        read.append(stand.candidate.digest)
        return await look(check, stand, seed, number, may_not_start=may_not_start)

    record = await shop.search(dataclasses.replace(shop.in_repository(good, "HEAD"), reader=noting))
    assert named(record) == (Ending.CULPRIT, (culprit,))
    assert len(set(read)) == 2, "there are two programs only, whatever the number of commits"
    assert sum(step.outcome == "same" for step in record.steps) >= 1
    assert (await shop.search(shop.in_repository(good, "HEAD"))).steps == record.steps


async def test_a_fault_in_one_run_of_five_is_found(shop: Shop) -> None:
    good = shop.source.head()
    for number in range(4):
        shop.change(f"{number}")
    culprit = shop.change("4 fault")
    for number in range(5, 9):
        shop.source.commit(f"more {number}", {"ours7": f"{number}\n"})

    async def rarely(check: Check, stand: NotingStand, seed: int, number: int, *, may_not_start: bool) -> Reading:
        reading = await look(check, stand, seed, number, may_not_start=may_not_start)
        return reading if number % 5 == 1 else dataclasses.replace(reading, outcome=Outcome.PASS)

    record = await shop.search(dataclasses.replace(shop.in_repository(good, "HEAD"), reader=rarely))
    assert record.yardstick is not None
    assert record.yardstick.readings > 5
    assert named(record) == (Ending.CULPRIT, (culprit,))


async def test_an_error_of_the_lab_is_no_answer_and_the_search_goes_on(shop: Shop) -> None:
    good = shop.source.head()
    culprit = [shop.change(f"{number}{' fault' if number > 5 else ''}") for number in range(9)][6]
    runs = 0

    async def failing(check: Check, stand: NotingStand, seed: int, number: int, *, may_not_start: bool) -> Reading:
        nonlocal runs
        runs += 1
        if runs == 6:
            raise LabError("the cable was pulled")
        return await look(check, stand, seed, number, may_not_start=may_not_start)

    driver = dataclasses.replace(shop.in_repository(good, "HEAD"), reader=failing)
    with pytest.raises(LabError, match="cable"):
        await shop.search(driver)
    left = load(driver.run)
    assert left is not None
    assert left.readings == 5
    record = await shop.search(driver)
    assert record.steps[: len(left.steps)] == left.steps
    assert named(record)[1] == (culprit,)
    changed = dataclasses.replace(RECIPE, digest="another")
    with pytest.raises(UsageError, match="begin anew"):
        go_on(driver.run, changed)


async def test_the_build_of_another_key_held_is_waited_for_not_answered(shop: Shop) -> None:
    good = shop.source.head()
    shop.change("fault")
    shop._config = dataclasses.replace(shop._config, wait_s=0.1)
    lock = shop.store.root / "locks" / "work-copy@bisect.lock"
    with hold_lock(lock, clock=shop.clock, wait_s=1.0), pytest.raises(Exception, match="another process"):
        await shop.search(shop.in_repository(good, "HEAD"))
    assert named(await shop.search(shop.in_repository(good, "HEAD")))[0] is Ending.CULPRIT


def test_a_commit_is_taken_out_of_a_head_or_refused(shop: Shop) -> None:
    base = shop.source.head()
    first = shop.source.commit("one", {"ours1": "1\n"})
    second = shop.change("2")
    third = shop.change("3")
    mirror = borrow_repository(shop.source.folder, shop.root / "mirror.git")
    out = without(mirror, third, first)
    assert not isinstance(out, Refused)
    assert mirror.diff_of(out).count("deleted file") == 1
    assert without(mirror, third, first) == out, "the same inputs, the same commit"
    refused = without(mirror, third, second)
    assert isinstance(refused, Refused)
    assert "later changes touch the same lines in a" in refused.why
    assert isinstance(without(mirror, third, base), Refused), "the first commit of all"
    assert not (shop.source.folder / ".git" / "objects" / out[:2] / out[2:]).exists(), "nothing was written there"


def test_ends_without_a_history_are_refused(shop: Shop) -> None:
    shop.follow()
    good = shop.candidate()
    shop.change("2")
    bad = shop.candidate()
    with pytest.raises(UsageError, match="same commit"):
        shop.between(good, good)
    with pytest.raises(RepositoryError, match="from old to new"):
        shop.between(bad, good)
    strange = dataclasses.replace(bad[0], patches=("0" * 40,))
    with pytest.raises(RepositoryError, match="build the candidate again"):
        shop.between(good, (strange, bad[1]))
    with pytest.raises(StoreError, match="no build"):
        shop.store.find("b-0123")
