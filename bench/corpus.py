"""Measures the release loop on the corpus of known faults and harmless changes; `make corpus` runs it.

    .venv/bin/python bench/corpus.py [--component nginx|linux] [--only PATTERN] [--same N] [--bisect] [--anew] [--page]

Every change of corpus/*/corpus.toml is built from fetched sources by Headrace's own builder and qualified against the
plain build: a fault until something fails, a harmless change through all levels. What was found is kept change by
change in bench/results/corpus/, so a run that was stopped or killed goes on where it was, in the middle of a level too.
docs/corpus.md is written from all that is kept. Needs root or user namespaces, and what the lab needs.

Exit codes: 0 all that was asked for was run and is as the corpus says, 1 something was missed, alarmed falsely, left
undecided, or could not be run here; then the others are run all the same.
"""

import argparse
import asyncio
import fnmatch
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from corpus_changes import BASE, COMPONENTS, ROOT, Change, LinuxWorks, NginxWorks, read_changes
from corpus_page import PAGE, write_page
from corpus_results import Ending, Result, keep, read_results, result_file, result_of
from corpus_search import found_file, search
from headrace.base.clock import SystemClock
from headrace.base.errors import HeadraceError
from headrace.cli.release_stand import choose_networks
from headrace.lab.bisection.driver import Doing
from headrace.lab.qualify.record import load
from headrace.lab.qualify.runner import Step, Watch, qualify
from headrace.lab.qualify.stand import Stand
from headrace.release.config import ReleaseConfig, parse_release_config
from headrace.release.model import Level, Verdict

WORK = ROOT / ".build" / "corpus"
COMMITS = 32
console = Console(stderr=True, highlight=False, soft_wrap=True)


class Enough(Exception):
    """Something has failed: a fault needs no more evidence than that it is caught."""


def main() -> int:
    options = _options()
    if options.page:
        write_page()
        return 0
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="headrace-corpus-") as scratch:
        if options.bisect:
            is_good = _search_all(options, Path(scratch))
        else:
            results = list(_qualify_all(options, Path(scratch)))
            is_good = all(one is not None and _is_as_it_should(one) for one in results)
    write_page()
    console.print(f"results: {result_file('', '').parent}; page: {PAGE}", soft_wrap=True)
    return 0 if is_good else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--component", choices=COMPONENTS, action="append", help="only this one; may be repeated")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="only changes of this name, as 'fault-leak-*'")
    parser.add_argument("--same", type=int, default=0, metavar="N", help="the plain build against itself, N times")
    parser.add_argument("--bisect", action="store_true", help=f"search each caught fault among {COMMITS} commits")
    parser.add_argument("--anew", action="store_true", help="forget what was found for these changes before")
    parser.add_argument("--page", action="store_true", help="only write docs/corpus.md from what is kept")
    parser.add_argument("--networks", default="", help="names by commas, or 'none'; all for nothing")
    parser.add_argument("--most-pairs", type=int, default=0, metavar="N", help="another budget of pairs than the usual")
    return parser.parse_args()


def _qualify_all(options: argparse.Namespace, scratch: Path) -> Iterator[Result | None]:
    """One component after the other; None for what could not be run."""
    for component in options.component or COMPONENTS:
        changes = _quickest_first(read_changes(component))
        wanted = [(one, 0) for one in changes if fnmatch.fnmatch(one.name, options.only)]
        if options.same:
            base = Change(component=component, name=BASE, level="none")
            wanted = [(base, run) for run in range(1, options.same + 1)]
        if options.anew:
            for change, run in wanted:
                _forget(change, run)
        missing = [(change, run) for change, run in wanted if not result_file(component, change.name, run).exists()]
        yield from (one for one in read_results() if (one.component, one.change, one.run) in _keys(wanted))
        if not missing:
            continue
        works = _works(component, scratch)
        for change, run in missing:
            try:
                yield _qualify(works, change, run, options)
            except HeadraceError as error:
                console.print(f"  [red]not run[/]: {escape(str(error))}")
                yield None


def _quickest_first(changes: Iterable[Change]) -> list[Change]:
    """By the level that is expected to end it; harmless ones go through all."""
    return sorted(changes, key=lambda one: len(Level) if one.is_harmless else Level[one.level.upper()])


def _keys(wanted: Iterable[tuple[Change, int]]) -> set[tuple[str, str, int]]:
    return {(change.component, change.name, run) for change, run in wanted}


def _works(component: str, scratch: Path) -> NginxWorks | LinuxWorks:
    folder = scratch / "nginx"
    folder.mkdir(exist_ok=True)
    nginx = NginxWorks(folder)
    if component == "nginx":
        return nginx
    program = nginx.build(Change(component="nginx", name=BASE, level="none")).subject.machine.nginx
    assert program is not None
    return LinuxWorks(program)


def _qualify(works: NginxWorks | LinuxWorks, change: Change, run: int, options: argparse.Namespace) -> Result:
    """Build, qualify and keep what came of it."""
    name = f"{change.component} {change.name}" + (f" {run}" if run else "")
    console.print(f"[bold]{name}[/]: {change.what or 'the plain build against itself'}")
    base = works.build(replace(change, name=BASE))
    built = works.build(change)
    folder = WORK / change.component / f"{change.name}-{run}"
    record = None
    if run or built.subject.digest != base.subject.digest:
        profiles, _ = choose_networks(options.networks, built.subject.machine.kernel)
        candidate = replace(built.subject, name=name)
        machines = folder / "machines"
        stand = Stand(
            baseline=base.subject, candidate=candidate, folder=machines, clock=SystemClock(), profiles=profiles
        )
        try:
            asyncio.run(qualify(stand, _config(options), folder, on_step=_watch(change)))
        except Enough:
            pass
        finally:
            shutil.rmtree(machines, ignore_errors=True)
        record = load(folder)
    result = result_of(change, built, record, run)
    keep(result)
    write_page()
    told = " ".join(result.checks)
    console.print(
        f"  {result.ending.value} {result.level} {told} after {result.took_s:.0f} s: {escape(result.summary[:120])}"
    )
    return result


def _watch(change: Change) -> Watch:
    def watch(step: Step) -> None:
        if not change.is_harmless and any(result.verdict is Verdict.FAIL for result in step.results):
            raise Enough
        if step.what:
            console.print(f"  level {int(step.level)}: {step.what}", style="dim")

    return watch


def _config(options: argparse.Namespace) -> ReleaseConfig:
    config = parse_release_config()
    if not options.most_pairs:
        return config
    return replace(config, budget=replace(config.budget, most_pairs=options.most_pairs))


def _forget(change: Change, run: int) -> None:
    result_file(change.component, change.name, run).unlink(missing_ok=True)
    shutil.rmtree(WORK / change.component / f"{change.name}-{run}", ignore_errors=True)


def _is_as_it_should(result: Result) -> bool:
    if result.run:
        return result.ending is Ending.PASSED
    change = next(one for one in read_changes(result.component) if one.name == result.change)
    if change.is_harmless:
        return result.ending in {Ending.PASSED, Ending.SAME}
    return result.ending is Ending.FAILED and result.level == change.level


def _search_all(options: argparse.Namespace, scratch: Path) -> bool:
    """Every fault that was caught is searched by the check that caught it first; only nginx has histories so far."""
    caught = {one.change: one.checks[0] for one in read_results() if one.ending is Ending.FAILED and not one.run}
    if options.component and "nginx" not in options.component:
        console.print("only nginx has searches")
        return True
    changes = [one for one in read_changes("nginx") if one.name in caught and fnmatch.fnmatch(one.name, options.only)]
    works = NginxWorks(scratch)
    is_good = True
    for change in changes:
        if options.anew:
            found_file(change).unlink(missing_ok=True)
        if found_file(change).exists():
            continue
        console.print(f"[bold]{change.name}[/] hidden among {COMMITS} commits, by {caught[change.name]}")
        found = search(works, change, caught[change.name], WORK, commits=COMMITS, watch=_watch_search)
        right = "right" if found.is_right else "WRONG"
        console.print(f"  {right}: {found.ending}, {found.steps} steps, {found.seconds_a_step:.0f} s a step")
        is_good = is_good and found.is_right
        write_page()
    return is_good


def _watch_search(doing: Doing) -> None:
    if doing.done is not None:
        console.print(f"  {doing.steps}: {doing.done.step.kind} {doing.done.step.commit_id[:10]} {doing.done.outcome}")


if __name__ == "__main__":
    sys.exit(main())
