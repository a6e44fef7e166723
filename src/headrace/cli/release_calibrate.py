"""`headrace release calibrate`: a baseline against itself, and what the checks can tell on this machine."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.base.errors import UsageError
from headrace.cli.console import AsJson, err, out
from headrace.cli.release import DEFAULT_FOLDER, ReleaseFolder
from headrace.cli.release_builds import Workshop
from headrace.cli.release_stand import alone, make_stand, release_config, runs_folder

if TYPE_CHECKING:
    from headrace.lab.qualify.calibration import CalibrationRuns, Progress
    from headrace.release.calibrate import Calibration
    from headrace.release.config import ReleaseConfig
    from headrace.release.model import Level

_LEVELS = {"soak": 3, "performance": 4}


def add_commands(group: typer.Typer) -> None:
    """Add this module's commands to `headrace release`."""
    group.command("calibrate")(_calibrate)


def calibration_path(runs: Path, name: str, components: tuple[str, ...] = ()) -> Path:
    """Where the calibration of a baseline is kept."""
    return runs / ("-".join(["calibration", name, *components]) + ".json")


def _calibrate(
    baseline: Annotated[str, typer.Argument(metavar="BASELINE", help="Id of a candidate, or its beginning.")],
    pairs: Annotated[int, typer.Option("--pairs", min=0, help="Pairs of runs in all, of each level.")] = 10,
    counts: Annotated[int, typer.Option("--counts", min=0, help="Runs in all of what is counted.")] = 6,
    rounds: Annotated[int, typer.Option("--rounds", min=0, help="Rounds of the checks of levels 0 to 2.")] = 0,
    level: Annotated[list[str] | None, typer.Option("--level", help="Only this: soak, performance.")] = None,
    component: Annotated[
        list[str] | None, typer.Option("--component", help="Only this part of the baseline; repeatable.")
    ] = None,
    networks: Annotated[str, typer.Option("--networks", help="Of --rounds: names by commas, all, none.")] = "",
    write: Annotated[
        Path | None, typer.Option("--write", metavar="PAGE", help="Put the table into this page, between its marks.")
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Forget what was measured before.")] = False,
    folder: ReleaseFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Run a baseline against itself: how often checks alarm for nothing, and what they can find, on this machine.

    Goes on where it was stopped; given again with more --pairs it adds to what is there. --pairs 0 --counts 0 only
    shows. From 4 pairs on the figures mean something; 10 take some minutes.

    Example: [bold]headrace release calibrate c-0a1b2c3d4e5f --pairs 20[/]
    """
    from headrace.lab.qualify.calibration import Wanted, calibration_of, run_calibration

    workshop = Workshop(folder)
    config, found = release_config(workshop), workshop.candidates.find(baseline)
    parts = tuple(sorted(component or ()))
    path = calibration_path(runs_folder(workshop), found.candidate_id, parts)
    wanted = Wanted(pairs=pairs, counts=counts, rounds=rounds, levels=_levels(level))
    with alone(path) as machines, _watching(as_json) as watch:
        stand, _ = make_stand(
            workshop, found, found, machines, components=parts, networks=networks if rounds else "none"
        )
        if anew:
            path.unlink(missing_ok=True)
        try:
            runs = asyncio.run(run_calibration(stand, config, path, wanted, on_progress=watch))
        except KeyboardInterrupt:
            err.print(f"stopped; what was measured is kept in {path}, the same command goes on", soft_wrap=True)
            raise typer.Exit(130) from None
    calibration = calibration_of(runs, config)
    if write:
        _write(write, calibration, runs, config)
    _show(calibration, runs, config, path, as_json=as_json)


def _levels(names: list[str] | None) -> "tuple[Level, ...]":
    from headrace.release.model import Level

    wrong = [name for name in names or () if name not in _LEVELS]
    if wrong:
        raise UsageError(f"level {wrong[0]!r} has no margins: choose from {', '.join(_LEVELS)}")
    return tuple(Level(number) for name, number in _LEVELS.items() if not names or name in names)


@contextmanager
def _watching(as_json: bool) -> "Iterator[Callable[[Progress], None]]":
    """A bar with the time left for people; nothing where nobody looks."""
    if as_json or not err.is_terminal:
        yield lambda progress: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        *(TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()),
        *(TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn()),
    )
    with Bar(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda step: bar.update(task, description=step.what, completed=step.done, total=step.steps)


def _write(page: Path, calibration: "Calibration", runs: "CalibrationRuns", config: "ReleaseConfig") -> None:
    from headrace.lab.qualify.calibration import family_of
    from headrace.release.calibration_table import calibration_markdown, put_between_marks
    from headrace.wire.files import write_atomic

    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the page {page}: {error}") from None
    table = calibration_markdown(calibration, family_of(runs, config), runs.machine)
    write_atomic(page, put_between_marks(text, table, name=str(page)).encode())


def _show(
    calibration: "Calibration", runs: "CalibrationRuns", config: "ReleaseConfig", path: Path, *, as_json: bool
) -> None:
    from headrace.lab.qualify.calibration import false_alarms_met, family_of, seconds_of_a_pair
    from headrace.release.calibrate import rate
    from headrace.release.calibration_table import HEADINGS, calibration_rows, say_rate
    from headrace.wire.codec import encode

    met = {name: rate(*counted) for name, counted in false_alarms_met(runs).items()}
    if as_json:
        fields = {
            "calibration": json.loads(encode(calibration)),
            "expectations": {name: json.loads(encode(one)) for name, one in met.items()},
            "machine": dict(runs.machine),
            "seconds_of_a_pair": seconds_of_a_pair(runs),
            "not_tested": runs.not_tested,
            "runs": str(path),
        }
        sys.stdout.write(json.dumps(fields) + "\n")
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    for row in calibration_rows(calibration, family_of(runs, config)):
        table.add_row(*row)
    out.print(table)
    out.print(f"false alarms: {say_rate(calibration.measured_alarms, 'qualifications that were run')}", soft_wrap=True)
    out.print(f"              {say_rate(calibration.drawn_alarms, 'drawn from their runs')}", soft_wrap=True)
    for name, one in met.items():
        out.print(f"{name}: failed {say_rate(one, 'looks')}", soft_wrap=True)
    for title, seconds in seconds_of_a_pair(runs).items():
        out.print(f"a pair of {title} takes {seconds:.0f} s")
    for line in runs.not_tested:
        out.print(f"not calibrated: {line}", style="dim", soft_wrap=True)
    out.print(f"runs: {path}", soft_wrap=True)
