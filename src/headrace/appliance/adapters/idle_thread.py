"""Lets a thread work only when nobody else wants the disk or the processor (Linux: ioprio_set(2), per-thread nice)."""

import ctypes
import os
import platform
import threading

_SYSCALL = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
_WHO_PROCESS, _CLASS_IDLE, _CLASS_SHIFT = 1, 3, 13
_NICE = 10


def make_thread_idle() -> None:
    """Put the calling thread into the idle I/O class, where the machine knows it, and lower its priority."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    number = _SYSCALL.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None).syscall(number, _WHO_PROCESS, 0, _CLASS_IDLE << _CLASS_SHIFT)
