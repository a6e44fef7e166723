"""The folder that nginx serves: one symbolic link for each held file, and one for each working disk.

    serve/f/ab/<sha256>.mp4 -> ../../../disk/<disk id>/objects/ab/<sha256>.mp4
    disk/<disk id>          -> /the/folder/of/that/disk

A file appears by one rename and goes by one unlink; a disk goes, with all its files, by one unlink (decision 0006).
Links are not synced: they are compared with what is held after each start.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from headrace.appliance.adapters.ledger import Holding
from headrace.appliance.errors import StateError
from headrace.base.ids import Sha256
from headrace.catalog.model import FileSuffix, content_path

_TEMPORARY = ".new"


class ServeTree:
    """Links below the state folder."""

    def __init__(self, state: Path) -> None:
        self.root = state / "serve"
        """What nginx serves; content paths lie directly below it."""
        self._disks = state / "disk"
        self._shown: dict[Sha256, str] = {}
        with _state_errors(state):
            self._disks.mkdir(parents=True, exist_ok=True)
            for number in range(256):
                (self.root / "f" / f"{number:02x}").mkdir(parents=True, exist_ok=True)

    def show_disk(self, disk_id: str, folder: Path) -> None:
        """Let the files of a disk be served."""
        _link(str(folder), self._disks / disk_id)

    def hide_disk(self, disk_id: str) -> None:
        """Stop serving from a disk, whatever state it is in; its links lead nowhere then."""
        with _state_errors(self._disks):
            (self._disks / disk_id).unlink(missing_ok=True)

    def hide_disks_but(self, disk_ids: set[str]) -> None:
        """Stop serving from all other disks: those that were there once and are not now."""
        with _state_errors(self._disks):
            for path in self._disks.iterdir():
                if path.name not in disk_ids:
                    path.unlink()

    def show(self, holding: Holding) -> None:
        """Serve a file, from this disk if it was served from another."""
        _link(_target(holding), self._path(holding.sha256, holding.suffix))
        self._shown[holding.sha256] = holding.disk_id

    def show_all(self, holdings: Iterable[Holding]) -> None:
        """Serve files; those that are linked to the right disk already cost nothing."""
        shown = self._shown
        for holding in holdings:
            if shown.get(holding.sha256) != holding.disk_id:
                self.show(holding)

    def hide(self, name: Sha256, suffix: FileSuffix) -> None:
        """Serve a file no more."""
        with _state_errors(self.root):
            self._path(name, suffix).unlink(missing_ok=True)
        self._shown.pop(name, None)

    def trust(self, holdings: Iterable[Holding]) -> None:
        """Take these for shown, as they were when the last agent ended; `find_flaws` tells which are not."""
        self._shown.update([(holding.sha256, holding.disk_id) for holding in holdings])

    def find_flaws(self, known: Mapping[Sha256, Holding]) -> tuple[list[Path], set[Sha256]]:
        """Links that none of these files has, and those of them that have none, as of some moment during the walk.

        Blocks, and may run in a thread: it reads 256 folders, not each link, and changes nothing.
        """
        strays: list[Path] = []
        linked: set[Sha256] = set()
        with _state_errors(self.root):
            for folder in (self.root / "f").iterdir():
                for entry in os.listdir(folder):
                    name, _, suffix = entry.partition(".")
                    holding = known.get(Sha256(name))
                    if holding is not None and holding.suffix == suffix:
                        linked.add(holding.sha256)
                    else:
                        strays.append(folder / entry)
        return strays, known.keys() - linked

    def remove(self, stray: Path) -> None:
        """Serve no more what should not be there."""
        with _state_errors(stray):
            stray.unlink(missing_ok=True)

    def _path(self, name: Sha256, suffix: FileSuffix) -> Path:
        return self.root / content_path(name, suffix)[1:]


def _target(holding: Holding) -> str:
    name = f"{holding.sha256}.{holding.suffix}"
    return f"../../../disk/{holding.disk_id}/objects/{holding.sha256[:2]}/{name}"


def _link(target: str, path: Path) -> None:
    temporary = path.with_name(path.name + _TEMPORARY)
    with _state_errors(path):
        temporary.unlink(missing_ok=True)
        os.symlink(target, temporary)
        os.replace(temporary, path)


@contextmanager
def _state_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(f"cannot change {path}: {error.strerror or error}") from error
