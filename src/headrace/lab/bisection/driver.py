"""Drives a search: does what `release.bisect` asks for, on real builds, and writes down all that came of it.

The ends are read first, until it is known how many readings an answer takes and how often it is wrong. A commit whose
program is that of one already answered is not run. Decides nothing about commits itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from headrace.base.clock import Clock
from headrace.lab.bisection.builds import Works
from headrace.lab.bisection.model import Bisection, Built, Kind, StepDone
from headrace.lab.bisection.readings import Check, NotingStand, Reader, put_in, read
from headrace.lab.bisection.record import save
from headrace.lab.content import KnownFile, standard_content
from headrace.lab.profiles import Profile
from headrace.lab.qualify.stand import Subject
from headrace.release.answers import End, Reading, Way, Yardstick, answer_of, make_yardstick, next_end
from headrace.release.bisect import (
    BisectState,
    Conclusion,
    Ending,
    Outcome,
    Step,
    StepKind,
    bits_left,
    next_step,
    posterior,
    start_search,
)
from headrace.release.config import BisectionSettings
from headrace.upstream.model import commit_id

MOST_SHOWN = 3
LEAST_BUILD_S = 0.5
"""Shorter, it was found in the store."""
_PLAIN = "plain"
_REVERT = "revert:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """What is being done, for whoever watches."""

    what: str
    steps: int = 0
    bits_left: float | None = None
    likeliest: tuple[tuple[str, float], ...] = ()
    """Commits with their probability, the likeliest first."""
    done: StepDone | None = None
    """The step that has just ended."""


Watch = Callable[[Doing], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """All that a search needs and that does not change while it runs."""

    works: Works
    check: Check
    rest: Subject
    """The machine, with what is not searched: the other components of the candidate."""
    run: Path
    machines: Path
    """Folder for machines; what lies in it is lost."""
    settings: BisectionSettings
    clock: Clock
    watch: Watch
    profiles: dict[str, Profile] = field(default_factory=dict)
    content: tuple[KnownFile, ...] = field(default_factory=standard_content)
    time_scale: float = 1.0
    reader: Reader = read
    built: dict[str, Built] = field(default_factory=dict)
    """What was built for what while this process runs; readings of it are many."""

    async def search(self, record: Bisection) -> Bisection:
        """Take the search to its end, from where `record` is.

        Raises:
            LabError, WorkshopError: this machine could not; what was done is kept.
            CheckError: the ends are too near each other to be told apart.
        """
        if record.state is None:
            record = await self._know_ends(record)
        while record.conclusion is None:
            assert record.state is not None
            step = next_step(record.state)
            if isinstance(step, Conclusion):
                record = self._kept(replace(record, conclusion=step))
            else:
                self._tell(record, f"{_VERBS[step.kind]} {self._name(step.commit_id)}")
                record = self._kept(await self._take(record, step))
        if record.fails_without_patches is None and self._wants_plain(record):
            record = self._kept(await self._ask_plain(record))
        return record

    async def _know_ends(self, record: Bisection) -> Bisection:
        """Read both ends until the yardstick is known, and begin the search."""
        grounds, definition = self.works.grounds, self.check.definition
        for end in (End.GOOD, End.BAD):
            record, built = await self._build(record, end.value)
            if built.failure:
                kind = StepKind.CHECK_GOOD if end is End.GOOD else StepKind.CHECK_BAD
                commit = grounds.good if end is End.GOOD else grounds.top
                step = Step(kind=kind, commit_id=commit, why=built.failure)
                return self._begun(record, None).answered_in(step, Outcome.UNBUILDABLE, cost_s=built.took_s)
        while wanted := next_end(
            self.check.way, _pool(record, End.GOOD), _pool(record, End.BAD), definition, self.settings
        ):
            self._tell(record, f"reading the {wanted} end")
            record = self._kept(await self._read(record, wanted.value))
        good, bad = _pool(record, End.GOOD), _pool(record, End.BAD)
        yardstick = make_yardstick(self.check.way, good, bad, definition, self.settings)
        record = replace(record, ends=bad)
        if yardstick is None:
            return self._kept(self._passing_now(record))
        return self._kept(self._begun(record, yardstick))

    def _passing_now(self, record: Bisection) -> Bisection:
        """A search that ends at once: the bad end does not fail."""
        record = self._begun(record, None)
        for reading in (*_pool(record, End.GOOD), *_pool(record, End.BAD), *_pool(record, End.BAD)):
            assert record.state is not None
            step = next_step(record.state)
            if isinstance(step, Step):
                record = record.answered_in(step, Outcome.PASS, cost_s=reading.cost_s)
        return record

    def _begun(self, record: Bisection, yardstick: Yardstick | None) -> Bisection:
        grounds, settings = self.works.grounds, self.settings
        stored = self.works.stored()
        searched = [
            one.for_search(implausible_weight=settings.implausible_weight, is_stored=one.commit in stored)
            for one in grounds.commits
        ]
        costs = [reading.cost_s for reading in (*_pool(record, End.GOOD), *_pool(record, End.BAD))]
        run_s = sum(costs) / len(costs) * (yardstick.readings if yardstick else 1) if costs else settings.run_cost_s
        state = start_search(
            searched,
            good=grounds.good,
            bad=grounds.top,
            settings=replace(settings, run_cost_s=max(0.1, run_s)),
            false_pass_ratio=yardstick.false_pass_ratio if yardstick else None,
            false_fail_ratio=yardstick.false_fail_ratio if yardstick else None,
        )
        record = replace(record, state=state, yardstick=yardstick)
        if self.check.is_of_program:
            for commit, digest in stored.items():
                record = _noted(record, commit, digest, cost_s=0.0)
        return record

    async def _take(self, record: Bisection, step: Step) -> Bisection:
        """One step: build, and run until there is an answer."""
        assert record.state is not None
        subject = self._subject(step)
        record, built = await self._build(record, subject)
        record = _with_cost_of_builds(record, built)
        if built.failure:
            return self._stepped(record, step, Outcome.UNBUILDABLE, built.failure, built, ())
        if step.kind is StepKind.TEST and self.check.is_of_program:
            before = record.state
            record = _noted(record, step.commit_id, built.digest, cost_s=built.took_s)
            twin = _answered_twin(record, step.commit_id)
            if twin is not None and record.state is not before:
                return self._same(record, step, twin, built)
        answer = self._given(record, step, subject)
        while answer is None:
            self._tell(record, f"running {self.check.check_id} on {self._name(step.commit_id)}")
            record = self._kept(await self._read(record, subject))
            answer = self._given(record, step, subject)
        outcome, taken = answer
        used = record.pool.get(subject, ())[:taken]
        return self._stepped(record.without_readings(subject, taken), step, outcome, _seen(used), built, used)

    def _given(self, record: Bisection, step: Step, subject: str) -> tuple[Outcome, int] | None:
        """The answer that the readings in the pool give."""
        assert record.yardstick is not None
        pool = record.pool.get(subject, ())
        if record.yardstick.way is not Way.RUNS and step.kind is StepKind.CHECK_GOOD:
            return Outcome.PASS, 0  # the good end is what the others are compared with
        if record.yardstick.way is not Way.RUNS and step.kind is StepKind.CHECK_BAD and pool:
            return Outcome.FAIL, len(pool)  # all of them made the yardstick
        return answer_of(record.yardstick, pool, self.check.definition)

    def _stepped(
        self, record: Bisection, step: Step, outcome: Outcome, what: str, built: Built, used: Sequence[Reading]
    ) -> Bisection:
        run_s = sum(reading.cost_s for reading in used)
        record = record.answered_in(step, outcome, cost_s=round(built.took_s + run_s, 3))
        return self._with_step(record, step, outcome.value, what, built.took_s, run_s)

    def _same(self, record: Bisection, step: Step, twin: str, built: Built) -> Bisection:
        what = f"the same program, byte for byte, as {self._name(twin)}"
        return self._with_step(record, step, "same", what, built.took_s, 0.0)

    def _with_step(
        self, record: Bisection, step: Step, outcome: str, what: str, build_s: float, run_s: float
    ) -> Bisection:
        assert record.state is not None
        done = StepDone(
            step=step, outcome=outcome, what=what, build_s=build_s, run_s=run_s, bits_left=bits_left(record.state)
        )
        record = replace(record, steps=(*record.steps, done))
        self.watch(self._doing(record, "", done))
        return record

    async def _build(self, record: Bisection, subject: str) -> tuple[Bisection, Built]:
        known = self.built.get(subject)
        if known is not None and self.works.is_there(known):
            return record, replace(known, took_s=0.0)
        self.built[subject] = built = await self._build_now(subject)
        return replace(record, spent_s=record.spent_s + built.took_s), built

    async def _build_now(self, subject: str) -> Built:
        works, grounds = self.works, self.works.grounds
        if subject == _PLAIN:
            return await works.build(grounds.upstream_bad, replace(works.origin(grounds.bad), patches=()))
        if subject.startswith(_REVERT):
            out = commit_id(subject.removeprefix(_REVERT))
            origin = replace(works.origin(grounds.bad), name=f"without {out[:12]}")
            return await works.build(works.reverted(out), origin)
        ends = {End.GOOD.value: grounds.good, End.BAD.value: grounds.bad}
        commit = ends.get(subject) or commit_id(subject)
        return await works.build(works.tested(commit), works.origin(commit))

    async def _read(self, record: Bisection, subject: str) -> Bisection:
        """One more reading in the pool."""
        record, good = await self._build(record, End.GOOD.value)
        record, built = await self._build(record, subject)
        stand = NotingStand(
            baseline=self._of(good, good),
            candidate=self._of(built, good),
            folder=self.machines,
            clock=self.clock,
            content=self.content,
            profiles=self.profiles,
            time_scale=self.time_scale,
        )
        is_end = subject in {End.GOOD, End.BAD}
        starts = any(reading.has_started for reading in record.ends) or not record.ends
        reading = await self.reader(self.check, stand, record.seed, record.readings, may_not_start=is_end or not starts)
        return record.with_reading(subject, reading)

    def _of(self, built: Built, good: Built) -> Subject:
        """A build on the machine, the other component as it is."""
        return replace(
            put_in(self.rest, self.works.grounds.component, self.works.program(built)),
            name=built.build_id,
            digest=built.digest,
            new_warnings=self.works.new_warnings(built, good),
        )

    def _subject(self, step: Step) -> str:
        return {StepKind.CHECK_GOOD: End.GOOD.value, StepKind.CHECK_BAD: End.BAD.value}.get(
            step.kind, _REVERT + step.commit_id if step.kind is StepKind.REVERT else step.commit_id
        )

    def _wants_plain(self, record: Bisection) -> bool:
        """Whether upstream will ask if its own head fails."""
        ended = record.conclusion
        if ended is None or ended.ending not in {Ending.CULPRIT, Ending.CULPRIT_NOT_REVERTED}:
            return False
        return self.works.grounds.find(ended.commit_ids[0]).kind is Kind.UPSTREAM

    async def _ask_plain(self, record: Bisection) -> Bisection:
        if not self.works.grounds.chain:
            return replace(record, fails_without_patches=True)
        self._tell(record, "upstream's own head, without our patches")
        record, built = await self._build(record, _PLAIN)
        if built.failure:
            return replace(record, fails_without_patches=False)
        assert record.yardstick is not None
        while (answer := answer_of(record.yardstick, record.pool.get(_PLAIN, ()), self.check.definition)) is None:
            record = self._kept(await self._read(record, _PLAIN))
        return replace(record, fails_without_patches=answer[0] is Outcome.FAIL)

    def _kept(self, record: Bisection) -> Bisection:
        save(self.run, record)
        return record

    def _tell(self, record: Bisection, what: str) -> None:
        self.watch(self._doing(record, what, None))

    def _doing(self, record: Bisection, what: str, done: StepDone | None) -> Doing:
        state = record.state
        if state is None:
            return Doing(what=what, done=done)
        likeliest = tuple(list(posterior(state).items())[:MOST_SHOWN])
        return Doing(what=what, steps=len(record.steps), bits_left=bits_left(state), likeliest=likeliest, done=done)

    def _name(self, commit: str) -> str:
        return "the good end" if commit == self.works.grounds.good else commit[:12]


_VERBS = {
    StepKind.CHECK_GOOD: "checking the good end:",
    StepKind.CHECK_BAD: "checking the bad end:",
    StepKind.TEST: "testing",
    StepKind.CONFIRM: "once more",
    StepKind.REVERT: "the bad end without",
}


def _pool(record: Bisection, end: End) -> tuple[Reading, ...]:
    return record.pool.get(end.value, ())


def _with_cost_of_builds(record: Bisection, built: Built) -> Bisection:
    """With what a step's build has cost here so far, instead of what the settings expect."""
    assert record.state is not None
    if built.took_s < LEAST_BUILD_S:
        return record  # it lay in the store
    took = [*(one.build_s for one in record.steps if one.build_s >= LEAST_BUILD_S), built.took_s]
    search = replace(record.state.search, build_cost_s=sum(took) / len(took))
    return replace(record, state=replace(record.state, search=search))


def _noted(record: Bisection, commit: str, digest: str, *, cost_s: float) -> Bisection:
    """With what came out of a build; equal to another, both are known to be alike."""
    state = record.state
    assert state is not None
    if commit in record.digests:
        return record
    twin = next((other for other, known in record.digests.items() if known == digest), None)
    record = replace(record, digests={**record.digests, commit: digest})
    if twin is None:
        return record
    return replace(record, state=_alike(state, commit, twin, cost_s=cost_s))


def _alike(state: BisectState, one: str, other: str, *, cost_s: float) -> BisectState:
    """The good end has no place among the commits; it may only be the other one."""
    return (
        state.found_same(other, one, cost_s=cost_s)
        if one == state.search.good
        else state.found_same(one, other, cost_s=cost_s)
    )


def _answered_twin(record: Bisection, commit: str) -> str | None:
    """A commit with the same program of which it is known whether it fails."""
    assert record.state is not None
    search = record.state.search
    answered = {one.commit_id for one in record.state.answers if one.outcome in {Outcome.PASS, Outcome.FAIL}}
    twins = [one for one, digest in record.digests.items() if digest == record.digests[commit] and one != commit]
    return next((one for one in twins if one in answered or one in {search.good, search.bad}), None)


def _seen(readings: Sequence[Reading]) -> str:
    """What the readings of an answer showed: the last, and how many there were."""
    if not readings:
        return "what the others are compared with"
    more = f" ({len(readings)} readings)" if len(readings) > 1 else ""
    return readings[-1].summary + more
