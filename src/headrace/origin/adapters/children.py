"""Child processes that never outlive this one: the command line for them, and a block that ends them."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("die_with_parent.py")


@contextlib.asynccontextmanager
async def child(
    program: str, arguments: tuple[str, ...], *, stderr: int, on_orphaned: signal.Signals = signal.SIGKILL
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `program` with its output as a pipe; killed at the end of the block if it still runs.

    Args:
        on_orphaned: what it gets when this process is killed.
    """
    launcher = (sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(int(on_orphaned)))
    process = await asyncio.create_subprocess_exec(
        *(*launcher, program, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        limit=1024 * 1024,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
