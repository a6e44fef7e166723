"""What machine this is and with which tools it measures: words for dossiers and published figures, nothing decided."""

import asyncio
import os
import platform
import re
import sys
from pathlib import Path

from headrace.lab.adapters.cell import run_command
from headrace.lab.adapters.programs import find_program
from headrace.lab.errors import LabError

_TOOLS = {
    "valgrind": ("--version",),
    "h2load": ("--version",),
    "gcc": ("-dumpfullversion",),
    "ccache": ("--version",),
    "busybox": ("--help",),
    "openssl": ("version",),
    "qemu-system-x86_64": ("--version",),
    "linux.uml": ("--version",),
}
"""How each says its version."""
_TIMEOUT_S = 10.0
_MOST_CHARACTERS = 80
_VERSION = re.compile(r"\d+\.\d[\w.+~-]*")

Facts = tuple[tuple[str, str], ...]


async def machine_facts() -> Facts:
    """Processor, cores, memory, kernel, and the versions of the tools that measure; what is not known is left out."""
    facts = [
        ("CPU", _in_file("/proc/cpuinfo", r"^model name\s*: (.+)$") or platform.machine()),
        ("cores", str(len(os.sched_getaffinity(0)))),
        ("memory", _gib(_in_file("/proc/meminfo", r"^MemTotal:\s*(\d+) kB$"))),
        ("kernel", f"{platform.system()} {platform.release()}"),
        ("machine", _in_file("/sys/class/dmi/id/product_name", r"^(.+)$")),
        ("system", _in_file("/etc/os-release", r'^PRETTY_NAME="(.+)"$')),
        ("python", ".".join(str(part) for part in sys.version_info[:3])),
    ]
    said = await asyncio.gather(*(_version(tool, words) for tool, words in _TOOLS.items()))
    facts += zip(_TOOLS, said, strict=True)
    return tuple((name, value) for name, value in facts if value)


async def _version(tool: str, words: tuple[str, ...]) -> str:
    try:
        ran = await run_command([str(find_program(tool, mend="")), *words], timeout_s=_TIMEOUT_S)
    except LabError:
        return ""
    found = _VERSION.search(ran.output)
    return found[0][:_MOST_CHARACTERS] if found else ""


def _in_file(path: str, pattern: str) -> str:
    found = re.search(pattern, _text(path), re.MULTILINE)
    return found[1].strip()[:_MOST_CHARACTERS] if found else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _gib(kib: str) -> str:
    return f"{int(kib) / (1 << 20):.1f} GiB" if kib else ""
