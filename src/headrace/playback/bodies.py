"""Finished parts of playlists and MPDs, kept over snapshots: a new snapshot ranks anew, but most parts stay the same.

A master playlist is joined from one part per pathway, an MPD is a frame filled with base URLs. Parts belong to a title
as it was published; when a snapshot brings an equal title, its parts go on, when it brings another one, they are
dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.catalog.model import Title
from headrace.steering.dash import MpdFrame, fill_frame, write_frame
from headrace.steering.hls import join_master, write_pathway
from headrace.steering.pathway import Pathway


@dataclass(slots=True, kw_only=True, eq=False)
class _Parts:
    title: Title
    frame: MpdFrame | None = None
    pathways: dict[Pathway, bytes] = field(default_factory=dict)


class Bodies:
    """Writes playlists and MPDs from kept parts; forgets all parts when they are more than `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._by_title: dict[str, _Parts] = {}

    def master(self, title: Title, pathways: Sequence[Pathway], *, steering_uri: str) -> bytes:
        """The same as `hls.write_master`."""
        known = self._parts(title)
        parts = []
        for pathway in pathways:
            part = known.pathways.get(pathway)
            if part is None:
                part = known.pathways[pathway] = write_pathway(title, pathway)
                self._bytes += len(part)
            parts.append(part)
        return join_master(parts, pathways[0], steering_uri=steering_uri)

    def mpd(self, title: Title, pathways: Sequence[Pathway], *, steering_url: str) -> bytes:
        """The same as `dash.write_mpd`."""
        known = self._parts(title)
        if known.frame is None:
            known.frame = write_frame(title)
            self._bytes += len(known.frame.head) + len(known.frame.tail)
        return fill_frame(known.frame, pathways, steering_url=steering_url)

    def _parts(self, title: Title) -> _Parts:
        if self._bytes > self._most_bytes:
            self._by_title.clear()
            self._bytes = 0
        known = self._by_title.get(title.title_id)
        if known is not None and known.title is not title:
            if known.title == title:
                known.title = title
            else:
                known = None
        if known is None:
            known = self._by_title[title.title_id] = _Parts(title=title)
        return known
