"""nginx from source, for tests: a builder on a folder that test runs share, where the machine keeps it."""

import os
import subprocess
from pathlib import Path

from headrace.base.clock import SystemClock
from headrace.upstream.build import BuildVerdict, Source
from headrace.workshop.builder import Builder, Outcome
from headrace.workshop.candidates import CandidateStore
from headrace.workshop.config import read_workshop_config
from headrace.workshop.recipes import find_recipe
from headrace.workshop.sources import FolderSource, open_source, read_stack
from headrace.workshop.store import BuildStore

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "headrace"
RELEASE = CACHE / "tests-release"
SETTINGS = '[build]\nnice = 0\nmin_free = "500MiB"\nstore_limit = "200MiB"\nccache_limit = "300MiB"\nwork_trees = 2'


def fetch_nginx(scripts: Path) -> Path:
    """The tarball of nginx that Debian's trixie was built from."""
    command = [str(scripts / "debian-source"), "nginx", "trixie"]
    return Path(subprocess.check_output(command, text=True, timeout=110).strip())


class Shop:
    """A builder on the folder that test runs share."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.clock = clock
        self.store = BuildStore(RELEASE / "builds", clock=clock)
        config = read_workshop_config(SETTINGS, source="test").build
        self.builder = Builder(self.store, CandidateStore(RELEASE / "candidates"), config, clock=clock)
        self.recipe = find_recipe("nginx", RELEASE / "recipes")

    def build_folder(self, folder: Path) -> Outcome:
        return self.builder.build(self.recipe, FolderSource(folder, self.store, self.clock), Source())

    def build_patched(self, folder: Path, patch: Path) -> Outcome:
        """Build with a patch on the source, which is as it was afterwards."""
        command = ["git", "apply", str(patch)]
        subprocess.run(command, cwd=folder, check=True, timeout=20)
        try:
            return self.build_folder(folder)
        finally:
            subprocess.run([*command, "--reverse"], cwd=folder, check=True, timeout=20)

    def build_queue(self, repository: Path) -> Path:
        """The program with the patch queue of `repository` on it, as `headrace release build --patches` makes it."""
        stack = read_stack(repository / "patches/nginx")
        with open_source(fetch_nginx(repository / "scripts"), self.store, self.clock, patches=stack) as source:
            # A work tree of its own: other tests count what a step in the main one compiles.
            outcome = self.builder.build(self.recipe, source, Source(patches=stack.ids), work_name="queue")
        if outcome.build.verdict is not BuildVerdict.BUILT:
            raise RuntimeError(f"nginx with the patch queue does not build: {outcome.build.failure}")
        return self.program(outcome)

    def program(self, outcome: Outcome) -> Path:
        return self.store.output(outcome.build, "nginx")
