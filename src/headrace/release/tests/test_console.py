"""Faults in real console texts: kind, trace, and one fingerprint for one fault."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.release.console import distinct, find_faults, fingerprint, strip_prefix
from headrace.release.model import FaultKind

CONSOLES = Path(__file__).parent / "consoles"


def lines_of(name: str) -> list[str]:
    return (CONSOLES / f"{name}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("name", "kind", "title", "trace", "line_no"),
    [
        ("sysrq_panic", "panic", "Kernel panic - not syncing: sysrq", ["panic", "sysrq_handle_crash"], 2),
        ("null_oops", "oops", "BUG: kernel NULL pointer", ["tcp_sendmsg_locked", "tcp_sendmsg", "sock_sendmsg"], 1),
        ("uml_panic", "panic", "Kernel panic - not syncing: Kernel mode fault", ["show_stack", "dump_stack_lvl"], 1),
        ("bug_at", "bug", "kernel BUG at net/core/skbuff.c:2401!", ["__pskb_pull_tail", "tcp_v4_rcv"], 2),
        ("warning_old", "warning", "WARNING: CPU: 0 PID: 88 at net", ["tcp_fastretrans_alert", "tcp_ack"], 2),
        ("warning_new", "warning", "WARNING: net/ipv4/tcp_input.c", ["tcp_fastretrans_alert", "tcp_ack"], 2),
        ("hung_task", "hung", "INFO: task nginx:212 blocked", ["__schedule", "schedule", "lock_sock_nested"], 1),
        ("rcu_stall", "stall", "rcu: INFO: rcu_preempt self", ["tcp_xmit_retransmit_queue", "tcp_ack"], 1),
        ("soft_lockup", "stall", "watchdog: BUG: soft lockup", ["tcp_xmit_retransmit_queue", "tcp_ack"], 1),
        ("gpf", "oops", "Oops: general protection fault", ["inet_csk_destroy_sock", "__tcp_close"], 1),
        ("kasan", "asan", "BUG: KASAN: slab-use-after-free in tcp", ["dump_stack_lvl", "print_report"], 2),
        ("ubsan", "asan", "UBSAN: array-index-out-of-bounds", ["dump_stack_lvl", "__ubsan_handle_out"], 2),
        ("slab", "asan", "BUG skbuff_small_head", ["check_object", "kfree_skbmem"], 2),
        ("atomic", "bug", "BUG: sleeping function called", ["dump_stack_lvl", "__might_resched", "mutex_lock"], 1),
        ("nginx_crash", "crash", "worker process 21 exited on signal 11", [], 2),
    ],
)
def test_one_fault_of_each_kind(name: str, kind: str, title: str, trace: list[str], line_no: int) -> None:
    (fault,) = find_faults(lines_of(name))
    assert fault.kind is FaultKind(kind)
    assert fault.title.startswith(title)
    assert [found.startswith(wanted) for found, wanted in zip(fault.trace, trace, strict=False)] == [True] * len(trace)
    assert fault.line_no == line_no


def test_a_sanitizer_report_and_the_death_it_caused_are_two_faults_with_the_first_stack() -> None:
    report, death = find_faults(lines_of("nginx_asan"))
    assert report.kind is FaultKind.ASAN
    assert report.trace == ("ngx_http_finalize_connection", "ngx_http_finalize_request", "ngx_epoll_process_events")
    assert death.kind is FaultKind.CRASH


def test_a_sound_console_has_none() -> None:
    assert find_faults(lines_of("clean")) == ()


def elsewhere(line: str) -> str:
    """The same line on another boot: other addresses, offsets, times, processes, processors."""
    line = re.sub(r"\[ *\d+\.\d+\]", "[  977.123456]", line)
    line = re.sub(r"\+0x[0-9a-f]+/0x[0-9a-f]+", "+0x777/0x999", line)
    line = re.sub(r"0x[0-9a-f]{5,16}", "0x7777abcd1234", line)
    line = re.sub(r"\b(?:[0-9a-f]{16}|[0-9a-f]{8})\b", lambda found: "fedcba9876543210"[: len(found[0])], line)
    line = re.sub(r"(nginx[:/])\d+", r"\g<1>9017", line)
    line = re.sub(r"PID: \d+", "PID: 9017", line)
    line = re.sub(r"CPU#\d|CPU: \d", lambda found: found[0][:-1] + "3", line)
    line = re.sub(r"==\d+==", "==9017==", line)
    line = re.sub(r"worker process \d+", "worker process 9017", line)
    line = re.sub(r"t=\d+ jiffies g=\d+", "t=99 jiffies g=7", line)
    return re.sub(r"stuck for \d+s|more than \d+ seconds", lambda found: re.sub(r"\d+", "77", found[0]), line)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONSOLES.glob("*.txt")))
def test_the_fingerprint_is_the_same_on_another_boot(name: str) -> None:
    here = find_faults(lines_of(name))
    there = find_faults(["noise", *(elsewhere(line) for line in lines_of(name))])
    assert [fault.fingerprint for fault in here] == [fault.fingerprint for fault in there]
    twice = find_faults([*lines_of(name), "noise", *(elsewhere(line) for line in lines_of(name))])
    assert len(twice) == 2 * len(here)
    assert distinct(twice) == here


def test_different_faults_have_different_fingerprints() -> None:
    names = ("sysrq_panic", "null_oops", "uml_panic", "bug_at", "warning_old", "hung_task", "gpf", "kasan", "atomic")
    assert len({find_faults(lines_of(name))[0].fingerprint for name in names}) == len(names)


def test_lockup_and_stall_at_one_place_are_one_fault() -> None:
    lockup, stall = (find_faults(lines_of(name))[0].fingerprint for name in ("soft_lockup", "rcu_stall"))
    assert lockup == stall


def test_a_fault_in_another_function_is_another_fault() -> None:
    other = [line.replace("tcp_sendmsg", "udp_sendmsg") for line in lines_of("null_oops")]
    assert find_faults(other)[0].fingerprint != find_faults(lines_of("null_oops"))[0].fingerprint


def test_compilers_suffixes_do_not_make_another_fault() -> None:
    names = ("tcp_ack", "tcp_rcv")
    built_otherwise = ("tcp_ack.isra.0", "tcp_rcv.part.1.cold")
    assert fingerprint(FaultKind.OOPS, "x", names) == fingerprint(FaultKind.OOPS, "x", built_otherwise)


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("[    1.000000] BUG: x", "BUG: x"),
        ("<4>[   55.100301][  T212] BUG: x\r\n", "BUG: x"),
        ("[  1.0][   C0] BUG: x", "BUG: x"),
        ("Nov 22 21:00:01 cache-7 kernel: [    1.000000] BUG: x", "BUG: x"),
        ("\x1b[1m[    1.000000] \x1b[0mBUG: x", "BUG: x"),
        ("2026/11/22 21:41:33 [alert] 20#20: worker process 21 exited", "worker process 21 exited"),
        ("[    1.000000]  indented+0x1/0x2", " indented+0x1/0x2"),
    ],
)
def test_prefixes_are_taken_off(line: str, plain: str) -> None:
    assert strip_prefix(line) == plain


words = st.sampled_from(
    [line for path in CONSOLES.glob("*.txt") for line in path.read_text(encoding="utf-8").splitlines()]
)


@given(lines=st.lists(st.one_of(words, st.text(max_size=60)), max_size=40))
def test_any_lines_are_read_in_order(lines: list[str]) -> None:
    numbers = [fault.line_no for fault in find_faults(lines)]
    assert numbers == sorted(set(numbers))
    assert all(1 <= number <= len(lines) for number in numbers)
