"""HLS media playlists over single-file renditions (RFC 8216), and the bit rates that master playlists state. Pure.

URIs are relative to the playlist's own content path, so one playlist serves on every pathway.
"""

import math

from headrace.base.ids import Sha256
from headrace.catalog.model import FileSuffix, content_path
from headrace.origin.model import MediaIndex, Segment


def media_playlist(index: MediaIndex, file: Sha256) -> str:
    """The playlist of a CMAF rendition: one byte range a segment."""
    uri = relative_uri(file, FileSuffix.MP4)
    lines = [
        *_header(max(segment.duration_s for segment in index.segments)),
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{uri}",BYTERANGE="{index.init.last + 1}@{index.init.first}"',
    ]
    for segment in index.segments:
        lines += [f"#EXTINF:{segment.duration_s:.6f},", f"#EXT-X-BYTERANGE:{segment.length}@{segment.first}", uri]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def text_playlist(file: Sha256, duration_s: float) -> str:
    """The playlist of a whole WebVTT file: one segment as long as the title."""
    uri = relative_uri(file, FileSuffix.VTT)
    return "\n".join([*_header(duration_s), f"#EXTINF:{duration_s:.6f},", uri, "#EXT-X-ENDLIST", ""])


def relative_uri(file: Sha256, suffix: FileSuffix) -> str:
    """From any published file to `file`: ../ab/abcd....mp4."""
    return ".." + content_path(file, suffix).removeprefix("/f")


def peak_bps(segments: tuple[Segment, ...]) -> int:
    """Largest bit rate of any run of segments that lasts 0.5 to 1.5 target durations (RFC 8216, 4.3.4.2)."""
    target_s = target_duration(max(segment.duration_s for segment in segments))
    peak = 0.0
    for start in range(len(segments)):
        size_bytes, lasts_s = 0, 0.0
        for segment in segments[start:]:
            size_bytes, lasts_s = size_bytes + segment.length, lasts_s + segment.duration_s
            if lasts_s > 1.5 * target_s:
                break
            if lasts_s >= 0.5 * target_s:
                peak = max(peak, size_bytes * 8 / lasts_s)
    return max(math.ceil(peak), average_bps(segments))


def average_bps(segments: tuple[Segment, ...]) -> int:
    """Bits of all segments over their whole duration."""
    lasts_s = sum(segment.duration_s for segment in segments)
    return max(1, math.ceil(sum(segment.length for segment in segments) * 8 / lasts_s)) if lasts_s > 0 else 1


def target_duration(longest_s: float) -> int:
    """EXT-X-TARGETDURATION: no segment, rounded to the nearest second, may be longer."""
    return max(1, math.floor(longest_s + 0.5))


def _header(longest_s: float) -> list[str]:
    return [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{target_duration(longest_s)}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
    ]
