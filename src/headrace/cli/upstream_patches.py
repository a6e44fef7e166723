"""`headrace upstream patches`: the queue of an upstream, listed, explained and kept."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from headrace.base.clock import SystemClock
from headrace.cli.console import AsJson, out
from headrace.cli.release import DEFAULT_FOLDER, ReleaseFolder
from headrace.upstream.errors import UpstreamError
from headrace.upstream.model import Patch, Reason, UpstreamRecord, upstream_name
from headrace.upstream.patches import mark_patch, parse_patch
from headrace.upstream.queue import next_file_name
from headrace.wire.codec import encode
from headrace.workshop.adapters.records import UpstreamFolder, read_patch_file, read_queue, write_patch_file

PatchName = Annotated[str, typer.Argument(metavar="PATCH", help="File name of the patch, or how it begins.")]

_REASONS = {
    Reason.AGREEMENT: "covered by an agreement that forbids publishing it",
    Reason.DEVELOPMENT: "still in development or test",
    Reason.GENERALISE: "works for us; has to be made general before upstream can want it",
}


def group() -> typer.Typer:
    """The group `patches`."""
    patches = typer.Typer(help="The patch queue of an upstream: list, add, explain.", invoke_without_command=True)
    patches.callback()(_patches)
    patches.command("list")(_list)
    patches.command("add")(_add_patch)
    patches.command("explain")(_explain)
    patches.command("sent")(_mark_sent)
    return patches


def _patches(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the upstream.")],
    folder: ReleaseFolder = DEFAULT_FOLDER,
) -> None:
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
    patch: PatchName,
    as_json: AsJson = False,
) -> None:
    """Say why a patch is local, since when, where it was sent, what it touches and how it fared.

    Example: [bold]headrace upstream patches nginx explain 0001[/]
    """
    place: UpstreamFolder = context.obj
    record = place.read()
    found = _find(place, record, patch)
    if as_json:
        typer.echo(encode(found).decode())
    else:
        _print_patch(found, record)


def _mark_sent(
    context: typer.Context,
    patch: PatchName,
    url: Annotated[str, typer.Argument(metavar="URL", help="Of the mail or pull request that holds it.")],
    as_json: AsJson = False,
) -> None:
    """Note where a patch was sent. It stays in the queue until a sync finds that upstream has it.

    Example: [bold]headrace upstream patches nginx sent 0001 https://mailman.nginx.org/pipermail/nginx-devel/1.html[/]
    """
    place: UpstreamFolder = context.obj
    record = place.read()
    found = _find(place, record, patch)
    path = Path(record.upstream.patches) / found.file_name
    body = mark_patch(found.file_name, read_patch_file(path), reason=found.reason, sent=url, since=found.since)
    write_patch_file(record.upstream, found.file_name, body)
    if as_json:
        typer.echo(encode(parse_patch(found.file_name, body)).decode())
    else:
        out.print(f"{found.file_name} was sent: {url}", soft_wrap=True)


def _find(place: UpstreamFolder, record: UpstreamRecord, patch: str) -> Patch:
    found = [one for one in read_queue(record.upstream).queue.patches if one.file_name.startswith(patch)]
    if len(found) != 1:
        raise UpstreamError(f"{len(found)} patches of {place.name} begin with {patch!r}; name one")
    return found[0]


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


def _today() -> date:
    return datetime.fromtimestamp(SystemClock().now_s(), UTC).date()
