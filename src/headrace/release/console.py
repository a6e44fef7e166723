"""Faults in the lines of a console or error log: what happened, where, and a fingerprint that makes them one fault.

Knows the texts of the Linux kernel (panic, oops, BUG, WARNING, hung tasks, stalls and lockups, protection faults,
KASAN, UBSAN, slab and list corruption, leaks) on x86 and User-Mode Linux, of nginx and of the sanitizers. Input:
lines as they came, with or without time stamps, processor numbers and syslog heads. Reads nothing itself, and judges
no fault as harmless."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headrace.release.model import Fault, FaultKind

MOST_TRACE_LINES = 120
"""Lines after a head that may belong to it."""
FINGERPRINT_FRAMES = 4
"""Innermost functions that go into the fingerprint; deeper ones are how one got there."""
ECHO_LINES = 40
"""A panic so soon after another fault of the same machine tells of its end, not of a second fault."""

_PREFIX = re.compile(
    r"^(?:\x1b\[[0-9;]*m)*(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ kernel: )?"
    r"(?:<\d+>)?(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?)?"
    r"(?:\x1b\[[0-9;]*m)*"
)
_NGINX = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(?:alert|emerg)\] \d+#\d+: ")


@dataclass(frozen=True, slots=True)
class _Head:
    """The first line of a kind of fault."""

    kind: FaultKind
    pattern: re.Pattern[str]


def _head(kind: FaultKind, pattern: str) -> _Head:
    return _Head(kind, re.compile(pattern))


# The order counts: the first that fits names the line.
_HEADS = (
    _head(FaultKind.ASAN, r"BUG: (?:KASAN|KFENCE|KMSAN|KCSAN): "),
    _head(FaultKind.ASAN, r"UBSAN: "),
    _head(FaultKind.ASAN, r"BUG \S+ \(.*\): (?!sleeping)"),  # slub: "BUG kmalloc-64 (Not tainted): Redzone overwritten"
    _head(FaultKind.ASAN, r"==\d+==\s?ERROR: \w+Sanitizer: "),
    _head(FaultKind.ASAN, r"==\d+==\s?WARNING: MemorySanitizer: "),
    _head(FaultKind.ASAN, r"\S+:\d+:\d+: runtime error: "),
    _head(FaultKind.ASAN, r"kmemleak: \d+ new suspected memory leaks"),
    _head(FaultKind.HUNG, r"INFO: task .+ blocked (?:in I/O wait )?for more than \d+ seconds"),
    _head(FaultKind.STALL, r"(?:rcu: )?INFO: rcu\w* (?:self-)?detected (?:expedited )?stalls?"),
    _head(FaultKind.STALL, r"(?:watchdog: )?BUG: soft lockup"),
    _head(FaultKind.STALL, r"(?:NMI )?watchdog: (?:Watchdog detected hard LOCKUP|BUG: soft lockup)"),
    _head(FaultKind.STALL, r"BUG: workqueue lockup"),
    _head(FaultKind.STALL, r"rcu: (?:\w+ )?kthread (?:starved|timer wakeup didn't happen)"),
    _head(FaultKind.PANIC, r"Kernel panic - not syncing: "),
    _head(FaultKind.BUG, r"kernel BUG at "),
    _head(FaultKind.BUG, r"(?:list_add|list_del) corruption"),
    _head(FaultKind.OOPS, r"BUG: (?:kernel NULL pointer dereference|unable to handle)"),
    _head(FaultKind.OOPS, r"(?:Unable to handle kernel|general protection fault|Internal error: Oops)"),
    _head(FaultKind.OOPS, r"(?:stack segment|double fault|invalid opcode|divide error|int3|traps: PANIC): .*\[#\d+\]"),
    _head(FaultKind.OOPS, r"Oops(?:: | - )"),
    _head(FaultKind.OOPS, r"(?:Kernel mode fault at addr|Segfault with no mm|Kernel tried to access user memory)"),
    _head(FaultKind.BUG, r"BUG: (?!soft lockup|workqueue lockup)"),
    _head(FaultKind.WARNING, r"WARNING: (?:CPU: \d+ PID: \d+ at |.*\bat )\S+"),
    _head(FaultKind.WARNING, r"WARNING: (?:possible|inconsistent|suspicious|bad unlock|lock held|held lock|modpost)"),
    _head(FaultKind.WARNING, r"refcount_t: (?:underflow|overflow|addition on 0|saturated|decrement hit 0)"),
    _head(FaultKind.CRASH, r"(?:.*?: )?worker process \d+ exited on signal \d+"),
    _head(FaultKind.CRASH, r"(?:.*?: )?cache (?:manager|loader) process \d+ exited on signal \d+"),
    _head(FaultKind.CRASH, r"\S+\[\d+\]: segfault at "),
    _head(FaultKind.CRASH, r"traps: \S+\[\d+\] (?:general protection|trap )"),
)
_NOT_HEADS = re.compile(r"WARNING: (?:The mand mount|.*deprecated)|printk: |sysrq: ")
_TRACE_BEGINS = re.compile(r"(?:Call Trace|Backtrace|Stack trace|backtrace)(?: \(.*\))?:", re.IGNORECASE)
_FRAME = re.compile(
    r"^\s*(?:\[<?[0-9a-f]{8,16}>?\]\s+)?(?P<doubt>\? )?(?P<name>[A-Za-z_][\w.]*)\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?"
    r"(?: \[[\w ]+\])?(?: \(.*\))?\s*$"
)
"""`? name+0x1a/0x2b [module] (file:line)`; the question mark says that the unwinder only found the address on the
stack.
"""
_SANITIZER_FRAME = re.compile(r"^\s*#\d+ 0x[0-9a-f]+ in (?P<name>[\w:~<>.]+)")
_PLACE = re.compile(r"^(?:RIP|EIP|PC|pc)\s*:? *(?:[0-9a-f]{4}:)?(?:\[<[0-9a-f]+>\] )?(?P<name>[A-Za-z_][\w.]*)\+0x")
_TRACE_ENDS = re.compile(
    r"^(?:---\[ end (?:trace|Kernel panic)|={8,}|SUMMARY: |Modules linked in: *$|Rebooting in|==\d+==ABORTING)"
)
_QUIET = frozenset(
    [
        *(
            "dump_stack",
            "dump_stack_lvl",
            "dump_stack_print_info",
            "show_stack",
            "show_stack_log_lvl",
            "panic",
            "vpanic",
        ),
        *("__warn", "__warn_printk", "warn_slowpath_fmt", "report_bug", "handle_bug", "exc_invalid_op"),
        *("asm_exc_invalid_op", "asm_exc_page_fault", "exc_page_fault", "page_fault_oops", "do_user_addr_fault"),
        *("kasan_report", "print_report", "print_address_description", "oops_end", "die_addr", "die"),
        *("exc_general_protection", "asm_exc_general_protection", "ubsan_epilogue", "__ubsan_handle_out_of_bounds"),
        *("segv", "segv_handler", "sig_handler_common", "sig_handler", "relay_signal", "unblock_signals"),
        *("object_err", "slab_err", "check_object", "bad_page", "__might_resched", "__schedule_bug"),
        *("__schedule", "schedule", "schedule_timeout"),
    ]
)
"""Functions that report a fault, or only wait, and are not it."""
_VARYING = (
    (re.compile(r"\((?:Not tainted|Tainted:)[^)]*\)|\bpfn:[0-9a-f]+"), ""),
    (re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,16}\b", re.IGNORECASE), "ADDR"),
    (re.compile(r"\b(?:CPU|cpu)[:# ]*\d+|\bPID: \d+|\bUID: \d+|\bpid \d+"), "ID"),
    (re.compile(r"\[#\d+\]|\(detected by[^)]*\)|\bfor \d+s!|\bt=\d+ jiffies|\bg=\d+|\bq=\d+"), ""),
    (re.compile(r"(?<=\w)[/:\[]\d+(?::\d+)*[\]:]?(?=\W|$)"), ""),
    (re.compile(r"\+ADDR(?:/ADDR)?"), ""),
    (re.compile(r"==\d+=="), ""),
    (re.compile(r"\d+(?:\.\d+)*"), "N"),
    (re.compile(r"\s+"), " "),
)


def find_faults(lines: Iterable[str]) -> tuple[Fault, ...]:
    """Every fault in the lines of one console, in order; the same one seen twice is there twice, with one fingerprint.

    A panic that only ends an oops, BUG or stall reported within the lines before it ("Fatal exception") is part of it.
    """
    plain = [strip_prefix(line) for line in lines]
    faults: list[Fault] = []
    number = end = 0
    while number < len(plain):
        head = _head_of(plain[number])
        if head and faults and number - end < ECHO_LINES and _is_echo(plain[number], head, faults[-1]):
            end = number = number + 1
        elif head:
            fault, end = _read_fault(plain, number, head)
            faults.append(fault)
            number = end
        else:
            number += 1
    return tuple(faults)


def distinct(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """The first of each fingerprint."""
    first: dict[str, Fault] = {}
    for fault in faults:
        first.setdefault(fault.fingerprint, fault)
    return tuple(first.values())


def strip_prefix(line: str) -> str:
    """A line without time stamp, syslog head, level, thread or processor number, colours and line end."""
    plain = _PREFIX.sub("", line.rstrip("\r\n"), count=1)
    return _NGINX.sub("", plain, count=1)


def fingerprint(kind: FaultKind, title: str, trace: Sequence[str]) -> str:
    """16 hexadecimal digits of what does not vary: the kind, the title without numbers, the innermost functions.

    Functions keep the name before the compiler's suffixes (`.isra.0`, `.part.1`, `.cold`), which change with each
    build."""
    frames = [name.split(".", 1)[0] for name in trace if name.split(".", 1)[0] not in _QUIET][:FINGERPRINT_FRAMES]
    # With a trace the functions say where; the text may name the victim, who differs.
    words = "" if frames and kind in {FaultKind.HUNG, FaultKind.STALL} else _without_varying(title)
    text = "\n".join([kind.value, words, *frames])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _head_of(line: str) -> _Head | None:
    if not line or _NOT_HEADS.match(line):
        return None
    return next((head for head in _HEADS if head.pattern.match(line)), None)


def _is_echo(line: str, head: _Head, before: Fault) -> bool:
    """Whether a head only follows from the fault before it."""
    grave = {FaultKind.OOPS, FaultKind.BUG, FaultKind.STALL, FaultKind.HUNG, FaultKind.PANIC, FaultKind.ASAN}
    if head.kind is FaultKind.PANIC and before.kind in {*grave, FaultKind.WARNING}:
        return bool(re.search(r"Fatal exception|panic_on_|softlockup: hung|hung_task|RCU Stall", line))
    return False


def _read_fault(lines: Sequence[str], start: int, head: _Head) -> tuple[Fault, int]:
    """The fault that begins at `start`, and the number of the line after its last."""
    sure: list[str] = []
    doubted: list[str] = []
    place = ""
    end = start + 1
    in_trace = head.kind is FaultKind.ASAN
    for number in range(start + 1, min(start + 1 + MOST_TRACE_LINES, len(lines))):
        line = lines[number]
        other = _head_of(line)
        if other and (sure or place or not _goes_on(head, other)):
            break
        if head.kind is FaultKind.ASAN and sure and not line.strip():
            break  # a sanitizer's first stack says where; those after an empty line say who allocated and freed
        found = _PLACE.match(line)
        place = place or (found["name"] if found else "")
        in_trace = in_trace or bool(_TRACE_BEGINS.search(line))
        frame = _SANITIZER_FRAME.match(line) or _FRAME.match(line) if in_trace else None
        if frame:
            (doubted if frame.groupdict().get("doubt") else sure).append(frame["name"])
        if frame or found or other:
            end = number + 1
        if _TRACE_ENDS.match(line) and (frame or sure or doubted or place):
            end = number + 1
            break
    frames = sure or doubted
    trace = tuple([place, *frames] if place and place not in frames[:FINGERPRINT_FRAMES] else frames)
    title = _title(lines[start])
    seen = fingerprint(head.kind, title, trace)
    return Fault(kind=head.kind, title=title, trace=trace, fingerprint=seen, line_no=start + 1), end


def _goes_on(head: _Head, other: _Head) -> bool:
    """Whether a second head, before any trace, goes on with the first: "Oops: 0000 [#1]" and the like."""
    return other.kind is FaultKind.OOPS and head.kind in {FaultKind.OOPS, FaultKind.BUG, FaultKind.ASAN}


def _title(line: str) -> str:
    return " ".join(line.split())[:200]


def _without_varying(title: str) -> str:
    for pattern, instead in _VARYING:
        title = pattern.sub(instead, title)
    return title.strip()
