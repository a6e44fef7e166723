"""Locks between processes on this machine: held by a descriptor, so that a killed holder holds nothing.

Never deletes a lock file: whoever waits on one that was unlinked would hold another than the next one does.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from headrace.base.clock import Clock
from headrace.workshop.errors import BusyError, StoreError

POLL_S = 0.2


@contextlib.contextmanager
def hold_lock(path: Path, *, clock: Clock, wait_s: float, on_wait: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Hold the lock `path` for the block; gives its descriptor, which a child may inherit to hold it on.

    Args:
        on_wait: called once, when somebody else holds it.

    Raises:
        BusyError: somebody else held it for longer than `wait_s`.
        StoreError: the file cannot be made.
    """
    descriptor = _opened(path)
    try:
        deadline_s = clock.monotonic_s() + wait_s
        is_waiting = False
        while not _taken(descriptor):
            if clock.monotonic_s() >= deadline_s:
                raise BusyError(f"another process has held {path} for over {wait_s:g} s")
            if not is_waiting:
                is_waiting = True
                on_wait()
            clock.block(POLL_S)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the lock for the block if nobody else does; gives whether it is held."""
    descriptor = _opened(path)
    try:
        yield _taken(descriptor)
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot make the lock {path}: {error.strerror or error}") from None


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        raise
    return True
