"""`headrace release bisect`: from a check that fails to the commit at fault, on real builds, with the proof."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.base.errors import UsageError
from headrace.base.logs import set_up_logging
from headrace.base.units import show_duration
from headrace.cli.console import AsJson, err, out, plain
from headrace.cli.release import DEFAULT_FOLDER, ReleaseFolder
from headrace.cli.release_builds import Workshop
from headrace.cli.release_stand import alone, choose_networks, make_stand, qualifications, release_config, runs_folder

if TYPE_CHECKING:
    from headrace.lab.bisection.driver import Doing, Driver
    from headrace.lab.bisection.model import Bisection, Grounds, StepDone
    from headrace.lab.qualify.stand import Subject
    from headrace.upstream.candidate import Candidate, Component
    from headrace.upstream.recipe import Recipe
    from headrace.upstream.tree import TreeId
    from headrace.workshop.repository import Mirror

FOUND = ("culprit", "culprit-not-reverted", "range")
"""Endings with exit code 0."""
_STYLES = {"pass": "green", "fail": "red", "same": "cyan"}


def add_commands(group: typer.Typer) -> None:
    """Add this module's commands to `headrace release`."""
    group.command("bisect")(_bisect)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is to be searched, before anything is built."""

    name: str
    check: str
    names: tuple[str, str]
    """What the bad and the good end are called."""
    recipe: "Recipe"
    component: str
    rest: "Subject"
    """The machine with the candidate's other components."""
    open: "Callable[[Path], tuple[Grounds, Mirror]]"
    """Finds the commits; given the folder of the run."""


def _bisect(
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="The candidate that fails.")],
    check: Annotated[
        str, typer.Argument(metavar="CHECK", help="The check that it fails; with --repository the only argument.")
    ] = "",
    baseline: Annotated[
        str, typer.Option("--baseline", help="The good end: a candidate. Usual: the one of the last qualification.")
    ] = "",
    component: Annotated[
        str, typer.Option("--component", help="nginx, linux or linux-image, where several differ.")
    ] = "",
    repository: Annotated[
        Path | None, typer.Option("--repository", metavar="PATH", help="Instead: search in this git repository.")
    ] = None,
    good: Annotated[str, typer.Option("--good", metavar="REV", help="With --repository: a good revision.")] = "",
    bad: Annotated[str, typer.Option("--bad", metavar="REV", help="With --repository: a bad one.")] = "",
    recipe: Annotated[str, typer.Option("--recipe", help="With --repository: how to build it.")] = "",
    fragment: Annotated[
        list[Path] | None, typer.Option("--fragment", help="Configuration laid over the recipe's own; repeatable.")
    ] = None,
    time_scale: Annotated[
        float, typer.Option("--time-scale", min=0.05, max=20.0, help="Make each load this much longer or shorter.")
    ] = 1.0,
    anew: Annotated[bool, typer.Option("--anew", help="Forget what an earlier search found.")] = False,
    folder: ReleaseFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Find the commit that makes a check fail: upstream's, or a patch of ours.

    Makes sure of both ends, searches, and proves what it found: the commit fails three times, the bad end without it
    passes three times. A search that was stopped goes on. Exit code 1: no commit found.

    Examples: [bold]headrace release bisect c-55874f063d0d function.bytes --baseline c-0a1b2c3d4e5f[/]

    [bold]headrace release bisect function.bytes --repository ../nginx --good v1 --bad HEAD --recipe nginx[/]
    """
    set_up_logging("WARNING")
    workshop = Workshop(folder)
    fragments = tuple(fragment or ())
    if repository is not None:
        if check or baseline or component or not (good and bad and recipe):
            raise UsageError("with --repository give the check alone, and --good REV, --bad REV, --recipe NAME")
        path = repository.expanduser().absolute()
        wanted = _in_repository(workshop, path, (bad, good), recipe, candidate, fragments)
    else:
        if good or bad or recipe or not check:
            raise UsageError("name a candidate and a check; or --repository with --good, --bad and --recipe")
        wanted = _between_candidates(workshop, (candidate, baseline), component, check, fragments)
    run = runs_folder(workshop) / wanted.name
    with alone(run) as machines, _watching(as_json) as watch:
        if anew:
            (run / "bisection.json").unlink(missing_ok=True)
        driver, record = _prepare(workshop, wanted, run, machines, time_scale)
        try:
            record = asyncio.run(_follow(driver, watch).search(record))
        except KeyboardInterrupt:
            err.print(f"stopped; what was done is kept in {run}, the same command goes on", soft_wrap=True)
            raise typer.Exit(130) from None
    _finish(record, driver, run, as_json)


def _prepare(
    workshop: Workshop, wanted: _Wanted, run: Path, machines: Path, time_scale: float
) -> "tuple[Driver, Bisection]":
    from headrace.lab.bisection.begin import begin, go_on
    from headrace.lab.bisection.builds import Works
    from headrace.lab.bisection.driver import Driver
    from headrace.lab.bisection.readings import empty_stand, find_check
    from headrace.lab.ports import MachineKind

    config, clock = release_config(workshop), workshop.clock
    machine = wanted.rest.machine
    profiles, _ = choose_networks("", machine.kernel if machine.kind is MachineKind.UML else None)
    stand = empty_stand(wanted.rest, wanted.component, profiles, clock)
    check = find_check(wanted.check, stand, config.definitions)
    record = go_on(run, wanted.recipe)
    grounds, mirror = wanted.open(run)
    if record is None:
        record = begin(run, grounds, wanted.recipe, check.check_id, names=wanted.names, clock=clock)
    works = Works(
        mirror=mirror,
        grounds=record.grounds,
        recipe=wanted.recipe,
        store=workshop.store,
        make_builder=workshop.builder,
        clock=clock,
        watch=lambda progress: None,
    )
    driver = Driver(
        works=works,
        check=check,
        rest=wanted.rest,
        run=run,
        machines=machines,
        settings=config.bisection,
        clock=clock,
        watch=lambda doing: None,
        profiles=profiles,
        time_scale=time_scale,
    )
    return driver, record


def _in_repository(
    workshop: Workshop, path: Path, ends: tuple[str, str], recipe: str, check: str, fragments: tuple[Path, ...]
) -> _Wanted:
    """Two revisions of somebody's repository; nothing in it is touched."""
    from headrace.lab.bisection.begin import run_name
    from headrace.lab.bisection.grounds import borrow_repository, check_repository, grounds_of_repository, resolve_in
    from headrace.lab.ports import MachineKind, MachineSpec
    from headrace.lab.qualify.stand import Subject
    from headrace.workshop.recipes import find_recipe

    chosen = find_recipe(recipe, workshop.recipes, fragments=fragments)
    kinds = {"nginx": MachineKind.PROCESS, "linux": MachineKind.UML, "linux-image": MachineKind.QEMU}
    component = next((name for name in kinds if name in chosen.outputs), "")
    if not component:
        raise UsageError(f"the lab runs {', '.join(kinds)}; recipe {recipe} builds {', '.join(chosen.outputs)}")
    check_repository(path)
    bad, good = (resolve_in(path, revision) for revision in ends)

    def open_grounds(run: Path) -> "tuple[Grounds, Mirror]":
        mirror = borrow_repository(path, run / "repository.git")
        return grounds_of_repository(mirror, path, good, bad, component=component), mirror

    return _Wanted(
        name=run_name(check, bad[:12], good[:12], more=f"{path} {chosen.digest}"),
        check=check,
        names=ends,
        recipe=chosen,
        component=component,
        rest=Subject(name="", machine=MachineSpec(kind=kinds[component])),
        open=open_grounds,
    )


def _between_candidates(
    workshop: Workshop, ends: tuple[str, str], component: str, check: str, fragments: tuple[Path, ...]
) -> _Wanted:
    from headrace.lab.bisection.begin import run_name
    from headrace.lab.bisection.grounds import grounds_of_candidates
    from headrace.workshop.recipes import find_recipe

    bad = workshop.candidates.find(ends[0])
    good = workshop.candidates.find(ends[1] or _last_baseline(workshop, bad, check))
    part, before = _choose_component(bad, good, component)
    chosen = find_recipe(part.recipe, workshop.recipes, fragments=fragments)
    if chosen.digest != part.recipe_digest:
        err.print(
            f"note: {bad.candidate_id} was built with another recipe or configuration than {part.recipe} is now; "
            "the search builds both ends with the one of now (--fragment adds what is missing)",
            style="yellow",
            soft_wrap=True,
        )

    def tree(one: "Component") -> "TreeId":
        return workshop.store.find(one.build_id).provenance.inputs.tree

    def open_grounds(run: Path) -> "tuple[Grounds, Mirror]":
        return grounds_of_candidates(workshop.folder, (before, tree(before)), (part, tree(part)))

    return _Wanted(
        name=run_name(check, bad.candidate_id, good.candidate_id, more=part.name + chosen.digest),
        check=check,
        names=(bad.candidate_id, good.candidate_id),
        recipe=chosen,
        component=part.name,
        rest=_rest(workshop, bad),
        open=open_grounds,
    )


def _rest(workshop: Workshop, candidate: "Candidate") -> "Subject":
    """The candidate's machine; the searched component of it is put in for each build."""
    stand, _ = make_stand(workshop, candidate, candidate, Path(), networks="none")
    return stand.candidate


def _choose_component(bad: "Candidate", good: "Candidate", name: str) -> "tuple[Component, Component]":
    """The component that is searched, as the bad and the good candidate have it."""
    pairs = {one.name: (one, before) for one in bad.components if (before := good.component(one.name)) is not None}
    differing = [key for key, (one, before) in pairs.items() if one.output_sha256 != before.output_sha256]
    if name:
        if name not in pairs:
            raise UsageError(f"not both candidates have a component {name!r}; both have {', '.join(pairs) or 'none'}")
        if name not in differing:
            raise UsageError(f"{name} is the same build in both candidates, byte for byte: it is not at fault")
        return pairs[name]
    if not differing:
        raise UsageError(f"{bad.candidate_id} and {good.candidate_id} have no component in common that differs")
    if len(differing) > 1:
        raise UsageError(f"{' and '.join(differing)} differ: say with --component which one is searched first")
    return pairs[differing[0]]


def _last_baseline(workshop: Workshop, candidate: "Candidate", check: str) -> str:
    """The baseline of the last qualification of this candidate, rather one that this check failed in."""
    from headrace.release.model import Verdict

    records = [record for record, _ in qualifications(workshop, candidate.candidate_id)]
    failed = [
        one
        for one in records
        if any(result.check_id == check and result.verdict is Verdict.FAIL for result in one.results)
    ]
    if not records:
        raise UsageError(f"{candidate.candidate_id} was never qualified, so name the good end: --baseline CANDIDATE")
    return (failed or records)[-1].baseline


def _follow(driver: "Driver", watch: "Callable[[Doing], None]") -> "Driver":
    """The driver with its progress, and that of its builds, shown."""
    from dataclasses import replace

    from headrace.lab.bisection.driver import Doing
    from headrace.workshop.work import Progress

    def building(progress: Progress) -> None:
        watch(Doing(what=f"{progress.stage.value} {f'({progress.lines} lines)' if progress.lines else ''}"))

    return replace(driver, watch=watch, works=replace(driver.works, watch=building))


@contextmanager
def _watching(as_json: bool) -> "Iterator[Callable[[Doing], None]]":
    """A line for each step; where somebody looks, also what is done now and which commits are the likeliest."""
    if as_json:
        yield lambda doing: None
        return
    if not err.is_terminal:
        yield lambda doing: _print_step(doing.done, doing.steps) if doing.done else None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        state = ""

        def watch(doing: "Doing") -> None:
            nonlocal state
            if doing.done is not None:
                _print_step(doing.done, doing.steps)
            if doing.bits_left is not None:
                likeliest = ", ".join(f"{name[:10]} {share:.0%}" for name, share in doing.likeliest)
                state = f" · {doing.bits_left:.1f} bits left · {likeliest}"
            bar.update(task, description=f"step {doing.steps + 1}: {plain(doing.what)[:70]}{state}")

        yield watch


def _print_step(done: "StepDone", number: int) -> None:
    from rich.text import Text

    outcome = Text(f"{done.outcome:13}", style=_STYLES.get(done.outcome, "yellow"))
    took = show_duration(done.build_s + done.run_s)
    head = f"{number:3}  {done.step.kind.value:11}{done.step.commit_id[:12]}  "
    text = Text.assemble(
        head, outcome, f"{done.bits_left:4.1f} bits  {took:>6}  ", plain(done.what.split("\n")[0])[:100]
    )
    err.print(text, soft_wrap=True)


def _finish(record: "Bisection", driver: "Driver", run: Path, as_json: bool) -> None:
    """Write the report for upstream, show the answer, and end."""
    from headrace.lab.bisection.result import lines_of, summarize, write_files

    files = write_files(record, run, driver.works.recipe, driver.check.definition, driver.profiles)
    if as_json:
        fields = {**summarize(record), "run": str(run), "files": [str(path) for path in files]}
        sys.stdout.write(json.dumps(fields) + "\n")
    else:
        for number, line in enumerate(lines_of(record)):
            out.print(line, style="bold" if number == 0 else None, soft_wrap=True)
        if files:
            out.print(f"for upstream: headrace upstream report {run / 'report.json'}", soft_wrap=True)
        out.print(f"all steps: {run / 'bisection.json'}", style="dim", soft_wrap=True)
    assert record.conclusion is not None
    raise typer.Exit(0 if record.conclusion.ending in FOUND else 1)
