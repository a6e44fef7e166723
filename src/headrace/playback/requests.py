"""From a path to what is asked for. Pure, and strict: what is not exactly one of ours is not found."""

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs

from headrace.base.errors import InvalidIdError
from headrace.base.ids import ApplianceId, TitleId, appliance_id, title_id


class Kind(StrEnum):
    """What a request asks for; also a label of metrics."""

    MASTER = "master"
    MPD = "mpd"
    HLS_STEERING = "hls-steering"
    DASH_STEERING = "dash-steering"
    FILE = "file"
    EXPLAIN = "explain"
    HEALTH = "health"
    METRICS = "metrics"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A parsed path."""

    kind: Kind
    is_for_players: bool = False
    title_id: TitleId | None = None
    """None too where the path names a title that cannot exist."""
    sha256: str = ""


_CMCD = re.compile(r"(?:^|&)(CMCD=[!-%'-~]+)(?=&|$)", re.ASCII)
_PER_TITLE = (
    ("/v1/titles/", "/master.m3u8", Kind.MASTER),
    ("/v1/titles/", "/manifest.mpd", Kind.MPD),
    ("/v1/steering/hls/", "", Kind.HLS_STEERING),
    ("/v1/steering/dash/", "", Kind.DASH_STEERING),
)
_FIXED = {"/v1/explain": Kind.EXPLAIN, "/healthz": Kind.HEALTH, "/metrics": Kind.METRICS}
_FILE = re.compile(r"/f/([0-9a-f]{2})/(\1[0-9a-f]{62})\.(?:mp4|m3u8|vtt)")


def read_path(path: str) -> Asked:
    """What a path asks for; kind OTHER for what is not ours."""
    fixed = _FIXED.get(path)
    if fixed is not None:
        return Asked(kind=fixed)
    for prefix, suffix, kind in _PER_TITLE:
        if path.startswith(prefix) and path.endswith(suffix) and len(path) > len(prefix) + len(suffix):
            return Asked(kind=kind, is_for_players=True, title_id=_title(path[len(prefix) : len(path) - len(suffix)]))
    match = _FILE.fullmatch(path)
    return Asked(kind=Kind.FILE, is_for_players=True, sha256=match[2]) if match else Asked(kind=Kind.OTHER)


def read_not(query: str) -> tuple[ApplianceId, ...]:
    """The appliances that a redirected request comes from; what is no appliance id is left out."""
    found = []
    for text in parse_qs(query, max_num_fields=32, errors="replace").get("not", []):
        try:
            found.append(appliance_id(text))
        except InvalidIdError:
            continue
    return tuple(found)


def read_cmcd(query: str) -> str:
    """The player's own words (CTA-5004) as a query of their own, `?CMCD=...`; '' without any that a URL may hold."""
    found = _CMCD.search(query)
    return f"?{found[1]}" if found else ""


def _title(text: str) -> TitleId | None:
    try:
        return title_id(text)
    except InvalidIdError:
        return None
