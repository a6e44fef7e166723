"""Titles, renditions and files as plain frozen values. Built at publish, registered once, never changed.

A title is made of renditions; a rendition of one CMAF file served by byte range and one HLS media playlist over the
same bytes. All of them are immutable files named by SHA-256. Master playlists and MPDs are not files: steering writes
them for each client from these values.
"""

from dataclasses import dataclass
from enum import StrEnum

from headrace.base.errors import HeadraceError
from headrace.base.ids import FileNo, RenditionId, Sha256, TitleId


class CatalogError(HeadraceError):
    """A title or file is not what it claims to be."""

    exit_code = 10


class TrackKind(StrEnum):
    """What a rendition carries."""

    VIDEO = "video"
    AUDIO = "audio"
    TEXT = "text"


class FileSuffix(StrEnum):
    """The kinds of published file, by the ending that fixes their media type."""

    MP4 = "mp4"
    """CMAF: one rendition."""
    M3U8 = "m3u8"
    """HLS media playlist of one rendition; URIs inside are relative to its own path."""
    VTT = "vtt"
    """WebVTT: one subtitle rendition, whole."""


MEDIA_TYPES = {
    FileSuffix.MP4: "video/mp4",
    FileSuffix.M3U8: "application/vnd.apple.mpegurl",
    FileSuffix.VTT: "text/vtt",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """One immutable file in the origin."""

    sha256: Sha256
    size_bytes: int
    suffix: FileSuffix
    rendition_id: RenditionId


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRange:
    """First and last byte, both inclusive, as in an HTTP Range header and in DASH."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """One encoding of a title."""

    rendition_id: RenditionId
    """Unique in the title and stable over publishes: v720, a-en, s-fr."""
    kind: TrackKind
    group: str
    """Renditions of one group may be switched among (DASH AdaptationSet; HLS group id for audio and text)."""
    file: Sha256
    """The CMAF file (WebVTT for text)."""
    playlist: Sha256
    """The HLS media playlist over `file`."""
    codecs: str
    """RFC 6381, e.g. avc1.64001f; 'wvtt' or empty for text."""
    bandwidth_bps: int
    """Peak segment bit rate, as BANDWIDTH in HLS."""
    average_bandwidth_bps: int
    init_range: ByteRange | None = None
    """moov box; None for text."""
    index_range: ByteRange | None = None
    """sidx box; None for text."""
    timescale: int = 0
    width: int = 0
    height: int = 0
    frame_rate: str = ""
    """As a rational, '30000/1001' or '25'."""
    sample_rate_hz: int = 0
    channels: int = 0
    language: str = "und"
    """BCP 47."""
    name: str = ""
    """Shown to viewers for audio and text."""
    is_default: bool = False


MOST_GROUP = 120
LAST_LAUNCH_S = 7_258_118_400.0
"""2200-01-01."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Title:
    """A whole title as it is published and registered."""

    title_id: TitleId
    name: str
    duration_s: float
    renditions: tuple[Rendition, ...]
    files: tuple[PublishedFile, ...]
    source_digest: str = ""
    """SHA-256 over source bytes and ladder settings; a second publish with the same digest has nothing to do."""
    group: str = ""
    """Titles of one group are alike, such as the episodes of a series: one foretells the others; '' for none."""
    launch_s: float | None = None
    """UTC epoch seconds from which it is to be watched, as announced; None: from when it is published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogFile:
    """A published file with the number and title that the control plane gave it."""

    file_no: FileNo
    sha256: Sha256
    size_bytes: int
    suffix: FileSuffix
    title_id: TitleId
    rendition_id: RenditionId


def content_path(sha256: Sha256, suffix: FileSuffix) -> str:
    """The path of a file on origin and appliances alike: /f/ab/abcdef...mp4 (256 folders keep directories short)."""
    return f"/f/{sha256[:2]}/{sha256}.{suffix}"


def check_title(title: Title) -> None:
    """Rules that a title must keep to be registered.

    Raises:
        CatalogError: no video, a rendition that names no file of the title, a double id, sizes below one byte, or a
            group or launch that cannot be.
    """
    if len(title.group) > MOST_GROUP or not title.group.isprintable():
        raise CatalogError(f"title {title.title_id}: a group has at most {MOST_GROUP} printable characters")
    if title.launch_s is not None and not 0 <= title.launch_s <= LAST_LAUNCH_S:
        raise CatalogError(f"title {title.title_id}: it is launched at no time between 1970 and 2200")
    files = {file.sha256: file for file in title.files}
    ids = [rendition.rendition_id for rendition in title.renditions]
    if len(set(ids)) != len(ids):
        raise CatalogError(f"title {title.title_id}: two renditions have the same id")
    if not any(rendition.kind is TrackKind.VIDEO for rendition in title.renditions):
        raise CatalogError(f"title {title.title_id}: no video rendition")
    for rendition in title.renditions:
        missing = [name for name in (rendition.file, rendition.playlist) if name not in files]
        if missing:
            raise CatalogError(
                f"title {title.title_id}: rendition {rendition.rendition_id} names unknown file {missing[0]}"
            )
    empty = [file.sha256 for file in title.files if file.size_bytes < 1]
    if empty:
        raise CatalogError(f"title {title.title_id}: file {empty[0]} is empty")
