"""A folder in which one line of versions of one component is built again and again.

A sync writes only the files that differ, so that `make` builds only what they touch; what an earlier build left stays.
What is in the tree is known from an index, and checked against the disk before each sync. A kill at any point leaves
the touched files as unknown, and unknown files are written again.

    tree/        the source, with what was built in it
    index        what of the source is in it
    state.json   how it was configured, and the warnings of what is built in it
    log          of the builds since the state was written last
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.upstream.build import CompilerWarning
from headrace.upstream.tree import LINK, PROGRAM, Leaf, blob_id, changes
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic
from headrace.workshop.adapters.source_tree import Known, known_of, read_index, write_index
from headrace.workshop.errors import SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeState:
    """What the tree was left as by the last build."""

    setup: str = ""
    """Digest of recipe and toolchain that it was configured with; '' when it was not, or not to the end."""
    has_built: bool = False
    """Whether something was built in it, so that the next build is incremental."""
    warnings: tuple[CompilerWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What a sync did."""

    changed: tuple[str, ...]
    """Paths that were written or removed."""
    is_new: bool
    """The tree was made anew: nothing of an earlier build is in it."""


class WorkTree:
    """One work tree. Only while its lock is held."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.log = folder / "log"
        self._index = folder / "index"
        self._state = folder / "state.json"

    def state(self) -> TreeState:
        """What the last build left; empty when unknown."""
        try:
            return decode(TreeState, self._state.read_bytes())
        except (OSError, MalformedError):
            return TreeState()

    def keep(self, state: TreeState) -> None:
        """Remember what the tree is now. Raises OSError."""
        write_atomic(self._state, encode(state))

    def wipe(self) -> None:
        """Start from nothing. Raises OSError."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.tree.mkdir(parents=True)

    def sync(self, source: Path, wanted: Mapping[bytes, Leaf], *, now_s: float) -> Synced:
        """Make the source in the tree equal to `source`, whose leaves are `wanted`.

        Raises:
            SourceError: a file of the source is not what `wanted` says.
            OSError: the tree cannot be written.
        """
        known = self._known()
        is_new = not known
        write, remove = changes({path: one.leaf for path, one in known.items()}, wanted)
        if not write and not remove:
            return Synced(changed=(), is_new=is_new)
        unknown = Known(Leaf("", ""), 0, 0, 0, 0)
        write_index(self._index, known | dict.fromkeys([*write, *remove], unknown), now_s=now_s)
        self._remove(remove)
        for path in remove:
            known.pop(path, None)
        folders: set[bytes] = set()
        for path in write:
            if not is_new or path.rpartition(b"/")[0] not in folders:
                _make_room(os.fsencode(self.tree), path)
                folders.add(path.rpartition(b"/")[0])
            known[path] = self._write(source, path, wanted[path])
        # The files are new, so their times are recent; nobody but a build writes here, under the lock that we hold.
        write_index(self._index, known, now_s=now_s + 1e6)
        return Synced(changed=tuple(os.fsdecode(path) for path in (*write, *remove)), is_new=is_new)

    def _known(self) -> dict[bytes, Known]:
        known = read_index(self._index)
        if not known:
            self.wipe()
            return {}
        root = os.fsencode(self.tree)
        changed = Known(Leaf("", ""), 0, 0, 0, 0)
        return {path: one if _is_as_known(root, path, one) else changed for path, one in known.items()}

    def _remove(self, paths: Iterable[bytes]) -> None:
        root = os.fsencode(self.tree)
        for path in paths:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(os.path.join(root, path))
            folder = path.rpartition(b"/")[0]
            with contextlib.suppress(OSError):  # not empty, as a rule
                while folder:
                    os.rmdir(os.path.join(root, folder))
                    folder = folder.rpartition(b"/")[0]

    def _write(self, source: Path, path: bytes, leaf: Leaf) -> Known:
        origin, target = os.path.join(os.fsencode(source), path), os.path.join(os.fsencode(self.tree), path)
        content = _content(origin, leaf)
        if leaf.mode == LINK:
            os.symlink(content, target)
        else:
            mode = 0o755 if leaf.mode == PROGRAM else 0o644
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                os.fchmod(descriptor, mode)
        return known_of(leaf, os.lstat(target))


def _content(origin: bytes, leaf: Leaf) -> bytes:
    try:
        if leaf.mode == LINK:
            content = os.readlink(origin)
        else:
            with open(origin, "rb", buffering=0) as file:
                content = file.read()
    except OSError as error:
        raise SourceError(f"cannot read the source: {error}") from None
    if blob_id(content) != leaf.blob:
        raise SourceError(f"{os.fsdecode(origin)} changed while it was built; build again")
    return content


def _make_room(root: bytes, path: bytes) -> None:
    """Folders above `path`, and nothing at it: a build may have left a file where a folder is now, or the other way."""
    target = os.path.join(root, path)
    try:
        os.unlink(target)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        shutil.rmtree(target)
    except NotADirectoryError:
        _clear_above(root, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)


def _clear_above(root: bytes, path: bytes) -> None:
    folder = path.rpartition(b"/")[0]
    while folder:
        place = os.path.join(root, folder)
        if os.path.lexists(place) and not os.path.isdir(place):
            os.unlink(place)
        folder = folder.rpartition(b"/")[0]


def _is_as_known(root: bytes, path: bytes, known: Known) -> bool:
    try:
        return known.fits(os.lstat(os.path.join(root, path)))
    except OSError:
        return False
