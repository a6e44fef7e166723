"""`headrace upstream`: development branches that are followed, the patch queue on top, the measures of the cycle."""

from pathlib import Path
from typing import Annotated

import typer
from rich.status import Status
from rich.table import Table
from rich.text import Text

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.base.units import show_duration
from headrace.cli import upstream_patches
from headrace.cli.console import AsJson, err, out, plain
from headrace.cli.release import DEFAULT_FOLDER, ReleaseFolder
from headrace.upstream.chart import draw_upstream
from headrace.upstream.errors import UpstreamError
from headrace.upstream.measures import UpstreamStatus, measure_upstream
from headrace.upstream.model import Conflict, PatchQueue, UpstreamRecord, show_url, upstream_name
from headrace.upstream.report import RegressionReport, write_report
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.workshop.adapters.records import UpstreamFolder, read_queue, upstream_names
from headrace.workshop.errors import ConflictError
from headrace.workshop.sync import SyncResult, add_upstream, remove_upstream, sync_upstream

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the upstream.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Upstreams: follow a development branch, keep a small patch queue.", no_args_is_help=True)
    group.command("add")(_add)
    group.command("sync")(_sync)
    group.command("status")(_status)
    group.add_typer(upstream_patches.group(), name="patches")
    group.command("report")(_report)
    group.command("remove")(_remove)
    app.add_typer(group, name="upstream")


def _add(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="URL or path of the git repository.")],
    branch: Annotated[str | None, typer.Option(help="Branch to follow; its default branch if not given.")] = None,
    patches: Annotated[Path | None, typer.Option(help="Folder of your patches; one of our own if not given.")] = None,
    folder: ReleaseFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Follow a branch of a git repository. Asks whether it is there; the first sync fetches it.

    Example: [bold]headrace upstream add nginx https://github.com/nginx/nginx --branch master --patches ./patches[/]
    """
    where = str(Path(url).expanduser().resolve()) if Path(url).expanduser().exists() else url
    record = add_upstream(
        folder.expanduser().absolute(),
        upstream_name(name),
        where,
        branch=branch,
        patches=patches.expanduser().absolute() if patches else None,
        now_s=SystemClock().now_s(),
    )
    if as_json:
        typer.echo(encode(measure_upstream(record, None, now_s=record.added_at_s)).decode())
        return
    upstream = record.upstream
    out.print(f"added {name}: branch {upstream.branch} of {show_url(upstream.url)}", soft_wrap=True)
    out.print(f"patches in {upstream.patches}", soft_wrap=True)
    out.print(f"next: headrace upstream sync {name}", style="dim")


def _sync(
    name: Name,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after a conflict with the corrected patch; fetches nothing.")
    ] = False,
    accept_rewrite: Annotated[
        bool, typer.Option("--accept-rewrite", help="Accept a branch whose history was rewritten (force-pushed).")
    ] = False,
    folder: ReleaseFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Fetch the branch, put the patch queue on its head, remember the candidate. A conflict ends with exit code 62.

    Example: [bold]headrace upstream sync nginx[/]
    """
    with err.status(Text(f"syncing {name}")) as status:
        result = sync_upstream(
            folder.expanduser().absolute(),
            upstream_name(name),
            clock=SystemClock(),
            watch=_Steps(status, name).show,
            is_resume=resume,
            may_be_rewritten=accept_rewrite,
        )
    if as_json:
        typer.echo(encode(result.public()).decode())
    else:
        _print_sync(name, result)
    if result.conflict is not None:
        raise ConflictError(conflict_text(name, result.conflict))


class _Steps:
    """Shows the step that runs, on terminals only."""

    def __init__(self, status: Status, name: str) -> None:
        self._status = status
        self._name = name

    def show(self, line: str) -> None:
        self._status.update(Text(f"{self._name}: {plain(line)[:100]}"))


def _print_sync(name: str, result: SyncResult) -> None:
    for taken in result.taken:
        out.print(taken.note, style="yellow" if taken.by == "subject" else "green", soft_wrap=True)
    candidate = result.record.candidate
    if result.conflict is not None:
        kept = f"candidate {candidate.commit[:12]} stays in force" if candidate else "there is no candidate yet"
        out.print(f"{name}: {kept}", style="yellow")
        return
    assert candidate is not None
    new = f"{result.new_commits} new upstream commits" if result.new_commits is not None else "first sync"
    on_top = f"{len(candidate.patches)} patches on {candidate.upstream_commit[:12]}"
    state = "candidate" if result.is_changed else "unchanged: candidate"
    out.print(f"{name}: {state} {candidate.commit} ({on_top}; {new}; {show_duration(result.took_s)})", soft_wrap=True)
    merged = [one.file_name for one in candidate.patches if one.was_merged]
    if merged:
        out.print(f"needed a three-way merge, refresh them soon: {', '.join(merged)}", style="dim", soft_wrap=True)


def conflict_text(name: str, conflict: Conflict) -> str:
    """What a person needs to mend a conflict."""
    places = "".join(
        f"\n  {place.path}"
        + (f", hunk {place.hunk} (line {place.line_no} of the patch)" if place.hunk is not None else "")
        + f": {place.why}"
        for place in conflict.places
    )
    return (
        f"{conflict.file_name} ({conflict.subject}) does not apply to upstream's head {conflict.head[:12]}:{places}\n"
        f"Make it fit commit {conflict.onto} (the head with the patches before it), put the corrected file in place "
        f"and run: headrace upstream sync {name} --resume"
    )


def _status(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name of the upstream; all if not given.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write an SVG picture of the upstream's syncs to this file.")
    ] = None,
    folder: ReleaseFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """How well the cycle runs: lag, queue, conflicts, time from an upstream commit to a candidate and beyond.

    Example: [bold]headrace upstream status nginx --plot nginx.svg[/]
    """
    root = folder.expanduser().absolute()
    names = [upstream_name(name)] if name else list(upstream_names(root))
    records = [UpstreamFolder(root=root, name=one).read() for one in names]
    if plot is not None:
        if len(records) != 1:
            raise UsageError("--plot draws one upstream: name it")
        plot.write_text(draw_upstream(records[0]), encoding="utf-8")
    now_s = SystemClock().now_s()
    views = tuple(_measured(record, now_s) for record in records)
    if as_json:
        typer.echo(encode(views, tuple[UpstreamStatus, ...]).decode())
        return
    if not views:
        out.print(f"no upstreams in {root}: add one with `headrace upstream add NAME URL`", soft_wrap=True)
        return
    out.print(_overview(views, now_s))
    for view in views:
        _print_trouble(view)
    if name:
        out.print(_stages(views[0]))
    if plot is not None:
        out.print(f"drawn: {plot}", style="dim", soft_wrap=True)


def _measured(record: UpstreamRecord, now_s: float) -> UpstreamStatus:
    try:
        queue: PatchQueue | None = read_queue(record.upstream).queue
        return measure_upstream(record, queue, now_s=now_s)
    except UpstreamError as error:
        return measure_upstream(record, None, queue_fault=str(error), now_s=now_s)


def _overview(views: tuple[UpstreamStatus, ...], now_s: float) -> Table:
    table = Table("upstream", "candidate", "lag", "fetched", "queue", "oldest", "conflicts", box=None)
    for column in (5, 6):
        table.columns[column].justify = "right"
    for view in views:
        queue = view.queue
        fetched = f"{show_duration(max(0.0, now_s - view.fetched_at_s))} ago" if view.fetched_at_s else "never"
        unsent = f", {queue.unsent} not sent" if queue and queue.unsent else ""
        table.add_row(
            view.name,
            view.candidate[:12] if view.candidate else "-",
            _lag(view),
            fetched,
            f"{queue.patches} patches, {queue.lines} lines{unsent}" if queue else Text("unreadable", style="red"),
            f"{queue.oldest_days:.0f} d" if queue and queue.oldest_days is not None else "-",
            f"{view.conflicts_per_sync:.2f}/sync" if view.conflicts_per_sync is not None else "-",
        )
    return table


def _lag(view: UpstreamStatus) -> Text:
    if view.lag_commits is None or view.lag_days is None:
        return Text("-")
    if view.lag_commits == 0:
        return Text("none", style="green")
    return Text(f"{view.lag_commits} commits, {view.lag_days:.1f} d", style="yellow")


def _print_trouble(view: UpstreamStatus) -> None:
    if view.queue_fault:
        out.print(f"{view.name}: {view.queue_fault}", style="red", soft_wrap=True)
    if view.conflict is not None:
        out.print(f"{view.name} waits: {conflict_text(view.name, view.conflict)}", style="yellow", soft_wrap=True)


def _stages(view: UpstreamStatus) -> Table:
    table = Table("upstream commit to", "candidates", "last", "median", "worst", box=None)
    for stage in view.stages:
        times = (stage.last_s, stage.median_s, stage.worst_s)
        table.add_row(
            str(stage.stage), str(stage.syncs), *(show_duration(one) if one is not None else "-" for one in times)
        )
    return table


def _report(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="report.json of a bisection's run.")],
    sender: Annotated[
        str, typer.Option("--from", help="Who reports, as `Name <address>`.")
    ] = "(your name and address)",
    output: Annotated[Path | None, typer.Option(help="Write the mail to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the mail that upstream's maintainers want about a regression. Sends nothing.

    Example: [bold]headrace upstream report runs/r-1/report.json --from "Ann Example <ann@example.org>"[/]
    """
    try:
        report = decode(RegressionReport, file.read_bytes())
    except (OSError, MalformedError) as error:
        raise UsageError(f"cannot read the report {file}: {error}") from None
    mail = write_report(report, sender=sender)
    if output is not None:
        output.write_text(mail, encoding="utf-8")
    if as_json:
        typer.echo(encode({"mail": mail}, dict[str, str]).decode())
    elif output is None:
        typer.echo(mail, nl=False)
    else:
        out.print(f"written, not sent: {output}", soft_wrap=True)


def _remove(
    name: Name,
    discard_patches: Annotated[
        bool, typer.Option("--discard-patches", help="Remove a queue that lies in the release folder, too.")
    ] = False,
    folder: ReleaseFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Follow an upstream no longer: removes its mirror and its record. Builds and candidates stay.

    A patch folder of your own is never touched; patches in the release folder are only removed when you say so.

    Example: [bold]headrace upstream remove nginx[/]
    """
    remove_upstream(folder.expanduser().absolute(), upstream_name(name), may_discard_patches=discard_patches)
    if as_json:
        typer.echo(encode({"removed": name}, dict[str, str]).decode())
    else:
        out.print(f"removed {name}", soft_wrap=True)
