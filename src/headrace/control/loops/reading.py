"""Reads what the loops decide on out of the store, and only what has changed since the last turn.

The result is an immutable state of one instant, near enough: counters are read before what they count, so that whatever
changes in between is read again in the next turn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.base.ids import ApplianceId, FileNo, Sha256
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogFile
from headrace.control.in_force import rows_in_force
from headrace.control.model import EMPTY_DIGEST, FleetRow, SetHead, StoredTitle, StoredWindow, Versions
from headrace.control.ports import Store
from headrace.fill.orders import FillOrder
from headrace.fleet.evidence import RoutesSeen
from headrace.fleet.model import AdminState, Site
from headrace.routes.model import Hearing


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The visible titles, read once for each version of the catalogue."""

    titles: tuple[StoredTitle, ...] = ()
    files: Mapping[FileNo, CatalogFile]
    published: FileSet
    highest_no: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """Everything that one turn decides on."""

    control_id: str
    versions: Versions
    sites: tuple[Site, ...]
    rows: tuple[FleetRow, ...]
    holdings: Mapping[ApplianceId, FileSet]
    plans: Mapping[ApplianceId, FileSet]
    held_of_plan: Mapping[ApplianceId, int]
    catalog: Catalog
    is_held: bool
    windows: tuple[StoredWindow, ...] = ()
    """Maintenance windows that have not ended; `rows` have the admin states in force."""
    routes: Mapping[ApplianceId, RoutesSeen] = field(default_factory=dict)
    """Of those that have BGP sessions; filled in by the service, from what this node has read of them."""
    hearings: tuple[Hearing, ...] = ()
    """Live routes that count, likewise."""
    own_states: Mapping[ApplianceId, AdminState] = field(default_factory=dict)
    """The operator's own admin state of those that a window holds."""
    orders: tuple[FillOrder, ...] = ()
    """Fill orders that have not ended."""


EMPTY_CATALOG = Catalog(files={}, published=FileSet())
_EMPTY_SET = FileSet()


class StoreReader:
    """Remembers sets by digest and the catalogue by version."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: Versions | None = None
        self._catalog = EMPTY_CATALOG
        self._sites: tuple[Site, ...] = ()
        self._windows: tuple[StoredWindow, ...] = ()
        self._orders: tuple[FillOrder, ...] = ()
        self._sets: dict[str, FileSet] = {EMPTY_DIGEST: _EMPTY_SET}
        self._counts: dict[tuple[str, str], int] = {}

    def read(self) -> FleetState:
        """The state of now. Blocks; raises StoreError when the store cannot be asked."""
        versions = self._store.versions()
        if self._seen is None or self._seen.titles != versions.titles:
            self._catalog = _catalog(self._store.titles())
        if self._seen is None or self._seen.fleet != versions.fleet:
            self._sites, self._windows = self._store.sites(), self._store.windows()
            self._orders = self._store.fill_orders()
        own = self._store.fleet()
        rows = rows_in_force(own, self._windows)
        holdings = {row.appliance.appliance_id: self._holdings(row) for row in rows}
        plans = {row.appliance.appliance_id: self._plan(row) for row in rows}
        counts = {row.appliance.appliance_id: self._held_of_plan(row) for row in rows}
        self._forget(rows)
        self._seen = versions
        return FleetState(
            control_id=self._store.control_id(),
            versions=versions,
            sites=self._sites,
            rows=rows,
            holdings=holdings,
            plans=plans,
            held_of_plan=counts,
            catalog=self._catalog,
            is_held=self._store.is_health_held(),
            windows=self._windows,
            orders=self._orders,
            own_states={
                row.appliance.appliance_id: row.appliance.admin_state
                for row, held in zip(own, rows, strict=True)
                if row is not held
            },
        )

    def _holdings(self, row: FleetRow) -> FileSet:
        known = self._sets.get(row.holdings.digest)
        if known is None:
            stored = self._store.holdings(row.appliance.appliance_id)
            known = self._kept(stored.head, stored.files) if stored else _EMPTY_SET
        return known

    def _plan(self, row: FleetRow) -> FileSet:
        known = self._sets.get(row.plan.digest)
        if known is None:
            stored = self._store.plan(row.appliance.appliance_id)
            known = self._kept(stored.head, stored.files) if stored else _EMPTY_SET
        return known

    def _kept(self, head: SetHead, files: FileSet) -> FileSet:
        """Appliances of a fleet mostly hold the same: one set for all that do."""
        return self._sets.setdefault(head.digest, files)

    def _held_of_plan(self, row: FleetRow) -> int:
        key = (row.holdings.digest, row.plan.digest)
        count = self._counts.get(key)
        if count is None:
            held, planned = self._sets.get(key[0]), self._sets.get(key[1])
            if held is None or planned is None:
                return 0  # it changed while it was read: the next turn sees it
            count = self._counts[key] = len(held & planned)
        return count

    def _forget(self, rows: tuple[FleetRow, ...]) -> None:
        """Keep only what some row speaks of."""
        used = {row.holdings.digest for row in rows} | {row.plan.digest for row in rows} | {EMPTY_DIGEST}
        if len(self._sets) > len(used):
            self._sets = {digest: files for digest, files in self._sets.items() if digest in used}
            self._counts = {key: count for key, count in self._counts.items() if key[0] in used and key[1] in used}


def _catalog(titles: tuple[StoredTitle, ...]) -> Catalog:
    files: dict[FileNo, CatalogFile] = {}
    seen: set[Sha256] = set()
    for stored in titles:
        for number, file in zip(stored.file_nos, stored.title.files, strict=True):
            if file.sha256 in seen:
                continue  # two titles share it
            seen.add(file.sha256)
            files[number] = CatalogFile(
                file_no=number,
                sha256=file.sha256,
                size_bytes=file.size_bytes,
                suffix=file.suffix,
                title_id=stored.title.title_id,
                rendition_id=file.rendition_id,
            )
    return Catalog(titles=titles, files=files, published=FileSet(files), highest_no=max(files, default=0))
