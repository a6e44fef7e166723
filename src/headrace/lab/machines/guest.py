"""A guest: a User-Mode Linux kernel as a process in a cell, its console, a command channel, and whether it lives.

Its root comes as an initial RAM disk with guest_init.template as the first process; see docs/lab.md for what that does.
"""

import asyncio
import base64
import contextlib
import os
import shlex
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from headrace.base.clock import Clock
from headrace.lab.adapters.cell import run_command
from headrace.lab.adapters.process_trees import kill_tree
from headrace.lab.adapters.programs import add_program, find_program, read_bytes
from headrace.lab.errors import MachineError, NotPossibleHereError
from headrace.lab.machines.place import Place
from headrace.lab.modules import module_files
from headrace.lab.ports import Condition, MachineState, Ran
from headrace.lab.root_image import RootImage

_BOOT_TIMEOUT_S = 30.0
_STEP_S = 0.02
_HUNG_AFTER_S = 4.5
"""Three of the guest's one-second signs of life missed, with room for a busy machine."""
_MOST_COMMAND_BYTES = 3_000
"""A line longer than the guest's terminal buffer would be cut."""
_MOST_LINES = 50_000
_ALIVE, _READY, _OPEN, _DONE = "headrace alive", "headrace ready", "headrace channel open", "headrace done"
_DEBIAN_MODULES = Path("/usr/lib/uml/modules")
_SAYS_WHY = ("Kernel panic", "BUG:", "Oops", "Unable to", "headrace: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSpec:
    """What to boot. The interfaces exist in its space already; they are vec0, vec1, ... inside."""

    name: str
    kernel: Path
    taps: tuple[str, ...]
    memory_mib: int
    image: RootImage


class Guest:
    """Made by `boot`."""

    def __init__(self, process: Process, folder: Path, channel: int, clock: Clock) -> None:
        self._process = process
        self._folder = folder
        self._channel = channel
        self._clock = clock
        self._lines: list[str] = []
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
        if silent_s > _HUNG_AFTER_S:
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
            self._check_running()
            self._asked += 1
            line = f"{self._asked} {base64.b64encode(command.encode()).decode()}\n"
            await asyncio.to_thread(os.write, self._channel, line.encode())
            return await self._answer(timeout_s + 1.0)

    async def stop(self) -> None:
        """End the kernel at once, as a power cut would."""
        if self._process.returncode is None:
            kill_tree(self._process.pid)
        with contextlib.suppress(TimeoutError):  # what is left of it ends with the cell
            await asyncio.wait_for(self._process.wait(), 5.0)
        if self._channel >= 0:
            os.close(self._channel)
            self._channel = -1

    async def until_ready(self) -> None:
        """Wait for the first process of the guest.

        Raises:
            MachineError: it panicked, ended, or said nothing for 30 s; with the line that says why.
        """
        deadline_s = self._clock.monotonic_s() + _BOOT_TIMEOUT_S
        while not (self._is_ready and self._is_open.is_set()):
            if self._process.returncode is not None:
                raise MachineError(f"the guest did not boot: {self._end()}{self._why()} (console: {self._folder})")
            if self._clock.monotonic_s() > deadline_s:
                raise MachineError(f"the guest was not up in {_BOOT_TIMEOUT_S:g} s{self._why()} ({self._folder})")
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
                    self._lines = [*self._lines[-_MOST_LINES:], text] if len(self._lines) > _MOST_LINES else self._lines
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
                self._check_running()
                if left_s <= 0:
                    raise MachineError(f"the guest did not answer a command in {timeout_s:g} s") from None
                continue
            if number == self._asked:  # an earlier command, given up, may still answer
                return Ran(exit_code=code, output=output.decode(errors="replace"))

    def _check_running(self) -> None:
        condition = self.condition()
        if condition.state is not MachineState.RUNNING:
            raise MachineError(f"the guest is {condition.state}: {condition.reason}")

    def _end(self) -> str:
        return f"its kernel ended with code {self._process.returncode}"

    def _why(self) -> str:
        telling = [line for line in self._lines if any(word in line for word in _SAYS_WHY)]
        panics = [line for line in telling if _SAYS_WHY[0] in line]
        chosen = panics or telling[-1:] or self._lines[-1:]
        return f": {chosen[0].strip()[:300]}" if chosen else ": it said nothing"


async def boot(spec: GuestSpec, place: Place) -> Guest:
    """Start the kernel and wait until its first process is ready. Its console is kept in the folder's console.log.

    Raises:
        MachineError: it did not get that far.
    """
    initrd = place.folder / "initrd"
    await asyncio.to_thread(lambda: initrd.write_bytes(spec.image.to_cpio()))
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()
    try:
        argv = _command_line(spec, initrd, place.folder, commands_out, answers_in)
        process = await place.cell.start(place.space, argv, stdout=PIPE, pass_fds=(commands_out, answers_in))
    finally:
        os.close(commands_out)
        os.close(answers_in)
    guest = Guest(process, place.folder, commands_in, place.clock)
    place.tasks.spawn(f"console of {spec.name}", guest.hear_console())
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(answers_out, "rb")
    )
    place.tasks.spawn(f"channel of {spec.name}", guest.hear_channel(reader))
    try:
        await guest.until_ready()
    except BaseException:
        await guest.stop()
        raise
    return guest


async def guest_image(kernel: Path, modules: Path | None, wanted: Sequence[str], setup: str) -> RootImage:
    """A root with busybox, our first process, the modules `wanted` (those that the kernel has) and `setup` to run.

    Raises:
        NotPossibleHereError: no busybox, or `kernel` is no User-Mode Linux.
    """
    image = RootImage()
    busybox = find_program("busybox", mend="apt-get install busybox-static")
    await add_program(image, busybox, "/bin/busybox")
    image.device("/dev/console", 5, 1)
    init = resources.files("headrace.lab.machines").joinpath("guest_init.template").read_bytes()
    image.file("/init", init, mode=0o755)
    image.file("/etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    image.file("/etc/group", b"root:x:0:\n")
    image.file("/lab/setup", setup.encode())
    files = await _modules(kernel, modules, wanted)
    for path in files:
        image.file(f"/lab/modules/{path.name}", read_bytes(path))
    image.file("/lab/modules/order", "".join(f"{path.name}\n" for path in files).encode())
    return image


async def _modules(kernel: Path, given: Path | None, wanted: Sequence[str]) -> list[Path]:
    version = await kernel_version(kernel)
    folder = (given or _DEBIAN_MODULES) / version
    if not (folder / "modules.dep").is_file():
        if given is not None:
            raise NotPossibleHereError(f"{given} holds no modules for {version}: {folder}/modules.dep is missing")
        return []
    text = (folder / "modules.dep").read_text(encoding="utf-8")
    return [folder / name for name in module_files(text, wanted)]


async def kernel_version(kernel: Path) -> str:
    """What a User-Mode Linux executable says of itself.

    Raises:
        NotPossibleHereError: it is not one.
    """
    if not kernel.is_absolute():
        raise NotPossibleHereError(f"the kernel {kernel} is not an absolute path")
    ran = await run_command([str(kernel), "--version"], timeout_s=10.0)
    words = ran.output.split()
    if ran.exit_code or len(words) != 1 or not words[0][0].isdigit():
        raise NotPossibleHereError(f"{kernel} is no User-Mode Linux kernel: build one with ARCH=um")
    return words[0]


def _command_line(spec: GuestSpec, initrd: Path, folder: Path, commands: int, answers: int) -> list[str]:
    return [
        str(spec.kernel),
        f"mem={spec.memory_mib}M",
        f"initrd={initrd}",
        "rdinit=/init",
        "con=null",
        "con0=null,fd:1",
        f"con1=fd:{commands},fd:{answers}",
        "con2=pts",
        "ssl=null",
        "loglevel=7",  # everything that is not for debugging; `quiet` would hide warnings
        "panic=-1",
        "oops=panic",
        f"uml_dir={folder}/uml",
        f"umid={spec.name}",
        *(f"vec{index}:transport=tap,ifname={tap},depth=128" for index, tap in enumerate(spec.taps)),
    ]


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
