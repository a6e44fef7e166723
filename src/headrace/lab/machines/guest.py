"""A guest: a kernel that runs in a process of a cell, its console, a command channel, and whether it lives.

What runs the kernel is an `Emulator`: User-Mode Linux (uml.py) or QEMU (qemu.py); all else is the same for both. The
root comes as an initial RAM disk with guest_init.template as the first process; docs/lab.md says what that does.
"""

import asyncio
import base64
import collections
import contextlib
import gzip
import shlex
import socket
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from headrace.base.clock import Clock
from headrace.lab.adapters.module_files import read_modules
from headrace.lab.adapters.process_trees import kill_tree
from headrace.lab.adapters.programs import add_program, find_program
from headrace.lab.errors import MachineError, NotPossibleHereError
from headrace.lab.machines.place import Place
from headrace.lab.ports import Condition, MachineState, Ran
from headrace.lab.root_image import RootImage

_STEP_S = 0.02
_MOST_COMMAND_BYTES = 3_000
"""A line longer than the guest's terminal buffer would be cut."""
_MOST_LINES = 100_000
_ALIVE, _READY, _OPEN, _DONE = "headrace alive", "headrace ready", "headrace channel open", "headrace done"
_SAYS_WHY = ("Kernel panic", "BUG:", "Oops", "Unable to", "headrace: ")
_PACKING = 1
"""gzip's level; most of a root are bytes as good as random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What a kernel is started with, beside itself."""

    folder: Path
    initrd: Path
    channel: int
    """Descriptor of a socket: the other end of the guest's terminal `channel`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """How a kernel is run."""

    command: "Callable[[GuestSpec, Files], list[str]]"
    """Its console must be the standard output; it ends when the kernel panics."""
    version_of: Callable[[Path], Awaitable[str]]
    """The release that a kernel's file says it is; raises NotPossibleHereError when it is none that can be run so."""
    device: str
    """Its interfaces inside are this with 0, 1, ..."""
    channel: str
    """Terminal of the command channel inside."""
    people: str
    """Terminal inside for whoever joins by hand."""
    disk: str = ""
    """Its first disk inside; '' where it gets none."""
    modules: Path | None = None
    """Where modules lie, below the kernel's release, when none are given."""
    packs_root: bool = False
    boot_timeout_s: float = 30.0
    hung_after_s: float = 4.5
    """Three of the guest's one-second signs of life missed, with room for a busy machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSpec:
    """What to boot. The interfaces exist in its space already."""

    name: str
    emulator: Emulator
    kernel: Path
    taps: tuple[str, ...]
    memory_mib: int
    image: RootImage
    disks: tuple[Path, ...] = ()
    """Files that are its disks, which it only reads."""


class Guest:
    """Made by `boot`."""

    def __init__(
        self, process: Process, emulator: Emulator, folder: Path, channel: asyncio.StreamWriter, clock: Clock
    ) -> None:
        self._process = process
        self._emulator = emulator
        self._folder = folder
        self._channel = channel
        self._clock = clock
        self._lines: collections.deque[str] = collections.deque(maxlen=_MOST_LINES)
        self._alive_s = clock.monotonic_s()
        self._is_ready = False
        self._is_open = asyncio.Event()
        self._asked = 0
        self._lock = asyncio.Lock()
        self._answers: asyncio.Queue[tuple[int, int, bytes]] = asyncio.Queue()

    @property
    def pids(self) -> tuple[int, ...]:
        """The kernel's process and all that it runs."""
        return (self._process.pid,)

    def console(self) -> list[str]:
        """What the kernel and the first process said; signs of life are left out."""
        return list(self._lines)

    def condition(self) -> Condition:
        """From the process and its signs of life."""
        if self._process.returncode is not None:
            return Condition(state=MachineState.ENDED, reason=f"{self._end()}{self._why()}")
        silent_s = self._clock.monotonic_s() - self._alive_s
        if silent_s > self._emulator.hung_after_s:
            return Condition(state=MachineState.HUNG, reason=f"no sign of life for {silent_s:.1f} s{self._why()}")
        return Condition(state=MachineState.RUNNING)

    async def run(self, argv: Sequence[str], *, timeout_s: float = 30.0) -> Ran:
        """Run a command in the guest.

        Raises:
            MachineError: it does not live, or did not answer in time.
        """
        command = f"exec timeout -s KILL {max(1, round(timeout_s))} sh -c {shlex.quote(shlex.join(argv))}"
        if len(command) > _MOST_COMMAND_BYTES:
            raise MachineError(f"a command of {len(command)} bytes is too long for the guest's console")
        async with self._lock:
            self._check_not_ended()
            self._asked += 1
            line = f"{self._asked} {base64.b64encode(command.encode()).decode()}\n"
            self._channel.write(line.encode())
            return await self._answer(timeout_s + 1.0)

    async def stop(self) -> None:
        """End the kernel at once, as a power cut would."""
        if self._process.returncode is None:
            kill_tree(self._process.pid)
        with contextlib.suppress(TimeoutError):  # what is left of it ends with the cell
            await asyncio.wait_for(self._process.wait(), 5.0)
        self._channel.close()
        with contextlib.suppress(OSError):
            await self._channel.wait_closed()

    async def until_ready(self) -> None:
        """Wait for the first process of the guest.

        Raises:
            MachineError: it panicked, ended, or was not up in time; with the line that says why.
        """
        limit_s = self._emulator.boot_timeout_s
        deadline_s = self._clock.monotonic_s() + limit_s
        while not (self._is_ready and self._is_open.is_set()):
            if self._process.returncode is not None:
                raise MachineError(f"the guest did not boot: {self._end()}{self._why()} (console: {self._folder})")
            if self._clock.monotonic_s() > deadline_s:
                raise MachineError(f"the guest was not up in {limit_s:g} s{self._why()} (console: {self._folder})")
            await self._clock.sleep(_STEP_S)

    async def hear_console(self) -> None:
        """Read the console to its end; runs as a task beside the guest."""
        assert self._process.stdout is not None
        with (self._folder / "console.log").open("a", encoding="utf-8") as log:
            while line := await _line_of(self._process.stdout):
                text = line.decode(errors="replace").rstrip("\r\n")
                if text.startswith((_ALIVE, _READY)):
                    self._alive_s = self._clock.monotonic_s()
                    self._is_ready = True
                if not text.startswith(_ALIVE):
                    self._lines.append(text)
                    log.write(text + "\n")
                    log.flush()
        await self._process.wait()

    async def hear_channel(self, answers: asyncio.StreamReader) -> None:
        """Read answers of the command channel; runs as a task beside the guest."""
        body: list[bytes] = []
        while line := await _line_of(answers):
            words = line.decode(errors="replace").split()
            if line.startswith(_OPEN.encode()):
                self._is_open.set()
            elif line.startswith(_DONE.encode()) and len(words) == 4:
                self._answers.put_nowait((int(words[2]), int(words[3]), _decoded(body)))
                body = []
            else:
                body.append(line)

    async def _answer(self, timeout_s: float) -> Ran:
        deadline_s = self._clock.monotonic_s() + timeout_s
        while True:
            left_s = deadline_s - self._clock.monotonic_s()
            try:
                number, code, output = await asyncio.wait_for(self._answers.get(), min(0.5, max(0.01, left_s)))
            except TimeoutError:
                self._check_not_ended()
                if left_s <= 0:
                    why = self.condition().reason
                    raise MachineError(
                        f"the guest did not answer a command in {timeout_s:g} s{why and f' ({why})'}"
                    ) from None
                continue
            if number == self._asked:  # an earlier command, given up, may still answer
                return Ran(exit_code=code, output=output.decode(errors="replace"))

    def _check_not_ended(self) -> None:
        """A silent guest may only be slow: whether it answers is what tells."""
        condition = self.condition()
        if condition.state is MachineState.ENDED:
            raise MachineError(f"the guest ended: {condition.reason}")

    def _end(self) -> str:
        return f"its kernel ended with code {self._process.returncode}"

    def _why(self) -> str:
        return reason_in(list(self._lines))


async def boot(spec: GuestSpec, place: Place) -> Guest:
    """Start the kernel and wait until its first process is ready. Its console is kept in the folder's console.log.

    Raises:
        MachineError: it did not get that far.
    """
    initrd = place.folder / "initrd"
    await asyncio.to_thread(write_root, initrd, spec.image, spec.emulator, memory_mib=spec.memory_mib)
    ours, theirs = socket.socketpair()
    with theirs:
        files = Files(folder=place.folder, initrd=initrd, channel=theirs.fileno())
        argv = spec.emulator.command(spec, files)
        process = await place.cell.start(place.space, argv, stdout=PIPE, pass_fds=(theirs.fileno(),))
    reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
    guest = Guest(process, spec.emulator, place.folder, writer, place.clock)
    place.tasks.spawn(f"console of {spec.name}", guest.hear_console())
    place.tasks.spawn(f"channel of {spec.name}", guest.hear_channel(reader))
    try:
        await guest.until_ready()
    except BaseException:
        await guest.stop()
        raise
    return guest


async def guest_image(
    emulator: Emulator, kernel: Path, modules: Path | None, wanted: Sequence[str], setup: str
) -> RootImage:
    """A root with busybox, our first process, the modules `wanted` (those that the kernel has) and `setup` to run.

    Raises:
        NotPossibleHereError: no busybox, no modules in the folder given, or `kernel` is none for this emulator.
    """
    image = RootImage()
    busybox = find_program("busybox", mend="apt-get install busybox-static")
    await add_program(image, busybox, "/bin/busybox")
    image.device("/dev/console", 5, 1)
    init = resources.files("headrace.lab.machines").joinpath("guest_init.template").read_bytes()
    image.file("/init", init, mode=0o755)
    image.file("/etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    image.file("/etc/group", b"root:x:0:\n")
    image.file("/lab/terminals", f"channel={emulator.channel}\npeople={emulator.people}\n".encode())
    image.file("/lab/setup", setup.encode())
    folder = _modules_folder(emulator, await emulator.version_of(kernel), modules)
    files = await asyncio.to_thread(read_modules, folder, wanted) if folder else []
    for name, body in files:
        image.file(f"/lab/modules/{name}.ko", body)
    image.file("/lab/modules/order", "".join(f"{name}.ko\n" for name, _ in files).encode())
    return image


def _modules_folder(emulator: Emulator, version: str, given: Path | None) -> Path | None:
    """The folder of a kernel's modules: that given or the version's below it, else the usual place."""
    if given is None:
        usual = emulator.modules / version if emulator.modules else None
        return usual if usual and usual.is_dir() else None
    for folder in (given / version, given):
        if (folder / "kernel").is_dir():
            return folder
    raise NotPossibleHereError(f"{given} holds no modules for {version}: there is no folder {version}/kernel in it")


def write_root(path: Path, image: RootImage, emulator: Emulator, *, memory_mib: int) -> None:
    """Write a root as the initial RAM disk that a kernel takes.

    Raises:
        NotPossibleHereError: the guest's memory is too small for it.
    """
    body = image.to_cpio()
    if len(body) > memory_mib << 19:
        raise NotPossibleHereError(
            f"{memory_mib} MiB of memory are too little: the root has {len(body) >> 20} MiB, and may fill half of "
            f"them: --memory {max(128, (len(body) >> 18) + 64)}"
        )
    path.write_bytes(gzip.compress(body, _PACKING, mtime=0) if emulator.packs_root else body)


def reason_in(console: Sequence[str]) -> str:
    """The line of a console that says best why a guest ended, with a colon before it."""
    telling = [line for line in console if any(word in line for word in _SAYS_WHY)]
    panics = [line for line in telling if _SAYS_WHY[0] in line]
    chosen = panics or telling[-1:] or console[-1:]
    return f": {chosen[0].strip()[:300]}" if chosen else ": it said nothing"


async def _line_of(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # longer than the limit; what is left comes as the next line
        return b"(a line too long)\n"


def _decoded(body: list[bytes]) -> bytes:
    try:
        return base64.b64decode(b"".join(body))
    except ValueError:
        return b"".join(body)
