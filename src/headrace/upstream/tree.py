"""The identity of a source tree: git's own tree id, worked out from the files, and what differs between two trees.

The id of a folder equals `git rev-parse COMMIT^{tree}` of the commit it was checked out from, so a build of a commit
can be looked up before a single file of it is on disk. Files are read elsewhere (`workshop.adapters.source_tree`).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NewType

from headrace.upstream.errors import UpstreamError

TreeId = NewType("TreeId", str)
"""40 lower-case hexadecimal digits."""

FILE, PROGRAM, LINK = "100644", "100755", "120000"
_FOLDER = "40000"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A file or symbolic link: git's mode and the id of its content."""

    mode: str
    blob: str


Tree = Mapping[bytes, Leaf]
"""Path -> leaf; paths as the file system has them, parts joined by b'/'."""


def tree_id_of(text: str) -> TreeId:
    """Check the id of a tree."""
    if not re.fullmatch(r"[0-9a-f]{40}", text):
        raise UpstreamError(f"{text[:80]!r} is not the id of a tree: 40 lower-case hexadecimal digits")
    return TreeId(text)


def blob_id(content: bytes) -> str:
    """git's id of a file's content or a link's target."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def tree_id(tree: Tree) -> TreeId:
    """git's id of the whole tree. Empty folders do not count, as in git."""
    folders: dict[bytes, list[tuple[bytes, str, str]]] = {b"": []}
    for path, leaf in tree.items():
        folder, _, name = path.rpartition(b"/")
        if folder not in folders:
            _open_folders(folders, folder)
        folders[folder].append((name, leaf.mode, leaf.blob))
    # Deepest first, so that each folder's id is there when its parent is made.
    for folder in sorted(folders, key=lambda path: -path.count(b"/") - bool(path)):
        if folder:
            parent, _, name = folder.rpartition(b"/")
            folders[parent].append((name, _FOLDER, _folder_id(folders[folder])))
    return TreeId(_folder_id(folders[b""]))


def changes(old: Tree, new: Tree) -> tuple[list[bytes], list[bytes]]:
    """Paths to write, and paths to remove, to make `old` equal to `new`."""
    write = [path for path, leaf in new.items() if old.get(path) != leaf]
    return write, [path for path in old if path not in new]


def _open_folders(folders: dict[bytes, list[tuple[bytes, str, str]]], folder: bytes) -> None:
    while folder not in folders:
        folders[folder] = []
        folder = folder.rpartition(b"/")[0]


def _folder_id(entries: list[tuple[bytes, str, str]]) -> str:
    # git sorts a folder as if its name ended with a slash.
    entries.sort(key=lambda entry: entry[0] + b"/" if entry[1] == _FOLDER else entry[0])
    body = b"".join(b"%s %s\0%s" % (mode.encode(), name, bytes.fromhex(blob)) for name, mode, blob in entries)
    return hashlib.sha1(b"tree %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
