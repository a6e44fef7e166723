"""`headrace upstream`: development branches that are followed, the patch queue on top, the measures of the cycle."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.status import Status
from rich.table import Table
from rich.text import Text

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.base.units import show_duration
from headrace.cli.console import AsJson, err, out, plain
from headrace.upstream.chart import draw_upstream
from headrace.upstream.errors import UpstreamError
from headrace.upstream.measures import UpstreamStatus, measure_upstream
from headrace.upstream.model import Conflict, Patch, PatchQueue, Reason, UpstreamRecord, show_url, upstream_name
from headrace.upstream.patches import mark_patch, parse_patch
from headrace.upstream.queue import next_file_name
from headrace.upstream.report import RegressionReport, write_report
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.workshop.adapters.records import (
    UpstreamFolder,
    read_patch_file,
    read_queue,
    upstream_names,
    write_patch_file,
)
from headrace.workshop.errors import ConflictError
from headrace.workshop.sync import SyncResult, add_upstream, sync_upstream

DEFAULT_FOLDER = Path("~/.local/share/headrace/release")

Folder = Annotated[
    Path,
    typer.Option("--folder", envvar="HEADRACE_RELEASE_FOLDER", help="Where upstreams, builds and runs are kept."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the upstream.")]

_REASONS = {
    Reason.AGREEMENT: "covered by an agreement that forbids publishing it",
    Reason.DEVELOPMENT: "still in development or test",
    Reason.GENERALISE: "works for us; has to be made general before upstream can want it",
}


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Upstreams: follow a development branch, keep a small patch queue.", no_args_is_help=True)
    group.command("add")(_add)
    group.command("sync")(_sync)
    group.command("status")(_status)
    patches = typer.Typer(help="The patch queue of an upstream: list, add, explain.", invoke_without_command=True)
    patches.callback()(_patches)
    patches.command("list")(_list)
    patches.command("add")(_add_patch)
    patches.command("explain")(_explain)
    group.add_typer(patches, name="patches")
    group.command("report")(_report)
    app.add_typer(group, name="upstream")


def _add(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="URL or path of the git repository.")],
    branch: Annotated[str | None, typer.Option(help="Branch to follow; its default branch if not given.")] = None,
    patches: Annotated[Path | None, typer.Option(help="Folder of your patches; one of our own if not given.")] = None,
    folder: Folder = DEFAULT_FOLDER,
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
    folder: Folder = DEFAULT_FOLDER,
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
    folder: Folder = DEFAULT_FOLDER,
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


def _patches(context: typer.Context, name: Name, folder: Folder = DEFAULT_FOLDER) -> None:
    """The patch queue of an upstream; alone it lists it.

    Example: [bold]headrace upstream patches nginx[/]
    """
    context.obj = UpstreamFolder(root=folder.expanduser().absolute(), name=upstream_name(name))
    if context.invoked_subcommand is None:
        _list(context)


def _list(context: typer.Context, as_json: AsJson = False) -> None:
    """List the queue in the order of application.

    Example: [bold]headrace upstream patches nginx list[/]
    """
    place: UpstreamFolder = context.obj
    upstream = place.read().upstream
    queue = read_queue(upstream).queue
    if as_json:
        typer.echo(encode(queue).decode())
        return
    if not queue.patches:
        out.print(f"the queue is empty: {upstream.patches}", soft_wrap=True)
        return
    table = Table("patch", "reason", "since", "size", "sent", box=None)
    table.columns[0].overflow = table.columns[4].overflow = "fold"
    for patch in queue.patches:
        table.add_row(
            patch.file_name,
            str(patch.reason),
            patch.since.isoformat(),
            f"+{patch.added_lines} -{patch.removed_lines}",
            patch.sent or ("-" if patch.reason is Reason.AGREEMENT else "not yet"),
        )
    out.print(table)


def _add_patch(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A patch as `git format-patch` writes it.")],
    reason: Annotated[Reason, typer.Option(help="Why it is kept local.")],
    sent: Annotated[str | None, typer.Option(help="URL of the mail or pull request, if it was sent.")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Since when it is local; today if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a patch at the end of the queue, with the reason why it is local.

    Example: [bold]headrace upstream patches nginx add 0001-fix.patch --reason development[/]
    """
    place: UpstreamFolder = context.obj
    upstream = place.read().upstream
    day = since.date() if since else _today()
    body = mark_patch(file.name, read_patch_file(file), reason=reason, sent=sent, since=day)
    queue = read_queue(upstream).queue
    subject = parse_patch(file.name, body).subject
    twin = next((patch.file_name for patch in queue.patches if patch.subject == subject), None)
    if twin is not None:
        raise UpstreamError(f"the queue has this patch already: {twin} ({subject})")
    patch_name = next_file_name((patch.file_name for patch in queue.patches), subject)
    path = write_patch_file(upstream, patch_name, body)
    if as_json:
        typer.echo(encode(parse_patch(patch_name, body)).decode())
    else:
        out.print(f"added {path}", soft_wrap=True)


def _explain(
    context: typer.Context,
    patch: Annotated[str, typer.Argument(metavar="PATCH", help="File name of the patch, or how it begins.")],
    as_json: AsJson = False,
) -> None:
    """Say why a patch is local, since when, where it was sent, what it touches and how it fared.

    Example: [bold]headrace upstream patches nginx explain 0001[/]
    """
    place: UpstreamFolder = context.obj
    record = place.read()
    found = [one for one in read_queue(record.upstream).queue.patches if one.file_name.startswith(patch)]
    if len(found) != 1:
        raise UpstreamError(f"{len(found)} patches of {place.name} begin with {patch!r}; name one")
    if as_json:
        typer.echo(encode(found[0]).decode())
    else:
        _print_patch(found[0], record)


def _print_patch(patch: Patch, record: UpstreamRecord) -> None:
    applied = record.candidate.patches if record.candidate else ()
    one = next((one for one in applied if one.sha256 == patch.sha256), None)
    state = f"commit {one.commit[:12]} of the candidate" if one else "not in the candidate"
    merged = ", by a three-way merge: upstream moved nearby" if one and one.was_merged else ""
    conflicts = sum(patch.file_name in entry.conflicts for entry in record.history)
    table = Table(box=None, show_header=False)
    for name, value in (
        ("subject", patch.subject),
        ("author", patch.author),
        ("why local", f"{patch.reason}: {_REASONS[patch.reason]}"),
        ("sent", patch.sent or ("must not be" if patch.reason is Reason.AGREEMENT else "not yet")),
        ("since", f"{patch.since.isoformat()} ({max(0, (_today() - patch.since).days)} days)"),
        ("size", f"+{patch.added_lines} -{patch.removed_lines} in {len(patch.hunks)} hunks"),
        ("files", "\n".join(patch.paths)),
        ("state", state + merged),
        ("conflicts", f"in {conflicts} of {len(record.history)} syncs remembered"),
    ):
        table.add_row(Text(name, style="dim"), value)
    out.print(table)


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


def _today() -> date:
    return datetime.fromtimestamp(SystemClock().now_s(), UTC).date()
