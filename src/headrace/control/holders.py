"""Which appliances hold what, from bitmaps read once for each digest. Remembers; decides nothing."""

import threading
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.control.leaving import NAMED_TITLES
from headrace.control.model import EMPTY_DIGEST, StoredTitle
from headrace.control.ports import Store
from headrace.placement.copies import sole_files

_LOOKED_AT = 100
"""Files of which the titles are looked up."""


class Holders:
    """The holdings of the fleet, as fresh as the store's counters. For many threads; blocks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._version = -1
        self._digests: Mapping[ApplianceId, str] = {}
        self._sets: dict[str, FileSet] = {EMPTY_DIGEST: FileSet()}

    def count_of(self, titles: tuple[StoredTitle, ...]) -> tuple[int, ...]:
        """For each title, how many appliances hold every file of it."""
        with self._lock:
            self._refresh()
            shares: dict[str, int] = {}
            for digest in self._digests.values():
                shares[digest] = shares.get(digest, 0) + 1
            wanted = [FileSet(title.file_nos) for title in titles]
            return tuple(
                sum(count for digest, count in shares.items() if files.issubset(self._sets[digest])) for files in wanted
            )

    def sole_files(self, leaving: AbstractSet[ApplianceId], others: AbstractSet[ApplianceId]) -> FileSet:
        """Published files that some of `leaving` hold and none of `others` does."""
        with self._lock:
            self._refresh()
            own = FileSet()
            for digest in {self._digests[name] for name in leaving if name in self._digests}:
                own = own | self._sets[digest]
            elsewhere = {self._digests[name] for name in others if name in self._digests}
            return sole_files(own, [self._sets[digest] for digest in elsewhere], self._store.published())

    def titles_of(self, files: FileSet) -> tuple[str, ...]:
        """A few of the titles that these files belong to."""
        found = self._store.files(tuple(files.page(0, _LOOKED_AT)))
        return tuple(sorted({file.title_id for file in found})[:NAMED_TITLES])

    def _refresh(self) -> None:
        version = self._store.versions().holdings
        if version == self._version:
            return
        digests = dict(self._store.holdings_digests())
        for name, digest in digests.items():
            if digest not in self._sets:
                stored = self._store.holdings(name)
                if stored is not None:
                    self._sets[stored.head.digest] = stored.files
                    digests[name] = stored.head.digest
        digests = {name: digest for name, digest in digests.items() if digest in self._sets}
        used = set(digests.values()) | {EMPTY_DIGEST}
        self._sets = {digest: files for digest, files in self._sets.items() if digest in used}
        self._digests, self._version = digests, version
