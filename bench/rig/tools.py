"""Builds the small C programs of bench/tools with the machine's compiler; again only when a source is newer."""

import subprocess
from pathlib import Path

_SOURCES = Path(__file__).resolve().parent.parent / "tools"
_LIBRARIES = {"load": ["-lssl", "-lcrypto"], "tls_loop": ["-lssl", "-lcrypto"], "sendfile_loop": []}


class CannotBuild(Exception):
    """No C compiler, or OpenSSL's headers are missing: apt-get install gcc libc6-dev libssl-dev."""


def build_tools(folder: Path) -> Path:
    """Compile every tool into `folder`; the folder.

    Raises:
        CannotBuild: what the compiler said, with the packages it needs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    newest_header = max(path.stat().st_mtime for path in _SOURCES.glob("*.h"))
    for name, libraries in _LIBRARIES.items():
        source, program = _SOURCES / f"{name}.c", folder / name
        if program.exists() and program.stat().st_mtime > max(source.stat().st_mtime, newest_header):
            continue
        argv = ["gcc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(source), *libraries]
        try:
            done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)
        except FileNotFoundError:
            raise CannotBuild("no gcc here: apt-get install gcc libc6-dev libssl-dev") from None
        if done.returncode:
            raise CannotBuild(f"{source.name}: {done.stderr.strip()[:2000]}\n(apt-get install libc6-dev libssl-dev)")
    return folder
