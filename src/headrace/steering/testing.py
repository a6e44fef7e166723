"""Builders of snapshots for tests and benchmarks: everything valid and healthy unless told otherwise."""

import hashlib
from array import array
from collections.abc import Sequence

from headrace.base.ids import ApplianceId, RenditionId, Sha256, SiteId, TitleId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import ByteRange, FileSuffix, PublishedFile, Rendition, Title, TrackKind
from headrace.fleet.model import AdminState, Health, HealthReason, HealthState, Site
from headrace.routes.model import Hearing, RouteColumns, parse_prefix
from headrace.steering.model import SnapshotAppliance, SteeringSnapshot

HEALTHY = Health(state=HealthState.HEALTHY, reason=HealthReason.ALL_CHECKS_PASS, is_turned_up=True)

LADDER = ((426, 240, 400), (640, 360, 800), (854, 480, 1400), (1280, 720, 2800), (1920, 1080, 5000))
"""Width, height and kb/s."""


def file_name(text: str) -> Sha256:
    """A valid file name for a readable one."""
    return Sha256(hashlib.sha256(text.encode()).hexdigest())


def make_rendition(title: str, rendition: str, kind: TrackKind, **changes: object) -> Rendition:
    """A rendition with two files of its own."""
    fields: dict[str, object] = {
        "rendition_id": RenditionId(rendition),
        "kind": kind,
        "group": {TrackKind.VIDEO: "video", TrackKind.AUDIO: "audio", TrackKind.TEXT: "subs"}[kind],
        "file": file_name(f"{title}/{rendition}"),
        "playlist": file_name(f"{title}/{rendition}.m3u8"),
        "codecs": {TrackKind.VIDEO: "avc1.64001f", TrackKind.AUDIO: "mp4a.40.2", TrackKind.TEXT: "wvtt"}[kind],
        "bandwidth_bps": 128_000,
        "average_bandwidth_bps": 120_000,
        "init_range": None if kind is TrackKind.TEXT else ByteRange(first=0, last=799),
        "index_range": None if kind is TrackKind.TEXT else ByteRange(first=800, last=1199),
        "timescale": 0 if kind is TrackKind.TEXT else 12800,
        **changes,
    }
    return Rendition(**fields)  # type: ignore[arg-type]


def make_title(name: str, *, languages: Sequence[str] = ("en",), subtitles: Sequence[str] = ()) -> Title:
    """A title with a five-rung ladder, audio in `languages` and subtitles."""
    renditions = [
        make_rendition(
            name,
            f"v{height}",
            TrackKind.VIDEO,
            width=width,
            height=height,
            frame_rate="30000/1001",
            bandwidth_bps=kbps * 1200,
            average_bandwidth_bps=kbps * 1000,
        )
        for width, height, kbps in LADDER
    ]
    for number, language in enumerate(languages):
        renditions.append(
            make_rendition(
                name,
                f"a-{language}",
                TrackKind.AUDIO,
                language=language,
                name=language.upper(),
                channels=2,
                sample_rate_hz=48_000,
                is_default=number == 0,
            )
        )
    renditions += [make_rendition(name, f"s-{one}", TrackKind.TEXT, language=one, name=one) for one in subtitles]
    files = []
    for one in renditions:
        media = FileSuffix.VTT if one.kind is TrackKind.TEXT else FileSuffix.MP4
        for sha256, suffix in ((one.file, media), (one.playlist, FileSuffix.M3U8)):
            files.append(PublishedFile(sha256=sha256, size_bytes=1000, suffix=suffix, rendition_id=one.rendition_id))
    return Title(title_id=TitleId(name), name=name, duration_s=60.0, renditions=tuple(renditions), files=tuple(files))


def make_site(name: str, *prefixes: str, **changes: object) -> Site:
    """A site that hears `prefixes`."""
    return Site(site_id=SiteId(name), prefixes=prefixes, **changes)  # type: ignore[arg-type]


def make_appliance(name: str, site: str, holdings: FileSet, **changes: object) -> SnapshotAppliance:
    """A healthy, enabled appliance with room."""
    fields: dict[str, object] = {
        "appliance_id": ApplianceId(name),
        "site_id": SiteId(site),
        "content_url": f"http://{name}.example:8080",
        "admin_state": AdminState.ENABLED,
        "health": HEALTHY,
        "capacity_bps": 10_000_000_000,
        "tx_bps": 0.0,
        "holdings": holdings,
        **changes,
    }
    return SnapshotAppliance(**fields)  # type: ignore[arg-type]


def make_snapshot(
    sites: Sequence[Site],
    appliances: Sequence[SnapshotAppliance],
    titles: Sequence[Title],
    *,
    version: int = 1,
    built_at_s: float = 1_800_000_000.0,
    origin_url: str = "http://origin.example",
    control_id: str = "store-a",
) -> SteeringSnapshot:
    """A snapshot; a title's number is its place in `titles`, from 1: see `numbers_of`."""
    return SteeringSnapshot(
        version=version,
        built_at_s=built_at_s,
        origin_url=origin_url,
        sites=tuple(sites),
        appliances=tuple(appliances),
        titles=tuple(titles),
        control_id=control_id,
    )


def numbers_of(titles: Sequence[Title]) -> FileSet:
    """The numbers of `titles`, when these are the first titles of a snapshot."""
    return FileSet(range(1, 1 + len(titles)))


def make_hearing(appliances: Sequence[str], *routes: str) -> Hearing:
    """Appliances that hear `routes`: "prefix", "prefix path-length" or "prefix path-length MED"."""
    rows: dict[bytes, tuple[int, int]] = {}
    for route in routes:
        prefix, path_length, med, *_ = (*route.split(), "1", "0")
        rows[parse_prefix(prefix)] = (int(path_length), int(med) if len(route.split()) == 3 else 0)
    v4, v6 = (sorted(one for one in rows if len(one) == length) for length in (5, 17))
    columns = RouteColumns(
        prefixes_v4=b"".join(v4),
        path_lengths_v4=array("H", [rows[one][0] for one in v4]),
        meds_v4=array("I", [rows[one][1] for one in v4]),
        prefixes_v6=b"".join(v6),
        path_lengths_v6=array("H", [rows[one][0] for one in v6]),
        meds_v6=array("I", [rows[one][1] for one in v6]),
        digest=hashlib.sha256(repr(sorted(rows.items())).encode()).hexdigest(),
    )
    return Hearing(appliances=tuple(ApplianceId(name) for name in appliances), routes=columns)
