"""Counts what the players of one client saw, and makes the report."""

import collections

from headrace.lab.load.checking import Ask
from headrace.lab.load.model import LoadReport, Wrong, percentiles

_MOST_WRONGS = 20
_MOST_SAMPLES = 1_000_000
_LATE = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
_TRANSFER = {"p1": 0.01, "p10": 0.1, "p50": 0.5}
_LARGE_BYTES = 100_000


class Tally:
    """Shared by all players of a client, which run in one thread."""

    def __init__(self) -> None:
        self.requests = self.bytes = self.wrong = self.stalled = self.aborted = 0
        self._wrongs: list[Wrong] = []
        self._failures: collections.Counter[str] = collections.Counter()
        self._ttfb_ms: list[float] = []
        self._finish_ms: list[float] = []
        self._transfer_bps: list[float] = []

    def first_byte(self, after_s: float) -> None:
        if len(self._ttfb_ms) < _MOST_SAMPLES:
            self._ttfb_ms.append(after_s * 1000)

    def finish(self, after_s: float) -> None:
        if len(self._finish_ms) < _MOST_SAMPLES:
            self._finish_ms.append(after_s * 1000)

    def transfer(self, size_bytes: int, took_s: float) -> None:
        """An answer's body came in so long, with nothing but the network and the server to slow it."""
        if size_bytes >= _LARGE_BYTES and took_s > 0 and len(self._transfer_bps) < _MOST_SAMPLES:
            self._transfer_bps.append(8 * size_bytes / took_s)

    def is_wrong(self, ask: Ask, what: str, behaviour: str) -> None:
        self.wrong += 1
        if len(self._wrongs) < _MOST_WRONGS:
            self._wrongs.append(Wrong(what=what, path=ask.file.path, asked=ask.asked, behaviour=behaviour))

    def failure(self, what: str) -> None:
        self._failures[what] += 1

    def report(self, seconds: float) -> LoadReport:
        return LoadReport(
            seconds=round(seconds, 4),
            requests=self.requests,
            bytes=self.bytes,
            wrong=self.wrong,
            stalled=self.stalled,
            failed=self._failures.total(),
            aborted=self.aborted,
            ttfb_ms={name: round(value, 3) for name, value in percentiles(self._ttfb_ms, _LATE).items()},
            finish_ms={name: round(value, 3) for name, value in percentiles(self._finish_ms, _LATE).items()},
            transfer_bps={name: round(value) for name, value in percentiles(self._transfer_bps, _TRANSFER).items()},
            wrongs=tuple(self._wrongs),
            failures=dict(self._failures.most_common(20)),
        )
