"""The compiled steering snapshot as one file: magic, SHA-256 of the body, zlib-compressed JSON body.

Control compiles it, steering nodes pull it and keep it on disk; a broken one is refused and the last good one stays.
"""

import hashlib
import zlib
from dataclasses import dataclass

from headrace.base.ids import ApplianceId, FileNo, SiteId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogError, Title
from headrace.fleet.model import AdminState, Health, Site
from headrace.steering.model import SnapshotAppliance, SnapshotTitle, SteeringSnapshot
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError

MAGIC = b"HRSNAP01"
MAX_BODY_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _ApplianceRow:
    appliance_id: ApplianceId
    site_id: SiteId
    content_url: str
    admin_state: AdminState
    health: Health
    capacity_bps: int
    tx_bps: float
    holdings: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _TitleRow:
    title: Title
    file_nos: tuple[FileNo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    version: int
    built_at_s: float
    origin_url: str
    sites: tuple[Site, ...]
    appliances: tuple[_ApplianceRow, ...]
    titles: tuple[_TitleRow, ...]
    control_id: str = ""


def pack_snapshot(snapshot: SteeringSnapshot) -> bytes:
    """The file's bytes."""
    rows = tuple(
        _ApplianceRow(
            appliance_id=one.appliance_id,
            site_id=one.site_id,
            content_url=one.content_url,
            admin_state=one.admin_state,
            health=one.health,
            capacity_bps=one.capacity_bps,
            tx_bps=one.tx_bps,
            holdings=one.holdings.encode(),
        )
        for one in snapshot.appliances
    )
    body = _Body(
        version=snapshot.version,
        built_at_s=snapshot.built_at_s,
        origin_url=snapshot.origin_url,
        sites=snapshot.sites,
        appliances=rows,
        titles=tuple(_TitleRow(title=one.title, file_nos=one.file_nos) for one in snapshot.titles),
        control_id=snapshot.control_id,
    )
    packed = zlib.compress(encode(body), 1)
    return MAGIC + hashlib.sha256(packed).digest() + packed


def unpack_snapshot(data: bytes) -> SteeringSnapshot:
    """Read a snapshot file.

    Raises:
        MalformedError: not a snapshot, cut short, changed on the way, or too large.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise MalformedError("not a steering snapshot of this format")
    checksum, packed = data[len(MAGIC) : len(MAGIC) + 32], data[len(MAGIC) + 32 :]
    if hashlib.sha256(packed).digest() != checksum:
        raise MalformedError("steering snapshot is damaged: its checksum does not fit")
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, MAX_BODY_BYTES)
    except zlib.error as error:
        raise MalformedError(f"steering snapshot cannot be unpacked: {error}") from None
    if not inflater.eof:
        raise MalformedError(f"steering snapshot is over {MAX_BODY_BYTES} bytes")
    return _from_body(decode(_Body, raw, max_bytes=MAX_BODY_BYTES))


def _from_body(body: _Body) -> SteeringSnapshot:
    try:
        appliances = tuple(
            SnapshotAppliance(
                appliance_id=row.appliance_id,
                site_id=row.site_id,
                content_url=row.content_url,
                admin_state=row.admin_state,
                health=row.health,
                capacity_bps=row.capacity_bps,
                tx_bps=row.tx_bps,
                holdings=FileSet.decode(row.holdings),
            )
            for row in body.appliances
        )
    except CatalogError as error:
        raise MalformedError(f"steering snapshot: {error}") from None
    return SteeringSnapshot(
        version=body.version,
        built_at_s=body.built_at_s,
        origin_url=body.origin_url,
        sites=body.sites,
        appliances=appliances,
        titles=tuple(SnapshotTitle(title=row.title, file_nos=row.file_nos) for row in body.titles),
        control_id=body.control_id,
    )
