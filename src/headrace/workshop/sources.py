"""What can be built: a folder, a tarball, or a tree that somebody can check out. Files are only touched when needed.

A source knows its tree id, so that a finished build of it is found before anything is unpacked, checked out or copied.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headrace.base.clock import Clock
from headrace.upstream.errors import UpstreamError
from headrace.upstream.recipe import Recipe, source_version
from headrace.upstream.tree import Leaf, TreeId, tree_id, tree_id_of
from headrace.wire.files import write_atomic
from headrace.workshop.adapters.git import Git
from headrace.workshop.adapters.records import read_patches
from headrace.workshop.adapters.source_tree import read_tree
from headrace.workshop.adapters.tarball import digest_of, is_tarball, unpack
from headrace.workshop.errors import SourceError
from headrace.workshop.repository import patch_id_of
from headrace.workshop.store import BuildStore

_WAIT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files of a source, on disk now."""

    folder: Path
    leaves: Mapping[bytes, Leaf]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchStack:
    """Patches to put on a source, in order."""

    bodies: Mapping[str, bytes]
    """By file name."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Their stable patch-ids, as a build's provenance names them."""
        return tuple(str(patch_id_of(body, Git())) for body in self.bodies.values())


NO_PATCHES = PatchStack(bodies={})


def read_stack(folder: Path) -> PatchStack:
    """The patch queue in a folder.

    Raises:
        UpstreamError, PatchError: the folder is missing, or a file in it is no patch; the message names it.
    """
    return PatchStack(bodies=read_patches(folder, owner=str(folder)).bodies)


class SourceTree(Protocol):
    """A source tree that a builder may ask for its files."""

    @property
    def name(self) -> str:
        """What to call it: the file name of a folder or tarball; '' for a commit."""
        ...

    def tree(self) -> TreeId:
        """Its id. Raises SourceError."""
        ...

    def files(self) -> contextlib.AbstractContextManager[Files]:
        """Its files, for as long as the block lasts. Raises SourceError."""
        ...


class FolderSource:
    """A folder as it is now."""

    def __init__(self, folder: Path, store: BuildStore, clock: Clock) -> None:
        self._folder = folder
        self._index = store.root / "index" / hashlib.sha256(str(folder).encode()).hexdigest()[:24]
        self._clock = clock
        self._read: Mapping[bytes, Leaf] | None = None

    @property
    def name(self) -> str:
        return self._folder.name

    def tree(self) -> TreeId:
        return tree_id(self._leaves())

    @contextlib.contextmanager
    def files(self) -> Iterator[Files]:
        yield Files(folder=self._folder, leaves=self._leaves())

    def _leaves(self) -> Mapping[bytes, Leaf]:
        if self._read is None:
            self._read = read_tree(self._folder, self._index, now_s=self._clock.now_s())
        return self._read


class CommitSource:
    """A tree whose id is known; it is checked out only when it has to be built."""

    def __init__(self, tree: TreeId, checkout: Callable[[], Path], store: BuildStore, clock: Clock) -> None:
        """`checkout` puts the tree into a folder, and nothing else, and gives the folder."""
        self._tree = tree
        self._checkout = checkout
        self._store = store
        self._clock = clock

    @property
    def name(self) -> str:
        return ""

    def tree(self) -> TreeId:
        return self._tree

    @contextlib.contextmanager
    def files(self) -> Iterator[Files]:
        folder = FolderSource(self._checkout(), self._store, self._clock)
        found = folder.tree()
        if found != self._tree:
            raise SourceError(
                f"the checkout holds the tree {found}, not {self._tree}: something in it is no part of the commit"
            )
        with folder.files() as files:
            yield files


class TarballSource:
    """A tarball, with patches put on; the tree that comes out is remembered by the SHA-256 of the tarball and the
    patches, so it is unpacked only when it has to be built."""

    def __init__(self, path: Path, store: BuildStore, clock: Clock, *, patches: PatchStack = NO_PATCHES) -> None:
        self._path = path
        self._patches = patches.bodies
        self._store = store
        self._clock = clock
        self._sha256 = ""
        self._unpacked: Files | None = None
        self._held = contextlib.ExitStack()

    @property
    def name(self) -> str:
        return self._path.name

    def tree(self) -> TreeId:
        try:
            return tree_id_of(self._note().read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError, UpstreamError):
            return tree_id(self._files().leaves)

    @contextlib.contextmanager
    def files(self) -> Iterator[Files]:
        yield self._files()

    def close(self) -> None:
        """Remove what was unpacked."""
        self._unpacked = None
        self._held.close()

    def _files(self) -> Files:
        if self._unpacked is None:
            scratch = self._held.enter_context(self._store.hold(self._note().name, wait_s=_WAIT_S))
            folder = unpack(self._path, scratch)
            for name, body in self._patches.items():
                _put_on(folder, name, body, onto=self._path.name)
            leaves = read_tree(folder, None, now_s=self._clock.now_s())
            with contextlib.suppress(OSError):
                write_atomic(self._note(), tree_id(leaves).encode())
            self._unpacked = Files(folder=folder, leaves=leaves)
        return self._unpacked

    def _note(self) -> Path:
        if not self._sha256:
            parts = [digest_of(self._path), *(hashlib.sha256(body).hexdigest() for body in self._patches.values())]
            self._sha256 = hashlib.sha256(" ".join(parts).encode()).hexdigest() if self._patches else parts[0]
        return self._store.root / "index" / f"tarball-{self._sha256[:32]}"


def _put_on(folder: Path, name: str, body: bytes, *, onto: str) -> None:
    # Without the ceiling, git would take paths for those of a repository that the release folder happens to lie in.
    ceiling = {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    git = Git(folder=folder)
    said = git.run("apply", "--whitespace=nowarn", stdin=body, may_fail=(1, 128), environment=ceiling)
    if said.code:
        words = " ".join(said.err.split())[:400]
        raise SourceError(f"{name} does not apply to {onto}: {words}; make it fit, or build another version")


@contextlib.contextmanager
def open_source(
    path: Path, store: BuildStore, clock: Clock, *, patches: PatchStack = NO_PATCHES
) -> Iterator[SourceTree]:
    """A folder or tarball that a person named; patches can be put on a tarball.

    Raises:
        SourceError: there is no such thing, or patches for a folder, which is built as it is.
    """
    if path.is_dir():
        if patches.bodies:
            raise SourceError(f"source {path} is a folder and is built as it is: put the patches on with git am")
        yield FolderSource(path.absolute(), store, clock)
    elif path.is_file() and is_tarball(path):
        with contextlib.closing(TarballSource(path.absolute(), store, clock, patches=patches)) as tarball:
            yield tarball
    else:
        what = "is neither a folder nor a tarball (.tar, .tar.gz, .tar.xz)" if path.exists() else "does not exist"
        raise SourceError(f"source {path} {what}")


def check_source(recipe: Recipe, files: Files) -> str:
    """Make sure that these are files that the recipe builds; gives the version that they say they are.

    Raises:
        SourceError: something is missing, or an earlier build left something in the source.
    """
    names = {path.decode("utf-8", errors="replace") for path in files.leaves}
    for needed in recipe.source.needs:
        if needed not in names:
            raise SourceError(f"{files.folder} is no source of {recipe.name}: it has no {needed}")
    for refused in recipe.source.refuses:
        if refused in names or any(name.startswith(f"{refused}/") for name in names):
            raise SourceError(
                f"{files.folder} was built in: it has {refused}, which would get into this build; "
                "clean it (git clean -dfx, make mrproper), or give a fresh copy"
            )
    if not recipe.source.version_file:
        return ""
    try:
        text = (files.folder / recipe.source.version_file).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SourceError(f"cannot read the version of {files.folder}: {error}") from None
    return source_version(recipe, text)
