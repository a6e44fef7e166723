"""Which batches were counted and which files of totals are theirs: one SQLite file, one transaction a run.

Totals count only while the ledger names them, so a run that was killed left either everything or nothing.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.base.ids import ApplianceId
from headrace.metering.errors import TotalsError
from headrace.metering.model import BatchFate, Fate, Flaw, Kind, Result
from headrace.telemetry.batch import BatchName

_FORMAT = 1
_WAIT_S = 30.0
_TABLES = """
CREATE TABLE run (run INTEGER PRIMARY KEY, at_s REAL NOT NULL);
CREATE TABLE batch (
    path TEXT PRIMARY KEY, appliance TEXT NOT NULL, log TEXT NOT NULL, first INTEGER NOT NULL, "end" INTEGER NOT NULL,
    fate TEXT NOT NULL, detail TEXT NOT NULL, requests INTEGER NOT NULL, lines INTEGER NOT NULL,
    flawed INTEGER NOT NULL, stored_s REAL NOT NULL, run INTEGER NOT NULL REFERENCES run,
    is_gone INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX batch_piece ON batch (appliance, log, first) WHERE fate = 'counted';
CREATE INDEX batch_age ON batch (stored_s) WHERE is_gone = 0;
CREATE TABLE result (
    path TEXT PRIMARY KEY, kind TEXT NOT NULL, first_hour INTEGER NOT NULL, end_hour INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES run
) WITHOUT ROWID;
CREATE TABLE flaw (
    run INTEGER NOT NULL REFERENCES run, appliance TEXT NOT NULL, reason TEXT NOT NULL, requests INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL, PRIMARY KEY (run, appliance, reason)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedBatch:
    """A batch of which the store still has the file."""

    path: str
    stored_s: float


class MeteringLedger:
    """The file. One writer at a time: the caller holds the lock of the folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            # A commit is on the disk when it returns: after it batches may be deleted from the store.
            self._db.execute("PRAGMA synchronous = FULL")
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
            if not found:
                self._db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_FORMAT}; COMMIT;")
        except sqlite3.Error as error:
            raise TotalsError(f"{path}: {error}") from error
        if found not in (0, _FORMAT):
            raise TotalsError(f"{path} is of format {found}, this version reads {_FORMAT}: use the newer headrace")

    def close(self) -> None:
        """Fold the log into the file."""
        self._db.close()

    def new_of(self, paths: Sequence[str]) -> set[str]:
        """Which of these batches (at most some thousands) have no fate yet."""
        marks = ",".join("?" * len(paths))
        with self._reading(f"SELECT path FROM batch WHERE path IN ({marks})", paths) as rows:  # noqa: S608 (marks)
            return set(paths) - {path for (path,) in rows}

    def overlaps(self, name: BatchName) -> bool:
        """Whether a counted batch holds a part of this piece."""
        query = "SELECT 1 FROM batch WHERE fate = 'counted' AND appliance = ? AND log = ? AND first < ? AND \"end\" > ?"
        with self._reading(query, (name.appliance, name.log, name.end, name.first)) as rows:
            return rows.fetchone() is not None

    def next_run(self) -> int:
        """The number of the run that comes."""
        with self._reading("SELECT coalesce(max(run), 0) + 1 FROM run") as rows:
            (number,) = rows.fetchone()
            return int(number)

    def commit(
        self, run: int, *, at_s: float, batches: Iterable[BatchFate], results: Iterable[Result], flaws: Iterable[Flaw]
    ) -> None:
        """Write down a run, all of it or nothing."""
        with self._writing():
            self._add_run(run, at_s, results)
            self._db.executemany(
                "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
                (
                    (b.path, b.name.appliance, b.name.log, b.name.first, b.name.end, b.fate, b.detail, b.requests,
                     b.lines, b.flawed, b.stored_s, run)
                    for b in batches
                ),
            )  # fmt: skip
            self._db.executemany(
                "INSERT INTO flaw VALUES (?, ?, ?, ?, ?)",
                ((run, one.appliance, one.reason, one.requests, one.body_bytes) for one in flaws),
            )

    def replace(self, run: int, *, at_s: float, old: Iterable[Result], new: Iterable[Result]) -> None:
        """Have totals that hold the same stand for others, all of them or none."""
        with self._writing():
            self._db.executemany("DELETE FROM result WHERE path = ?", ((one.path,) for one in old))
            self._add_run(run, at_s, new)

    def results_of(self, kind: Kind) -> list[Result]:
        """All totals of a kind."""
        with self._reading(
            "SELECT path, first_hour, end_hour FROM result WHERE kind = ? ORDER BY path", (kind,)
        ) as rows:
            return [Result(path, kind, first_hour, end_hour) for path, first_hour, end_hour in rows]

    def results(self, kind: Kind, *, first_hour: int = 0, end_hour: int = 1 << 40) -> list[str]:
        """Paths of the totals of a kind that may hold something of these hours."""
        query = "SELECT path FROM result WHERE kind = ? AND first_hour < ? AND end_hour > ? ORDER BY path"
        with self._reading(query, (kind, end_hour, first_hour)) as rows:
            return [path for (path,) in rows]

    def all_results(self) -> set[str]:
        """Paths of all totals that count."""
        with self._reading("SELECT path FROM result") as rows:
            return {path for (path,) in rows}

    def flaws(self) -> list[Flaw]:
        """What did not count, over all runs, by appliance and reason; most requests first."""
        query = "SELECT appliance, reason, sum(requests), sum(body_bytes) FROM flaw GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
        with self._reading(query) as rows:
            return [Flaw(ApplianceId(row[0]), row[1], row[2], row[3]) for row in rows]

    def fates(self) -> dict[Fate, int]:
        """How many batches had which fate."""
        with self._reading("SELECT fate, count(*) FROM batch GROUP BY fate") as rows:
            return {Fate(fate): count for fate, count in rows}

    def in_store_before(self, stored_s: float, *, most: int) -> list[str]:
        """Batches with a fate that were stored before an instant and were not deleted from the store."""
        query = "SELECT path FROM batch WHERE is_gone = 0 AND stored_s < ? ORDER BY stored_s LIMIT ?"
        with self._reading(query, (stored_s, most)) as rows:
            return [path for (path,) in rows]

    def mark_gone(self, paths: Sequence[str]) -> None:
        """Remember that the store has them no more."""
        with self._writing():
            self._db.executemany("UPDATE batch SET is_gone = 1 WHERE path = ?", ((path,) for path in paths))

    def _add_run(self, run: int, at_s: float, results: Iterable[Result]) -> None:
        self._db.execute("INSERT INTO run VALUES (?, ?)", (run, at_s))
        self._db.executemany(
            "INSERT INTO result VALUES (?, ?, ?, ?, ?)",
            ((one.path, one.kind, one.first_hour, one.end_hour, run) for one in results),
        )

    @contextmanager
    def _reading(self, query: str, values: Sequence[object] = ()) -> Iterator[sqlite3.Cursor]:
        try:
            cursor = self._db.execute(query, values)
            yield cursor
            cursor.close()
        except sqlite3.Error as error:
            raise TotalsError(f"{self._path}: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise TotalsError(f"{self._path}: {error}") from error
