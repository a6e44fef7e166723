"""What this appliance has and should have, in one SQLite file of its state folder, so that a restart is warm at once.

It is a memory, not the truth: the truth of holdings are the files on the disks. A damaged ledger is set aside and made
anew; then the files are verified again before they count. Credentials are not kept here.
"""

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from headrace.appliance.errors import StateError
from headrace.appliance.plan import FillPlan, make_plan
from headrace.base.ids import FileNo, RenditionId, Sha256, TitleId
from headrace.catalog.model import CatalogFile, FileSuffix
from headrace.wire.agent import DesiredState
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError

_FORMAT = 1
_SUFFIXES = {suffix.value: suffix for suffix in FileSuffix}
_TABLES = """
CREATE TABLE holding (
    sha256 TEXT PRIMARY KEY, suffix TEXT, size_bytes INTEGER, disk_id TEXT, verified_s REAL
) WITHOUT ROWID;
CREATE TABLE plan (
    file_no INTEGER PRIMARY KEY, sha256 TEXT, size_bytes INTEGER, suffix TEXT, title_id TEXT, rendition_id TEXT
);
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""


class Holding(NamedTuple):
    """A whole file on one disk. A tuple, because a start makes 100,000 of them: a third of the time of a dataclass."""

    sha256: Sha256
    suffix: FileSuffix
    size_bytes: int
    disk_id: str
    verified_s: float
    """UTC epoch seconds of the last time that its digest was seen to fit; 0 for never: it does not count as held."""


class Ledger:
    """The file. Methods block for a moment (no fsync but for plans) and may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._db = self._open(path)
        except sqlite3.OperationalError as error:
            # Locked, full or not permitted: the file itself may be sound, so it is never set aside for this.
            raise StateError(f"{path}: {error}") from error
        except sqlite3.DatabaseError:
            path.replace(path.with_suffix(".damaged"))
            for leftover in (f"{path}-wal", f"{path}-shm"):
                Path(leftover).unlink(missing_ok=True)
            with _state_errors(path):
                self._db = self._open(path)
        self._path = path

    def close(self) -> None:
        """Fold the log into the file."""
        with self._lock:
            self._db.close()

    def holdings(self) -> list[Holding]:
        """All files that were on any disk when last seen."""
        with self._reading("SELECT sha256, suffix, size_bytes, disk_id, verified_s FROM holding") as rows:
            return [
                Holding(name, _SUFFIXES[suffix], size_bytes, disk_id, verified_s)
                for name, suffix, size_bytes, disk_id, verified_s in rows
            ]

    def keep(self, holdings: Iterable[Holding]) -> None:
        """Add files or replace what is known of them."""
        rows = [(one.sha256, one.suffix.value, one.size_bytes, one.disk_id, one.verified_s) for one in holdings]
        with self._writing() as db:
            db.executemany("INSERT OR REPLACE INTO holding VALUES (?, ?, ?, ?, ?)", rows)

    def drop(self, names: Iterable[Sha256]) -> None:
        """Forget files."""
        with self._writing() as db:
            db.executemany("DELETE FROM holding WHERE sha256 = ?", [(name,) for name in names])

    def plan(self) -> FillPlan:
        """The fill plan in force; an empty one of version 0 when there is none."""
        version = self._fact("plan_version")
        if version is None:
            return FillPlan()
        with self._reading("SELECT file_no, sha256, size_bytes, suffix, title_id, rendition_id FROM plan") as rows:
            files = _make_files(rows)
        return make_plan(int(version), files)

    def replace_plan(self, old: FillPlan, new: FillPlan) -> None:
        """Bring `new` into force in one transaction; only what differs from `old` is written."""
        gone = [(number,) for number in old.files.keys() - new.files.keys()]
        rows = [
            (one.file_no, one.sha256, one.size_bytes, one.suffix.value, one.title_id, one.rendition_id)
            for number, one in new.files.items()
            if old.files.get(number) != one
        ]
        with self._writing() as db:
            db.executemany("DELETE FROM plan WHERE file_no = ?", gone)
            db.executemany("INSERT OR REPLACE INTO plan VALUES (?, ?, ?, ?, ?, ?)", rows)
            db.execute("INSERT OR REPLACE INTO fact VALUES ('plan_version', ?)", (str(new.version),))

    def desired(self) -> DesiredState | None:
        """The desired state in force; None when there is none."""
        text = self._fact("desired")
        try:
            return None if text is None else decode(DesiredState, text)
        except MalformedError:
            return None

    def replace_desired(self, desired: DesiredState) -> None:
        """Bring `desired` into force."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO fact VALUES ('desired', ?)", (encode(desired).decode(),))

    def fill_counts(self) -> tuple[float, int, int]:
        """When the window opened that is counted in, and the bytes fetched in it: all, and from outside of the site."""
        text = self._fact("fill_counts")
        try:
            opened_s, window_bytes, inbound_bytes = (text or "0 0 0").split()
            return float(opened_s), int(window_bytes), int(inbound_bytes)
        except ValueError:
            return 0.0, 0, 0

    def keep_fill_counts(self, counts: tuple[float, int, int]) -> None:
        """Remember them, so that a restart does not begin a window's volume anew."""
        text = " ".join(str(one) for one in counts)
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO fact VALUES ('fill_counts', ?)", (text,))

    def disks(self) -> dict[str, tuple[str, bool]]:
        """By folder: the id of the disk last seen there and whether the folder was a mount point."""
        with self._reading("SELECT name, value FROM fact WHERE name LIKE 'disk:%'") as rows:
            return {name[5:]: (value.partition(" ")[0], value.endswith(" mount")) for name, value in rows}

    def know_disk(self, folder: str, disk_id: str, *, is_mount: bool) -> None:
        """Remember which disk belongs to a folder."""
        with self._writing() as db:
            value = f"{disk_id} {'mount' if is_mount else 'folder'}"
            db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (f"disk:{folder}", value))

    def forget_disk(self, folder: str) -> None:
        """Let the folder be set up as a new disk."""
        with self._writing() as db:
            db.execute("DELETE FROM fact WHERE name = ?", (f"disk:{folder}",))

    def _fact(self, name: str) -> str | None:
        with self._reading("SELECT value FROM fact WHERE name = ?", (name,)) as rows:
            return str(rows[0][0]) if rows else None

    @contextmanager
    def _reading(self, query: str, values: tuple[str, ...] = ()) -> Iterator[list[tuple[Any, ...]]]:
        with self._lock, _state_errors(self._path), closing(self._db.execute(query, values)) as cursor:
            rows = cursor.fetchall()
        yield rows

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _state_errors(self._path), self._db:
            yield self._db

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        try:
            # The files that SQLite lays beside it get the mode of this one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            path.chmod(0o600)
        except OSError as error:
            raise StateError(f"{path}: {error.strerror or error}") from error
        db = sqlite3.connect(path, timeout=10, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, _FORMAT):
                raise StateError(f"{path}: format {found} is newer than this agent; install the newer agent again")
            if found == 0:
                db.executescript(f"BEGIN;{_TABLES}PRAGMA user_version = {_FORMAT};COMMIT;")
        except BaseException:
            db.close()
            raise
        return db


def _make_files(rows: list[tuple[Any, ...]]) -> dict[FileNo, CatalogFile]:
    """What `replace_plan` wrote, by number.

    Column by column, without a call of the class for each of 100,000 rows: that is a third of the time of a start.
    """
    if not rows:
        return {}
    numbers, names, sizes, suffixes, titles, renditions = zip(*rows, strict=True)
    columns = {
        "file_no": numbers,
        "sha256": names,
        "size_bytes": sizes,
        "suffix": map(_SUFFIXES.__getitem__, suffixes),
        "title_id": titles,
        "rendition_id": renditions,
    }
    files = list(map(object.__new__, repeat(CatalogFile, len(rows))))
    for name, column in columns.items():
        deque(map(getattr(CatalogFile, name).__set__, files, column), maxlen=0)
    return dict(zip(numbers, files, strict=True))


def read_titles(path: Path) -> dict[Sha256, tuple[TitleId, RenditionId]]:
    """Title and rendition of every planned file, for a reader beside the running agent; changes nothing.

    Raises:
        StateError: there is no ledger, or it cannot be read.
    """
    with (
        _state_errors(path),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as db,
    ):
        rows = db.execute("SELECT sha256, title_id, rendition_id FROM plan").fetchall()
    return {Sha256(row[0]): (TitleId(row[1]), RenditionId(row[2])) for row in rows}


@contextmanager
def _state_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(f"{path}: {error}") from error
