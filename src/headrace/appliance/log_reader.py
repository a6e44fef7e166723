"""What the web server does now: read from its access log and from the kernel, turn by turn.

Counting takes a short way through a line (a split, a few look-ups; about a microsecond), because at 100,000 lines a
second there is no time for more; whole records are parsed by telemetry.access_log where somebody needs them. Each turn
is bounded, and gives way to the rest of the agent between chunks. A line that is not understood is counted as a flaw.
Names of files that were asked for in vain are handed on; whether any of them should have been there others find out.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from headrace.appliance.adapters.log_rotation import LogRotation
from headrace.appliance.adapters.log_tail import LogTail
from headrace.appliance.adapters.server_usage import UsageReading
from headrace.base.clock import Clock
from headrace.base.ids import Sha256
from headrace.base.rng import Rng
from headrace.base.tasks import run_every
from headrace.fleet.model import LoadReport
from headrace.telemetry.access_log import FIELDS, INDEX, MOST_LINE_BYTES, Outcome, judge_outcome
from headrace.telemetry.rates import RateWindow, RecentlySeen, Sum

_log = logging.getLogger(__name__)

TURN_S = 0.5
RATE_WINDOW_S = 5.0
SESSION_WINDOW_S = 30.0
USAGE_INTERVAL_S = 1.0
MOST_CHUNKS_IN_A_TURN = 100
MOST_SERVED = 200_000
"""Names kept between two looks: more different files are not played from one appliance at once."""
MOST_MISSED = 10_000
"""Names kept between two looks at them; who asks for more different files that are not held learns nothing by it."""
OWN_AGENTS = (b"headrace-probe", b"headrace-fill")
"""Start of the user agents of our own machines: traffic, but nobody's session."""

_STATUS, _BYTES, _PATH, _QUERY = INDEX["status"], INDEX["bytes"], INDEX["path"], INDEX["query"]
_CLIENT, _SESSION = INDEX["client"], INDEX["cmcd_session"]
_UPSTREAM, _AGENT = INDEX["upstream"], INDEX["user_agent"]
_MOST_SESSION = 200
_NAME = slice(len("/f/ab/"), len("/f/ab/") + 64)
"""Where in a path the name of the file stands."""


class Usage(Protocol):
    """Tells what the kernel knows of the server."""

    def read(self) -> UsageReading: ...


@dataclass(slots=True)
class Amount:
    """Requests and bytes."""

    requests: int = 0
    sent_bytes: int = 0


@dataclass(slots=True)
class Traffic:
    """Counters since the agent started; they survive reloads, restarts of nginx and rotations."""

    amounts: dict[tuple[int, Outcome], Amount] = field(default_factory=dict)
    """By status and outcome."""
    flawed_lines: int = 0
    skipped_bytes: int = 0
    """Of the log, not read because it grew faster than it could be read."""
    requests: int = 0
    sent_bytes: int = 0
    served: set[bytes] = field(default_factory=set)
    """The same of paths that clients asked for."""
    missed: set[bytes] = field(default_factory=set)
    """What stands in place of a file's name in paths that were not served from here."""


def count_lines(lines: bytes, traffic: Traffic, sessions: RecentlySeen) -> None:
    """Add whole lines of the log to the counters. Never raises."""
    groups: dict[tuple[bytes, bool, bool], list[int]] = {}
    for line in lines.split(b"\n"):
        fields = line.split(b"\t")
        if len(fields) < len(FIELDS) or not fields[_BYTES].isdigit() or len(line) > MOST_LINE_BYTES:
            traffic.flawed_lines += bool(line)
            continue
        is_file = fields[_PATH].startswith(b"/f/")
        upstream = fields[_UPSTREAM]
        key = (fields[_STATUS], is_file, upstream not in (b"-", b"") and not _is_own(upstream))
        if is_file and (key[2] or fields[_STATUS] == b"302") and len(traffic.missed) < MOST_MISSED:
            traffic.missed.add(fields[_PATH][_NAME])
        group = groups.get(key)
        if group is None:
            group = groups[key] = [0, 0]
        group[0] += 1
        group[1] += int(fields[_BYTES][:18])
        if is_file and not fields[_AGENT].startswith(OWN_AGENTS):
            try:
                sessions.add(session_of(fields), at_s=float(fields[0]))
                if len(traffic.served) < MOST_SERVED:
                    traffic.served.add(fields[_PATH][_NAME])
            except ValueError:
                traffic.flawed_lines += 1
    _add_groups(groups, traffic)


def session_of(fields: list[bytes]) -> bytes:
    """The CMCD session id as it stands in the line, else the client's address."""
    header = fields[_SESSION]
    start = header.find(b"sid=")
    if start >= 0:
        return header[start : start + _MOST_SESSION].partition(b",")[0]
    query = fields[_QUERY]
    start = query.find(b"sid%3D")
    if start >= 0:
        return query[start : start + _MOST_SESSION].partition(b"%2C")[0].partition(b"&")[0]
    return fields[_CLIENT]


class DiskMeter:
    """How busy the disks of the store are."""

    def __init__(self) -> None:
        self._busy: dict[str, RateWindow] = {}

    def turn(self, busy_s: Mapping[str, float], *, now_s: float) -> float:
        """Take a reading of the disks that are there; the busiest one's share of the last seconds, 0 to 1."""
        self._busy = {disk: self._busy.get(disk) or RateWindow(RATE_WINDOW_S) for disk in busy_s}
        for disk, window in self._busy.items():
            window.add(busy_s[disk], now_s=now_s)
        return min(1.0, max((window.per_second(now_s=now_s) for window in self._busy.values()), default=0.0))


class LoadMeter:
    """The agent's LoadSource, and the counters of /metrics."""

    def __init__(self, access_log: Path, *, usage: Usage, rotation: LogRotation, clock: Clock, rng: Rng) -> None:
        self.traffic = Traffic()
        self._tail = LogTail(access_log)
        self._usage = usage
        self._rotation = rotation
        self._clock = clock
        self._rng = rng
        self._sessions = RecentlySeen(SESSION_WINDOW_S)
        self._requests, self._logged, self._written, self._cpu = (RateWindow(RATE_WINDOW_S) for _ in range(4))
        self._written_sum: Sum[int] = Sum()
        self._cpu_sum: Sum[int] = Sum()
        self._disks = DiskMeter()
        self._next_usage_s = 0.0
        self._load = LoadReport()

    async def run(self) -> None:
        """Measure until cancelled."""
        try:
            await run_every("load-meter", TURN_S, self.turn, clock=self._clock, rng=self._rng)
        finally:
            self._tail.close()

    def load(self) -> LoadReport:
        """As of the last turn."""
        return self._load

    def missed(self) -> set[Sha256]:
        """Names of files that were asked for and not served from here since the last call (port LoadSource)."""
        names, self.traffic.missed = self.traffic.missed, set()
        return {Sha256(name.decode("ascii", errors="replace")) for name in names}

    def served(self) -> set[Sha256]:
        """Names of files that clients asked for since the last call (port LoadSource)."""
        names, self.traffic.served = self.traffic.served, set()
        return {Sha256(name.decode("ascii", errors="replace")) for name in names}

    async def turn(self) -> None:
        """Read what was logged, look at the kernel's counters, rotate the log."""
        for _ in range(MOST_CHUNKS_IN_A_TURN):
            lines = self._tail.read(now_s=self._clock.monotonic_s())
            if not lines:
                break
            count_lines(lines, self.traffic, self._sessions)
            await self._clock.sleep(0)
        self.traffic.skipped_bytes = self._tail.skipped_bytes
        now_s = self._clock.monotonic_s()
        self._requests.add(self.traffic.requests, now_s=now_s)
        self._logged.add(self.traffic.sent_bytes, now_s=now_s)
        if now_s >= self._next_usage_s:
            self._next_usage_s = now_s + USAGE_INTERVAL_S
            self._measure(now_s)
            self._rotation.turn(now_s=self._clock.now_s())

    def _measure(self, now_s: float) -> None:
        reading = self._usage.read()
        self._cpu.add(self._cpu_sum.add(reading.cpu_s), now_s=now_s)
        sent = self._logged
        if reading.written_bytes is not None:
            # 1. A long transfer is logged at its end; the kernel counts it while it goes on.
            sent = self._written
            sent.add(self._written_sum.add(reading.written_bytes), now_s=now_s)
        self._load = LoadReport(
            tx_bps=8 * sent.per_second(now_s=now_s),
            requests_per_s=self._requests.per_second(now_s=now_s),
            connections=reading.connections,
            cpu_ratio=min(1.0, self._cpu.per_second(now_s=now_s) / (os.cpu_count() or 1)),
            disk_busy_ratio=self._disks.turn(reading.disks_busy_s, now_s=now_s),
            sessions=self._sessions.count(now_s=self._clock.now_s()).count,
            answered=self.traffic.requests,
        )


def _is_own(upstream: bytes) -> bool:
    """nginx asked itself, over its own socket."""
    return upstream.startswith(b"unix:") and b" : " not in upstream


def _add_groups(groups: Mapping[tuple[bytes, bool, bool], list[int]], traffic: Traffic) -> None:
    for (status, is_file, is_proxied), (requests, sent_bytes) in groups.items():
        if not (len(status) == 3 and status.isdigit()):
            traffic.flawed_lines += requests
            continue
        outcome = judge_outcome(int(status), is_file=is_file, is_proxied=is_proxied)
        amount = traffic.amounts.setdefault((int(status), outcome), Amount())
        amount.requests += requests
        amount.sent_bytes += sent_bytes
        traffic.requests += requests
        traffic.sent_bytes += sent_bytes
