"""The demo's folder: held by one demo at a time, and emptied only when all in it is a demo's."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.base.errors import UsageError
from headrace.cli.demo.layout import OWN_NAMES


@contextmanager
def hold_folder(folder: Path, *, is_emptied: bool) -> Iterator[None]:
    """Make the folder and keep other demos out of it during the block; empty it first when asked.

    Raises:
        UsageError: another demo holds it, or it is to be emptied and has something in it that no demo makes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"a demo runs in {folder} already: end it, or name another with --folder") from None
        if is_emptied:
            _empty(folder)
        yield
    finally:
        os.close(held)


def _empty(folder: Path) -> None:
    strange = sorted({entry.name for entry in folder.iterdir()} - OWN_NAMES)
    if strange:
        raise UsageError(f"{folder} is to be emptied, but {strange[0]} is not a demo's; name another with --folder")
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
