"""One build in one work tree: sync, configure when needed, build, look at what came out. The store is not known here.

A failure on top of what an earlier build left is confirmed by a build from nothing: only that is a verdict on the
source.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from headrace.base.clock import Clock
from headrace.upstream.build import CompilerWarning, carry_warnings, read_compiled, read_warnings
from headrace.upstream.recipe import Command, Recipe, expand, fill, needs_configure, options_not_taken
from headrace.workshop.adapters.processes import Runner
from headrace.workshop.adapters.work_tree import WorkTree
from headrace.workshop.errors import BuildFailedError
from headrace.workshop.sources import Files

LAST_LINES = 15
"""How many lines of a log a failure shows."""


class Stage(StrEnum):
    """What a build is doing."""

    WAIT = "waiting for another build"
    READ = "reading the source"
    SYNC = "copying changes"
    CONFIGURE = "configuring"
    BUILD = "building"
    KEEP = "keeping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a build is."""

    stage: Stage
    lines: int = 0
    """Lines of output so far."""
    last_line: str = ""


Watch = Callable[[Progress], None]
"""Called often while something runs; may raise to stop the build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to build, and with what."""

    recipe: Recipe
    setup: str
    """Digest of recipe and toolchain: a tree that was set up with another one is made anew."""
    environment: dict[str, str]
    jobs: int
    nice: int
    deadline_s: float
    lock: int
    clock: Clock
    watch: Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How the build in the tree ended."""

    failure: str
    """Why it does not build, with the last lines; '' when it does."""
    files: dict[str, Path]
    config: Path | None
    is_incremental: bool
    warnings: tuple[CompilerWarning, ...]


def build_in(work: WorkTree, job: Job, files: Files) -> Done:
    """Build `files` in the work tree.

    Raises:
        BuildFailedError: a time limit or a bound was met: no verdict on the source.
        OSError: the tree cannot be written.
    """
    is_incremental = _sync(work, job, files)
    failure = _attempt(work, job)
    if failure and is_incremental:
        _settle(work, job)
        work.wipe()
        is_incremental = _sync(work, job, files)
        failure = _attempt(work, job)
    return Done(
        failure=failure,
        files={name: work.tree / path for name, path in job.recipe.outputs.items()},
        config=_config(work, job.recipe),
        is_incremental=is_incremental,
        warnings=_settle(work, job),
    )


def log_lines(path: Path) -> Iterator[str]:
    """The lines of a log."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            yield line.rstrip("\n")


def last_lines(path: Path, count: int = LAST_LINES) -> list[str]:
    """The last lines of a log."""
    return list(deque(log_lines(path), maxlen=count))


def _sync(work: WorkTree, job: Job, files: Files) -> bool:
    """Bring the source in; gives whether something is left of an earlier build."""
    job.watch(Progress(stage=Stage.SYNC))
    before = work.state()
    if before.setup not in {"", job.setup}:
        work.wipe()
    elif before.setup:
        work.keep(replace(before, setup=""))  # a kill during the sync must not leave a tree that seems configured
    synced = work.sync(files.folder, files.leaves, now_s=job.clock.now_s())
    state = work.state()
    if not synced.is_new and before.setup == job.setup and not needs_configure(job.recipe, synced.changed):
        work.keep(replace(state, setup=job.setup))
    return state.has_built and not synced.is_new


def _attempt(work: WorkTree, job: Job) -> str:
    try:
        return _configure(work, job) or _build(work, job) or _missing_output(work, job.recipe)
    except OSError as error:
        raise BuildFailedError(f"cannot build in {work.tree}: {error}") from None


def _configure(work: WorkTree, job: Job) -> str:
    if work.state().setup == job.setup:
        return ""
    failure = _run(work, job, Stage.CONFIGURE, job.recipe.configure.commands)
    if failure:
        return failure
    config = _config(work, job.recipe)
    if job.recipe.configure.result and config is None:
        return f"configuring left no {job.recipe.configure.result}"
    if config and (missed := options_not_taken(job.recipe, config.read_text(encoding="utf-8", errors="replace"))):
        return "the configuration did not take these lines of the fragments:\n" + "\n".join(missed)
    work.keep(replace(work.state(), setup=job.setup))
    return ""


def _build(work: WorkTree, job: Job) -> str:
    work.keep(replace(work.state(), has_built=True))
    return _run(work, job, Stage.BUILD, job.recipe.build.commands)


def _missing_output(work: WorkTree, recipe: Recipe) -> str:
    for path in recipe.outputs.values():
        place = work.tree / path
        if not place.is_file() or place.is_symlink():
            return f"the recipe built nothing: there is no file {path} after its commands"
    return ""


def _run(work: WorkTree, job: Job, stage: Stage, commands: tuple[Command, ...]) -> str:
    places = {"tree": str(work.tree), "jobs": str(job.jobs)}
    fragments = _fragments(work, job.recipe)
    lines = 0
    job.watch(Progress(stage=stage))

    def on_line(line: str) -> None:
        nonlocal lines
        lines += bool(line)
        job.watch(Progress(stage=stage, lines=lines, last_line=line))

    runner = Runner(
        folder=work.tree,
        environment=job.environment | {name: fill(text, places) for name, text in job.recipe.environment.items()},
        log=work.log,
        lock=job.lock,
        nice=job.nice,
        deadline_s=job.deadline_s,
        clock=job.clock,
        on_line=on_line,
    )
    for command in commands:
        expanded = expand(command, places=places, fragments=fragments)
        code = runner.run(expanded)
        if code != 0:
            return f"`{' '.join(expanded)[:200]}` ended with {code}:\n" + "\n".join(last_lines(work.log))
    return ""


def _fragments(work: WorkTree, recipe: Recipe) -> list[str]:
    folder = work.folder / "fragments"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}-{os.path.basename(name)}" for number, (name, _) in enumerate(recipe.fragments)]
    for path, (_, text) in zip(paths, recipe.fragments, strict=True):
        path.write_text(text, encoding="utf-8")
    return [str(path) for path in paths]


def _config(work: WorkTree, recipe: Recipe) -> Path | None:
    path = work.tree / recipe.configure.result
    return path if recipe.configure.result and path.is_file() else None


def _settle(work: WorkTree, job: Job) -> tuple[CompilerWarning, ...]:
    """Account for what the log says was compiled; gives all warnings of the tree."""
    rule = job.recipe.log
    if not work.log.exists():
        return work.state().warnings
    fresh = read_warnings(rule, log_lines(work.log))
    compiled = read_compiled(rule, log_lines(work.log))
    warnings = carry_warnings(work.state().warnings, fresh, compiled)
    work.keep(replace(work.state(), warnings=warnings))
    return warnings
