"""Checks a commit out into a folder, touching only what differs, with nothing of git inside the folder.

    <folder>/                  the tracked files of the commit, and whatever a build left beside them
    .<folder>.index            git's index: which file is there in which version
    .<folder>.index.working    the same while files are changed: found at the start, the last call was killed
    .<folder>.checkout         says that the folder is ours; flock of whoever works

Never removes a folder that it did not make.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.upstream.model import CommitId
from headrace.workshop.adapters.git import LOCAL_TIMEOUT_S, NETWORK_TIMEOUT_S, Git
from headrace.workshop.errors import BusyError, RepositoryError, WorkshopError


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A folder for source trees."""

    folder: Path

    def put(self, commit: CommitId, git: Callable[[Path, Path], Git]) -> None:
        """Make the tracked files those of `commit`.

        Args:
            git: gives the program for a work tree and an index.

        Raises:
            RepositoryError: no such commit, the disk is full, or the folder is not ours.
            BusyError: another process checks out there.
        """
        index, working = self._beside("index"), self._beside("index.working")
        with self._held():
            self._beside("index.working.lock").unlink(missing_ok=True)
            if index.exists() and self.folder.is_dir():
                index.rename(working)
            else:
                working.unlink(missing_ok=True)
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(parents=True)
            program = git(self.folder, working)
            program.run("read-tree", "--reset", "-u", commit, timeout_s=NETWORK_TIMEOUT_S)
            # Somebody may have changed a tracked file; what still has its old times is skipped.
            program.run("checkout-index", "--all", "--force", "--index", timeout_s=LOCAL_TIMEOUT_S)
            working.rename(index)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        mark = self._beside("checkout")
        if not mark.exists() and self.folder.exists() and any(self.folder.iterdir()):
            raise RepositoryError(f"{self.folder} holds files that Headrace did not check out; name an empty folder")
        try:
            mark.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(mark, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise WorkshopError(f"cannot check out into {self.folder}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise BusyError(f"another process checks out into {self.folder}") from None
        except OSError as error:
            raise WorkshopError(f"cannot check out into {self.folder}: {error.strerror}") from None
        finally:
            os.close(descriptor)

    def _beside(self, kind: str) -> Path:
        return self.folder.with_name(f".{self.folder.name}.{kind}")
