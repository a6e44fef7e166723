"""Compiles the steering snapshot. Pure: what steering may know, and when it is another than the last one.

The version grows only when the content does. Load is taken in steps and at intervals, so that it alone does not make
every steering node fetch a new snapshot each second. What is costly (routes flattened, titles packed, which titles are
held whole) is done again only when its source changed: a flap costs what a flap is.
"""

import hashlib
import threading
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import Title
from headrace.control.loops.reading import Catalog, FleetState
from headrace.control.model import FleetRow, StoredSnapshot
from headrace.fleet.model import Health, Site
from headrace.routes.model import Hearing
from headrace.steering.compile import compile_routes
from headrace.steering.flatten import RouteMemory
from headrace.steering.model import SnapshotAppliance, SteeringSnapshot
from headrace.steering.routes import RouteTable
from headrace.wire.snapshot import PackMemory, is_small, pack_sections, write_table

_FORMAT = 4
"""Part of the entity tag: a release that compiles the same state otherwise counts this up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """What steering is told of loads."""

    tx_bps: Mapping[ApplianceId, float]
    busy_ratio: Mapping[ApplianceId, float] = field(default_factory=dict)
    """Of what bounds an appliance besides its bit rate."""
    at_s: float = 0.0
    """When they were read, UTC epoch seconds."""


def coarse_bps(tx_bps: float, before_bps: float | None, capacity_bps: int, *, step_ratio: float) -> float:
    """Load in whole steps of capacity; it moves only when it is a whole step away from what was said before."""
    step_bps = max(1.0, capacity_bps * step_ratio)
    if before_bps is not None and abs(tx_bps - before_bps) < step_bps:
        return before_bps
    return round(tx_bps / step_bps) * step_bps


def busy_ratio(row: FleetRow, *, most_connections: int, most_disk_busy_ratio: float) -> float:
    """Share of what bounds an appliance besides its bit rate: CPU; connections and disks where they are bounded."""
    load = row.report.report.load
    connections = load.connections / most_connections if most_connections else 0.0
    disk = load.disk_busy_ratio / most_disk_busy_ratio if most_disk_busy_ratio else 0.0
    return max(0.0, load.cpu_ratio, connections, disk)


def content_tag(
    state: FleetState,
    health: Mapping[ApplianceId, Health],
    loads: Loads,
    origin_url: str,
    *,
    hearings: tuple[Hearing, ...] = (),
) -> str:
    """The entity tag of what would be compiled: equal exactly when the content is, on every node of one store."""
    seen = hashlib.blake2b(digest_size=16)
    seen.update(f"{_FORMAT} {state.control_id} {origin_url}".encode())
    for site in state.sites:
        seen.update(repr(site).encode())
    for stored in state.catalog.titles:
        seen.update(f"{stored.title.title_id} {stored.version} {stored.published_at_s}".encode())
    for row in state.rows:
        name = row.appliance.appliance_id
        seen.update(f"{row.appliance!r} {health[name]!r} {loads.tx_bps[name]} {row.holdings.digest}".encode())
        seen.update(f"{loads.busy_ratio.get(name, 0.0)}".encode())
    for hearing in hearings:
        seen.update(f"{hearing.appliances} {hearing.routes.digest}".encode())
    return f'"{seen.hexdigest()}"'


class RouteCompiler:
    """Compiles routes; many of them beside the turns, as these must go on concluding health meanwhile."""

    def __init__(self, *, most_inline: int = 100_000) -> None:
        self.table: RouteTable | None = None
        self._most_inline = most_inline
        self._prefixes: tuple[tuple[str, ...], ...] = ()
        self._hearings: tuple[Hearing, ...] = ()
        self._memory = RouteMemory()
        self._work: threading.Thread | None = None
        self._done: tuple[tuple[tuple[str, ...], ...], RouteTable, tuple[Hearing, ...]] | None = None

    def ready(self, sites: tuple[Site, ...], hearings: tuple[Hearing, ...]) -> tuple[Hearing, ...]:
        """The newest hearings whose routes are compiled, in `table`; `hearings` themselves, or those before."""
        prefixes = tuple(site.prefixes for site in sites)
        self._take_done(prefixes)
        is_same_sites = self.table is not None and prefixes == self._prefixes
        if is_same_sites and _digests(hearings) == _digests(self._hearings):
            self._hearings = hearings
        elif is_same_sites and sum(map(_size, hearings)) > self._most_inline:
            if self._work is None:
                args = (sites, hearings, self._memory)
                self._work = threading.Thread(target=self._compile, args=args, daemon=True)
                self._work.start()
        else:
            if self._work is not None:  # It is for other sites; two must not share the memory.
                self._memory = RouteMemory()
            self.table = compile_routes(sites, hearings, self._memory)
            self._prefixes, self._hearings = prefixes, hearings
        return self._hearings

    def has(self, sites: tuple[Site, ...], hearings: tuple[Hearing, ...]) -> bool:
        """Whether `table` is of these."""
        is_same = self._prefixes == tuple(site.prefixes for site in sites)
        return self.table is not None and is_same and _digests(hearings) == _digests(self._hearings)

    def _take_done(self, prefixes: tuple[tuple[str, ...], ...]) -> None:
        if self._work is None or self._work.is_alive():
            return
        self._work = None
        if self._done is not None and self._done[0] == prefixes == self._prefixes:
            _, self.table, self._hearings = self._done
        self._done = None

    def _compile(self, sites: tuple[Site, ...], hearings: tuple[Hearing, ...], memory: RouteMemory) -> None:
        table = compile_routes(sites, hearings, memory)
        self._done = (tuple(site.prefixes for site in sites), table, hearings)


def _digests(hearings: tuple[Hearing, ...]) -> tuple[str, ...]:
    return tuple(one.routes.digest for one in hearings)


def _size(hearing: Hearing) -> int:
    return len(hearing.routes.meds_v4) + len(hearing.routes.meds_v6)


class SnapshotMaker:
    """Compiles snapshots one after the other; remembers what costs most of the last one."""

    def __init__(self) -> None:
        self._memory = PackMemory()
        self._catalog: Catalog | None = None
        self._spans = _Spans(())
        self._titles: tuple[Title, ...] = ()
        self._held: dict[str, FileSet] = {}
        self.routes = RouteCompiler()

    def compile(
        self,
        state: FleetState,
        health: Mapping[ApplianceId, Health],
        loads: Loads,
        *,
        version: int,
        built_at_s: float,
        origin_url: str,
        hearings: tuple[Hearing, ...] = (),
    ) -> SteeringSnapshot:
        """The snapshot of `state` with the conclusions of this turn.

        Args:
            hearings: those that `routes` gave as ready; others are compiled now.
        """
        self._read_catalog(state)
        if not self.routes.has(state.sites, hearings):
            self.routes.ready(state.sites, hearings)
        is_compiled = self.routes.has(state.sites, hearings)
        appliances = tuple(
            SnapshotAppliance(
                appliance_id=row.appliance.appliance_id,
                site_id=row.appliance.site_id,
                content_url=row.appliance.content_url,
                admin_state=row.appliance.admin_state,
                health=health[row.appliance.appliance_id],
                capacity_bps=row.appliance.capacity_bps,
                tx_bps=loads.tx_bps[row.appliance.appliance_id],
                holdings=self._whole_titles(row, state),
                busy_ratio=loads.busy_ratio.get(row.appliance.appliance_id, 0.0),
            )
            for row in state.rows
        )
        return SteeringSnapshot(
            version=version,
            built_at_s=built_at_s,
            loads_at_s=loads.at_s,
            origin_url=origin_url,
            sites=state.sites,
            appliances=appliances,
            titles=self._titles,
            control_id=state.control_id,
            hearings=hearings,
            routes=self.routes.table if is_compiled else compile_routes(state.sites, hearings),
        )

    def stored(self, snapshot: SteeringSnapshot, tag: str) -> StoredSnapshot:
        """The snapshot as it is kept and given out: small sections together, large ones by their digest."""
        sections = pack_sections(snapshot, self._memory)
        parts = {one.digest: bytes(one.body) for one in sections if not is_small(one)}
        return StoredSnapshot(version=snapshot.version, etag=tag, packed=write_table(sections), parts=parts)

    def _read_catalog(self, state: FleetState) -> None:
        if state.catalog is self._catalog:
            return
        self._catalog = state.catalog
        self._titles = tuple(one.title for one in state.catalog.titles)
        self._spans = _Spans(tuple(one.file_nos for one in state.catalog.titles))
        self._held.clear()

    def _whole_titles(self, row: FleetRow, state: FleetState) -> FileSet:
        known = self._held.get(row.holdings.digest)
        if known is None:
            if len(self._held) > 2 * len(state.rows) + 16:
                self._held.clear()
            known = self._spans.whole(state.holdings[row.appliance.appliance_id])
            self._held[row.holdings.digest] = known
        return known


class _Spans:
    """The files of each title, as columns."""

    def __init__(self, file_nos: tuple[tuple[int, ...], ...]) -> None:
        sizes = np.array([len(one) for one in file_nos], dtype=np.int64)
        self._sizes = sizes
        self._starts = np.cumsum(sizes) - sizes
        self._files = np.frombuffer(array("I", [number for one in file_nos for number in one]), dtype=np.uint32)

    def whole(self, held: FileSet) -> FileSet:
        """Numbers of the titles, from 1, all of whose files are held."""
        if not len(self._files):
            return FileSet()
        mask = np.zeros(int(self._files.max()) + 1, dtype=bool)
        numbers = held.to_array()
        mask[numbers[numbers < len(mask)]] = True
        has_files = self._sizes > 0  # reduceat would take the next title's first file for an empty one
        counts = np.zeros(len(self._sizes), dtype=np.int64)
        counts[has_files] = np.add.reduceat(mask[self._files].astype(np.int64), self._starts[has_files])
        return FileSet((np.flatnonzero(has_files & (counts == self._sizes)) + 1).tolist())
