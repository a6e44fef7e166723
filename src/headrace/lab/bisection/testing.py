"""For tests and benches: a history with one fault among harmless commits, and the whole search for it.

hidden = hide_fault(nginx_source, tmp / "repository", corpus / "fault-cpu-1.patch", harmless, commits=32, seed=7)
found = await find_hidden(hidden, "performance.instructions-small", Place(tmp / "release", ""), tmp / "run")
assert found.conclusion.commit_ids == (hidden.culprit,)
"""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.base.clock import SystemClock
from headrace.base.rng import Rng, make_rng
from headrace.lab.bisection.begin import begin, go_on
from headrace.lab.bisection.builds import Works
from headrace.lab.bisection.driver import Doing, Driver
from headrace.lab.bisection.grounds import borrow_repository, grounds_of_repository
from headrace.lab.bisection.model import Bisection
from headrace.lab.bisection.readings import empty_stand, find_check
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.qualify.stand import Subject
from headrace.release.config import parse_release_config
from headrace.upstream.model import CommitId
from headrace.workshop.adapters.git import Git
from headrace.workshop.builder import Builder
from headrace.workshop.candidates import CandidateStore
from headrace.workshop.config import read_workshop_config
from headrace.workshop.recipes import find_recipe
from headrace.workshop.store import BuildStore
from headrace.workshop.testing_git import SourceRepository
from headrace.workshop.work import Progress

_MESSAGE = re.compile(r'(ngx_(?:conf_)?log_error\(NGX_LOG_(?:ALERT|EMERG|CRIT|ERR)[^;"]*")([a-z][^"\\]{8,})(")')


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """A repository with one commit at fault."""

    repository: Path
    good: CommitId
    bad: CommitId
    culprit: CommitId
    commits: int


def hide_fault(
    source: Path, folder: Path, fault: Path, harmless: Sequence[Path] = (), *, commits: int = 32, seed: int = 1
) -> Hidden:
    """A repository in `folder`: `source` (nginx, unpacked), then `commits` commits, one of which is `fault`.

    The others are the patches `harmless` that apply, other words in messages, and comments, in an order and at places
    drawn from `seed`. The culprit stands anywhere.
    """
    rng = make_rng(seed)
    repository = begin_repository(source, folder)
    good = repository.head()
    place = rng.randrange(commits)
    fillers = _fillers(folder, harmless, rng)
    culprit = good
    for number in range(commits):
        if number == place:
            apply_patch(folder, fault)
            culprit = repository.commit(subject_of(fault), {})
        else:
            repository.commit(next(fillers), {})
    return Hidden(repository=folder, good=good, bad=repository.head(), culprit=culprit, commits=commits)


def begin_repository(source: Path, folder: Path) -> SourceRepository:
    """A repository in `folder` whose first commit is all of `source`."""
    made = SourceRepository(folder=folder)
    shutil.copytree(source, folder, dirs_exist_ok=True)
    made.commit("a release", {})
    return made


def apply_patch(folder: Path, patch: Path) -> bool:
    """Apply a patch to the files of a folder, if it fits."""
    return Git(folder=folder).run("apply", str(patch), may_fail=(1, 128)).code == 0


def subject_of(patch: Path) -> str:
    """Its first line; the rest says nothing that gives a fault away."""
    found = re.search(r"^Subject: (?:\[PATCH\] )?(.*)$", patch.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else patch.stem


def _fillers(folder: Path, harmless: Sequence[Path], rng: Rng) -> Iterator[str]:
    """Change the files harmlessly, again and again; gives the subject of each change."""
    files = sorted((folder / "src").rglob("*.c"))
    patches = list(harmless)
    rng.shuffle(patches)
    rng.shuffle(files)
    while files:
        if patches and rng.random() < 0.3 and apply_patch(folder, patch := patches.pop()):
            yield subject_of(patch)
            continue
        path = files.pop()
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        changed, count = _MESSAGE.subn(r"\1\2 now\3", text, count=1)
        if not count:
            changed = text.replace("\n#include", "\n/* The usual headers. */\n#include", 1)
        path.write_text(changed, encoding="utf-8", errors="surrogateescape")
        if changed != text:
            yield f"{path.stem}: {'words of a message' if count else 'a comment'}"


class Place:
    """A release folder with a build store and the recipe of nginx."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.clock = SystemClock()
        self.store = BuildStore(folder / "builds", clock=self.clock)
        self.recipe = find_recipe("nginx", folder / "recipes")
        self._candidates = CandidateStore(folder / "candidates")
        self._config = read_workshop_config(settings, source="test").build

    def make_builder(self, watch: Callable[[Progress], None]) -> Builder:
        return Builder(self.store, self._candidates, self._config, clock=self.clock, watch=watch)


async def find_hidden(
    hidden: Hidden,
    check_id: str,
    place: Place,
    run: Path,
    *,
    time_scale: float = 1.0,
    watch: Callable[[Doing], None] = lambda doing: None,
) -> Bisection:
    """The whole search, as `headrace release bisect --repository` makes it; goes on where the folder `run` was left."""
    config = parse_release_config()
    mirror = borrow_repository(hidden.repository, run / "repository.git")
    grounds = grounds_of_repository(mirror, hidden.repository, hidden.good, hidden.bad, component="nginx")
    rest = Subject(name="", machine=MachineSpec(kind=MachineKind.PROCESS))
    driver = Driver(
        works=Works(
            mirror=mirror,
            grounds=grounds,
            recipe=place.recipe,
            store=place.store,
            make_builder=place.make_builder,
            clock=place.clock,
            watch=lambda progress: None,
        ),
        check=find_check(check_id, empty_stand(rest, "nginx", {}, place.clock), config.definitions),
        rest=rest,
        run=run,
        machines=run / "machines",
        settings=config.bisection,
        clock=place.clock,
        watch=watch,
        time_scale=time_scale,
    )
    record = go_on(run, place.recipe) or begin(
        run, grounds, place.recipe, check_id, names=(hidden.bad, hidden.good), clock=place.clock
    )
    return await driver.search(record)
