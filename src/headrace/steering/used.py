"""Why served bytes did not come from the best appliances for their clients: what players used, beside what was given.

Bytes come as rows of what appliances served, by network of clients, as that is all that is shipped of an address. A row
belongs to the nearest earlier session of its network and title, as long as that may last: from its answer to the length
of the title and `SLACK_S` later. Which of several clients of one network a row was for is not known; where these were
given different appliances at nearly the same time, some bytes are taken for the other's. Pure: sessions and rows come
in order of time, snapshots by moment.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import heappop, heappush
from socket import AF_INET, AF_INET6, inet_pton
from typing import NamedTuple

from headrace.steering.compile import CompiledSnapshot
from headrace.steering.library import CompiledTitle
from headrace.steering.misses import Judge, MissClass
from headrace.steering.rank import Limits
from headrace.steering.replay import LoggedSession, tier_of

SLACK_S = 1800.0
"""For pauses: a session may last so much longer than its title."""
HOUR_S = 3600
FETCHED = "fetched"
"""The kind of site of bytes that the appliance had to fetch from elsewhere while it served them."""
_DISORDER_S = 10.0
"""Workers write sessions a second's worth at a time: a line may stand so much after later ones."""
_MOST_FILES = 200_000
_LEAST_BITS = {4: 8, 16: 16}
"""Shorter prefixes say nothing of who a client is."""


class Unjoined(NamedTuple):
    """Bytes of which it cannot be said what they should have come from, by why."""

    no_session: int = 0
    """No session of this network and title is in the log: another node's, or one that began before the log."""
    no_network: int = 0
    """The appliance ships no addresses of clients."""
    no_title: int = 0
    """Of a file that no title had at that moment."""
    no_snapshot: int = 0
    """No snapshot of that moment is kept."""
    after_log: int = 0
    """Of no session of the log, and later than its last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What an appliance served of a file to a network of clients, in one minute or less."""

    network: str
    """Such as 192.0.2.0/24; '' where it is not known."""
    file: str
    """SHA-256 in hexadecimal."""
    appliance_id: str
    is_fetched: bool
    """Not from its own disks."""
    at_s: float
    """When the last request of the row ended, UTC epoch seconds."""
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedRow:
    """Misses of one class, by the site that should have served and the title."""

    site_id: str
    """'' where no site hears the client."""
    title_id: str
    reason: MissClass
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HourRow:
    """Bytes of one class in one hour."""

    hour_s: int
    """Its beginning, UTC epoch seconds."""
    reason: MissClass
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedMisses:
    """What served bytes come to; each byte of a row is in one class, or in one part of `unjoined`."""

    bytes: int
    """That were joined to a session."""
    by_class: dict[str, int]
    by_tier: dict[str, int]
    """By kind of the site that served them; `fetched` what came from elsewhere."""
    unjoined: dict[str, int]
    """By why, see Unjoined."""
    unjudged_sessions: int
    """Sessions without a snapshot of their time, or of titles that it does not have."""
    rows: tuple[UsedRow, ...]
    """Misses, most bytes first."""
    hours: tuple[HourRow, ...]
    """In order of time."""


def explain_used(
    sessions: Iterable[LoggedSession],
    served: Iterable[Served],
    snapshot_at: Callable[[float], CompiledSnapshot | None],
    limits: Limits,
    *,
    lengths: Mapping[int, Set[int]],
    top: int,
    site: str = "",
) -> UsedMisses:
    """Class what was served.

    A byte is `best` where one of the best appliances of its moment served it from its disks; from elsewhere, it is
    `content`. Where another served that was not the answer's first one, while that one was better and able, it is
    `choice`. Every other one has the class of the session's answer; where that was no miss, of what keeps the best
    out now.

    Args:
        sessions: nearly in order of time.
        served: in order of `at_s`.
        snapshot_at: see misses.explain_misses; asked in order of time.
        lengths: bits of the networks in `served`, by bytes of the address (4, 16).
        top: how many rows to list.
        site: only bytes that this site should have served; '' for all.
    """
    join = _Join(snapshot_at, limits, lengths, site)
    waiting = _Waiting(sessions)
    for row in served:
        for one in waiting.until(row.at_s):
            join.begin(one)
        join.add(row, is_after_log=waiting.is_over(row.at_s))
    return join.result(top)


class _Waiting:
    """Sessions in order, as their time comes."""

    def __init__(self, sessions: Iterable[LoggedSession]) -> None:
        self._source = iter(sessions)
        self._heap: list[tuple[float, int, LoggedSession]] = []
        self._read, self._last_s, self._is_read = 0, float("-inf"), False

    def until(self, at_s: float) -> Iterator[LoggedSession]:
        """Those that began until a moment."""
        while not self._is_read and self._last_s <= at_s + _DISORDER_S:
            one = next(self._source, None)
            if one is None:
                self._is_read = True
                break
            self._read += 1
            self._last_s = max(self._last_s, one.at_s)
            heappush(self._heap, (one.at_s, self._read, one))
        while self._heap and self._heap[0][0] <= at_s:
            yield heappop(self._heap)[2]

    def is_over(self, at_s: float) -> bool:
        """Whether the log ends before a moment."""
        return self._is_read and self._last_s < at_s


class _Live(NamedTuple):
    session: LoggedSession
    end_s: float
    reason: MissClass
    """Of what it was given."""


_Key = tuple[bytes, int, str]
"""Network, its bits, title."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Sums:
    misses: Counter[tuple[str, str, MissClass]] = field(default_factory=Counter)
    classes: Counter[MissClass] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)
    hours: Counter[tuple[int, MissClass]] = field(default_factory=Counter)
    unjoined: Counter[str] = field(default_factory=Counter)
    unjudged: int = 0


class _Join:
    """The join so far. Of each network and title the last session is kept: earlier ones of it end no later."""

    def __init__(
        self,
        snapshot_at: Callable[[float], CompiledSnapshot | None],
        limits: Limits,
        lengths: Mapping[int, Set[int]],
        site: str,
    ) -> None:
        self._snapshot_at, self._limits, self._site = snapshot_at, limits, site
        self._lengths = {size: sorted(bits) for size, bits in lengths.items()}
        self._judge: Judge | None = None
        self._live: dict[_Key, _Live] = {}
        self._sweep_at = 10_000
        self._files: dict[str, CompiledTitle | None] = {}
        self._sums = _Sums()

    def begin(self, one: LoggedSession) -> None:
        """A session was given out."""
        judge = self._judge_at(one.at_s)
        title = judge.compiled.library.titles.get(one.title_id) if judge else None
        if judge is None or title is None:
            self._sums.unjudged += 1
            return
        reason, _ = judge.judge(one, title)
        live = _Live(one, one.at_s + title.title.duration_s + SLACK_S, reason)
        for bits in self._lengths.get(len(one.client), ()):
            self._live[_cut(one.client, bits), bits, one.title_id] = live
        if len(self._live) > self._sweep_at:
            self._live = {key: each for key, each in self._live.items() if each.end_s > one.at_s}
            self._sweep_at = max(10_000, 2 * len(self._live))

    def add(self, row: Served, *, is_after_log: bool) -> None:
        """Something was served."""
        judge = self._judge_at(row.at_s)
        title = self._title(judge, row.file) if judge else None
        network = _network(row.network)
        live = None
        if network is not None and title is not None:
            live = self._live.get((*network, str(title.title.title_id)))
        if judge is not None and title is not None and live is not None and row.at_s <= live.end_s:
            self._class(judge, title, live, row)
        else:
            why = _missing(judge, title, network, is_after_log=is_after_log)
            self._sums.unjoined[why] += row.bytes

    def result(self, top: int) -> UsedMisses:
        """What came of it."""
        sums = self._sums
        ranked = sorted(sums.misses.items(), key=lambda each: (-each[1], each[0]))[:top]
        return UsedMisses(
            bytes=sum(sums.classes.values()),
            by_class={str(name): size for name, size in sums.classes.most_common()},
            by_tier=dict(sums.tiers.most_common()),
            unjoined=Unjoined(**sums.unjoined)._asdict(),
            unjudged_sessions=sums.unjudged,
            rows=tuple(UsedRow(site_id=key[0], title_id=key[1], reason=key[2], bytes=size) for key, size in ranked),
            hours=tuple(
                HourRow(hour_s=key[0] * HOUR_S, reason=key[1], bytes=size) for key, size in sorted(sums.hours.items())
            ),
        )

    def _class(self, judge: Judge, title: CompiledTitle, live: _Live, row: Served) -> None:
        reason, best_site = _why(judge, title, live, row)
        if self._site and self._site != best_site:
            return
        sums = self._sums
        sums.classes[reason] += row.bytes
        sums.hours[int(row.at_s // HOUR_S), reason] += row.bytes
        sums.tiers[FETCHED if row.is_fetched else tier_of(judge.compiled, row.appliance_id)] += row.bytes
        if reason is not MissClass.NONE:
            sums.misses[best_site, live.session.title_id, reason] += row.bytes

    def _judge_at(self, at_s: float) -> Judge | None:
        compiled = self._snapshot_at(at_s)
        if compiled is None:
            return None
        if self._judge is None or self._judge.compiled is not compiled:
            if self._judge is None or self._judge.compiled.library is not compiled.library:
                self._files.clear()
            self._judge = Judge(compiled, self._limits)
        return self._judge

    def _title(self, judge: Judge, file: str) -> CompiledTitle | None:
        if file not in self._files:
            if len(self._files) >= _MOST_FILES:
                self._files.clear()
            self._files[file] = judge.compiled.library.titles.holder(file)
        return self._files[file]


def _why(judge: Judge, title: CompiledTitle, live: _Live, row: Served) -> tuple[MissClass, str]:
    """The class of what was served in a session, and the site that should have served it."""
    one, used = live.session, row.appliance_id
    best = judge.best(one)
    if not best:
        return MissClass.ROUTE, ""
    by_used = [each for each in best if each.appliance_id == used]
    if by_used:
        return MissClass.CONTENT if row.is_fetched else MissClass.NONE, by_used[0].site_id
    site = best[0].site_id
    first = one.appliance_id
    if first != used and judge.is_better(first, used, one) and judge.keeps(first, one, title):
        return MissClass.CHOICE, site
    return (live.reason if live.reason is not MissClass.NONE else judge.why_not(best, one, title)), site


def _missing(judge: object, title: object, network: object, *, is_after_log: bool) -> str:
    """The field of Unjoined."""
    if is_after_log:
        return "after_log"
    if judge is None:
        return "no_snapshot"
    if title is None:
        return "no_title"
    return "no_network" if network is None else "no_session"


def _cut(address: bytes, bits: int) -> bytes:
    rest = 8 * len(address) - bits
    return (int.from_bytes(address) >> rest << rest).to_bytes(len(address))


@lru_cache(maxsize=100_000)
def _network(text: str) -> tuple[bytes, int] | None:
    """Address and bits of 192.0.2.0/24; None for what is no network, or too large a one."""
    address, _, bits = text.partition("/")
    try:
        packed = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except (OSError, ValueError):
        return None
    if not bits.isdecimal() or len(bits) > 3 or not _LEAST_BITS[len(packed)] <= int(bits) <= 8 * len(packed):
        return None
    return _cut(packed, int(bits)), int(bits)


def lengths_of(networks: Iterable[tuple[bool, str]]) -> dict[int, set[int]]:
    """Bits of networks by bytes of their addresses, of rows (is IPv6, bits as text); impossible ones are left out."""
    found: dict[int, set[int]] = {4: set(), 16: set()}
    for is_v6, bits in networks:
        size = 16 if is_v6 else 4
        if bits.isdecimal() and len(bits) <= 3 and _LEAST_BITS[size] <= int(bits) <= 8 * size:
            found[size].add(int(bits))
    return found
