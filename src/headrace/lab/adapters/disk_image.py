"""A disk for a guest: a file that holds a file system with the content, made without root's rights."""

import asyncio
from pathlib import Path

from headrace.lab.adapters.cell import run_command
from headrace.lab.adapters.programs import find_program
from headrace.lab.content import KnownFile
from headrace.lab.errors import NotPossibleHereError

_EXTRA_MIB = 16
"""Beyond the content: tables and room."""


async def make_disk(path: Path, content: tuple[KnownFile, ...]) -> None:
    """Write a file system (ext4) with `content` at `path`.

    Raises:
        NotPossibleHereError: there is no mkfs.ext4, or too little room.
    """
    tool = find_program("mkfs.ext4", mend="apt-get install e2fsprogs")
    source = path.with_name(f"{path.name}-content")
    await asyncio.to_thread(_write_content, source, content)
    size_mib = (sum(file.size_bytes for file in content) >> 20) + _EXTRA_MIB
    argv = [str(tool), "-q", "-F", "-O", "^has_journal", "-d", str(source), str(path), f"{size_mib}M"]
    ran = await run_command(argv)
    if ran.exit_code:
        raise NotPossibleHereError(f"no disk could be made for the guest: {ran.output.strip()[:300]}")


def _write_content(folder: Path, content: tuple[KnownFile, ...]) -> None:
    for file in content:
        path = folder / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.body)
