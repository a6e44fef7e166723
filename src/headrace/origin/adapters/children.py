"""Child processes that never outlive this one: the command line for them, and a block that ends them."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("die_with_parent.py")


@contextlib.asynccontextmanager
async def child(
    program: str,
    arguments: tuple[str, ...],
    *,
    out: int = PIPE,
    err: int | None,
    on_orphaned: signal.Signals = signal.SIGKILL,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `program`; it and its own children are killed at the end.

    Args:
        err: as for `asyncio.create_subprocess_exec`; None passes it on to our own standard error.
        on_orphaned: what it gets when this process is killed.
    """
    launcher = (sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(int(on_orphaned)))
    process = await asyncio.create_subprocess_exec(
        *(*launcher, program, *arguments),
        stdin=DEVNULL,
        stdout=out,
        stderr=err,
        limit=1024 * 1024,
        # Ctrl-C is for us to pass on, and what a dead child leaves behind can be ended as its group.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
