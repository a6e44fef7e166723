"""Puts a dossier together after a qualification: from the record, the mirrors, the calibration and this machine."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.cli.release_builds import Workshop
from headrace.cli.release_calibrate import calibration_path
from headrace.cli.release_stand import runs_folder

if TYPE_CHECKING:
    from headrace.lab.qualify.record import Qualification
    from headrace.lab.qualify.stand import Stand
    from headrace.release.calibrate import Calibration
    from headrace.release.config import ReleaseConfig
    from headrace.release.dossier import Dossier, Untested
    from headrace.upstream.candidate import Candidate


def assemble(
    workshop: Workshop,
    pair: "tuple[Candidate, Candidate]",
    stand: "Stand",
    config: "ReleaseConfig",
    record: "Qualification",
) -> "Dossier":
    """All that is known of a candidate. `stand.profiles` are the networks that were asked for."""
    from headrace.lab.qualify.expectations import expectations
    from headrace.lab.qualify.record import life_of
    from headrace.release.dossier import make_dossier, with_commits, with_run
    from headrace.workshop.since import commits_since

    dossier = make_dossier(
        *pair,
        life_of(record, now_s=stand.clock.now_s()),
        record.results,
        config.definitions,
        now_s=stand.clock.now_s(),
        expected=[one.check_id for one in expectations(stand)],
    )
    dossier = with_run(dossier, not_tested=record.not_tested, spent_s=record.spent_s, machine=record.machine)
    since = commits_since(workshop.folder, *pair)
    dossier = with_commits(dossier, since.commits, left_out=since.left_out, unknown=since.unknown)
    calibration, missing = _calibration(workshop, pair[1], stand, config)
    return replace(dossier, calibration=calibration, untested=(*missing, *dossier.untested))


def write(dossier: "Dossier", run: Path) -> Path:
    """Keep the page and its data beside the record; gives the page.

    Raises:
        LabError: the disk is full, or the folder cannot be written.
    """
    from headrace.lab.qualify.record import save_state
    from headrace.release.dossier_html import render_dossier
    from headrace.wire.codec import encode

    page = run / "dossier.html"
    save_state(page, render_dossier(dossier).encode())
    save_state(run / "dossier.json", encode(dossier))
    return page


def _calibration(
    workshop: Workshop, baseline: "Candidate", stand: "Stand", config: "ReleaseConfig"
) -> "tuple[Calibration | None, tuple[Untested, ...]]":
    """What the baseline against itself said on this machine; else a line that it is not known."""
    from headrace.lab.qualify.calibration import CalibrationRuns, calibration_of
    from headrace.lab.qualify.record import load_state
    from headrace.release.dossier import Untested

    path = calibration_path(runs_folder(workshop), baseline.candidate_id)
    runs = load_state(path, CalibrationRuns)
    what = "how small a change these checks can see on this machine"
    command = f"headrace release calibrate {baseline.candidate_id}"
    if runs is None:
        return None, (Untested(what=what, why=f"the baseline was not run against itself here: {command}"),)
    if runs.digest != stand.baseline.digest:
        return None, (Untested(what=what, why=f"the calibration is of another build: {command} --anew"),)
    return calibration_of(runs, config), ()
