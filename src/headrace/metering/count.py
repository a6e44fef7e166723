"""One pass over new batches: fetch, look at, count, write down. Each counts exactly once, whatever is killed when.

A run is a bounded number of batches. Its totals are files of their own, and count from the moment at which one
transaction of the ledger names them and gives its batches their fates. What a killed run left is swept by the next.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

import pyarrow
import pyarrow.parquet
from ibis.expr.types import Table

from headrace.base.clock import Clock
from headrace.base.ids import ApplianceId, SiteId
from headrace.base.logs import event
from headrace.demand import queries
from headrace.demand.queries import Span
from headrace.fleet.model import SiteKind
from headrace.metering.errors import EngineError, MeteringError
from headrace.metering.folder import TotalsFolder
from headrace.metering.intake import inspect
from headrace.metering.model import BatchFate, Fate, Flaw, Kind, MeterLimits, Result
from headrace.metering.ports import Engine
from headrace.telemetry.batch import parse_name
from headrace.wire.batch_store import BatchStore, StoredBatch

_log = logging.getLogger(__name__)
_TOGETHER = {
    Kind.DEMAND: queries.sum_demand,
    Kind.SESSIONS: queries.sum_sessions,
    Kind.OFFLOAD: queries.sum_offload,
}
_PAGE = 5_000
_MOST_CLIENTS = 1_000_000
"""Networks of clients in one run whose home is looked up; others count where they were served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known of the network at the time of counting."""

    files: Path
    """Parquet file of the columns queries.FILES."""
    sites: Mapping[ApplianceId, SiteId]
    kinds: Mapping[SiteId, SiteKind] = field(default_factory=dict)
    """How each site reaches its clients; of those that are not there nothing is known."""
    home_of: Callable[[str], str] = field(default=lambda _client: "")
    """The site that should serve a network of clients (192.0.2.0/24); '' where none hears it or nothing is known."""


@dataclass(slots=True)
class CountReport:
    """What one pass did."""

    runs: int = 0
    requests: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)
    flaws: Counter[str] = field(default_factory=Counter)
    """Requests that do not count, by reason."""
    flawed_lines: int = 0
    """Of logs, that the appliances could not read."""
    strangers: int = 0
    """Things in the store that are no batches; left alone."""
    deleted: int = 0
    merged: int = 0
    """Files of totals that were made one with others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fetched:
    """A batch in the spool."""

    fate: BatchFate
    file: Path


class Meter:
    """Counts the batches of a store into a folder of totals that this process holds."""

    def __init__(
        self, store: BatchStore, totals: TotalsFolder, engine: Engine, limits: MeterLimits, *, clock: Clock
    ) -> None:
        self._store, self._totals, self._engine, self._limits = store, totals, engine, limits
        self._clock = clock

    def count(self, surroundings: Surroundings) -> CountReport:
        """Count all that is new.

        Raises:
            BatchStoreError, EngineError, TotalsError: what was counted until then stays counted.
        """
        report = CountReport()
        self._totals.sweep(now_s=self._clock.now_s())
        for batches in self._new_batches(report):
            self._run(batches, surroundings, report)
        for kind, together in _TOGETHER.items():
            self._merge(kind, together, report)
        self._totals.bound_aside(self._limits.aside_bytes)
        self._delete_old(report)
        return report

    def _new_batches(self, report: CountReport) -> Iterator[list[StoredBatch]]:
        """Batches without a fate, in portions for one run, those stored first coming first."""
        found: list[StoredBatch] = []
        page: list[StoredBatch] = []
        for stored in self._store.list():
            if parse_name(stored.path) is None:
                report.strangers += 1
                continue
            page.append(stored)
            if len(page) == _PAGE:
                found += self._unknown(page)
                page = []
        found += self._unknown(page)
        found.sort(key=lambda one: (one.stored_s, one.path))
        portion: list[StoredBatch] = []
        size = 0
        for stored in found:
            if portion and (
                size + stored.size_bytes > self._limits.run_bytes or len(portion) >= self._limits.run_batches
            ):
                yield portion
                portion, size = [], 0
            portion.append(stored)
            size += stored.size_bytes
        if portion:
            yield portion

    def _unknown(self, page: Sequence[StoredBatch]) -> list[StoredBatch]:
        unknown = self._totals.ledger.new_of([one.path for one in page]) if page else set()
        return [one for one in page if one.path in unknown]

    def _run(self, batches: Sequence[StoredBatch], surroundings: Surroundings, report: CountReport) -> None:
        run = self._totals.ledger.next_run()
        fetched = self._fetch(batches, surroundings)
        results, flaws = self._tally(run, fetched, surroundings)
        for one in fetched:
            if one.fate.fate is not Fate.COUNTED:
                self._totals.set_aside_batch(run, one.file, one.fate)
        fates = [one.fate for one in fetched]
        self._totals.ledger.commit(run, at_s=self._clock.now_s(), batches=fates, results=results, flaws=flaws)
        self._totals.empty_spool()
        counted = sum(fate.requests for fate in fates)
        report.runs += 1
        report.requests += counted
        report.fates.update(fate.fate for fate in fates)
        report.flawed_lines += sum(fate.flawed for fate in fates)
        for flaw in flaws:
            report.flaws[flaw.reason] += flaw.requests
        event(_log, "run_counted", run=run, batches=len(fates), requests=counted, results=len(results))

    def _fetch(self, batches: Sequence[StoredBatch], surroundings: Surroundings) -> list[_Fetched]:
        """Bring batches into the spool and judge each; pieces that overlap with one that counts do not count."""
        spool = self._totals.new_spool()
        numbers = count()
        fetched: list[_Fetched] = []
        taken: dict[tuple[ApplianceId, str], list[tuple[int, int]]] = {}
        for stored in batches:
            name = parse_name(stored.path)
            assert name is not None
            file = spool / f"{next(numbers)}.parquet"
            if not self._store.get(stored.path, file):
                continue  # somebody deleted it since it was listed
            fate = inspect(file, name, stored, appliances=surroundings.sites.keys(), limits=self._limits)
            if fate.fate is Fate.COUNTED:
                pieces = taken.setdefault((name.appliance, name.log), [])
                if self._totals.ledger.overlaps(name) or any(a < name.end and b > name.first for a, b in pieces):
                    fate = _refused(fate, Fate.OVERLAP, "")
                else:
                    pieces.append((name.first, name.end))
            fetched.append(_Fetched(fate=fate, file=file))
        return fetched

    def _tally(self, run: int, fetched: list[_Fetched], surroundings: Surroundings) -> tuple[list[Result], list[Flaw]]:
        """Compute the totals of the batches that count. A batch that the engine cannot read loses that fate here."""
        while good := [one for one in fetched if one.fate.fate is Fate.COUNTED and one.fate.requests]:
            try:
                return self._compute(run, good, surroundings)
            except (EngineError, _MismatchError) as error:
                broken = {one.file: why for one in good if (why := _look_inside(one))}
                if not broken:
                    raise MeteringError(f"run {run}: {error}") from error
                fetched[:] = [
                    _Fetched(fate=_refused(one.fate, Fate.CORRUPT, broken[one.file]), file=one.file)
                    if one.file in broken
                    else one
                    for one in fetched
                ]
        return [], []

    def _compute(
        self, run: int, good: Sequence[_Fetched], surroundings: Surroundings
    ) -> tuple[list[Result], list[Flaw]]:
        engine = self._engine
        span = self._span(good)
        files = engine.read([surroundings.files])
        asked = engine.read([one.file for one in good])
        judged = queries.judged(asked, files, span)
        homes = self._homes(asked, surroundings.home_of)
        tallied = engine.keep("tally", queries.tally(queries.at_home(judged, homes)))
        requests = self._rows(tallied.group_by("appliance").aggregate(requests=tallied.requests.sum()))
        expected: Counter[str] = Counter()
        for one in good:
            expected[one.fate.name.appliance] += one.fate.requests
        if {row["appliance"]: int(row["requests"]) for row in requests} != dict(expected):
            raise _MismatchError("batches hold other requests than their footers say")
        flaws = [
            Flaw(ApplianceId(row["appliance"]), row["reason"], int(row["requests"]), int(row["body_bytes"]))
            for row in self._rows(queries.flaws(tallied))
        ]
        doubtful = {flaw.appliance for flaw in flaws if flaw.reason != queries.Reason.ANSWER}
        if doubtful:
            self._set_aside(run, [one for one in good if one.fate.name.appliance in doubtful], files, span)
        named = sorted(expected)
        sites = engine.rows_of(
            {"appliance": list(named), "site": [surroundings.sites[ApplianceId(one)] for one in named]},
            queries.APPLIANCES,
        )
        results = []
        for kind, table in (
            (Kind.DEMAND, queries.demand(tallied, sites, files)),
            (Kind.SESSIONS, queries.sessions(tallied, sites, files)),
            (Kind.OFFLOAD, queries.offload(tallied, sites)),
        ):
            written = engine.write(table, self._totals.result_folder(run, kind))
            results += [self._totals.result(file, kind, span) for file in written]
        return [one for one in results if one is not None], flaws

    def _set_aside(self, run: int, doubtful: Sequence[_Fetched], files: Table, span: Span) -> None:
        """A second look, at the batches of those appliances alone that have something to be set aside."""
        judged = queries.judged(self._engine.read([one.file for one in doubtful]), files, span)
        table = queries.set_aside(judged, most=self._limits.aside_rows)
        self._engine.write(table, self._totals.aside_folder(run))

    def _homes(self, requests: Table, home_of: Callable[[str], str]) -> Table:
        """A table queries.HOMES of the networks that asked."""
        found = self._engine.fetch(queries.clients(requests, most=_MOST_CLIENTS)).column("client").to_pylist()
        homes = [(client, home) for client in found if (home := home_of(client))]
        columns = {"client": [client for client, _ in homes], "home": [home for _, home in homes]}
        return self._engine.rows_of(columns, queries.HOMES)

    def _merge(self, kind: Kind, together: Callable[[Table], Table], report: CountReport) -> None:
        """Make one file of many small ones: each run leaves one, and each read opens them all."""
        folder, ledger = self._totals.path, self._totals.ledger
        small = [
            one for one in ledger.results_of(kind) if (folder / one.path).stat().st_size < self._limits.merged_bytes
        ]
        if len(small) < self._limits.merge_at:
            return
        run = ledger.next_run()
        table = together(self._engine.read([folder / one.path for one in small]))
        span = Span(
            first_ms=min(one.first_hour for one in small) * queries.HOUR_MS,
            end_ms=(max(one.end_hour for one in small) - 1) * queries.HOUR_MS,
        )
        written = self._engine.write(table.order_by("hour"), self._totals.result_folder(run, kind))
        new = [one for file in written if (one := self._totals.result(file, kind, span)) is not None]
        ledger.replace(run, at_s=self._clock.now_s(), old=small, new=new)
        report.merged += len(small)
        event(_log, "totals_merged", kind=kind, files=len(small), run=run)

    def _rows(self, table: Table) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self._engine.fetch(table).to_pylist())

    def _span(self, good: Sequence[_Fetched]) -> Span:
        """Which instants count: by when the store got the batches, so that counting later changes nothing."""
        stored_s = [one.fate.stored_s for one in good]
        return Span(
            first_ms=int(1000 * (min(stored_s) - self._limits.late_s)),
            end_ms=int(1000 * (max(stored_s) + self._limits.skew_s)),
        )

    def _delete_old(self, report: CountReport) -> None:
        """Take batches out of the store that were dealt with long ago."""
        before_s = self._clock.now_s() - self._limits.keep_s
        while paths := self._totals.ledger.in_store_before(before_s, most=1_000):
            for path in paths:
                self._store.delete(path)
            self._totals.ledger.mark_gone(paths)
            report.deleted += len(paths)


class _MismatchError(MeteringError):
    """A footer lies."""


def _refused(fate: BatchFate, why: Fate, detail: str) -> BatchFate:
    return BatchFate(
        path=fate.path, name=fate.name, stored_s=fate.stored_s, fate=why, detail=detail, lines=fate.lines,
        flawed=fate.flawed,
    )  # fmt: skip


def _look_inside(one: _Fetched) -> str:
    """What is wrong with a batch; '' for nothing. Reads all of it, a part at a time."""
    rows = 0
    try:
        with pyarrow.parquet.ParquetFile(one.file) as parquet:
            for part in parquet.iter_batches(batch_size=65_536):
                rows += part.num_rows
                if set(part.column("appliance").unique().to_pylist()) - {one.fate.name.appliance}:
                    return "rows of another appliance than the name says"
                part.validate(full=True)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        return f"not readable: {error}"[:300]
    return "" if rows == one.fate.requests else "other rows than the footer says"
