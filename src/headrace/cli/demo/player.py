"""A player that checks: it follows playlists, pathways and steering manifests as a viewer's player does, and verifies
that the bytes it was given have the SHA-256 that their name promises.

It is no benchmark and decodes nothing; ffmpeg does that in the demo's check, real browsers in the tests.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import httpx
import m3u8
from lxml import etree

from headrace.base.errors import HeadraceError

_MPD = "{urn:mpeg:dash:schema:mpd:2011}"
_STEP_BYTES = 1_000_000


class PlaybackError(HeadraceError):
    """A title could not be played from any pathway."""

    exit_code = 51


@dataclass(slots=True)
class Session:
    """What happened while one title was played."""

    pathways: list[str] = field(default_factory=list)
    """Best first, as the playlist and then the steering manifest gave them."""
    served_by: list[str] = field(default_factory=list)
    """The pathway of each range, in order; a run of equal ones is written once."""
    bytes_by: dict[str, int] = field(default_factory=dict)
    """What each pathway served."""
    ranges: int = 0
    is_verified: bool = False

    @property
    def received_bytes(self) -> int:
        """From all pathways."""
        return sum(self.bytes_by.values())

    def note(self, pathway: str, size: int) -> None:
        """Count one range."""
        self.ranges += 1
        self.bytes_by[pathway] = self.bytes_by.get(pathway, 0) + size
        if self.served_by[-1:] != [pathway]:
            self.served_by.append(pathway)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One rendition on one pathway."""

    pathway: str
    bandwidth_bps: int
    uri: str


class CheckingPlayer:
    """Plays titles from a steering node, as the client address `client` (trusted proxies may say so) or as itself."""

    def __init__(self, steer_url: str, *, client: str = "", own: str | None = None, timeout_s: float = 3.0) -> None:
        """`own`: the address of this machine that it speaks from."""
        headers = {"user-agent": "headrace-demo"} | ({"x-forwarded-for": client} if client else {})
        ways = [httpx.HTTPTransport(local_address=own) for _ in range(2)]
        self._steer = httpx.Client(
            base_url=steer_url, headers=headers, timeout=timeout_s, transport=ways[0], trust_env=False
        )
        self._content = httpx.Client(timeout=timeout_s, transport=ways[1], trust_env=False)

    def __enter__(self) -> "CheckingPlayer":
        return self

    def __exit__(self, *_: object) -> None:
        self._steer.close()
        self._content.close()

    def open_hls(self, title: str) -> tuple[Session, "HlsPlay"]:
        """Ask for the master playlist; playing starts with the first `step`."""
        path = f"/v1/titles/{title}/master.m3u8"
        text = _body(self._steer, path).decode()
        playlist = m3u8.loads(text)
        steering = playlist.content_steering
        if steering is None:
            raise PlaybackError(f"{title}: the master playlist has no EXT-X-CONTENT-STEERING")
        variants = [
            Variant(
                pathway=item.stream_info.pathway_id or ".", bandwidth_bps=item.stream_info.bandwidth or 0, uri=item.uri
            )
            for item in playlist.playlists
        ]
        session = Session(pathways=_ordered(steering.pathway_id, variants))
        return session, HlsPlay(self._steer, self._content, session, variants, urljoin(path, steering.uri))

    def play_hls(self, title: str) -> Session:
        """Play all of the smallest rendition and verify it."""
        session, play = self.open_hls(title)
        while play.step():
            pass
        return session

    def play_dash(self, title: str) -> Session:
        """Fetch every byte of the smallest video representation by the MPD, and verify it."""
        root = etree.fromstring(_body(self._steer, f"/v1/titles/{title}/manifest.mpd"))
        bases = {base.get("serviceLocation", ""): (base.text or "") for base in root.iter(f"{_MPD}BaseURL")}
        bases.pop("", None)
        videos = [one for one in root.iter(f"{_MPD}Representation") if _is_video(one)]
        if not videos or not bases:
            raise PlaybackError(f"{title}: the MPD has no video representation or no serviceLocation")
        smallest = min(videos, key=lambda one: int(one.get("bandwidth", "0")))
        relative = smallest.findtext(f"{_MPD}BaseURL") or ""
        session = Session(pathways=list(bases))
        fetcher = _Fetcher(self._content, session, [(name, urljoin(base, relative)) for name, base in bases.items()])
        while fetcher.step():
            pass
        return session


class HlsPlay:
    """A running HLS session: each `step` fetches and counts one segment; a dead pathway is left for the next."""

    def __init__(
        self, steer: httpx.Client, content: httpx.Client, session: Session, variants: list[Variant], steering_url: str
    ) -> None:
        self._steer = steer
        self._content = content
        self._session = session
        self._variants = variants
        self._steering_url = steering_url
        self._ranges: list[tuple[int, int]] = []
        self._file_name = ""
        self._data = bytearray()
        self._next = 0

    def step(self) -> bool:
        """Fetch the next segment; False when all were fetched and the file's SHA-256 fits.

        Raises:
            PlaybackError: no pathway serves it, or the bytes are not the ones named.
        """
        if not self._ranges:
            self._load_media_playlist()
        if self._next < len(self._ranges):
            first, last = self._ranges[self._next]
            self._data[first : last + 1] = self._fetch(first, last)
            self._next += 1
            return True
        self._verify()
        return False

    def ask_steering(self) -> dict[str, object]:
        """GET the steering manifest as a player does, and take its order of pathways."""
        params = {"_HLS_pathway": f'"{self._session.pathways[0]}"', "_HLS_throughput": "20000000"}
        manifest: dict[str, object] = self._steer.get(self._steering_url, params=params).json()
        known = {variant.pathway for variant in self._variants}
        self._add_clones(manifest, known)
        priority = manifest.get("PATHWAY-PRIORITY")
        if isinstance(priority, list):
            self._session.pathways = [str(name) for name in priority if name in known]
        return manifest

    def _add_clones(self, manifest: dict[str, object], known: set[str]) -> None:
        clones = manifest.get("PATHWAY-CLONES")
        for clone in clones if isinstance(clones, list) else []:
            if clone["ID"] in known:
                continue
            known.add(clone["ID"])
            host = clone["URI-REPLACEMENT"]["HOST"]
            for variant in [one for one in self._variants if one.pathway == clone["BASE-ID"]]:
                uri = urlsplit(variant.uri)._replace(netloc=host).geturl()
                self._variants.append(Variant(pathway=clone["ID"], bandwidth_bps=variant.bandwidth_bps, uri=uri))

    def _smallest(self, pathway: str) -> Variant:
        return min((one for one in self._variants if one.pathway == pathway), key=lambda one: one.bandwidth_bps)

    def _load_media_playlist(self) -> None:
        text = self._from_any(lambda uri: _body(self._content, uri)).decode()
        playlist = m3u8.loads(text)
        self._file_name = playlist.segments[0].uri
        size, _, offset = playlist.segments[0].init_section.byterange.partition("@")
        ranges = [(int(offset or 0), int(offset or 0) + int(size) - 1)]
        for segment in playlist.segments:
            length, _, start = segment.byterange.partition("@")
            first = int(start) if start else ranges[-1][1] + 1
            ranges.append((first, first + int(length) - 1))
        self._ranges = ranges
        self._data = bytearray(ranges[-1][1] + 1)

    def _fetch(self, first: int, last: int) -> bytes:
        return self._from_any(lambda uri: _range(self._content, urljoin(uri, self._file_name), first, last))

    def _from_any(self, fetch: Callable[[str], bytes]) -> bytes:
        """Try the pathways in order; one that fails goes last, and steering is asked again."""
        failures = []
        for _ in range(2):
            for pathway in list(self._session.pathways):
                try:
                    body = fetch(self._smallest(pathway).uri)
                except (httpx.HTTPError, PlaybackError) as error:
                    failures.append(f"{pathway}: {error}")
                    self._session.pathways.remove(pathway)
                    self._session.pathways.append(pathway)
                    continue
                self._session.note(pathway, len(body))
                return body
            self.ask_steering()
        raise PlaybackError("no pathway serves it: " + "; ".join(failures[:6]))

    def _verify(self) -> None:
        gaps, end = [], 0
        for first, last in sorted(self._ranges):
            if first > end:
                gaps.append((end, first - 1))
            end = max(end, last + 1)
        for first, last in gaps:
            self._data[first : last + 1] = self._fetch(first, last)
        _check_digest(self._file_name, hashlib.sha256(self._data).hexdigest())
        self._session.is_verified = True


class _Fetcher:
    """Fetches one whole file in ranges from the first base that answers."""

    def __init__(self, content: httpx.Client, session: Session, urls: list[tuple[str, str]]) -> None:
        self._content = content
        self._session = session
        self._urls = urls
        self._digest = hashlib.sha256()
        self._at = 0

    def step(self) -> bool:
        failures = []
        for name, url in self._urls:
            try:
                response = self._content.get(url, headers={"range": f"bytes={self._at}-{self._at + _STEP_BYTES - 1}"})
            except httpx.HTTPError as error:
                failures.append(f"{name}: {error}")
                continue
            if response.status_code != 206:
                failures.append(f"{name}: HTTP {response.status_code}")
                continue
            return self._take(name, url, response)
        raise PlaybackError("no pathway serves it: " + "; ".join(failures))

    def _take(self, name: str, url: str, response: httpx.Response) -> bool:
        total = int(response.headers["content-range"].rpartition("/")[2])
        self._digest.update(response.content)
        self._at += len(response.content)
        self._session.note(name, len(response.content))
        if self._at < total:
            return True
        _check_digest(url, self._digest.hexdigest())
        self._session.is_verified = True
        return False


def _body(http: httpx.Client, url: str) -> bytes:
    response = http.get(url)
    if response.status_code != 200:
        raise PlaybackError(f"GET {url}: HTTP {response.status_code} {response.text[:120]}")
    return response.content


def _range(http: httpx.Client, url: str, first: int, last: int) -> bytes:
    response = http.get(url, headers={"range": f"bytes={first}-{last}"})
    if response.status_code != 206 or len(response.content) != last - first + 1:
        raise PlaybackError(
            f"GET {url} bytes {first}-{last}: HTTP {response.status_code}, {len(response.content)} bytes"
        )
    return response.content


def _check_digest(url: str, digest: str) -> None:
    promised = url.rpartition("/")[2].partition(".")[0]
    if digest != promised:
        raise PlaybackError(f"{url}: the bytes have SHA-256 {digest}")


def _ordered(first: str | None, variants: list[Variant]) -> list[str]:
    names = list(dict.fromkeys(variant.pathway for variant in variants))
    return sorted(names, key=lambda name: name != first)


def _is_video(representation: etree._Element) -> bool:
    parent = representation.getparent()
    kinds = (representation.get("mimeType"), parent.get("mimeType") if parent is not None else "")
    return any((kind or "").startswith("video/") for kind in kinds)
