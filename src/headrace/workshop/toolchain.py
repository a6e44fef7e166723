"""Which toolchain is on this machine, in the words of its own programs; and ccache in front of the compilers."""

import hashlib
import os
import shutil
from pathlib import Path

from headrace.upstream.build import Toolchain
from headrace.upstream.recipe import Recipe
from headrace.workshop.adapters.processes import capture
from headrace.workshop.errors import SourceError

_TIMEOUT_S = 30.0
_COMPILERS = ("cc", "gcc", "c++", "g++", "clang", "clang++")

SOURCE_DATE = "315532800"
"""1980-01-01: what a build says the time is (the convention SOURCE_DATE_EPOCH)."""


def plain_environment() -> dict[str, str]:
    """What every command of a build gets: nothing of the caller's but where programs are."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "PKG_CONFIG_PATH") if name in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC", "SOURCE_DATE_EPOCH": SOURCE_DATE}


def read_toolchain(recipe: Recipe) -> Toolchain:
    """Ask each program that the recipe names for its version.

    Raises:
        SourceError: one is missing; says what to install.
    """
    parts = []
    for command in recipe.toolchain.commands:
        code, text = capture(command, environment=plain_environment(), timeout_s=_TIMEOUT_S)
        if code != 0:
            mend = f"; install {recipe.toolchain.packages}" if recipe.toolchain.packages else ""
            said = (text.strip().splitlines() or [f"ended with {code}"])[0][:200]
            raise SourceError(f"recipe {recipe.name} needs `{' '.join(command)}` to work: {said}{mend}")
        parts.append(f"$ {' '.join(command)}\n{text.strip()}\n")
    text = "".join(parts)
    return Toolchain(text=text, digest=hashlib.sha256(text.encode()).hexdigest())


def find_ccache() -> str | None:
    """The path of ccache, if it is installed."""
    return shutil.which("ccache")


def ccache_environment(folder: Path, *, limit_bytes: int) -> dict[str, str]:
    """What to add to the environment so that compilers are called through ccache; empty without ccache.

    A folder of links named like the compilers comes first on PATH, so no recipe has to know. Raises OSError.
    """
    ccache = find_ccache()
    if ccache is None:
        return {}
    launchers = folder / "launchers"
    launchers.mkdir(parents=True, exist_ok=True)
    for compiler in _COMPILERS:
        link = launchers / compiler
        if shutil.which(compiler) and not (link.is_symlink() and os.readlink(link) == ccache):
            temporary = launchers / f".{compiler}.{os.getpid()}"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(ccache)
            temporary.replace(link)
    return {
        "PATH": f"{launchers}:{os.environ.get('PATH', os.defpath)}",
        "CCACHE_DIR": str(folder / "ccache"),
        "CCACHE_MAXSIZE": f"{limit_bytes >> 20}Mi",
        "CCACHE_COMPILERCHECK": "content",
    }
