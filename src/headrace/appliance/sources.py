"""Decides which source is asked next for a file: the best ranked one that has not just failed, and why others wait.

Pure bookkeeping: the filler tells what happened and when (monotonic seconds); nothing here opens a connection.
"""

from dataclasses import dataclass

from headrace.base.ids import Sha256
from headrace.base.rng import Rng, backoff_s
from headrace.fill.model import FillSource, SourceKind
from headrace.wire.agent import DesiredState

_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChoice:
    """Ask `source`; `is_last_hope` when no other is free, so that being slow is no reason to leave it."""

    source: FillSource
    is_last_hope: bool


@dataclass(slots=True)
class _Record:
    failures: int = 0
    rest_until_s: float = 0.0
    slow_until_s: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Absence:
    """A file that a source did not hold."""

    until_s: float
    """When to ask it again."""
    times: int


_NEVER = _Absence(until_s=0.0, times=0)


class SourceBook:
    """What is known of each source."""

    def __init__(self, *, first_s: float, most_s: float, rng: Rng) -> None:
        self._first_s, self._most_s, self._rng = first_s, most_s, rng
        self._records: dict[str, _Record] = {}
        self._without: dict[tuple[str, Sha256], _Absence] = {}

    def choose(self, sources: tuple[FillSource, ...], name: Sha256, *, now_s: float) -> SourceChoice | None:
        """The best source for file `name` now; None when all rest or do not hold it."""
        free = [one for one in sources if self._is_free(one.base_url, name, now_s)]
        quick = [one for one in free if self._record(one.base_url).slow_until_s <= now_s]
        if not free:
            return None
        return SourceChoice(source=(quick or free)[0], is_last_hope=len(free) == 1 or not quick)

    def gave(self, base_url: str) -> None:
        """A whole range came: earlier failures are forgiven."""
        self._record(base_url).failures = 0

    def failed(self, base_url: str, error: str, *, now_s: float) -> None:
        """No connection, a broken one, a server's error: it rests, longer each time."""
        record = self._record(base_url)
        rest_s = backoff_s(self._rng, record.failures, first_s=self._first_s, most_s=self._most_s)
        record.failures += 1
        record.rest_until_s, record.error = now_s + rest_s, error

    def was_slow(self, base_url: str, *, now_s: float) -> None:
        """Below the least rate: for a while it is asked only when nobody else is free."""
        self._record(base_url).slow_until_s = now_s + self._most_s

    def does_not_hold(self, base_url: str, name: Sha256, *, now_s: float) -> None:
        """Redirect or 404: normal for a peer that is still filling; the file is asked of it again after a while."""
        times = self._without.get((base_url, name), _NEVER).times
        rest_s = backoff_s(self._rng, times, first_s=self._first_s, most_s=self._most_s)
        self._leave(base_url, name, _Absence(until_s=now_s + rest_s, times=times + 1), now_s)

    def gave_wrong_bytes(self, base_url: str, name: Sha256, *, now_s: float) -> None:
        """The file's digest does not fit: this file is not asked of it for long, and it rests as for a failure."""
        self.failed(base_url, f"wrong bytes for {name[:12]}", now_s=now_s)
        self._leave(base_url, name, _Absence(until_s=now_s + 10 * self._most_s, times=0), now_s)

    def rest_s(self, sources: tuple[FillSource, ...], name: Sha256, *, now_s: float) -> float:
        """Seconds until some source is free again for file `name` (the longest pause when there is no source)."""
        waits = [
            max(self._record(one.base_url).rest_until_s, self._without.get((one.base_url, name), _NEVER).until_s)
            - now_s
            for one in sources
        ]
        return max(0.0, min([*waits, self._most_s]))

    def errors(self, sources: tuple[FillSource, ...], *, now_s: float) -> str:
        """Why sources rest, in one line."""
        resting = [(one.base_url, self._record(one.base_url)) for one in sources]
        return "; ".join(f"{url}: {record.error}" for url, record in resting if record.rest_until_s > now_s)

    def _is_free(self, base_url: str, name: Sha256, now_s: float) -> bool:
        is_awake = self._record(base_url).rest_until_s <= now_s
        return is_awake and self._without.get((base_url, name), _NEVER).until_s <= now_s

    def _leave(self, base_url: str, name: Sha256, absence: "_Absence", now_s: float) -> None:
        if len(self._without) >= _MOST_REMEMBERED:
            self._without = {key: one for key, one in self._without.items() if one.until_s > now_s}
        self._without[base_url, name] = absence

    def _record(self, base_url: str) -> _Record:
        return self._records.setdefault(base_url, _Record())


def sources_of(desired: DesiredState | None) -> tuple[FillSource, ...]:
    """The ranked sources, with the origin as the last one when the control plane did not list it."""
    if desired is None:
        return ()
    if not desired.origin_url or any(one.base_url == desired.origin_url for one in desired.sources):
        return desired.sources
    return (*desired.sources, FillSource(kind=SourceKind.ORIGIN, base_url=desired.origin_url))
