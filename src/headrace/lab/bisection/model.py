"""What a search on real builds is about, and all that it has come to: plain data, written down after each step."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from headrace.release.answers import Reading, Yardstick
from headrace.release.bisect import BisectState, Conclusion, Outcome, Step
from headrace.release.history import Commit
from headrace.upstream.model import CommitId


class Kind(StrEnum):
    """What a commit of the search is."""

    UPSTREAM = "upstream"
    PATCH = "patch"
    """One of our queue."""
    DROPPED = "dropped-patches"
    """The commit below our patches, which the bad end's queue has less of: here those that left are missing first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedCommit:
    """One commit between the ends."""

    commit: CommitId
    parents: tuple[CommitId, ...]
    """As the search sees them: patches that both ends have are left out."""
    subject: str
    author: str
    kind: Kind = Kind.UPSTREAM
    doubt: str = ""
    """Why it can hardly have caused anything; '' for what may have."""

    def for_search(self, *, implausible_weight: float, is_stored: bool) -> Commit:
        """As `release` takes it."""
        return Commit(
            commit_id=self.commit,
            parents=self.parents,
            subject=self.subject,
            is_patch=self.kind is Kind.PATCH,
            weight=implausible_weight if self.doubt else 1.0,
            is_stored=is_stored,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """One component between two commits of one history, our patches on top."""

    component: str
    """`nginx`, `linux` or `linux-image`: the output that is built and run."""
    upstream: str
    """Name of the tracked upstream; '' for a repository by itself."""
    url: str
    """Of the repository, without password."""
    good: CommitId
    """As tested: with patches."""
    bad: CommitId
    upstream_good: CommitId
    upstream_bad: CommitId
    commits: tuple[SearchedCommit, ...]
    top: CommitId
    """The bad end among `commits`: its last, but for patches that both ends have."""
    chain: tuple[CommitId, ...] = ()
    """All patches of the bad end as commits, in order."""
    carried: tuple[CommitId, ...] = ()
    """Those of them that the good end has too: put on every commit that is tested."""
    left: tuple[CommitId, ...] = ()
    """Patches of the good end that the bad end has not."""
    good_chain: tuple[CommitId, ...] = ()
    """All patches of the good end."""
    patch_ids: dict[CommitId, str] = field(default_factory=dict)
    """Of all these patches: a patch has another commit on each commit that it is put on."""

    def find(self, commit: str) -> SearchedCommit:
        """A commit by its full name."""
        return next(one for one in self.commits if one.commit == commit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What building a commit gave."""

    digest: str
    """Of the outputs; equal ones are one program. '' where it does not build."""
    build_id: str = ""
    failure: str = ""
    took_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """One step, for people."""

    step: Step
    outcome: str
    """That of the answer, or `same` for a build equal to one already answered."""
    what: str
    """What was seen."""
    build_s: float
    run_s: float
    bits_left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bisection:
    """A whole search so far."""

    name: str
    check_id: str
    candidate: str
    """The candidate's id, or the bad revision; of the good end likewise."""
    baseline: str
    grounds: Grounds
    recipe: str
    recipe_digest: str
    seed: int
    started_s: float
    environment: tuple[tuple[str, str], ...] = ()
    """Name and value: machine, compiler, what else ran."""
    readings: int = 0
    """Made so far; each has a load of its own."""
    pool: dict[str, tuple[Reading, ...]] = field(default_factory=dict)
    """Readings that no answer has taken yet, by what was read: `good`, `bad`, a commit, `revert:` and a commit."""
    ends: tuple[Reading, ...] = ()
    """What the bad end showed before the search."""
    yardstick: Yardstick | None = None
    state: BisectState | None = None
    digests: dict[str, str] = field(default_factory=dict)
    """The outputs' digest of what was built, by commit searched; the good end's too."""
    steps: tuple[StepDone, ...] = ()
    conclusion: Conclusion | None = None
    fails_without_patches: bool | None = None
    """Whether upstream's own head fails, when the culprit is upstream's; None: not tried."""
    spent_s: float = 0.0
    """Of builds and runs, all of them, also those before the search."""

    def with_reading(self, subject: str, reading: Reading) -> "Bisection":
        """With one more reading in the pool."""
        pool = {**self.pool, subject: (*self.pool.get(subject, ()), reading)}
        return replace(self, pool=pool, readings=self.readings + 1, spent_s=self.spent_s + reading.cost_s)

    def answered_in(self, step: Step, outcome: Outcome, *, cost_s: float) -> "Bisection":
        """With the answer of a step."""
        assert self.state is not None
        return replace(self, state=self.state.answered(step, outcome, cost_s=cost_s))

    def without_readings(self, subject: str, count: int) -> "Bisection":
        """With the first `count` readings of a subject taken by an answer."""
        return replace(self, pool={**self.pool, subject: self.pool.get(subject, ())[count:]})
