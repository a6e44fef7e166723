"""The search on disk, after every step and reading: one that was stopped, also by a kill, goes on where it was."""

from pathlib import Path

from headrace.lab.bisection.model import Bisection
from headrace.lab.errors import LabError
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic

FILE_NAME = "bisection.json"


def save(folder: Path, bisection: Bisection) -> None:
    """Write it whole.

    Raises:
        LabError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / FILE_NAME, encode(bisection))
    except OSError as error:
        raise LabError(
            f"cannot write {folder / FILE_NAME}: {error.strerror or error}; what it held before is still there"
        ) from None


def load(folder: Path) -> Bisection | None:
    """What is there; None when there is nothing yet.

    Raises:
        LabError: it is damaged.
    """
    path = folder / FILE_NAME
    try:
        return decode(Bisection, path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, MalformedError) as error:
        raise LabError(f"{path} cannot be read ({error}); begin anew with --anew") from None
