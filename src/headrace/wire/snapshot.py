"""The compiled steering snapshot as a file: a table of sections, each named by its SHA-256, and the sections.

Control compiles it, steering nodes pull it and keep it on disk; a broken one is refused and the last good one stays.
A section lies in the file itself or, when it is large, beside it under its digest: what changes every second (health,
load: a few bytes an appliance) goes over the wire without what hardly ever changes (routes, titles, holdings), and a
reader that is handed the parts of its last snapshot reads only what is new.

    magic, SHA-256 of the table, length of the table, table (JSON), bodies of the sections that lie inside

Sections: head, live, appliances, holdings, sites, hearings, routes, index, titles, then the parts of routes, each on
its own (`routes 4.17`): a changed route is its part. Routes and index are columns that are read in bulk; a title is one
packed record that is read when it is asked for.
"""

import hashlib
import json
import struct
import zlib
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from headrace.base.ids import ApplianceId, SiteId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogError, Title
from headrace.fleet.model import AdminState, Health, Site
from headrace.routes.model import Hearing, RouteColumns
from headrace.steering.compile import compile_routes
from headrace.steering.flatten import RouteMemory
from headrace.steering.model import SnapshotAppliance, SteeringSnapshot
from headrace.steering.routes import RoutePart, RouteTable
from headrace.wire.codec import decode, encode
from headrace.wire.columns import pack_columns, unpack_columns
from headrace.wire.errors import MalformedError
from headrace.wire.titles import (
    MAX_BODY_BYTES,
    Body,
    LazyTitles,
    PackedTitles,
    inflated,
    pack_index,
    pack_json,
    pack_titles,
    read_index,
)

T = TypeVar("T")

MAGIC = b"HRSNAP04"
INSIDE_BYTES = 64 * 1024
"""Larger sections lie beside the file, where there is a place for them."""
INSIDE_PART_BYTES = 1024
"""The same, of each of the many parts of routes."""
MAX_TABLE_BYTES = 64 * 1024
NAMES = ("head", "live", "appliances", "holdings", "sites", "hearings", "routes", "index", "titles")
"""Of the sections that are always there, in this order."""
_PART = "routes "
"""A part of the routes is named by this and its name in the table."""
_LENGTH = struct.Struct("<I")
_timeless_key = attrgetter(*(one.name for one in fields(Health) if one.name != "since_s"))
_LIVE = np.dtype(
    [("health", "<u4"), ("admin", "<u4"), ("held", "<u4"), ("since_s", "<f8"), ("tx_bps", "<f8"), ("busy", "<f8")]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    version: int
    built_at_s: float
    origin_url: str
    control_id: str = ""
    loads_at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _ApplianceRow:
    appliance_id: ApplianceId
    site_id: SiteId
    content_url: str
    capacity_bps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Appliances:
    rows: tuple[_ApplianceRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _LiveWords:
    healths: tuple[Health, ...]
    """Distinct ones; without the time since when, which is a column."""
    admins: tuple[AdminState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sites:
    rows: tuple[Site, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hearings:
    rows: tuple[tuple[ApplianceId, ...], ...]
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section of a snapshot."""

    name: str
    digest: str
    """SHA-256 of the body, hexadecimal."""
    body: Body


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionRef:
    """A section as the table names it."""

    name: str
    digest: str
    size_bytes: int
    is_inside: bool


@dataclass(slots=True, eq=False)
class PackMemory:
    """What was packed for the last snapshot: sections whose source is the same are not packed again."""

    sections: dict[str, tuple[object, Section]] = field(default_factory=dict)
    titles: PackedTitles = field(default_factory=PackedTitles)
    parts: dict[str, tuple[RoutePart, Section]] = field(default_factory=dict)
    """Of routes, by name."""
    routes: RouteMemory = field(default_factory=RouteMemory)
    """Of snapshots whose routes do not come compiled."""


@dataclass(slots=True, eq=False)
class SnapshotParts:
    """What was read from the sections of the last snapshot, by section and digest."""

    by_digest: dict[tuple[str, str], Any] = field(default_factory=dict)
    live: "_Live | None" = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Live:
    rows: "np.ndarray[tuple[int], np.dtype[np.void]]"
    words: _LiveWords
    static: tuple[_ApplianceRow, ...]
    sets: tuple[FileSet, ...]
    appliances: tuple[SnapshotAppliance, ...]


def pack_snapshot(snapshot: SteeringSnapshot, memory: PackMemory | None = None) -> bytes:
    """The file's bytes, with all sections inside."""
    return write_table(pack_sections(snapshot, memory), is_inside=lambda _: True)


def is_small(section: Section) -> bool:
    """Whether a section lies inside a file that has a place for parts beside it."""
    is_one_of_many = section.name.startswith(_PART) and "." in section.name
    return len(section.body) <= (INSIDE_PART_BYTES if is_one_of_many else INSIDE_BYTES)


def write_table(sections: Sequence[Section], *, is_inside: Callable[[Section], bool] = is_small) -> bytes:
    """A file of sections; those that are not inside must be given to the reader by their digest."""
    inside = [is_inside(one) for one in sections]
    rows = [[one.name, one.digest, len(one.body), here] for one, here in zip(sections, inside, strict=True)]
    table = json.dumps(rows, separators=(",", ":")).encode()
    bodies = [one.body for one, here in zip(sections, inside, strict=True) if here]
    return b"".join([MAGIC, hashlib.sha256(table).digest(), _LENGTH.pack(len(table)), table, *bodies])


def read_table(data: Body) -> tuple[SectionRef, ...]:
    """What a file consists of.

    Raises:
        MalformedError: not a snapshot of this format, damaged, or cut short.
    """
    return _read_table(data)[0]


def read_sections(
    data: Body, find: Callable[[str], Body] | None = None, *, known: Collection[tuple[str, str]] = ()
) -> tuple[Section, ...]:
    """All sections, each checked against its digest.

    Args:
        find: gives the body of a section that is not inside, by its digest.
        known: names and digests of sections that are not inside and were read before: they are left empty.

    Raises:
        MalformedError: as in `read_table`; or a section is missing or damaged.
    """
    refs, at = _read_table(data)
    view, found = memoryview(data), []
    for ref in refs:
        body: Body
        if ref.is_inside:
            body = view[at : at + ref.size_bytes]
            at += ref.size_bytes
        elif (ref.name, ref.digest) in known:
            found.append(Section(name=ref.name, digest=ref.digest, body=b""))
            continue
        elif find is None:
            raise MalformedError(f"steering snapshot: section {ref.name} is not in the file")
        else:
            body = find(ref.digest)
        if hashlib.sha256(body).hexdigest() != ref.digest:
            raise MalformedError(f"steering snapshot is damaged: the checksum of section {ref.name} does not fit")
        found.append(Section(name=ref.name, digest=ref.digest, body=body))
    if at != len(data):
        raise MalformedError("steering snapshot is longer or shorter than it says")
    return tuple(found)


def pack_sections(snapshot: SteeringSnapshot, memory: PackMemory | None = None) -> tuple[Section, ...]:
    """The sections of a snapshot, in the order of NAMES, then the parts of its routes."""
    memory = memory or PackMemory()
    sets = {id(one.holdings): one.holdings for one in snapshot.appliances}
    held = {key: number for number, key in enumerate(sets)}
    statics = tuple((one.appliance_id, one.site_id, one.content_url, one.capacity_bps) for one in snapshot.appliances)
    members = tuple((one.appliances, one.routes.digest) for one in snapshot.hearings)
    titles = _titles_section(snapshot.titles, memory)
    routes = snapshot.routes or compile_routes(snapshot.sites, snapshot.hearings, memory.routes)
    packers: tuple[tuple[str, object, Callable[[], bytes]], ...] = (
        ("appliances", statics, lambda: pack_json(_Appliances(rows=tuple(map(_static_row, statics))))),
        ("holdings", tuple(sets.values()), lambda: _pack_sets(sets.values())),
        ("sites", snapshot.sites, lambda: pack_json(_Sites(rows=snapshot.sites))),
        ("hearings", members, lambda: _pack_hearings(snapshot.hearings)),
        ("routes", routes.sources, lambda: zlib.compress(pack_columns({"sources": routes.sources.tobytes()}), 1)),
        ("index", titles, lambda: pack_index(snapshot.titles, memory.titles.offsets)),
    )
    fresh = [
        _section("head", _pack_head(snapshot)),
        _section("live", _pack_live(snapshot.appliances, held)),
    ]
    for name, source, pack in packers:
        known = memory.sections.get(name)
        if known is None or known[0] != source:
            known = memory.sections[name] = (source, _section(name, pack()))
        fresh.append(known[1])
    return (*fresh, titles, *_part_sections(routes, memory))


def unpack_snapshot(
    data: Body, parts: SnapshotParts | None = None, *, find: Callable[[str], Body] | None = None
) -> SteeringSnapshot:
    """Read a snapshot file.

    Args:
        parts: of the last snapshot; sections that did not change come from there, as the same objects. Renewed only
            when the whole snapshot could be read.
        find: see `read_sections`.

    Raises:
        MalformedError: not a snapshot, cut short, changed on the way, or too large.
    """
    known = parts.by_digest.keys() if parts is not None else ()
    return snapshot_of(read_sections(data, find, known=known), parts)


def snapshot_of(sections: Sequence[Section], parts: SnapshotParts | None = None) -> SteeringSnapshot:
    """A snapshot from its sections; see `unpack_snapshot`."""
    by_name = {one.name: one for one in sections}
    part_names = tuple(by_name)[len(NAMES) :]
    is_complete = tuple(by_name)[: len(NAMES)] == NAMES and len(by_name) == len(sections)
    if not is_complete or not all(name.startswith(_PART) for name in part_names):
        raise MalformedError("steering snapshot has not the sections that it must have")
    parts = parts if parts is not None else SnapshotParts()
    new: dict[tuple[str, str], Any] = {}

    def read(name: str, parse: Callable[[Body], T]) -> T:
        key = (name, by_name[name].digest)
        value = new[key] = parts.by_digest[key] if key in parts.by_digest else _guarded(name, by_name[name].body, parse)
        result: T = value
        return result

    head = decode(_Head, inflated(by_name["head"].body))
    live = _read_live(by_name["live"].body, read("appliances", _read_appliances), read("holdings", _read_sets), parts)
    index, offsets = read("index", read_index)
    slots = read("routes", _read_slots)
    pieces = {
        name.removeprefix(_PART): read(name, lambda raw: RoutePart.from_columns(unpack_columns(raw)))
        for name in part_names
    }
    whole = (_PART, " ".join(by_name[name].digest for name in ("routes", *part_names)))
    table = parts.by_digest.get(whole) or _guarded("routes", b"", lambda _: RouteTable(pieces, slots))
    new[whole] = table
    snapshot = SteeringSnapshot(
        version=head.version,
        built_at_s=head.built_at_s,
        loads_at_s=head.loads_at_s,
        origin_url=head.origin_url,
        sites=read("sites", lambda raw: decode(_Sites, inflated(raw), max_bytes=MAX_BODY_BYTES).rows),
        appliances=live.appliances,
        titles=read("titles", lambda raw: LazyTitles(offsets, raw, by_name["titles"].digest)),
        index=index,
        control_id=head.control_id,
        hearings=read("hearings", _read_hearings),
        routes=table,
    )
    _check_sources(snapshot)
    parts.by_digest, parts.live = new, live
    return snapshot


def _read_slots(body: Body) -> "array[int]":
    slots = array("I")
    slots.frombytes(unpack_columns(inflated(body))["sources"])
    return slots


def _check_sources(snapshot: SteeringSnapshot) -> None:
    most = len(snapshot.sites) + len(snapshot.hearings)
    if snapshot.routes and max(snapshot.routes.sources, default=-1) >= most:
        raise MalformedError("steering snapshot: routes name a source that there is not")


def _guarded(name: str, body: Body, parse: Callable[[Body], T]) -> T:
    try:
        return parse(body)
    except (CatalogError, ValueError, KeyError, struct.error) as error:
        raise MalformedError(f"steering snapshot: section {name}: {error}") from None


def _read_table(data: Body) -> tuple[tuple[SectionRef, ...], int]:
    start = len(MAGIC) + 32 + _LENGTH.size
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise MalformedError("not a steering snapshot of this format")
    if len(data) < start:
        raise MalformedError("steering snapshot is cut short")
    (length,) = _LENGTH.unpack_from(data, start - _LENGTH.size)
    table = bytes(data[start : start + min(length, MAX_TABLE_BYTES)])
    if hashlib.sha256(table).digest() != data[len(MAGIC) : len(MAGIC) + 32]:
        raise MalformedError("steering snapshot is damaged: its checksum does not fit")
    try:
        refs = tuple(
            SectionRef(name=str(name), digest=str(digest), size_bytes=int(size), is_inside=bool(here))
            for name, digest, size, here in json.loads(table)
        )
    except (ValueError, TypeError) as error:
        raise MalformedError(f"steering snapshot: the table of sections cannot be read: {error}") from None
    return refs, start + length


def _part_sections(routes: RouteTable, memory: PackMemory) -> Iterator[Section]:
    last, memory.parts = memory.parts, {}
    for name, part in routes.parts.items():
        known = last.get(name)
        if known is None or known[0] is not part:
            columns = {column: values.tobytes() for column, values in part.columns().items()}
            known = (part, _section(_PART + name, pack_columns(columns)))
        memory.parts[name] = known
        yield known[1]


def _titles_section(titles: Sequence[Title], memory: PackMemory) -> Section:
    known = memory.sections.get("titles")
    if known is not None and known[0] is titles:
        return known[1]
    memory.titles = pack_titles(titles, memory.titles)
    section = _section("titles", memory.titles.records)
    memory.sections["titles"] = (titles, section)
    return section


def _section(name: str, body: Body) -> Section:
    return Section(name=name, digest=hashlib.sha256(body).hexdigest(), body=body)


def _pack_head(snapshot: SteeringSnapshot) -> bytes:
    head = _Head(
        version=snapshot.version,
        built_at_s=snapshot.built_at_s,
        origin_url=snapshot.origin_url,
        control_id=snapshot.control_id,
        loads_at_s=snapshot.loads_at_s,
    )
    return pack_json(head)


def _static_row(row: tuple[ApplianceId, SiteId, str, int]) -> _ApplianceRow:
    return _ApplianceRow(appliance_id=row[0], site_id=row[1], content_url=row[2], capacity_bps=row[3])


def _read_appliances(body: Body) -> tuple[_ApplianceRow, ...]:
    return decode(_Appliances, inflated(body), max_bytes=MAX_BODY_BYTES).rows


def _pack_live(appliances: Sequence[SnapshotAppliance], held: dict[int, int]) -> bytes:
    healths: dict[tuple[object, ...], tuple[int, Health]] = {}
    admins = tuple(AdminState)
    rows = []
    for one in appliances:
        health = one.health
        known = healths.setdefault(_timeless_key(health), (len(healths), health))
        numbers = (known[0], admins.index(one.admin_state), held[id(one.holdings)])
        rows.append((*numbers, health.since_s, one.tx_bps, one.busy_ratio))
    words = _LiveWords(healths=tuple(replace(one, since_s=0.0) for _, one in healths.values()), admins=admins)
    columns = {"rows": np.array(rows, dtype=_LIVE).tobytes(), "words": encode(words)}
    return zlib.compress(pack_columns(columns), 1)


def _read_live(body: Body, static: tuple[_ApplianceRow, ...], sets: tuple[FileSet, ...], parts: SnapshotParts) -> _Live:
    columns = unpack_columns(inflated(body))
    if set(columns) != {"rows", "words"} or len(columns["rows"]) != len(static) * _LIVE.itemsize:
        raise MalformedError(f"steering snapshot: health and load are not those of {len(static)} appliances")
    rows = np.frombuffer(columns["rows"], dtype=_LIVE)
    words = decode(_LiveWords, bytes(columns["words"]))
    for name, limit in (("health", len(words.healths)), ("admin", len(words.admins)), ("held", len(sets))):
        if len(rows) and int(rows[name].max()) >= limit:
            raise MalformedError(f"steering snapshot: column {name} points past {limit}")
    last = parts.live
    if last is not None and (last.static is not static or last.sets is not sets or last.words.admins != words.admins):
        last = None
    appliances: list[Any] = list(last.appliances) if last else [None] * len(static)
    changed = np.flatnonzero(rows != _renumbered(last, words)).tolist() if last else range(len(static))
    values = rows.tolist() if len(changed) == len(rows) else None
    for number in changed:
        row = values[number] if values else rows[number].item()
        appliances[number] = _appliance(static[number], row, words, sets)
    return _Live(rows=rows, words=words, static=static, sets=sets, appliances=tuple(appliances))


def _renumbered(last: _Live, words: _LiveWords) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    """The last rows with health numbered as it is now; what is gone gets a number that nothing has."""
    if last.words == words:
        return last.rows
    numbers = {health: number for number, health in enumerate(words.healths)}
    now = np.array([numbers.get(one, len(words.healths)) for one in last.words.healths], dtype=np.uint32)
    rows = last.rows.copy()
    rows["health"] = now[rows["health"]]
    return rows


def _appliance(
    static: _ApplianceRow, row: tuple[int, int, int, float, float, float], words: _LiveWords, sets: tuple[FileSet, ...]
) -> SnapshotAppliance:
    health, admin, held, since_s, tx_bps, busy = row
    return SnapshotAppliance(
        appliance_id=static.appliance_id,
        site_id=static.site_id,
        content_url=static.content_url,
        admin_state=words.admins[admin],
        health=replace(words.healths[health], since_s=since_s),
        capacity_bps=static.capacity_bps,
        tx_bps=tx_bps,
        holdings=sets[held],
        busy_ratio=busy,
    )


def _pack_sets(sets: Iterable[FileSet]) -> bytes:
    bodies = [one.to_bytes() for one in sets]
    sizes = array("I", [len(one) for one in bodies])
    return pack_columns({"sizes": sizes.tobytes(), "sets": b"".join(bodies)})


def _read_sets(body: Body) -> tuple[FileSet, ...]:
    columns = unpack_columns(body)
    sizes, at, found = array("I"), 0, []
    sizes.frombytes(columns["sizes"])
    if sum(sizes) != len(columns["sets"]):
        raise MalformedError("steering snapshot: holdings are cut short")
    for size in sizes:
        found.append(FileSet.from_bytes(bytes(columns["sets"][at : at + size])))
        at += size
    return tuple(found)


def _pack_hearings(hearings: Sequence[Hearing]) -> bytes:
    rows = tuple(one.appliances for one in hearings)
    return pack_json(_Hearings(rows=rows, digests=tuple(one.routes.digest for one in hearings)))


def _read_hearings(body: Body) -> tuple[Hearing, ...]:
    read = decode(_Hearings, inflated(body), max_bytes=MAX_BODY_BYTES)
    pairs = zip(read.rows, read.digests, strict=True)
    return tuple(Hearing(appliances=names, routes=RouteColumns(digest=digest)) for names, digest in pairs)
