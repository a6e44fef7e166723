"""The folder of totals: ledger.db, totals/ (files that the ledger names), aside/ (what is not trusted), spool/."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet

from headrace.demand.queries import HOUR_MS, Span
from headrace.metering.adapters.ledger import MeteringLedger
from headrace.metering.errors import TotalsError
from headrace.metering.model import BatchFate, Kind, Result
from headrace.wire.files import fsync_folder, lock_file

LEDGER = "ledger.db"
_READ_S = 3600.0
"""A reader has long ended so long after it asked which files count."""


class TotalsFolder:
    """A folder of totals that this process writes; see `hold_totals`."""

    def __init__(self, folder: Path, ledger: MeteringLedger) -> None:
        self.path, self.ledger = folder, ledger
        self._spool = folder / "spool"

    def sweep(self, *, now_s: float) -> None:
        """Remove what does not count: what a killed run left, and what was merged, once nobody reads it any more."""
        self.empty_spool()
        named = self.ledger.all_results()
        for folder in (self.path / "totals").glob("*/*"):
            files = [file for file in folder.iterdir() if file.relative_to(self.path).as_posix() in named]
            if not files and now_s - folder.stat().st_mtime > _READ_S:
                shutil.rmtree(folder)

    def new_spool(self) -> Path:
        """An empty folder for fetched batches."""
        self.empty_spool()
        self._spool.mkdir()
        return self._spool

    def empty_spool(self) -> None:
        """Let go of fetched batches."""
        shutil.rmtree(self._spool, ignore_errors=True)

    def result_folder(self, run: int, kind: Kind) -> Path:
        """Where a run puts totals; not there yet."""
        folder = self.path / "totals" / kind / f"{run:09d}"
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def result(self, file: Path, kind: Kind, span: Span) -> Result | None:
        """Make a file of totals last, and describe it; None for one without rows."""
        meta = pyarrow.parquet.read_metadata(file)
        if not meta.num_rows:
            return None
        hours = meta.schema.names.index("hour")
        found = [meta.row_group(number).column(hours).statistics for number in range(meta.num_row_groups)]
        first, last = span.first_ms // HOUR_MS, span.end_ms // HOUR_MS
        if all(one is not None and one.has_min_max for one in found):
            first, last = min(one.min for one in found), max(one.max for one in found)
        _fsync(file)
        for folder in (file.parent, file.parent.parent, file.parent.parent.parent):
            fsync_folder(folder)
        return Result(file.relative_to(self.path).as_posix(), kind, first, last + 1)

    def aside_folder(self, run: int) -> Path:
        """Where a run sets requests aside; not there yet."""
        folder = self.path / "aside" / f"{run:09d}-requests"
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def set_aside_batch(self, run: int, file: Path, fate: BatchFate) -> None:
        """Keep a batch that does not count, as it came."""
        folder = self.path / "aside" / f"{run:09d}-{fate.fate}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / fate.path.replace("/", "_"))

    def bound_aside(self, most_bytes: int) -> None:
        """Delete the oldest of what was set aside, until the rest is within bounds."""
        total = 0
        for folder in sorted((self.path / "aside").glob("*"), reverse=True):
            total += sum(file.stat().st_size for file in folder.iterdir())
            if total > most_bytes:
                shutil.rmtree(folder)


@contextmanager
def hold_totals(folder: Path) -> Iterator[TotalsFolder]:
    """The folder, for this process alone; the kernel lets go of it when the process ends, however it ends.

    Raises:
        TotalsError: another process counts into it, or it cannot be used.
    """
    try:
        descriptor = lock_file(folder / "lock")
    except BlockingIOError:
        raise TotalsError(f"another process counts into {folder}; let it finish first") from None
    except OSError as error:
        raise TotalsError(f"cannot use the folder of totals {folder}: {error.strerror or error}") from None
    try:
        ledger = MeteringLedger(folder / LEDGER)
        try:
            yield TotalsFolder(folder, ledger)
        finally:
            ledger.close()
    finally:
        os.close(descriptor)


def _fsync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
