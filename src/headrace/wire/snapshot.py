"""The compiled steering snapshot as one file: magic, SHA-256 of the rest, then sections of zlib-compressed JSON.

Control compiles it, steering nodes pull it and keep it on disk; a broken one is refused and the last good one stays.
What changes every second (health, load) and what hardly ever changes (titles, prefixes, holdings) are different
sections, so that a reader that is handed the parts of its last snapshot unpacks only what is new.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from headrace.base.ids import ApplianceId, FileNo, SiteId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogError, Title
from headrace.fleet.model import AdminState, Health, Site
from headrace.steering.model import SnapshotAppliance, SnapshotTitle, SteeringSnapshot
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError

T = TypeVar("T")

MAGIC = b"HRSNAP02"
MAX_BODY_BYTES = 512 * 1024 * 1024
"""Of one section, unpacked."""
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    version: int
    built_at_s: float
    origin_url: str
    control_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ApplianceRow:
    appliance_id: ApplianceId
    site_id: SiteId
    content_url: str
    admin_state: AdminState
    health: Health
    capacity_bps: int
    tx_bps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Appliances:
    rows: tuple[_ApplianceRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holdings:
    rows: tuple[str, ...]
    """FileSet.encode() of each appliance, in the order of the appliances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sites:
    rows: tuple[Site, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _TitleRow:
    title: Title
    file_nos: tuple[FileNo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Titles:
    rows: tuple[_TitleRow, ...]


@dataclass(slots=True, eq=False)
class SnapshotParts:
    """What was read from the sections of the last snapshot, by the SHA-256 of each section."""

    by_digest: dict[bytes, Any] = field(default_factory=dict)


def pack_snapshot(snapshot: SteeringSnapshot) -> bytes:
    """The file's bytes."""
    appliances = tuple(
        _ApplianceRow(
            appliance_id=one.appliance_id,
            site_id=one.site_id,
            content_url=one.content_url,
            admin_state=one.admin_state,
            health=one.health,
            capacity_bps=one.capacity_bps,
            tx_bps=one.tx_bps,
        )
        for one in snapshot.appliances
    )
    head = _Head(
        version=snapshot.version,
        built_at_s=snapshot.built_at_s,
        origin_url=snapshot.origin_url,
        control_id=snapshot.control_id,
    )
    titles = tuple(_TitleRow(title=one.title, file_nos=one.file_nos) for one in snapshot.titles)
    sections = (
        head,
        _Appliances(rows=appliances),
        _Holdings(rows=tuple(one.holdings.encode() for one in snapshot.appliances)),
        _Sites(rows=snapshot.sites),
        _Titles(rows=titles),
    )
    packed = [zlib.compress(encode(section), 1) for section in sections]
    rest = b"".join(_LENGTH.pack(len(section)) + section for section in packed)
    return MAGIC + hashlib.sha256(rest).digest() + rest


def unpack_snapshot(data: bytes, parts: SnapshotParts | None = None) -> SteeringSnapshot:
    """Read a snapshot file.

    Args:
        parts: of the last snapshot; sections that did not change come from there, as the same objects. Renewed only
            when the whole snapshot could be read.

    Raises:
        MalformedError: not a snapshot, cut short, changed on the way, or too large.
    """
    head, appliances, holdings, sites, titles = _sections(data)
    old, new = parts.by_digest if parts else {}, dict[bytes, Any]()

    def read(packed: bytes, parse: Callable[[bytes], T]) -> T:
        digest = hashlib.sha256(packed).digest()
        value = new[digest] = old[digest] if digest in old else parse(_inflated(packed))
        result: T = value
        return result

    first = decode(_Head, _inflated(head))
    sets = read(holdings, _read_holdings)
    rows = decode(_Appliances, _inflated(appliances), max_bytes=MAX_BODY_BYTES).rows
    if len(rows) != len(sets):
        raise MalformedError(f"steering snapshot: {len(rows)} appliances but {len(sets)} holdings")
    snapshot = SteeringSnapshot(
        version=first.version,
        built_at_s=first.built_at_s,
        origin_url=first.origin_url,
        sites=read(sites, lambda raw: decode(_Sites, raw, max_bytes=MAX_BODY_BYTES).rows),
        appliances=tuple(_appliance(row, held) for row, held in zip(rows, sets, strict=True)),
        titles=read(titles, _read_titles),
        control_id=first.control_id,
    )
    if parts is not None:
        parts.by_digest = new
    return snapshot


def _sections(data: bytes) -> list[bytes]:
    if data[: len(MAGIC)] != MAGIC:
        raise MalformedError("not a steering snapshot of this format")
    checksum, rest = data[len(MAGIC) : len(MAGIC) + 32], data[len(MAGIC) + 32 :]
    if hashlib.sha256(rest).digest() != checksum:
        raise MalformedError("steering snapshot is damaged: its checksum does not fit")
    found, at = [], 0
    while at + _LENGTH.size <= len(rest):
        (length,) = _LENGTH.unpack_from(rest, at)
        found.append(rest[at + _LENGTH.size : at + _LENGTH.size + length])
        at += _LENGTH.size + length
    if at != len(rest) or len(found) != 5:
        raise MalformedError("steering snapshot has not the sections that it must have")
    return found


def _inflated(packed: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, MAX_BODY_BYTES)
    except zlib.error as error:
        raise MalformedError(f"steering snapshot cannot be unpacked: {error}") from None
    if not inflater.eof:
        raise MalformedError(f"steering snapshot has a section that is cut short or over {MAX_BODY_BYTES} bytes")
    return raw


def _read_holdings(raw: bytes) -> tuple[FileSet, ...]:
    try:
        return tuple(FileSet.decode(text) for text in decode(_Holdings, raw, max_bytes=MAX_BODY_BYTES).rows)
    except CatalogError as error:
        raise MalformedError(f"steering snapshot: {error}") from None


def _read_titles(raw: bytes) -> tuple[SnapshotTitle, ...]:
    rows = decode(_Titles, raw, max_bytes=MAX_BODY_BYTES).rows
    return tuple(SnapshotTitle(title=row.title, file_nos=row.file_nos) for row in rows)


def _appliance(row: _ApplianceRow, holdings: FileSet) -> SnapshotAppliance:
    return SnapshotAppliance(
        appliance_id=row.appliance_id,
        site_id=row.site_id,
        content_url=row.content_url,
        admin_state=row.admin_state,
        health=row.health,
        capacity_bps=row.capacity_bps,
        tx_bps=row.tx_bps,
        holdings=holdings,
    )
