"""Programs of this machine, with the libraries that they load, as bytes for a guest's root."""

import re
from pathlib import Path

from headrace.lab.adapters.cell import run_command
from headrace.lab.errors import NotPossibleHereError
from headrace.lab.root_image import RootImage

_LOADED = re.compile(r"(/\S+) \(0x[0-9a-f]+\)")


async def add_program(image: RootImage, program: Path, path: str) -> None:
    """Put `program` at `path`, and its libraries where it looks for them.

    Raises:
        NotPossibleHereError: it cannot be read, or a library of it is missing.
    """
    image.file(path, read_bytes(program), mode=0o755)
    said = (await run_command(["ldd", str(program)])).output
    if "not found" in said:
        raise NotPossibleHereError(f"{program} misses libraries: {said.strip()[:400]}")
    for name in _LOADED.findall(said):
        image.file(name, read_bytes(Path(name)), mode=0o755)


def read_bytes(path: Path) -> bytes:
    """A file that a guest needs.

    Raises:
        NotPossibleHereError: it is not there.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotPossibleHereError(f"cannot read {path}: {error.strerror}") from None


def read_head(path: Path, count: int) -> bytes:
    """The first bytes of a file.

    Raises:
        NotPossibleHereError: it is not there.
    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise NotPossibleHereError(f"cannot read {path}: {error.strerror}") from None


def find_program(*names: str, mend: str) -> Path:
    """The first of these that exists, by absolute path or below the usual folders.

    Raises:
        NotPossibleHereError: none does; `mend` says where to get it.
    """
    places = ("", "/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/")
    for name in names:
        for place in places if not name.startswith("/") else ("",):
            if (found := Path(place + name)).is_absolute() and found.is_file():
                return found
    raise NotPossibleHereError(f"there is no {names[0]} on this machine: {mend}")
