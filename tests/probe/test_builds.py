"""Builds on real parts with a recipe of a few lines: real compiler, disk, processes, kills, two builders at once."""

import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.base.errors import HeadraceError
from headrace.upstream.build import BuildVerdict, Source
from headrace.upstream.recipe import Recipe, parse_recipe
from headrace.workshop.builder import Builder, Outcome
from headrace.workshop.candidates import CandidateStore
from headrace.workshop.config import BuildConfig, read_workshop_config
from headrace.workshop.errors import BuildFailedError, BusyError, SourceError, StoreError
from headrace.workshop.sources import CommitSource, FolderSource, open_source, read_stack
from headrace.workshop.store import BuildStore
from headrace.workshop.work import Progress, Stage

RECIPE = r"""
about = "a program of two files"
[source]
needs = ["main.c", "configure"]
refuses = ["out"]
version_file = "main.c"
version_pattern = '^#define VERSION "(.*)"$'
[environment]
CFLAGS = "-g -ffile-prefix-map={tree}=."
[configure]
commands = [["sh", "configure"], ["sh", "-c", "cat \"$@\" >> out/config", "merge", "{fragments}"]]
inputs = ["configure"]
result = "out/config"
fragments = ["base"]
[build]
commands = [["make", "-j{jobs}"]]
[outputs]
program = "out/program"
[toolchain]
commands = [["cc", "--version"], ["make", "--version"]]
packages = "gcc make"
[log]
warning = '^(?P<file>[\w./+-]+):(?P<line>\d+):\d+: warning: (?P<text>.*)$'
compiled = '^compiling (?P<stem>\S+)\.c$'
"""
MAKE = '[["make", "-j{jobs}"]]'
MAKEFILE = """
out/program: out/main.o out/part.o
\tcc -o $@ $^
out/%.o: %.c part.h
\t@echo compiling $<
\t@cc $(CFLAGS) -Wall -c -o $@ $<
"""
FILES = {
    "main.c": '#define VERSION "1.5"\n#include <stdio.h>\n#include "part.h"\nint main(void) { puts(part()); }\n',
    "part.c": '#include "part.h"\nconst char *part(void) { return "one"; }\n',
    "part.h": "const char *part(void);\n",
    "configure": "mkdir -p out\necho CONFIG_BASE=y > out/config\n",
    "Makefile": MAKEFILE,
}


@dataclasses.dataclass
class Bench:
    """A builder on a folder of its own, and a source that can be changed."""

    folder: Path
    config: BuildConfig
    seen: list[Progress] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = SystemClock()
        self.store = BuildStore(self.folder / "builds", clock=self.clock)
        self.candidates = CandidateStore(self.folder / "candidates")
        self.source = self.folder / "source"
        write(self.source, FILES)

    def builder(self) -> Builder:
        return Builder(self.store, self.candidates, self.config, clock=self.clock, watch=self.seen.append)

    def build(self, **options: object) -> Outcome:
        recipe = options.pop("recipe", None) or recipe_of()
        source = FolderSource(self.source, self.store, self.clock)
        return self.builder().build(recipe, source, Source(), **options)

    def run(self, outcome: Outcome) -> str:
        return subprocess.check_output([self.store.output(outcome.build, "program")], text=True).strip()

    def contents(self) -> dict[str, bytes]:
        """Everything that the store knows: a failure must leave it as it was."""
        kinds = ("keys", "outputs", "first")
        return {
            str(path): path.read_bytes()
            for kind in kinds
            for path in (self.store.root / kind).rglob("*")
            if path.is_file()
        }


def recipe_of(text: str = RECIPE, base: str = "CONFIG_BASE=y\n") -> Recipe:
    return parse_recipe("program", text, {"base": base}, source="program.toml")


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    text = '[build]\njobs = 2\nnice = 0\nmin_free = "1MiB"\nwait_s = 60'
    return Bench(folder=tmp_path, config=read_workshop_config(text, source="test").build)


def test_built_once_and_found_afterwards(bench: Bench) -> None:
    first = bench.build()
    assert bench.run(first) == "one"
    assert (first.was_stored, first.build.provenance.is_incremental) == (False, False)
    assert first.build.sources[-1].version == "1.5"
    assert "cc" in first.build.provenance.toolchain
    folder = bench.store.folder(first.build)
    assert {path.name for path in folder.iterdir()} == {"program", "config", "build.log", "provenance.json"}
    assert json.loads((folder / "provenance.json").read_text())["key"] == first.build.provenance.key
    again = bench.build()
    assert again.was_stored
    assert again.build == first.build
    stages = [progress.stage for progress in bench.seen]
    assert {Stage.READ, Stage.SYNC, Stage.CONFIGURE, Stage.BUILD, Stage.KEEP} <= set(stages)


def test_a_change_compiles_only_what_it_touches(bench: Bench) -> None:
    bench.build()
    write(bench.source, {"part.c": FILES["part.c"].replace("one", "two")})
    second = bench.build()
    assert bench.run(second) == "two"
    log = bench.store.log(second.build.provenance.key).read_text()
    assert "compiling part.c" in log
    assert "compiling main.c" not in log
    assert "configure" not in log
    assert second.build.provenance.is_incremental
    write(bench.source, {"configure": FILES["configure"] + "# another\n"})
    third = bench.build()
    assert "sh configure" in bench.store.log(third.build.provenance.key).read_text()


def test_equal_outputs_are_one_build_wherever_they_were_built(bench: Bench) -> None:
    first = bench.build()
    write(bench.source, {"README": "nothing that is compiled"})
    second = bench.build(work_name="elsewhere")
    assert second.build.provenance.key != first.build.provenance.key
    assert second.build.output_sha256 == first.build.output_sha256
    assert second.build.same_as == first.build.build_id
    assert not second.build.provenance.is_incremental
    assert len(list((bench.store.root / "outputs").iterdir())) == 1


def test_incremental_and_whole_builds_are_the_same_bytes(bench: Bench) -> None:
    bench.build()
    write(bench.source, {"part.c": FILES["part.c"].replace("one", "two"), "main.c": FILES["main.c"] + "\n"})
    incremental = bench.build()
    other = Bench(folder=bench.folder / "other", config=bench.config)
    write(other.source, {path.name: path.read_text() for path in bench.source.iterdir()})
    whole = other.build()
    assert incremental.build.provenance.is_incremental
    assert not whole.build.provenance.is_incremental
    assert whole.build.output_sha256 == incremental.build.output_sha256


def test_files_that_become_folders_and_back(bench: Bench) -> None:
    bench.build()
    (bench.source / "part.h").unlink()
    write(bench.source, {"part.h/part.h": FILES["part.h"], "part": "a file"})
    changed = {name: FILES[name].replace('"part.h"', '"part.h/part.h"') for name in ("main.c", "part.c")}
    write(bench.source, changed | {"Makefile": MAKEFILE.replace("%.c part.h", "%.c part.h/part.h")})
    assert bench.run(bench.build()) == "one"
    shutil.rmtree(bench.source / "part.h")
    write(bench.source, FILES | {"part.c": FILES["part.c"].replace("one", "back")})
    assert bench.run(bench.build()) == "back"
    assert not (bench.store.root / "work/program@main/tree/part.h").is_dir()


def test_a_work_tree_that_somebody_touched_is_put_right(bench: Bench) -> None:
    bench.build()
    tree = bench.store.root / "work/program@main/tree"
    (tree / "part.c").write_text("not C at all")
    (tree / "main.c").unlink()
    write(bench.source, {"README": "another tree"})
    assert bench.run(bench.build()) == "one"


def test_what_does_not_build_is_told_and_remembered(bench: Bench) -> None:
    good = bench.build()
    write(bench.source, {"part.c": "int broken(\n"})
    before = bench.contents()
    failed = bench.build()
    assert failed.build.verdict is BuildVerdict.UNBUILDABLE
    assert "part.c:1" in failed.build.failure
    assert not failed.build.provenance.is_incremental, "a verdict needs a build from nothing"
    assert "part.c:1" in bench.store.log(failed.build.provenance.key).read_text()
    assert {name for name in bench.contents() if name not in before} == {
        str(bench.store.root / "keys" / f"{failed.build.provenance.key}.json")
    }
    assert bench.build().was_stored
    assert not bench.build(may_retry=True).was_stored
    write(bench.source, FILES)
    assert bench.build().build.build_id == good.build.build_id


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('program = "out/program"', 'program = "out/other"', "no file out/other"),
        ('result = "out/config"', 'result = "out/none"', "left no out/none"),
        (MAKE, '[["sh", "-c", "kill -9 $$"]]', "-9"),
        (MAKE, '[["sh", "-c", "ln -sf /bin/sh out/program"]]', "no file out/program"),
    ],
)
def test_recipes_that_build_nothing(bench: Bench, old: str, new: str, says: str) -> None:
    assert old in RECIPE
    failed = bench.build(recipe=recipe_of(RECIPE.replace(old, new)))
    assert failed.build.verdict is BuildVerdict.UNBUILDABLE
    assert says in failed.build.failure


def test_a_fragment_that_is_not_taken_fails(bench: Bench) -> None:
    text = RECIPE.replace('cat \\"$@\\" >> out/config', "true")
    failed = bench.build(recipe=recipe_of(text, base="CONFIG_BASE=y\nCONFIG_WISH=y\n"))
    assert failed.build.failure.endswith("CONFIG_WISH=y")


def test_warnings_of_files_that_were_not_compiled_again_stay(bench: Bench) -> None:
    unused = "static int unused;\n"
    write(bench.source, {"part.c": FILES["part.c"] + unused})
    first = bench.build()
    assert [one.file for one in first.build.warnings] == ["part.c"]
    write(bench.source, {"main.c": FILES["main.c"] + "\n"})
    assert [one.file for one in bench.build().build.warnings] == ["part.c"]
    write(bench.source, {"part.c": FILES["part.c"]})
    assert bench.build().build.warnings == ()


def test_a_missing_program_says_what_to_install(bench: Bench) -> None:
    text = RECIPE.replace('["make", "--version"]', '["no-such-compiler", "--version"]')
    with pytest.raises(SourceError, match=r"no-such-compiler.*install gcc make"):
        bench.build(recipe=recipe_of(text))


def test_a_time_limit_is_no_verdict(bench: Bench) -> None:
    bench.config = dataclasses.replace(bench.config, time_limit_s=0.5)
    text = RECIPE.replace(MAKE, '[["sh", "-c", "sleep 30 & sleep 30"]]')
    started_s = time.monotonic()
    with pytest.raises(BuildFailedError, match="time limit"):
        bench.build(recipe=recipe_of(text))
    assert time.monotonic() - started_s < 5
    assert bench.store.builds() == []


@pytest.mark.parametrize(
    "command",
    [
        '["sh", "-c", "echo No space left on device; exit 1"]',
        '["no-such-program"]',
        '["sh", "-c", "echo \'make: *** [x] Error 127\'; exit 2"]',
    ],
)
def test_what_this_machine_lacks_is_no_verdict(bench: Bench, command: str) -> None:
    text = RECIPE.replace(MAKE, f"[{command}]")
    with pytest.raises(BuildFailedError, match="this machine"):
        bench.build(recipe=recipe_of(text))
    assert bench.store.builds() == []


def test_too_little_room_is_said_before(bench: Bench) -> None:
    bench.config = dataclasses.replace(bench.config, min_free="100000TiB")
    with pytest.raises(StoreError, match="too little room"):
        bench.build()
    assert bench.store.builds() == []


def test_sources_that_cannot_be_built(bench: Bench) -> None:
    write(bench.source, {"out/old.o": "left by an earlier build"})
    with pytest.raises(SourceError, match="was built in: it has out"):
        bench.build()
    shutil.rmtree(bench.source / "out")
    (bench.source / "main.c").unlink()
    with pytest.raises(SourceError, match=r"no source of program: it has no main\.c"):
        bench.build()
    os.mkfifo(bench.source / "pipe")
    with pytest.raises(SourceError, match="neither file, link nor folder"):
        bench.build()
    assert bench.store.builds() == []


def test_ids_are_those_of_git_and_a_commit_is_checked_out_only_to_build(bench: Bench) -> None:
    (bench.source / "link").symlink_to("main.c")
    (bench.source / "configure").chmod(0o755)
    write(bench.source, {"docs/a-b/x": "", "docs/a.b": "", "docs/a/y": ""})
    git = ["git", "-C", str(bench.source)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    tree = subprocess.check_output([*git, "write-tree"], text=True).strip()
    folder = FolderSource(bench.source, bench.store, bench.clock)
    assert folder.tree() == tree
    asked: list[Path] = []

    def checkout() -> Path:
        asked.append(bench.source)
        return bench.source

    for _ in range(2):
        source = CommitSource(folder.tree(), checkout, bench.store, bench.clock)
        outcome = bench.builder().build(recipe_of(), source, Source(commit="a" * 40))
    assert asked == [bench.source]
    assert outcome.build.sources[-1].commit == "a" * 40
    assert bench.builder().find(recipe_of(), folder.tree()) == outcome.build
    write(bench.source, {"stray": "no part of the commit"})
    bad = CommitSource(type(folder.tree())("0" * 40), checkout, bench.store, bench.clock)
    with pytest.raises(SourceError, match="no part of the commit"):
        bench.builder().build(recipe_of(), bad, Source())


def test_tarballs(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "program-1.5.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(bench.source, "program-1.5")
    for expected in (False, True):
        with open_source(path, bench.store, bench.clock) as source:
            outcome = bench.builder().build(recipe_of(), source, Source())
        assert outcome.was_stored is expected
    assert outcome.build.sources[-1].name == path.name
    assert bench.build().was_stored, "the folder holds the same tree"
    assert list((bench.store.root / "tmp").iterdir()) == []


PATCH = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: A <a@example.org>
Date: Mon, 1 Jun 2026 12:00:00 +0000
Subject: [PATCH] the other word
Headrace-Reason: development

---
 words.txt | 2 +-
 1 file changed, 1 insertion(+), 1 deletion(-)

diff --git a/words.txt b/words.txt
--- a/words.txt
+++ b/words.txt
@@ -1 +1 @@
-{before}
+{after}
"""


def test_a_tarball_with_a_patch_queue_on_it(bench: Bench, tmp_path: Path) -> None:
    write(bench.source, {"words.txt": "one\n"})
    path = tmp_path / "program-1.5.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(bench.source, "program-1.5")
    queue = tmp_path / "queue"
    write(queue, {"0001-a.patch": PATCH.format(before="one", after="two")})
    write(queue, {"0002-b.patch": PATCH.format(before="two", after="three")})
    # A release folder within somebody's repository: git must not take the patch's paths for that one's.
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=20)
    for expected in (False, True):
        stack = read_stack(queue)
        with open_source(path, bench.store, bench.clock, patches=stack) as source:
            outcome = bench.builder().build(recipe_of(), source, Source(patches=stack.ids))
        assert outcome.was_stored is expected
    assert len(set(outcome.build.sources[-1].patches)) == 2
    write(bench.source, {"words.txt": "three\n"})
    assert bench.build().was_stored, "the folder with the patches in it is the same tree"
    with open_source(path, bench.store, bench.clock) as source:
        assert not bench.builder().build(recipe_of(), source, Source()).was_stored, "without patches it is another one"
    write(queue, {"0003-c.patch": PATCH.format(before="elsewhere", after="four")})
    with (
        pytest.raises(SourceError, match=r"0003-c.patch does not apply to program-1.5.tar.gz: .*words.txt"),
        open_source(path, bench.store, bench.clock, patches=read_stack(queue)) as source,
    ):
        source.tree()
    with (
        pytest.raises(SourceError, match="built as it is"),
        open_source(bench.source, bench.store, bench.clock, patches=read_stack(queue)),
    ):
        pass


def _hostile(path: Path) -> Iterator[str]:
    outside = tarfile.TarInfo("a/../../outside")
    with tarfile.open(path, "w") as archive:
        archive.addfile(outside)
    yield "can be unpacked"
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    with tarfile.open(path, "w") as archive:
        archive.addfile(link)
    yield "can be unpacked"
    path.write_bytes(b"no tarball")
    yield "can be unpacked"
    path.write_bytes(b"")
    yield "tarball"


def test_tarballs_that_are_refused(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "bad.tar"
    for says in _hostile(path):
        with pytest.raises(SourceError, match=says), open_source(path, bench.store, bench.clock) as source:
            source.tree()
    assert not (tmp_path / "outside").exists()
    assert list((bench.store.root / "tmp").iterdir()) == []
    with pytest.raises(SourceError, match="does not exist"), open_source(tmp_path / "none", bench.store, bench.clock):
        pass


def test_two_builds_of_the_same_thing_are_one(bench: Bench) -> None:
    slow = recipe_of(RECIPE.replace(MAKE, '[["sleep", "0.7"], ["make"]]'))
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda: outcomes.append(bench.build(recipe=slow))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcome.was_stored for outcome in outcomes) == [False, True]
    assert Stage.WAIT in {progress.stage for progress in bench.seen}


KILLED = """
import sys
from pathlib import Path
from headrace.base.clock import SystemClock
from headrace.upstream.build import Source
from headrace.upstream.recipe import parse_recipe
from headrace.workshop.builder import Builder
from headrace.workshop.candidates import CandidateStore
from headrace.workshop.config import read_workshop_config
from headrace.workshop.sources import FolderSource
from headrace.workshop.store import BuildStore
folder, recipe = Path(sys.argv[1]), sys.argv[2]
clock = SystemClock()
store = BuildStore(folder / "builds", clock=clock)
config = read_workshop_config('[build]\\nmin_free = "1MiB"', source="test").build
recipe = parse_recipe("program", recipe, {"base": "CONFIG_BASE=y"}, source="x")
source = FolderSource(folder / "source", store, clock)
Builder(store, CandidateStore(folder / "candidates"), config, clock=clock).build(recipe, source, Source())
"""


def test_a_killed_build_leaves_the_store_whole_and_the_tree_to_its_children(bench: Bench) -> None:
    slow = RECIPE.replace(MAKE, '[["sh", "-c", "touch out/begun; sleep 1.5; make"]]')
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(bench.folder), slow], start_new_session=True)
    begun = bench.store.root / "work/program@main/tree/out/begun"
    deadline_s = time.monotonic() + 20
    while not begun.exists() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert bench.contents() == {}
    # What it started may hold the tree for a moment longer; whoever comes next waits for that.
    assert bench.run(bench.build()) == "one"
    assert list((bench.store.root / "tmp").iterdir()) == []


def test_a_tree_that_stays_taken_is_named(bench: Bench) -> None:
    bench.build()
    write(bench.source, {"README": "another"})
    bench.config = dataclasses.replace(bench.config, wait_s=0.3)
    lock = bench.store.root / "locks/work-program@main.lock"
    with lock.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="work-program@main"):
            bench.build()
        assert bench.run(bench.build(work_name="beside")) == "one"


def test_stopping_ends_the_commands(bench: Bench) -> None:
    class Stopped(Exception):
        pass

    def watch(progress: Progress) -> None:
        if progress.last_line == "begun":
            raise Stopped

    text = RECIPE.replace(MAKE, '[["sh", "-c", "echo begun; sleep 60; touch late"]]')
    builder = Builder(bench.store, bench.candidates, bench.config, clock=bench.clock, watch=watch)
    started_s = time.monotonic()
    with pytest.raises(Stopped):
        builder.build(recipe_of(text), FolderSource(bench.source, bench.store, bench.clock), Source())
    assert time.monotonic() - started_s < 5
    assert bench.contents() == {}
    assert bench.run(bench.build()) == "one"


def test_a_damaged_record_is_named(bench: Bench) -> None:
    key = bench.build().build.provenance.key
    (bench.store.root / "keys" / f"{key}.json").write_text("{}")
    with pytest.raises(HeadraceError, match="is damaged"):
        bench.build()
