"""`headrace release where COMMIT`: which candidates hold a commit, how far each came, and on what evidence."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.console import AsJson, out
from headrace.cli.release import DEFAULT_FOLDER, ReleaseFolder
from headrace.cli.release_builds import Workshop
from headrace.cli.release_stand import qualifications

if TYPE_CHECKING:
    from headrace.workshop.where import Asked, Holding

_STYLES = {"qualified": "green", "failed": "red", "stuck": "yellow"}


def add_commands(group: typer.Typer) -> None:
    """Add this module's commands to `headrace release`."""
    group.command("where")(_where)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """What a qualification says of a candidate."""

    state: str
    """`not-qualified` when it was never tried."""
    level: str = ""
    """The last level that was run."""
    baseline: str = ""
    passed: int = 0
    failed: tuple[str, ...] = ()
    """Checks that failed."""
    dossier: str = ""


def _where(
    commit: Annotated[str, typer.Argument(metavar="COMMIT", help="A commit of an upstream, or one of our patches.")],
    upstream: Annotated[str, typer.Option(metavar="NAME", help="The upstream; else the first that knows it.")] = "",
    folder: ReleaseFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Say which candidates hold a commit, and how far each came.

    Upstream's commits are looked for by ancestry, patches of ours by their patch-id. Nothing is fetched.

    Example: [bold]headrace release where 1f3ab2c --upstream nginx[/]
    """
    from headrace.upstream.model import upstream_name
    from headrace.workshop.where import find_commit, holdings

    workshop = Workshop(folder)
    asked, mirror = find_commit(workshop.folder, commit, upstream_name(upstream) if upstream else None)
    found = [
        (one, _evidence(workshop, one.candidate.candidate_id))
        for one in holdings(mirror, asked, workshop.candidates.all())
    ]
    if as_json:
        sys.stdout.write(json.dumps(_fields(asked, found)) + "\n")
        return
    _show(asked, found)


def _evidence(workshop: Workshop, candidate: str) -> _Evidence:
    """The last qualification of a candidate."""
    from headrace.lab.qualify.record import life_of
    from headrace.release.model import Verdict

    records = qualifications(workshop, candidate)
    if not records:
        return _Evidence(state="not-qualified")
    record, run = records[-1]
    levels = [result.level for result in record.results]
    dossier = run / "dossier.html"
    return _Evidence(
        state=life_of(record, now_s=workshop.clock.now_s()).state.value,
        level=max(levels).name.lower() if levels else "",
        baseline=record.baseline,
        passed=sum(result.verdict is Verdict.PASS for result in record.results),
        failed=tuple(result.check_id for result in record.results if result.verdict is Verdict.FAIL),
        dossier=str(dossier) if dossier.exists() else "",
    )


def _fields(asked: "Asked", found: "list[tuple[Holding, _Evidence]]") -> dict[str, object]:
    return {
        "upstream": asked.upstream,
        "commit": asked.commit,
        "subject": asked.subject,
        "candidates": [
            {
                "candidate": one.candidate.candidate_id,
                "component": one.component.name,
                "holds": one.by is not None,
                "by": one.by.value if one.by else None,
                "upstream_commit": one.component.commit,
                "commits_beyond": one.ahead,
                **asdict(evidence),
            }
            for one, evidence in found
        ],
    }


def _show(asked: "Asked", found: "list[tuple[Holding, _Evidence]]") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out.print(f'{asked.upstream}: {asked.commit} "{asked.subject}"', style="bold", soft_wrap=True)
    if not found:
        out.print(f"no candidate has a component built from the upstream {asked.upstream}")
        return
    table = Table("candidate", "component", "holds it", "state", "evidence", box=box.SIMPLE_HEAD)
    for one, evidence in found:
        table.add_row(
            one.candidate.candidate_id,
            f"{one.component.name} {one.component.version}",
            _how(one),
            Text(evidence.state, style=_STYLES.get(evidence.state, "")),
            _said(evidence),
        )
    out.print(table)
    for path in {evidence.dossier for one, evidence in found if one.by and evidence.dossier}:
        out.print(f"dossier: {Path(path)}", style="dim", soft_wrap=True)


def _how(one: "Holding") -> str:
    if one.by is None:
        return "no"
    if one.by.value == "patch-id":
        return "yes, as a patch of ours"
    return f"yes, {one.ahead} commits beyond it" if one.ahead else "yes, it is its head"


def _said(evidence: _Evidence) -> str:
    if not evidence.baseline:
        return "never qualified"
    failed = f", failed: {', '.join(evidence.failed)}" if evidence.failed else ""
    return f"{evidence.passed} checks passed up to {evidence.level}, against {evidence.baseline}{failed}"
