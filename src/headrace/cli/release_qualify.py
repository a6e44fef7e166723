"""`headrace release qualify`: a candidate through the levels of the lab, against its baseline, into a dossier."""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.base.errors import UsageError
from headrace.cli.console import AsJson, err, out, plain
from headrace.cli.release import DEFAULT_FOLDER, ReleaseFolder
from headrace.cli.release_builds import Workshop

if TYPE_CHECKING:
    from headrace.lab.qualify.record import Qualification
    from headrace.lab.qualify.runner import Step
    from headrace.lab.qualify.stand import Stand, Subject
    from headrace.release.config import ReleaseConfig
    from headrace.release.dossier import Dossier
    from headrace.upstream.candidate import Candidate

_LEVELS = ("build", "function", "impairment", "soak", "performance")
_STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def add_commands(group: typer.Typer) -> None:
    """Add this module's commands to `headrace release`."""
    group.command("qualify")(_qualify)


def _qualify(
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="Id of a candidate, or its beginning.")],
    baseline: Annotated[str, typer.Option("--baseline", help="Id of the candidate it is compared with.")],
    up_to: Annotated[str, typer.Option("--up-to", help=f"Last level: {', '.join(_LEVELS)}.")] = "performance",
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Run later levels after one that failed.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Forget what an earlier run found.")] = False,
    folder: ReleaseFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Put a candidate through the levels, against a baseline, and write its dossier.

    A level that does not pass stops the later ones. Stopped runs go on where they were. Exit code 1: not passed.

    Example: [bold]headrace release qualify c-55874f063d0d --baseline c-0a1b2c3d4e5f[/]
    """
    from headrace.lab.qualify.runner import qualify
    from headrace.release.config import load_release_config, parse_release_config
    from headrace.release.model import Level

    if up_to not in _LEVELS:
        raise UsageError(f"there is no level {up_to!r}: choose from {', '.join(_LEVELS)}")
    last = Level[up_to.upper()]
    workshop = Workshop(folder)
    settings = workshop.folder / "release.toml"
    config = load_release_config(settings) if settings.exists() else parse_release_config()
    pair = workshop.candidates.find(candidate), workshop.candidates.find(baseline)
    run = workshop.folder / "runs" / f"{pair[0].candidate_id}-{pair[1].candidate_id}"
    if anew:
        (run / "qualification.json").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="headrace-lab-") as scratch, _watching(as_json) as watch:
        stand = _stand(workshop, pair, Path(scratch))
        record = asyncio.run(qualify(stand, config, run, up_to=last, is_keeping_going=keep_going, on_step=watch))
    dossier = _dossier(pair, stand, config, record)
    page = _write(dossier, run)
    _show(dossier, record, page, as_json)
    raise typer.Exit(0 if _has_passed(record, last) else 1)


def _stand(workshop: Workshop, pair: "tuple[Candidate, Candidate]", scratch: Path) -> "Stand":
    from headrace.lab.qualify.stand import Stand

    candidate, baseline = _subject(workshop, *pair), _subject(workshop, pair[1], None)
    if candidate.machine.kind is not baseline.machine.kind:
        raise UsageError("only one of the two has a kernel: compare candidates that both have one, or both none")
    return Stand(
        candidate=candidate,
        baseline=baseline,
        folder=scratch,
        clock=workshop.clock,
    )


def _subject(workshop: Workshop, one: "Candidate", other: "Candidate | None") -> "Subject":
    """How a candidate runs: its nginx on its kernel, or on this machine's when it has none."""
    from headrace.lab.ports import MachineKind, MachineSpec
    from headrace.lab.qualify.stand import Subject

    paths = {
        component.name: workshop.store.output(workshop.store.find(component.build_id), component.name)
        for component in one.components
    }
    if "nginx" not in paths:
        raise UsageError(
            f"{one.candidate_id} has no nginx: make the candidate with one (--nginx), the lab serves with it"
        )
    kernel = paths.get("linux")
    return Subject(
        name=one.candidate_id,
        digest="-".join(component.output_sha256 for component in one.components),
        machine=MachineSpec(
            kind=MachineKind.UML if kernel else MachineKind.PROCESS, nginx=paths["nginx"], kernel=kernel
        ),
        new_warnings=_new_warnings(workshop, one, other) if other else None,
    )


def _new_warnings(workshop: Workshop, one: "Candidate", other: "Candidate") -> tuple[str, ...]:
    """The compiler's warnings that the baseline's builds do not have, by file and text: lines move."""

    def warnings(candidate: "Candidate") -> set[tuple[str, str]]:
        builds = [workshop.store.find(component.build_id) for component in candidate.components]
        return {(warning.file, warning.text) for build in builds for warning in build.warnings}

    return tuple(f"{file}: {text}" for file, text in sorted(warnings(one) - warnings(other)))


@contextmanager
def _watching(as_json: bool) -> "Iterator[Callable[[Step], None]]":
    """Live progress for people; nothing where nobody looks."""
    if as_json or not err.is_terminal:
        yield lambda step: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        shown: set[str] = set()

        def watch(step: "Step") -> None:
            for result in step.results:
                if result.check_id not in shown and result.reason.value not in _RUNNING:
                    shown.add(result.check_id)
                    bar.console.print(f"{result.verdict.value:13}{result.check_id}  {plain(result.summary)[:100]}")
            bar.update(task, description=f"level {int(step.level)} {step.level.name.lower()}: {step.what}")

        yield watch


_RUNNING = {"more-pairs-needed", "no-data", "repeats-spread"}


def _dossier(
    pair: "tuple[Candidate, Candidate]", stand: "Stand", config: "ReleaseConfig", record: "Qualification"
) -> "Dossier":
    from headrace.lab.qualify.expectations import expectations
    from headrace.lab.qualify.record import life_of
    from headrace.release.dossier import make_dossier

    return make_dossier(
        pair[0],
        pair[1],
        life_of(record, now_s=stand.clock.now_s()),
        record.results,
        config.definitions,
        now_s=stand.clock.now_s(),
        expected=[one.check_id for one in expectations(stand)],
    )


def _write(dossier: "Dossier", run: Path) -> Path:
    from headrace.release.dossier_html import render_dossier
    from headrace.wire.codec import encode
    from headrace.wire.files import write_atomic

    page = run / "dossier.html"
    write_atomic(page, render_dossier(dossier).encode())
    write_atomic(run / "dossier.json", encode(dossier))
    return page


def _has_passed(record: "Qualification", up_to: int) -> bool:
    from headrace.release.family import level_verdict
    from headrace.release.model import Level, Verdict

    return all(level_verdict(record.results, level) is Verdict.PASS for level in Level if level <= up_to)


def _show(dossier: "Dossier", record: "Qualification", page: Path, as_json: bool) -> None:
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
    for line in record.not_tested:
        out.print(f"not tested: {line}", style="dim", soft_wrap=True)
    out.print(f"dossier: {page}", soft_wrap=True)
