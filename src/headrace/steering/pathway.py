"""A pathway as players see it: an id and a base URL under which all published files lie at their content paths."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from headrace.catalog.model import FileSuffix, Rendition, TrackKind, content_path
from headrace.steering.compile import CompiledSnapshot
from headrace.steering.model import ORIGIN_PATHWAY, SnapshotAppliance

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pathway:
    """One way to the content."""

    pathway_id: str
    base_url: str
    """No trailing slash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseParts:
    """A base URL taken apart, for pathway clones that replace the host only."""

    scheme: str
    host: str
    """Lower case; IPv6 in brackets."""
    port: int
    path: str

    @property
    def netloc(self) -> str:
        """Host, with the port where it is not the scheme's own."""
        return self.host if self.port == _DEFAULT_PORTS.get(self.scheme) else f"{self.host}:{self.port}"


def pathway_of(appliance: SnapshotAppliance) -> Pathway:
    """The pathway that an appliance is."""
    return Pathway(pathway_id=appliance.appliance_id, base_url=appliance.content_url.rstrip("/"))


def origin_pathway(compiled: CompiledSnapshot) -> Pathway | None:
    """The pathway of last resort, where the snapshot names an origin."""
    return Pathway(pathway_id=ORIGIN_PATHWAY, base_url=compiled.origin_url) if compiled.origin_url else None


def base_parts(base_url: str) -> BaseParts | None:
    """Take a base URL apart; None for what is no http(s) URL."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = port if port is not None else _DEFAULT_PORTS[parts.scheme]
    return BaseParts(scheme=parts.scheme, host=host, port=port, path=parts.path.rstrip("/"))


def playlist_path(rendition: Rendition) -> str:
    """Path of a rendition's HLS media playlist below a base URL."""
    return content_path(rendition.playlist, FileSuffix.M3U8)


def file_path(rendition: Rendition) -> str:
    """Path of a rendition's bytes below a base URL."""
    return content_path(rendition.file, FileSuffix.VTT if rendition.kind is TrackKind.TEXT else FileSuffix.MP4)
