"""`headrace release build|builds|candidate|candidates|recipes`: what is built from source, and sets of it."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace import __version__
from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.base.logs import set_up_logging
from headrace.base.units import show_bytes, show_duration
from headrace.cli.console import AsJson, err, out, plain
from headrace.cli.release import DEFAULT_FOLDER, ReleaseFolder

if TYPE_CHECKING:
    from headrace.upstream.build import Build, Source
    from headrace.upstream.candidate import Candidate
    from headrace.workshop.builder import Builder, Outcome
    from headrace.workshop.config import WorkshopConfig
    from headrace.workshop.sources import SourceTree
    from headrace.workshop.store import BuildStore
    from headrace.workshop.work import Progress


def add_commands(group: typer.Typer) -> None:
    """Add this module's commands to `headrace release`."""
    group.command("build")(_build)
    group.command("builds")(_builds)
    group.command("candidate")(_candidate)
    group.command("candidates")(_candidates)
    group.command("recipes")(_recipes)


class Workshop:
    """The parts of the release folder, opened once by a command."""

    def __init__(self, folder: Path) -> None:
        from headrace.workshop.candidates import CandidateStore
        from headrace.workshop.store import BuildStore

        self.clock = SystemClock()
        self.folder = folder.expanduser().absolute()
        self.recipes = self.folder / "recipes"
        self.store: BuildStore = BuildStore(self.folder / "builds", clock=self.clock)
        self.candidates: CandidateStore = CandidateStore(self.folder / "candidates")

    def config(self) -> "WorkshopConfig":
        """The settings of `workshop.toml`, or the defaults."""
        from headrace.workshop.config import read_workshop_config

        path = self.folder / "workshop.toml"
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the settings {path}: {error}") from None
        return read_workshop_config(text, source=str(path))

    def builder(self, watch: "Callable[[Progress], None]") -> "Builder":
        """A builder with the settings of this folder."""
        from headrace.workshop.builder import Builder

        return Builder(self.store, self.candidates, self.config().build, clock=self.clock, watch=watch)


def _build(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Name of a recipe: `headrace release recipes`.")],
    source: Annotated[
        Path | None, typer.Argument(metavar="[SOURCE]", help="Folder or tarball (.tar.gz, .tar.xz) of the source.")
    ] = None,
    upstream: Annotated[
        str, typer.Option(metavar="NAME", help="Instead of SOURCE: the candidate commit of this upstream.")
    ] = "",
    commit: Annotated[str, typer.Option(metavar="REVISION", help="With --upstream: this commit instead.")] = "",
    patches: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With a tarball: put this patch queue on it first.")
    ] = None,
    fragment: Annotated[
        list[Path] | None, typer.Option("--fragment", help="Configuration laid over the recipe's own; repeatable.")
    ] = None,
    tree: Annotated[str, typer.Option("--tree", help="Name of the work tree; another one builds beside it.")] = "main",
    retry: Annotated[bool, typer.Option("--retry", help="Build again what is remembered as unbuildable.")] = False,
    folder: ReleaseFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Build a component from source, or find it built.

    The same source, recipe, configuration and toolchain are built once. A later version in the same work tree costs
    only what changed. Equal outputs are one: what was proven of the one holds for the other.

    Examples: [bold]headrace release build nginx nginx-1.31.3.tar.gz[/]

    [bold]headrace release build nginx nginx-1.26.3.tar.gz --patches patches/nginx[/]

    [bold]headrace release build linux --upstream linux[/]
    """
    from headrace.upstream.build import BuildVerdict
    from headrace.upstream.model import upstream_name
    from headrace.workshop.builder import failure_of, line_of
    from headrace.workshop.recipes import find_recipe

    upstream_name(tree)  # a work tree is a folder, named by the same rule
    workshop = Workshop(folder)
    chosen = find_recipe(recipe, workshop.recipes, fragments=tuple(fragment or ()))
    set_up_logging("WARNING")
    with (
        _watching(as_json) as watch,
        _opened(workshop, source, patches, upstream, commit, line_of(chosen, tree)) as (files, origin),
    ):
        outcome = workshop.builder(watch).build(chosen, files, origin, work_name=tree, may_retry=retry)
    if outcome.build.verdict is BuildVerdict.UNBUILDABLE:
        raise failure_of(outcome.build, workshop.store)
    _show_outcome(outcome, workshop.store, as_json)


@contextmanager
def _opened(
    workshop: Workshop, path: Path | None, patches: Path | None, upstream: str, revision: str, line: str
) -> "Iterator[tuple[SourceTree, Source]]":
    from headrace.upstream.build import Source
    from headrace.upstream.model import upstream_name
    from headrace.workshop.sources import NO_PATCHES, open_source, read_stack
    from headrace.workshop.tracked import tracked_source

    if (path is None) == (not upstream) or (revision and not upstream):
        raise UsageError("name what to build: SOURCE (a folder or tarball), or --upstream NAME [--commit REVISION]")
    if patches is not None and path is None:
        raise UsageError("--patches goes with a tarball; an upstream has a queue of its own")
    if path is not None:
        stack = read_stack(patches) if patches else NO_PATCHES
        with open_source(path, workshop.store, workshop.clock, patches=stack) as tree:
            yield tree, Source(patches=stack.ids)
        return
    name, store, clock = upstream_name(upstream), workshop.store, workshop.clock
    yield tracked_source(workshop.folder, name, revision, line=line, store=store, clock=clock)


@contextmanager
def _watching(as_json: bool) -> "Iterator[Callable[[Progress], None]]":
    if as_json or not err.is_terminal:
        yield lambda progress: None
        return
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[lines]}", markup=False),
        TextColumn("{task.fields[last]}", markup=False, style="dim"),
    )
    with Bar(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None, lines="", last="")

        def watch(progress: "Progress") -> None:
            bar.update(task, description=progress.stage.value)
            if progress.last_line:
                bar.update(task, lines=f"{progress.lines} lines", last=plain(progress.last_line.strip())[:60])

        yield watch


def _show_outcome(outcome: "Outcome", store: "BuildStore", as_json: bool) -> None:
    build = outcome.build
    if as_json:
        fields = {"was_stored": outcome.was_stored, "took_s": round(outcome.took_s, 3)}
        _line(fields | _build_fields(build, store))
        return
    out.print("built already" if outcome.was_stored else "built", style="bold green", end=" ")
    version = build.sources[-1].version
    how = "incrementally" if build.provenance.is_incremental else "from nothing"
    took = "" if outcome.was_stored else f", {how} in {show_duration(outcome.took_s)}"
    out.print(f"{build.provenance.inputs.recipe} {version}: {build.build_id}{took}", soft_wrap=True)
    for output in build.outputs:
        out.print(f"  {store.folder(build) / output.name}  {show_bytes(output.size_bytes)}", soft_wrap=True)
    if build.same_as:
        out.print(f"  the same, byte for byte, as {build.same_as}: what holds for that holds for this", soft_wrap=True)
    if build.warnings:
        out.print(f"  {len(build.warnings)} warnings of the compiler; `--json` lists them")
    if not outcome.was_stored and not build.provenance.has_ccache:
        out.print("  without ccache, which makes whole builds several times faster (install it: ccache)", style="dim")


def _build_fields(build: "Build", store: "BuildStore") -> dict[str, object]:
    from headrace.wire.codec import encode

    fields: dict[str, object] = json.loads(encode(build))
    fields["folder"] = str(store.folder(build)) if store.has_outputs(build) else None
    fields["log"] = str(store.log(build.provenance.key))
    return fields


def _builds(folder: ReleaseFolder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """List what was built, the oldest first.

    Example: [bold]headrace release builds[/]
    """
    from headrace.upstream.build import BuildVerdict

    store = Workshop(folder).store
    builds = store.builds()
    if as_json:
        _line([_build_fields(build, store) for build in builds])
        return
    rows = []
    for build in builds:
        is_built = build.verdict is BuildVerdict.BUILT
        state = "built" if store.has_outputs(build) else "outputs have left" if is_built else "does not build"
        rows.append(
            (
                build.build_id,
                f"{build.provenance.inputs.recipe} {build.sources[-1].version}",
                (build.sources[-1].commit or "")[:12] or build.sources[-1].name,
                datetime.fromtimestamp(build.provenance.started_at_s, UTC).strftime("%m-%d %H:%M"),
                show_duration(build.provenance.took_s),
                f"same as {build.same_as}" if build.same_as else state,
            )
        )
    _table(("build", "what", "source", "made (UTC)", "took", "state"), rows, "nothing was built yet")


def _candidate(
    nginx: Annotated[str, typer.Option(metavar="BUILD", help="Build of nginx, by id or the start of one.")] = "",
    linux: Annotated[str, typer.Option(metavar="BUILD", help="Build of the kernel.")] = "",
    linux_image: Annotated[
        str, typer.Option("--linux-image", metavar="BUILD", help="Build of the kernel as an image, to count ticks in.")
    ] = "",
    show: Annotated[str, typer.Option(metavar="CANDIDATE", help="Show this candidate instead of making one.")] = "",
    folder: ReleaseFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Make a candidate of builds, with this Headrace and its nginx template; or show one.

    The same parts always give the same id. What is in a candidate stays in the build store.

    Example: [bold]headrace release candidate --nginx b-1a2b3c --linux b-4d5e6f[/]
    """
    from headrace.upstream.candidate import make_candidate, make_component

    workshop = Workshop(folder)
    if show:
        _show_candidate(workshop.candidates.find(show), as_json)
        return
    chosen = {"nginx": nginx, "linux": linux, "linux-image": linux_image}
    if not any(chosen.values()):
        raise UsageError("name at least one build: --nginx, --linux or --linux-image BUILD (`headrace release builds`)")
    builds = {name: workshop.store.find(text) for name, text in chosen.items() if text}
    for name, build in builds.items():
        make_component(name, build)  # says what is wrong with a build before its files are looked for
        workshop.store.output(build, name)
    candidate = make_candidate(
        tuple(make_component(name, build) for name, build in builds.items()),
        headrace_version=__version__,
        nginx_template_sha256=_template_sha256(),
        now_s=workshop.clock.now_s(),
    )
    _show_candidate(workshop.candidates.save(candidate), as_json)


def _template_sha256() -> str:
    import hashlib
    from importlib.resources import files

    folder = files("headrace.appliance").joinpath("nginx")
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _candidates(folder: ReleaseFolder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """List the candidates, the oldest first.

    Example: [bold]headrace release candidates[/]
    """
    candidates = Workshop(folder).candidates.all()
    if as_json:
        _line([_candidate_fields(candidate) for candidate in candidates])
        return
    rows = [
        (
            candidate.candidate_id,
            datetime.fromtimestamp(candidate.made_at_s, UTC).strftime("%Y-%m-%d %H:%M"),
            ", ".join(f"{one.name} {one.version}" for one in candidate.components),
            candidate.headrace_version,
        )
        for candidate in candidates
    ]
    _table(("candidate", "made (UTC)", "components", "headrace"), rows, "no candidate was made yet")


def _show_candidate(candidate: "Candidate", as_json: bool) -> None:
    if as_json:
        _line(_candidate_fields(candidate))
        return
    out.print("candidate", candidate.candidate_id, style="bold green")
    rows = [
        (
            one.name,
            one.version,
            one.build_id,
            one.commit or "no commit",
            str(len(one.patches)),
            one.output_sha256[:12],
        )
        for one in candidate.components
    ]
    _table(("component", "version", "build", "upstream commit", "patches", "outputs"), rows, "")
    out.print(f"headrace {candidate.headrace_version}, nginx template {candidate.nginx_template_sha256[:12]}")


def _candidate_fields(candidate: "Candidate") -> dict[str, object]:
    from headrace.wire.codec import encode

    fields: dict[str, object] = json.loads(encode(candidate))
    return fields


def _recipes(folder: ReleaseFolder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """List the recipes: Headrace's own, and yours in the folder `recipes`.

    Example: [bold]headrace release recipes[/]
    """
    from headrace.workshop.recipes import find_recipe, recipe_names

    own = Workshop(folder).recipes
    recipes = [find_recipe(name, own) for name in recipe_names(own)]
    if as_json:
        _line([{"name": one.name, "about": one.about, "outputs": sorted(one.outputs)} for one in recipes])
        return
    rows = [(one.name, one.about, ", ".join(sorted(one.outputs))) for one in recipes]
    _table(("recipe", "what", "outputs"), rows, "")
    out.print(f"Your own go to {own}", style="dim", soft_wrap=True)


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]], when_empty: str) -> None:
    if not rows:
        out.print(when_empty)
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, title in enumerate(titles):
        table.add_column(title, no_wrap=number == 0, overflow="fold")  # ids are for copying
    for row in rows:
        table.add_row(*row)
    out.print(table)


def _line(fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()
