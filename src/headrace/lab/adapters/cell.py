"""A cell: namespaces that live exactly as long as the process which opened them, and commands run inside.

Nothing in a cell has a name outside of it (no `ip netns`, no interface of the machine), so that two cells never
collide, and a cell leaves nothing behind: its processes, interfaces and mounts go with its first process, which ends
with the owner's end of a socket. See holder.py.
"""

import asyncio
import contextlib
import os
import socket
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.lab.adapters.process_trees import kill_tree
from headrace.lab.errors import LabError, NotPossibleHereError
from headrace.lab.ports import Ran

_HOLDER = Path(__file__).with_name("holder.py")
_OPEN_TIMEOUT_S = 10.0
_CREDENTIALS = struct.Struct("3i")
_MEND = (
    "run as root, or let users make namespaces: sysctl kernel.unprivileged_userns_clone=1, "
    "kernel.apparmor_restrict_unprivileged_userns=0, user.max_user_namespaces above 0"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """How to get into one space of a cell; valid for any process of the same user while the cell lives."""

    pid: int
    """The process that holds the space, as the whole machine sees it."""
    has_user_namespace: bool

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` inside (all paths absolute)."""
        user = ["--user", "--preserve-credentials"] if self.has_user_namespace else []
        return ["nsenter", f"--target={self.pid}", *user, "--net", "--pid", "--mount", "--ipc", "--", *argv]

    def enter_net(self, argv: Sequence[str]) -> list[str]:
        """The same with the machine's own processes and files in view; for setting up links."""
        user = ["--user", "--preserve-credentials"] if self.has_user_namespace else []
        return ["nsenter", f"--target={self.pid}", *user, "--net", "--", *argv]


class Cell:
    """Use `open_cell`; `close` ends all that runs inside."""

    def __init__(self, holder: Process, lifeline: socket.socket, doors: dict[str, Door]) -> None:
        self._holder = holder
        self._lifeline = lifeline
        self.doors = doors

    async def run(self, space: str, argv: Sequence[str], *, text: str = "", timeout_s: float = 30.0) -> Ran:
        """Run a command to its end inside `space`.

        Raises:
            LabError: it did not end in time.
        """
        return await run_command(self.doors[space].enter(argv), text=text, timeout_s=timeout_s)

    async def start(
        self,
        space: str,
        argv: Sequence[str],
        *,
        folder: Path | str = "/",
        stdout: int = DEVNULL,
        pass_fds: tuple[int, ...] = (),
    ) -> Process:
        """Start a command inside `space`, in `folder`; it ends with the cell at the latest. Errors go where the output
        goes.
        """
        return await asyncio.create_subprocess_exec(
            *self.doors[space].enter(["/usr/bin/env", "-C", str(folder), *argv]),
            stdin=DEVNULL,
            stdout=stdout,
            stderr=STDOUT,
            pass_fds=pass_fds,
            limit=1 << 20,
            start_new_session=True,
        )

    async def close(self) -> None:
        """End everything inside. Repeats are harmless."""
        self._lifeline.close()
        if self._holder.returncode is None:
            try:
                await asyncio.wait_for(self._holder.wait(), _OPEN_TIMEOUT_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._holder.kill()
                await self._holder.wait()


async def open_cell(spaces: Sequence[str]) -> Cell:
    """Make the namespaces, one network for each name in `spaces`.

    Raises:
        NotPossibleHereError: this user may not make namespaces here; says what would allow it.
    """
    mode = "root" if os.geteuid() == 0 else "user"
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with theirs:
        holder = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_HOLDER), str(theirs.fileno()), mode, *spaces),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
    try:
        pids = await asyncio.wait_for(asyncio.to_thread(_hear, ours, {"first", *spaces}), _OPEN_TIMEOUT_S + 1)
    except BaseException:
        ours.close()
        with contextlib.suppress(ProcessLookupError):
            holder.kill()
        await holder.wait()
        raise
    doors = {name: Door(pid=pids[name], has_user_namespace=mode == "user") for name in spaces}
    return Cell(holder, ours, doors)


def _hear(lifeline: socket.socket, awaited: set[str]) -> dict[str, int]:
    """The number of each process that says its name, as this process sees it."""
    lifeline.settimeout(_OPEN_TIMEOUT_S)
    pids: dict[str, int] = {}
    while awaited - pids.keys():
        try:
            said, extra, _, _ = lifeline.recvmsg(256, socket.CMSG_SPACE(_CREDENTIALS.size))
        except TimeoutError:
            raise NotPossibleHereError("the lab's namespaces did not come up in 10 s") from None
        words = said.decode().split(maxsplit=1)
        if not words:
            raise NotPossibleHereError(f"the lab's namespaces could not be made: {_MEND}")
        if words[0] == "refused":
            raise NotPossibleHereError(f"namespaces are not allowed here ({words[1].strip()}): {_MEND}")
        pids[words[0]] = _CREDENTIALS.unpack(extra[0][2])[0]
    lifeline.settimeout(None)
    return pids


async def run_command(argv: Sequence[str], *, text: str = "", timeout_s: float = 30.0) -> Ran:
    """Run a command line to its end.

    Raises:
        LabError: the program is not there, or it did not end in time.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=PIPE, stdout=PIPE, stderr=STDOUT, start_new_session=True
        )
    except OSError as error:
        raise NotPossibleHereError(f"cannot run {argv[0]}: {error}") from None
    try:
        output, _ = await asyncio.wait_for(process.communicate(text.encode()), timeout_s)
    except TimeoutError:
        raise LabError(f"{' '.join(argv)[:200]} did not end in {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            kill_tree(process.pid)
            await process.wait()
    return Ran(exit_code=process.returncode or 0, output=output.decode(errors="replace"))
