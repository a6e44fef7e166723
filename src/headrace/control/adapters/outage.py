"""Says once in the log that the store is away, and once that it is back, however many ask in between."""

import logging
import threading

from headrace.base.clock import Clock
from headrace.base.logs import event

_log = logging.getLogger(__name__)

SETTLED_S = 2.0
"""It is back when it has answered for so long without a failure: one that reads and cannot write would change sides
all the time."""


class Outage:
    """Whether the store is away. For many threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._has_answered = False
        self._began_at_s: float | None = None
        self._failed_at_s = 0.0
        self._failures = 0

    def note_failure(self, error: str) -> None:
        """The store could not be asked. Before its first answer nothing is logged: whoever opens it is told."""
        with self._lock:
            self._failed_at_s = self._clock.monotonic_s()
            self._failures += 1
            if self._began_at_s is None and self._has_answered:
                self._began_at_s, self._failures = self._failed_at_s, 1
                event(_log, "store_away", level=logging.ERROR, error=error)

    def note_answer(self) -> None:
        """The store answered."""
        self._has_answered = True
        if self._began_at_s is None:
            return  # nearly always, and without the lock
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._began_at_s is None or now_s - self._failed_at_s < SETTLED_S:
                return
            event(_log, "store_back", level=logging.WARNING, after_s=now_s - self._began_at_s, failures=self._failures)
            self._began_at_s = None
