"""Levels 1 and 2, what only a kernel can get wrong: TLS in the kernel, pages read again from a disk, many writers on
the console, hardly any memory. For machines with a kernel of their own.
"""

import asyncio
from dataclasses import replace

from headrace.base.tasks import Tasks
from headrace.lab.assembly import Lab
from headrace.lab.content import KnownFile
from headrace.lab.errors import MachineError, NotPossibleHereError
from headrace.lab.load.model import Behaviour
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.ports import MachineKind
from headrace.lab.qualify.findings import Expectation, Finding, expect, observe, of_load
from headrace.lab.qualify.stand import Side, Stand

_DROP_EVERY_S = 0.25
_DROP = ("sh", "-c", "echo 3 > /proc/sys/vm/drop_caches")
_READ_IN = ("sh", "-c", "while read -r name value; do [ $name != pgpgin ] || echo $value; done </proc/vmstat")
_TLS_STAT = ("sh", "-c", "while read -r name value; do [ $name != TlsTxSw ] || echo $value; done </proc/net/tls_stat")
_CONSOLE_S = 6.0
_MEMORY_S = 6.0
_SMALL_MIB = 128
_BUSY = {Behaviour.SEGMENTS: 2, Behaviour.SHORT: 4, Behaviour.ABORT: 1}
_PRESSED = {Behaviour.SEGMENTS: 4, Behaviour.SHORT: 4, Behaviour.BORDERS: 2, Behaviour.SLOW: 2}

_WRITERS = """
echo on >/proc/sys/kernel/printk_devkmsg; echo 1 >/proc/sys/kernel/sysrq
read -r up _ </proc/uptime; end=$((${up%.*} + SECONDS))
on() { read -r up _ </proc/uptime; [ ${up%.*} -lt $end ]; }
line=$(head -c 900 /dev/zero | tr '\\0' w)
n=0; while [ $n -lt 1100 ]; do echo "$line"; n=$((n + 1)); done >/run/lines
for to in kmsg kmsg console ttyS0; do
  (n=0; while on; do n=$((n + 1)); echo "$to says $n: $line" >/dev/$to; [ $((n % 8)) != 0 ] || usleep 20000; done) &
done
for to in console console tty0; do
  (while on; do dd if=/run/lines of=/dev/$to bs=65700 count=1; usleep 60000; done) &
done
for to in ttyS0 ttyS0 ttyS0 tty3 tty3 tty3; do
  (while on; do dd if=/run/lines of=/dev/$to bs=990000 count=1; usleep 10000; done) &
  (while on; do dd if=/run/lines of=/dev/$to bs=2000 count=400; usleep 1000; done) &
done
for to in tty3 tty4 ttyS1 tty0; do
  (while on; do (stty -echo; stty echo; echo "$to opened") <>/dev/$to >&0; usleep 2000; done) &
done
(while on; do echo h >/proc/sysrq-trigger; echo m >/proc/sysrq-trigger; usleep 30000; done) &
(while on; do dmesg | tail -n 1; usleep 20000; done) &
(while on; do echo 4 >/proc/sys/kernel/printk; usleep 5000; echo 8 >/proc/sys/kernel/printk; usleep 15000; done) &
wait
"""
"""Whole lines only: what the guest itself says between them is read, too."""

_HOG = """
mkdir -p /hog; mount -t tmpfs -o size=100% hog /hog
read -r up _ </proc/uptime; end=$((${up%.*} + SECONDS))
while read -r up _ </proc/uptime && [ ${up%.*} -lt $end ]; do
  while read -r name value _; do [ $name != MemAvailable: ] || free=$((value / 1024)); done </proc/meminfo
  [ $free -le ROOM ] || dd if=/dev/zero of=/hog/all bs=1M count=$((free - ROOM)) 2>/dev/null
  usleep 700000; rm -f /hog/all; usleep 100000
done
"""
_ROOM_MIB = 12
"""Left to nginx and to sockets: less, and the kernel would rightly kill nginx."""


def kernel_expectations(stand: Stand) -> list[Expectation]:
    """Those of this stand; none where the candidate is no kernel."""
    if stand.candidate.machine.kind is not MachineKind.UML:
        return []
    return [
        expect("function.bytes-kernel-tls", "every byte right, TLS in the kernel", _kernel_tls),
        expect("function.bytes-reread", "every byte right from a disk, its pages dropped and read again", _reread),
        expect("impairment.console", "goes on while many write to the console", _console),
        expect("impairment.memory", "goes on with hardly any memory free", _memory),
    ]


async def _kernel_tls(stand: Stand) -> Finding:
    """The kernel's own count says that it was the kernel that encrypted; nginx falls back without a word."""
    finding, used = await _sweep_kernel_tls(stand, Side.CANDIDATE)
    if used or finding.faults or finding.problems:
        return finding
    _, used_before = await _sweep_kernel_tls(stand, Side.BASELINE)
    if used_before:
        text = f"no connection was encrypted by the kernel (TlsTxSw 0); with the baseline {used_before} were"
        return replace(finding, problems=(text,))
    return Finding(
        not_run="neither build encrypts in the kernel (TlsTxSw 0 in /proc/net/tls_stat): it needs a kernel with TLS "
        "and AES-GCM, and an nginx whose OpenSSL has kTLS"
    )


async def _sweep_kernel_tls(stand: Stand, side: Side) -> tuple[Finding, int]:
    used = 0

    async def do(lab: Lab) -> Finding:
        nonlocal used
        plan = replace(plan_for(lab, seconds=0.5, players={}, is_tls=True, is_sweeping=True), files=_some(lab))
        report = await run_load(lab, plan)
        used = _number((await lab.machine.run(_TLS_STAT)).output)
        return of_load(report, f"{used} connections encrypted by the kernel (TlsTxSw in /proc/net/tls_stat)")

    machine = replace(stand.subject(side).machine, has_kernel_tls=True)
    return await observe(stand, do, side=side, machine=machine), used


async def _reread(stand: Stand) -> Finding:
    """From a cold cache, whose pages are dropped again and again while they are sent."""

    async def do(lab: Lab) -> Finding:
        drops = 0
        async with Tasks() as tasks:
            plan = plan_for(lab, seconds=0.5, players={}, is_sweeping=True)
            load = tasks.spawn("load", run_load(lab, plan))
            while not load.done():
                ran = await lab.machine.run(_DROP)
                drops += not ran.exit_code
                await asyncio.wait([load], timeout=_DROP_EVERY_S)
            report = await load
        read_mib = _number((await lab.machine.run(_READ_IN)).output) >> 10
        return of_load(report, f"{read_mib} MiB read from disk, the page cache dropped {drops} times")

    try:
        return await observe(stand, do, machine=replace(stand.candidate.machine, is_content_on_disk=True))
    except NotPossibleHereError as error:
        return Finding(not_run=str(error))


async def _console(stand: Stand) -> Finding:
    async def do(lab: Lab) -> Finding:
        seconds = stand.seconds(_CONSOLE_S)
        lines = len(lab.machine.console())
        await _start(lab, _WRITERS.replace("SECONDS", str(max(1, round(seconds)))))
        report = await run_load(lab, plan_for(lab, seconds=seconds, players=_BUSY))
        return of_load(report, f"{len(lab.machine.console()) - lines} lines on the console")

    return await observe(stand, do)


async def _memory(stand: Stand) -> Finding:
    async def do(lab: Lab) -> Finding:
        seconds = stand.seconds(_MEMORY_S)
        await _start(lab, _HOG.replace("SECONDS", str(max(1, round(seconds)))).replace("ROOM", str(_ROOM_MIB)))
        report = await run_load(lab, plan_for(lab, seconds=seconds, players=_PRESSED))
        read_mib = _number((await lab.machine.run(_READ_IN)).output) >> 10
        return of_load(report, f"{read_mib} MiB read from disk, {_SMALL_MIB} MiB of memory, {_ROOM_MIB} of them free")

    machine = replace(stand.candidate.machine, is_content_on_disk=True, memory_mib=_SMALL_MIB)
    try:
        return await observe(stand, do, machine=machine)
    except NotPossibleHereError as error:
        return Finding(not_run=str(error))


async def _start(lab: Lab, script: str) -> None:
    ran = await lab.machine.run(["sh", "-c", f"({script}) >/dev/null 2>&1 &"])
    if ran.exit_code:
        raise MachineError(f"a script could not be started in the guest: {ran.output.strip()[:300]}")


def _some(lab: Lab) -> tuple[KnownFile, ...]:
    """Every other file, and the largest: a kernel without the processor's own instructions encrypts slowly."""
    ordered = sorted(lab.setup.content, key=lambda file: -file.size_bytes)
    return tuple(ordered[::2])


def _number(text: str) -> int:
    """The first line; 0 where there is none."""
    words = text.split()
    return int(words[0]) if words and words[0].isdigit() else 0
