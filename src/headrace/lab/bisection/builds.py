"""Builds what a search asks for, in one work tree of its own, and knows what was built before.

A commit that does not build, or on which our patches do not fit, is a result. A machine that could not build it is an
error, and says nothing of the commit.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.base.clock import Clock
from headrace.lab.bisection.model import Built, Grounds, Kind
from headrace.upstream.build import BuildVerdict, Source
from headrace.upstream.model import CommitId
from headrace.upstream.recipe import Recipe
from headrace.upstream.tree import TreeId, tree_id_of
from headrace.workshop.builder import Builder, line_of
from headrace.workshop.errors import WorkshopError
from headrace.workshop.grafts import Refused, put_on, without
from headrace.workshop.repository import Mirror
from headrace.workshop.store import BuildStore
from headrace.workshop.tracked import commit_source
from headrace.workshop.work import Progress, Watch

WORK_TREE = "bisect"
"""Its name in the build store: one step after the other, so that each builds only what differs from the last."""


class StoppedError(WorkshopError):
    """The build was stopped because the search was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Works:
    """Builds commits of one history."""

    mirror: Mirror
    grounds: Grounds
    recipe: Recipe
    store: BuildStore
    make_builder: Callable[[Watch], Builder]
    clock: Clock
    watch: Watch

    def tested(self, commit: CommitId) -> CommitId | Refused:
        """The commit that is built to test `commit`: with the patches that both ends have. Raises RepositoryError."""
        if commit in {self.grounds.good, self.grounds.bad}:
            return commit
        if commit in self.grounds.chain:
            later = self.grounds.chain[self.grounds.chain.index(commit) + 1 :]
            return put_on(self.mirror, commit, [one for one in later if one in self.grounds.carried])
        return put_on(self.mirror, commit, self.grounds.carried)

    def reverted(self, commit: CommitId) -> CommitId | Refused:
        """The bad end without `commit`: reverted; a patch of ours dropped; lost ones back. Raises RepositoryError."""
        chain = self.grounds.chain
        if commit in chain:
            at = chain.index(commit)
            below = chain[at - 1] if at else self.grounds.upstream_bad
            return put_on(self.mirror, below, chain[at + 1 :])
        if self.grounds.find(commit).kind is Kind.DROPPED:
            return put_on(self.mirror, self.grounds.bad, self.grounds.left)
        return without(self.mirror, self.grounds.bad, commit)

    def origin(self, commit: CommitId) -> Source:
        """What a build for the test of `commit` is noted as."""
        grounds = self.grounds
        if commit == grounds.good:
            below, patches = grounds.upstream_good, grounds.good_chain
        elif commit in grounds.chain or commit == grounds.bad:
            below = grounds.upstream_bad
            at = grounds.chain.index(commit) + 1 if commit in grounds.chain else 0
            patches = grounds.chain[:at] + tuple(one for one in grounds.chain[at:] if one in grounds.carried)
        else:
            below, patches = commit, grounds.carried
        ids = tuple(grounds.patch_ids.get(one, one) for one in patches)
        return Source(upstream=grounds.upstream, commit=below, patches=ids)

    async def build(self, commit: CommitId | Refused, origin: Source) -> Built:
        """Build, or find built; a commit that does not exist does not build.

        Raises:
            WorkshopError: this machine could not (disk full, time limit, mirror); no verdict on the commit.
        """
        if isinstance(commit, Refused):
            return Built(digest="", failure=commit.why)
        stop = threading.Event()
        builder = self.make_builder(lambda progress: self._watch(progress, stop))
        line = line_of(self.recipe, WORK_TREE)
        source = commit_source(self.mirror, commit, line=line, store=self.store, clock=self.clock)
        try:
            outcome = await asyncio.to_thread(builder.build, self.recipe, source, origin, work_name=WORK_TREE)
        except asyncio.CancelledError:
            stop.set()
            raise
        build = outcome.build
        made = Built(digest=build.output_sha256, build_id=build.build_id, took_s=outcome.took_s)
        return made if build.verdict is BuildVerdict.BUILT else replace(made, digest="", failure=build.failure)

    def program(self, built: Built) -> Path:
        """The file that is run. Raises StoreError."""
        return self.store.output(self.store.find(built.build_id), self.grounds.component)

    def is_there(self, built: Built) -> bool:
        """Whether its program can be run: outputs leave a full store."""
        return bool(built.failure) or (self.store.root / "outputs" / built.digest).is_dir()

    def new_warnings(self, built: Built, good: Built) -> tuple[str, ...]:
        """The compiler's warnings that the good end's build has not. Raises StoreError."""
        ours, before = (
            {f"{one.file}: {one.text}" for one in self.store.find(which.build_id).warnings} for which in (built, good)
        )
        return tuple(sorted(ours - before))

    def stored(self) -> dict[CommitId, str]:
        """The outputs' digest of each commit of the search whose build lies in the store; of the good end too.

        Without patches every tree is known and looked for; with them, what an earlier search has noted.
        """
        builds = [
            build
            for build in self.store.builds()
            if build.provenance.inputs.recipe_digest == self.recipe.digest and self.store.has_outputs(build)
        ]
        by_tree = {build.provenance.inputs.tree: build.output_sha256 for build in builds}
        noted = {
            replace(source, version="", name=""): build.output_sha256 for build in builds for source in build.sources
        }
        commits = [self.grounds.good, *(one.commit for one in self.grounds.commits)]
        trees = {} if self.grounds.chain else self._trees()
        found: dict[CommitId, str] = {}
        for commit in commits:
            digest = by_tree.get(trees[commit]) if commit in trees else noted.get(self.origin(commit))
            if digest:
                found[commit] = digest
        return found

    def _trees(self) -> dict[CommitId, TreeId]:
        good, bad = self.grounds.upstream_good, self.grounds.upstream_bad
        facts = (*self.mirror.facts([good]), *self.mirror.between(good, bad))
        return {one.commit: tree_id_of(one.tree) for one in facts}

    def _watch(self, progress: Progress, stop: threading.Event) -> None:
        if stop.is_set():
            raise StoppedError
        self.watch(progress)
