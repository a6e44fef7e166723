"""Linux from source, for tests: the kernel of the lab, and the same kernel with one patch on it.

`python -m headrace.workshop.testing_linux [PATCH...]` builds what tests ask for; `scripts/probe` has it running beside
the tests that need no kernel. Who asks for a kernel that is being built waits for it. The folder is shared by test
runs, and kept where the machine keeps `~/.cache`.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.base.clock import SystemClock
from headrace.upstream.build import Source
from headrace.upstream.tree import Leaf, TreeId, blob_id, tree_id
from headrace.workshop.adapters.locks import hold_lock
from headrace.workshop.builder import Builder, failure_of
from headrace.workshop.candidates import CandidateStore
from headrace.workshop.config import read_workshop_config
from headrace.workshop.recipes import find_recipe
from headrace.workshop.sources import Files, FolderSource, SourceTree
from headrace.workshop.store import BuildStore
from headrace.workshop.work import Progress

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "headrace"
RELEASE = CACHE / "tests-kernel"
REPOSITORY = Path(__file__).parents[3]
CORPUS = REPOSITORY / "corpus" / "linux"
LOG = REPOSITORY / ".build" / "kernel.log"
"""Of the build that `scripts/probe` has running."""
WAIT_S = 2400.0
"""The first build on a machine takes minutes of one core that others use too."""

_SETTINGS = f"""[build]
jobs = 1
nice = 19
wait_s = {WAIT_S}
min_free = "2GiB"
store_limit = "400MiB"
ccache_limit = "300MiB"
work_trees = 1
"""
_DRIVERS = {"base", "block", "char", "clk", "clocksource", "irqchip", "net", "of", "ptp", "tty"}
_FILE_SYSTEMS = {
    "debugfs", "devpts", "exportfs", "ext4", "hostfs", "iomap", "jbd2", "kernfs", "nls", "notify", "proc", "quota",
    "ramfs", "sysfs",
}  # fmt: skip
_TOOLS_LEFT_OUT = {"bpf", "perf", "power", "testing"}
_ABOUT_BUILDING = ("Kconfig", "Makefile", "Kbuild")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel that was built."""

    program: Path
    was_stored: bool
    took_s: float


class KernelShop:
    """Kernels for tests, each built once.

    Args:
        recipe: `linux`, of a part of the source, or another one, of all of it and in a folder of its own.
    """

    def __init__(self, recipe: str = "linux") -> None:
        clock = SystemClock()
        self.clock = clock
        self._is_whole = recipe != "linux"
        release = RELEASE.with_name(f"tests-{recipe}") if self._is_whole else RELEASE
        self.store = BuildStore(release / "builds", clock=clock)
        config = read_workshop_config(_SETTINGS, source="tests").build
        self.builder = Builder(self.store, CandidateStore(release / "candidates"), config, clock=clock, watch=_Told())
        self.recipe = find_recipe(recipe, release / "recipes")
        self._source: FolderSource | None = None

    def base(self) -> Kernel:
        """The kernel without a patch; waits for whoever builds it already."""
        return self._build(self.source(), "base")

    def kernel_with(self, patch: Path) -> Kernel:
        """The kernel with one patch on it. The patch changes files; it makes and removes none."""
        with self.patched(patch) as source:
            return self._build(source, patch.stem)

    def patched(self, patch: Path) -> contextlib.AbstractContextManager[SourceTree]:
        """The source with a patch on it, but for files that were not unpacked. Raises CalledProcessError: no fit."""
        return _shadow(self.source(), patch, is_whole=self._is_whole)

    def source(self) -> FolderSource:
        """The source, fetched and unpacked once."""
        with hold_lock(CACHE / "tests-kernel.lock", clock=self.clock, wait_s=WAIT_S):
            if self._source is None:
                folder = _unpacked(_fetch(), is_whole=self._is_whole)
                self._source = FolderSource(folder, self.store, self.clock)
            return self._source

    def _build(self, source: SourceTree, name: str) -> Kernel:
        outcome = self.builder.build(self.recipe, source, Source(name=name))
        if not outcome.build.outputs:
            raise failure_of(outcome.build, self.store)
        program = self.store.output(outcome.build, self.recipe.name)
        return Kernel(program=program, was_stored=outcome.was_stored, took_s=outcome.took_s)


class _Shadow:
    """A source of which a few files are others; `folder` has those, and links to all else."""

    name = ""

    def __init__(self, folder: Path, leaves: Mapping[bytes, Leaf]) -> None:
        self._files = Files(folder=folder, leaves=leaves)

    def tree(self) -> TreeId:
        return tree_id(self._files.leaves)

    @contextlib.contextmanager
    def files(self) -> Iterator[Files]:
        yield self._files


@contextlib.contextmanager
def _shadow(source: FolderSource, patch: Path, *, is_whole: bool) -> Iterator[_Shadow]:
    """The source with a patch on it; its own folder stays as it is."""
    with source.files() as files, tempfile.TemporaryDirectory(prefix="headrace-kernel-") as name:
        folder = Path(name)
        named = [line.split()[-1] for line in _git(folder, "apply", "--numstat", str(patch)).splitlines()]
        touched = [path for path in named if is_whole or _is_needed(path)]
        for path in touched:
            _link_around(files.folder, folder, Path(path))
        if touched:
            _git(folder, "apply", *(f"--exclude={path}" for path in named if path not in touched), str(patch))
        changed = {os.fsencode(path): blob_id((folder / path).read_bytes()) for path in touched}
        leaves = {path: leaf for path, leaf in files.leaves.items() if path not in changed}
        leaves |= {path: Leaf(files.leaves[path].mode, blob) for path, blob in changed.items()}
        yield _Shadow(folder, leaves)


def _link_around(source: Path, folder: Path, path: Path) -> None:
    """A copy of one file at its place in `folder`; what lies beside it and beside its folders are links."""
    for parent in reversed(path.parents):
        if (folder / parent).is_symlink():
            (folder / parent).unlink()
        (folder / parent).mkdir(exist_ok=True)
        for entry in (source / parent).iterdir():
            link = folder / parent / entry.name
            if not os.path.lexists(link):
                link.symlink_to(entry)
    copy = folder / path
    copy.unlink()
    copy.write_bytes((source / path).read_bytes())


def _git(folder: Path, *words: str) -> str:
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    return subprocess.check_output(["git", *words], cwd=folder, text=True, timeout=60, env=environment)


def _fetch() -> Path:
    command = [str(REPOSITORY / "scripts" / "debian-source"), "linux", "bookworm"]
    return Path(subprocess.check_output(command, text=True, timeout=600).strip())


def _unpacked(tarball: Path, *, is_whole: bool) -> Path:
    """What of the tarball the kernel of the lab is built from, beside it: a fifth of the files, and of the room."""
    chosen = hashlib.sha256(repr([sorted(_DRIVERS), sorted(_FILE_SYSTEMS)]).encode()).hexdigest()[:8]
    chosen = "whole" if is_whole else chosen
    folder = CACHE / "tests-kernel-source" / f"{tarball.name.removesuffix('.orig.tar.xz')}-{chosen}"
    if not folder.is_dir():
        half = folder.with_name(f"{folder.name}.half")
        shutil.rmtree(half, ignore_errors=True)
        with tarfile.open(tarball, "r|*") as archive:
            for member in archive:
                member.name = member.name.partition("/")[2]
                if member.name and (is_whole or _is_needed(member.name)):
                    archive.extract(member, half, filter="data")
        half.rename(folder)
    return folder


def _is_needed(path: str) -> bool:
    """Whether a file may matter to this configuration on this architecture. What configures or builds is all needed."""
    top, _, rest = path.partition("/")
    below, _, inner = rest.partition("/")
    if path.rpartition("/")[2].startswith(_ABOUT_BUILDING) or not inner:
        return top not in {"Documentation", "samples", "sound"} or path.endswith(("Kconfig", "Makefile"))
    return {
        "arch": below in {"um", "x86"},
        "drivers": below in _DRIVERS and not (below == "net" and "/" in inner),
        "fs": below in _FILE_SYSTEMS,
        "tools": below not in _TOOLS_LEFT_OUT,
    }.get(top, top not in {"Documentation", "samples", "sound"})


class _Told:
    """Says what a build does, on standard error: each new stage, and each hundredth line."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, progress: Progress) -> None:
        line = f"{progress.stage} {progress.lines // 100 * 100 or ''}"
        if line != self._last:
            self._last = line
            sys.stderr.write(f"{line} {progress.last_line.strip()[:80]}\n")
            sys.stderr.flush()


def main(patches: list[str]) -> None:
    """Build the kernel, then with each patch."""
    shop = KernelShop()
    for name in ["", *patches]:
        kernel = shop.kernel_with(CORPUS / f"{name}.patch") if name else shop.base()
        how = "found" if kernel.was_stored else "built"
        sys.stderr.write(f"{name or 'base'} {how} in {kernel.took_s:.0f} s: {kernel.program}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
