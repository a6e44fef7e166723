"""`headrace release qualify`: a candidate through the levels of the lab, against its baseline, into a dossier."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.base.errors import UsageError
from headrace.cli.console import AsJson, err, out, plain
from headrace.cli.release import DEFAULT_FOLDER, ReleaseFolder
from headrace.cli.release_builds import Workshop
from headrace.cli.release_dossier import assemble, write
from headrace.cli.release_stand import LEVELS, alone, make_stand, release_config, runs_folder
from headrace.cli.release_suites import make_suites

if TYPE_CHECKING:
    from rich.table import Table

    from headrace.lab.qualify.record import Qualification
    from headrace.lab.qualify.runner import Step
    from headrace.release.dossier import Dossier

_STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def add_commands(group: typer.Typer) -> None:
    """Add this module's commands to `headrace release`."""
    group.command("qualify")(_qualify)


def _qualify(
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="Id of a candidate, or its beginning.")],
    baseline: Annotated[str, typer.Option("--baseline", help="Id of the candidate it is compared with.")],
    up_to: Annotated[str, typer.Option("--up-to", help=f"Last level: {', '.join(LEVELS)}.")] = "performance",
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Run later levels after one that failed.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Forget what an earlier run found.")] = False,
    networks: Annotated[
        str,
        typer.Option("--networks", help="Of level 2: names by commas, all, none; all that are possible."),
    ] = "",
    profiles: Annotated[Path | None, typer.Option(help="TOML file with networks of your own.")] = None,
    folder: ReleaseFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Put a candidate through the levels, against a baseline, and write its dossier.

    A level that does not pass stops the later ones. Stopped runs go on where they were. Exit code 1: not passed.

    Example: [bold]headrace release qualify c-55874f063d0d --baseline c-0a1b2c3d4e5f[/]
    """
    from headrace.lab.qualify.runner import qualify
    from headrace.release.model import Level

    if up_to not in LEVELS:
        raise UsageError(f"there is no level {up_to!r}: choose from {', '.join(LEVELS)}")
    last = Level[up_to.upper()]
    workshop = Workshop(folder)
    config = release_config(workshop)
    pair = workshop.candidates.find(candidate), workshop.candidates.find(baseline)
    run = runs_folder(workshop) / f"{pair[0].candidate_id}-{pair[1].candidate_id}"
    with alone(run) as machines:
        if anew:
            (run / "qualification.json").unlink(missing_ok=True)
        stand, left_out = make_stand(workshop, *pair, machines, networks=networks, profiles=profiles)
        suites = make_suites(workshop, pair[0], config.suites, log_folder=run / "suites", scratch=machines)
        stand = replace(stand, suites=suites)
        with _watching(as_json) as watch:
            work = qualify(stand, config, run, up_to=last, is_keeping_going=keep_going, on_step=watch)
            try:
                record = asyncio.run(work)
            except KeyboardInterrupt:
                err.print(f"stopped; what was done is kept in {run}, the same command goes on", soft_wrap=True)
                raise typer.Exit(130) from None
        record = replace(record, not_tested=(*left_out, *record.not_tested))
        dossier = assemble(workshop, pair, stand, config, record)
        page = write(dossier, run)
    noted = _note_qualified(workshop, dossier)
    _show(dossier, page, noted, record.not_tested, as_json=as_json)
    raise typer.Exit(0 if _has_passed(record, last) else 1)


def _note_qualified(workshop: Workshop, dossier: "Dossier") -> "tuple[str, ...]":
    """Tell the upstreams that their commits came so far, for `headrace upstream status`."""
    from headrace.workshop.since import note_qualified

    if not dossier.life.is_qualified:
        return ()
    return note_qualified(workshop.folder, dossier.candidate, now_s=workshop.clock.now_s())


@contextmanager
def _watching(as_json: bool) -> "Iterator[Callable[[Step], None]]":
    """Live progress for people: what was decided, what is being done, and how open checks stand; else nothing."""
    if as_json or not err.is_terminal:
        yield lambda step: None
        return
    from rich.console import Group
    from rich.live import Live
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = Progress(SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn(), console=err)
    task = bar.add_task("", total=None)
    shown: set[str] = set()
    with Live(bar, console=err, transient=True) as live:

        def watch(step: "Step") -> None:
            for result in step.results:
                # A console that is clean so far is no result before the level is over.
                is_early = bool(step.what) and result.level is step.level and result.check_id.endswith(".console")
                if result.check_id not in shown and result.reason.value not in _RUNNING and not is_early:
                    shown.add(result.check_id)
                    live.console.print(f"{result.verdict.value:13}{result.check_id}  {plain(result.summary)[:100]}")
            bar.update(task, description=f"level {int(step.level)} {step.level.name.lower()}: {step.what}")
            live.update(Group(bar, _open_checks(step)) if step.still_open else bar)

        yield watch


def _open_checks(step: "Step") -> "Table":
    """How each check stands that more pairs may decide."""
    from rich import box
    from rich.table import Table

    table = Table("still open", "pairs", "so far", box=box.SIMPLE_HEAD)
    for result in step.still_open:
        table.add_row(result.check_id, f"{result.pairs} of {step.most_pairs}", result.summary)
    return table


_RUNNING = {"more-pairs-needed", "no-data", "repeats-spread"}


def _has_passed(record: "Qualification", up_to: int) -> bool:
    from headrace.release.family import level_verdict
    from headrace.release.model import Level, Verdict

    return all(level_verdict(record.results, level) is Verdict.PASS for level in Level if level <= up_to)


def _show(
    dossier: "Dossier", page: Path, noted: "tuple[str, ...]", left_out: "tuple[str, ...]", *, as_json: bool
) -> None:
    if as_json:
        sys.stdout.write((page.parent / "dossier.json").read_text(encoding="utf-8") + "\n")
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "verdict", "what", box=box.SIMPLE_HEAD)
    for result in dossier.results:
        verdict = Text(result.verdict.value, style=_STYLES[result.verdict.value])
        table.add_row(result.check_id, verdict, result.summary)
    out.print(table)
    for line in left_out:
        out.print(f"not tested: {line}", style="dim", soft_wrap=True)
    for name in noted:
        out.print(f"noted as qualified for `headrace upstream status {name}`", soft_wrap=True)
    out.print(f"dossier: {page}", soft_wrap=True)
