"""A snapshot as steering reads it: addresses to classes of clients, sites to appliances, titles to what they need.

Two clients are of one class when the same sites hear them, in the same order of prefix length: then all answers for
them are the same, whatever their addresses. Input is a `SteeringSnapshot`; nothing here changes once it is built.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from headrace.base.ids import Sha256, SiteId, TitleId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import Title, TrackKind
from headrace.fleet.model import AdminState, HealthState, Site, SiteKind
from headrace.steering.model import Exclusion, SnapshotAppliance, SnapshotTitle, SteeringSnapshot
from headrace.steering.rendezvous import Roster, hash_key
from headrace.steering.routes import Coverage, RouteTable, build_routes

KIND_ORDER = {kind: number for number, kind in enumerate(SiteKind)}

ClientClass = tuple[tuple[int, ...], ...]
"""Site numbers in groups of one prefix length, longest first; () where no site hears the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledTitle:
    """What steering needs of a title besides its renditions."""

    title: Title
    files: FileSet
    fingerprint: str
    """8 hexadecimal digits over the title's files: tells a running session's playlist from that of a later publish."""
    key: int
    """64 bits of the title's id, for rendezvous hashing."""
    least_bps: int
    """Peak rate of the lowest video rendition with the costliest audio: below it, playback stalls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What follows from the sites alone."""

    sites: tuple[Site, ...]
    site_nos: dict[SiteId, int]
    site_kinds: tuple[int, ...]
    """Order of preference of each site's kind, by site number."""
    last_resort: ClientClass
    routes: RouteTable
    classes: tuple[ClientClass, ...]
    class_of_coverage: tuple[int, ...]
    bad_prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """What follows from the titles alone."""

    source: tuple[SnapshotTitle, ...]
    titles: dict[str, CompiledTitle]
    title_of_file: dict[str, TitleId]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledSnapshot:
    """A snapshot, indexed. Build with `compile_snapshot`."""

    version: int
    built_at_s: float
    control_id: str
    origin_url: str
    network: Network
    library: Library
    appliances: dict[str, SnapshotAppliance]
    able: dict[str, SnapshotAppliance]
    """Those that only their load, an operator's drain or a missing title may keep from serving."""
    by_site: tuple[tuple[SnapshotAppliance, ...], ...]
    """Appliances by site number."""
    rosters: tuple[Roster, ...]
    """The same, for ranking."""
    homeless: tuple[SnapshotAppliance, ...]
    """Appliances whose site is not in the snapshot: never eligible, but accounted for."""

    def class_no(self, address: bytes) -> int:
        """Class of a client, from its address in network byte order (4 or 16 bytes)."""
        return self.network.class_of_coverage[self.network.routes.coverage_no(address)]

    def coverage(self, address: bytes) -> Coverage:
        """Prefix lengths and sites that cover an address."""
        return self.network.routes.coverages[self.network.routes.coverage_no(address)]


def compile_snapshot(snapshot: SteeringSnapshot, last: CompiledSnapshot | None = None) -> CompiledSnapshot:
    """Index a snapshot, in time proportional to its size: about a second for a million prefixes.

    Args:
        last: the one before; what follows from the same sites, titles or rosters is taken over from it.
    """
    is_same_network = last is not None and last.network.sites is snapshot.sites
    is_same_library = last is not None and last.library.source is snapshot.titles
    network = last.network if last is not None and is_same_network else _network(snapshot.sites)
    by_site: list[list[SnapshotAppliance]] = [[] for _ in snapshot.sites]
    homeless: list[SnapshotAppliance] = []
    for appliance in snapshot.appliances:
        number = network.site_nos.get(appliance.site_id)
        (homeless if number is None else by_site[number]).append(appliance)
    return CompiledSnapshot(
        version=snapshot.version,
        built_at_s=snapshot.built_at_s,
        control_id=snapshot.control_id,
        origin_url=snapshot.origin_url.rstrip("/"),
        network=network,
        library=last.library if last is not None and is_same_library else _library(snapshot.titles),
        appliances={one.appliance_id: one for one in snapshot.appliances},
        able={one.appliance_id: one for one in snapshot.appliances if order_fault(one) is None},
        by_site=tuple(tuple(row) for row in by_site),
        rosters=_rosters(by_site, last.rosters if last is not None and is_same_network else ()),
        homeless=tuple(homeless),
    )


def order_fault(one: SnapshotAppliance) -> Exclusion | None:
    """Why an appliance is not in working order, whoever asks and for whatever title; None when it is."""
    if one.admin_state is AdminState.DISABLED:
        return Exclusion.DISABLED
    if one.health.state is not HealthState.HEALTHY:
        return _BY_STATE[one.health.state]
    if not one.health.is_turned_up:
        return Exclusion.NOT_TURNED_UP
    return Exclusion.NO_ROOM if one.capacity_bps <= 0 else None


_BY_STATE = {
    HealthState.LOST: Exclusion.LOST,
    HealthState.UNHEALTHY: Exclusion.UNHEALTHY,
    HealthState.UNKNOWN: Exclusion.NOT_TURNED_UP,
    HealthState.TURNING_UP: Exclusion.NOT_TURNED_UP,
}


def _network(sites: tuple[Site, ...]) -> Network:
    routes, bad = build_routes((no, prefix) for no, site in enumerate(sites) for prefix in site.prefixes)
    class_of_coverage, classes = _classes(routes.coverages)
    return Network(
        sites=sites,
        site_nos={site.site_id: number for number, site in enumerate(sites)},
        site_kinds=tuple(KIND_ORDER[site.kind] for site in sites),
        last_resort=_last_resort(sites),
        routes=routes,
        classes=classes,
        class_of_coverage=class_of_coverage,
        bad_prefixes=bad,
    )


def _library(titles: tuple[SnapshotTitle, ...]) -> Library:
    return Library(
        source=titles,
        titles={row.title.title_id: _compiled_title(row) for row in titles},
        title_of_file={file.sha256: row.title.title_id for row in titles for file in row.title.files},
    )


def _rosters(by_site: list[list[SnapshotAppliance]], last: tuple[Roster, ...]) -> tuple[Roster, ...]:
    """One for each site, the last one where nobody joined, left or changed capacity."""
    found = []
    for number, row in enumerate(by_site):
        members = tuple((str(one.appliance_id), max(0, one.capacity_bps)) for one in row)
        is_same = number < len(last) and last[number].members == members
        found.append(last[number] if is_same else Roster(members))
    return tuple(found)


def _classes(coverages: Iterable[Coverage]) -> tuple[tuple[int, ...], tuple[ClientClass, ...]]:
    numbers: dict[ClientClass, int] = {}
    class_of_coverage = []
    for coverage in coverages:
        groups: dict[int, list[int]] = {}
        for length, site_no in coverage:
            groups.setdefault(length, []).append(site_no)
        key = tuple(tuple(groups[length]) for length in sorted(groups, reverse=True))
        class_of_coverage.append(numbers.setdefault(key, len(numbers)))
    return tuple(class_of_coverage), tuple(numbers)


def _last_resort(sites: tuple[Site, ...]) -> ClientClass:
    numbers = tuple(number for number, site in enumerate(sites) if site.is_last_resort)
    return (numbers,) if numbers else ()


def _compiled_title(row: SnapshotTitle) -> CompiledTitle:
    renditions = row.title.renditions
    video = [one.bandwidth_bps for one in renditions if one.kind is TrackKind.VIDEO]
    audio = [one.bandwidth_bps for one in renditions if one.kind is TrackKind.AUDIO]
    return CompiledTitle(
        title=row.title,
        files=FileSet(row.file_nos),
        key=hash_key(row.title.title_id),
        fingerprint=_fingerprint(file.sha256 for file in row.title.files),
        least_bps=min(video, default=0) + max(audio, default=0),
    )


def _fingerprint(names: Iterable[Sha256]) -> str:
    return hashlib.blake2b("".join(sorted(names)).encode(), digest_size=4).hexdigest()
