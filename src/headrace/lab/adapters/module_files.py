"""Modules of a kernel as bytes that any guest can load: found below a folder, unpacked, in the order of loading."""

import gzip
import lzma
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from headrace.lab.adapters.programs import find_program, read_bytes
from headrace.lab.errors import NotPossibleHereError
from headrace.lab.modules import load_order, module_name, needs_of

_UNPACK_TIMEOUT_S = 60.0


def read_modules(folder: Path, wanted: Iterable[str]) -> list[tuple[str, bytes]]:
    """Name and bytes of the modules `wanted` below `folder` and of those that they need, in the order of loading.

    Raises:
        NotPossibleHereError: one cannot be read or unpacked.
    """
    files = {module_name(path.name): path for path in sorted(folder.rglob("*.ko*"))}
    bodies: dict[str, bytes] = {}

    def needs(name: str) -> tuple[str, ...] | None:
        if name not in files:
            return None
        if name not in bodies:
            bodies[name] = _unpacked(files[name])
        return needs_of(bodies[name])

    return [(name, bodies[name]) for name in load_order(wanted, needs)]


def _unpacked(path: Path) -> bytes:
    body = read_bytes(path)
    unpack = _UNPACK.get(path.suffix, bytes)
    try:
        return unpack(body)
    except (OSError, lzma.LZMAError, EOFError, subprocess.SubprocessError) as error:
        raise NotPossibleHereError(f"cannot unpack the module {path}: {error}") from None


def _zstd(body: bytes) -> bytes:
    program = find_program("zstd", mend="these modules are packed with it: apt-get install zstd")
    ran = subprocess.run([str(program), "-dcq"], input=body, capture_output=True, timeout=_UNPACK_TIMEOUT_S, check=True)
    return ran.stdout


_UNPACK: dict[str, Callable[[bytes], bytes]] = {".xz": lzma.decompress, ".gz": gzip.decompress, ".zst": _zstd}
