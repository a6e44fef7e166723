"""Builds what is not built yet. Each set of inputs is built once: whoever asks for it meanwhile waits for that build.

A failed build is a result (`BuildVerdict.UNBUILDABLE`), remembered with its last lines; a full disk, a time limit or a
stopped build is an error, and leaves the store as it was.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.base.clock import Clock
from headrace.base.units import show_bytes
from headrace.upstream.build import (
    Build,
    BuildInputs,
    BuildVerdict,
    Provenance,
    Source,
    Toolchain,
    build_id,
    build_key,
    inputs_of,
    is_machine_fault,
)
from headrace.upstream.recipe import Recipe
from headrace.upstream.tree import TreeId
from headrace.workshop.adapters.locks import hold_lock, try_lock
from headrace.workshop.adapters.processes import OverrunError
from headrace.workshop.adapters.tarball import digest_of
from headrace.workshop.adapters.work_tree import WorkTree
from headrace.workshop.candidates import CandidateStore
from headrace.workshop.config import BuildConfig
from headrace.workshop.errors import BuildFailedError, StoreError
from headrace.workshop.sources import SourceTree, check_source
from headrace.workshop.store import BuildStore
from headrace.workshop.toolchain import ccache_environment, find_ccache, plain_environment, read_toolchain
from headrace.workshop.work import Done, Job, Progress, Stage, Watch, build_in, last_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What asking for a build gave."""

    build: Build
    was_stored: bool
    """Nothing was run: the build, or its failure, was known."""
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    recipe: Recipe
    inputs: BuildInputs
    source: SourceTree
    origin: Source
    scratch: Path


class Builder:
    """Builds into one store."""

    def __init__(
        self,
        store: BuildStore,
        candidates: CandidateStore,
        config: BuildConfig,
        *,
        clock: Clock,
        watch: Watch = lambda progress: None,
    ) -> None:
        self._store = store
        self._candidates = candidates
        self._config = config
        self._clock = clock
        self._watch = watch
        self._toolchains: dict[str, Toolchain] = {}

    def find(self, recipe: Recipe, tree: TreeId) -> Build | None:
        """The stored build of this tree, whatever its verdict; None when it has to be built.

        Raises:
            SourceError: a program of the toolchain is missing.
        """
        return self._store.get(build_key(inputs_of(recipe, tree, self._toolchain(recipe))))

    def build(
        self, recipe: Recipe, source: SourceTree, origin: Source, *, work_name: str = "main", may_retry: bool = False
    ) -> Outcome:
        """Build a source tree, or find it built.

        Args:
            origin: where the source came from, for the provenance; an empty `version` is read from the source.
            work_name: which work tree; one for each line of versions that is built at the same time as others.
            may_retry: build again what is remembered as unbuildable.

        Raises:
            SourceError: the source cannot be read or is not what the recipe builds, or the toolchain is not complete.
            BuildFailedError: the build was ended by this machine or a limit; no verdict.
            BusyError: another build took too long.
            StoreError: no room, or the store cannot be written.
        """
        started_s = self._clock.monotonic_s()
        self._watch(Progress(stage=Stage.READ))
        inputs = inputs_of(recipe, source.tree(), self._toolchain(recipe))
        named = replace(origin, name=origin.name or source.name)
        key = build_key(inputs)
        with self._store.hold(key, wait_s=self._config.wait_s, on_wait=self._waits) as scratch:
            known = self._store.get(key)
            if known is not None and not (may_retry and known.verdict is BuildVerdict.UNBUILDABLE):
                version = named.version or known.provenance.source.version
                build = self._store.add_source(known, replace(named, version=version))
                return Outcome(build=build, was_stored=True, took_s=self._clock.monotonic_s() - started_s)
            order = _Order(recipe=recipe, inputs=inputs, source=source, origin=named, scratch=scratch)
            build = self._make(order, work_name)
        self._trim(build)
        return Outcome(build=build, was_stored=False, took_s=self._clock.monotonic_s() - started_s)

    def _make(self, order: _Order, work_name: str) -> Build:
        self._check_room()
        with self._work_tree(order.recipe, work_name) as (work, lock), order.source.files() as files:
            version = check_source(order.recipe, files)
            origin = replace(order.origin, version=order.origin.version or version)
            started_at_s, started_s = self._clock.now_s(), self._clock.monotonic_s()
            try:
                done = build_in(work, self._job(order, lock), files)
            except OverrunError as error:
                raise BuildFailedError(
                    self._tell(f"{error}: build.time_limit_s says how long it may take", work)
                ) from None
            except OSError as error:
                raise StoreError(f"cannot write the work tree {work.folder}: {error}") from None
            if done.failure and is_machine_fault([done.failure, *last_lines(work.log)]):
                raise BuildFailedError(self._tell(f"this machine ended the build; {done.failure}", work))
            self._watch(Progress(stage=Stage.KEEP))
            log = self._store.keep_log(build_key(order.inputs), work.log)
            provenance = Provenance(
                key=build_key(order.inputs),
                inputs=order.inputs,
                source=origin,
                toolchain=self._toolchain(order.recipe).text,
                fragments=tuple(name for name, _ in order.recipe.fragments),
                config_sha256=digest_of(done.config) if done.config else "",
                log_sha256=digest_of(log),
                started_at_s=started_at_s,
                took_s=round(self._clock.monotonic_s() - started_s, 3),
                is_incremental=done.is_incremental,
                has_ccache=find_ccache() is not None,
            )
            build = self._kept(order, done, provenance)
            work.log.unlink(missing_ok=True)
            return build

    def _kept(self, order: _Order, done: Done, provenance: Provenance) -> Build:
        draft = Build(
            build_id=build_id(provenance.key),
            verdict=BuildVerdict.UNBUILDABLE,
            provenance=provenance,
            sources=(provenance.source,),
            warnings=done.warnings,
            failure=done.failure,
        )
        if done.failure:
            return self._store.put_unbuildable(draft)
        return self._store.put(order.scratch, draft, done.files, done.config)

    def _job(self, order: _Order, lock: int) -> Job:
        ccache = ccache_environment(self._store.root, limit_bytes=self._config.ccache_limit_bytes)
        return Job(
            recipe=order.recipe,
            setup=f"{order.inputs.recipe_digest} {order.inputs.toolchain_digest}",
            environment=plain_environment() | {"HOME": str(self._store.root)} | ccache,
            jobs=self._config.jobs or os.cpu_count() or 1,
            nice=self._config.nice,
            deadline_s=self._clock.monotonic_s() + self._config.time_limit_s,
            lock=lock,
            clock=self._clock,
            watch=self._watch,
        )

    @contextlib.contextmanager
    def _work_tree(self, recipe: Recipe, work_name: str) -> Iterator[tuple[WorkTree, int]]:
        name = line_of(recipe, work_name)
        lock = self._store.root / "locks" / f"work-{name}.lock"
        with hold_lock(lock, clock=self._clock, wait_s=self._config.wait_s, on_wait=self._waits) as descriptor:
            folder = self._store.root / "work" / name
            try:
                folder.mkdir(parents=True, exist_ok=True)
                os.utime(folder)
            except OSError as error:
                raise StoreError(f"cannot make the work tree {folder}: {error}") from None
            yield WorkTree(folder), descriptor

    def _check_room(self) -> None:
        try:
            self._store.root.mkdir(parents=True, exist_ok=True)
            free_bytes = shutil.disk_usage(self._store.root).free
        except OSError as error:
            raise StoreError(f"cannot use the build store {self._store.root}: {error.strerror or error}") from None
        if free_bytes < self._config.min_free_bytes:
            raise StoreError(
                f"too little room below {self._store.root}: {show_bytes(free_bytes)} are free, a build is begun with "
                f"{self._config.min_free} (build.min_free); free some space, or lower build.store_limit"
            )

    def _trim(self, build: Build) -> None:
        self._store.trim(self._config.store_limit_bytes, referenced=self._candidates.referenced(), keep=build)
        trees = sorted((self._store.root / "work").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
        for folder in trees[: -self._config.work_trees]:
            with try_lock(self._store.root / "locks" / f"work-{folder.name}.lock") as is_ours:
                if is_ours:
                    shutil.rmtree(self._store.root / "checkouts" / folder.name, ignore_errors=True)
                    shutil.rmtree(folder, ignore_errors=True)

    def _toolchain(self, recipe: Recipe) -> Toolchain:
        if recipe.digest not in self._toolchains:
            self._toolchains[recipe.digest] = read_toolchain(recipe)
        return self._toolchains[recipe.digest]

    def _waits(self) -> None:
        self._watch(Progress(stage=Stage.WAIT))

    def _tell(self, what: str, work: WorkTree) -> str:
        return f"{what}\nlog: {work.log}"


def line_of(recipe: Recipe, work_name: str) -> str:
    """The name of a work tree: each recipe has its own, and as many as are asked for."""
    return f"{recipe.name}@{work_name}"


def failure_of(build: Build, store: BuildStore) -> BuildFailedError:
    """The error that tells a person why this does not build."""
    recipe = build.provenance.inputs.recipe
    return BuildFailedError(f"{recipe} does not build: {build.failure}\nlog: {store.log(build.provenance.key)}")
