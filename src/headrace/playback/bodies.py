"""What of a title's playlists and MPDs is the same for every client, kept over snapshots.

A new snapshot ranks anew, but a title stays as it was published: its playlists are filled from one template, its MPDs
from one frame. When a snapshot brings an equal title, they go on; when it brings another one, they are written anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.catalog.model import Title
from headrace.steering.dash import MpdFrame, fill_frame, write_frame
from headrace.steering.hls import fill_template, write_template
from headrace.steering.pathway import Pathway


@dataclass(slots=True, kw_only=True, eq=False)
class _Kept:
    title: Title
    template: bytes = b""
    frame: MpdFrame | None = None


class Bodies:
    """Writes playlists and MPDs; forgets all templates and frames when they are more than `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._by_title: dict[str, _Kept] = {}

    def master(self, title: Title, pathways: Sequence[Pathway], *, steering_uri: str) -> bytes:
        """The same as `hls.write_master`."""
        known = self._known(title)
        if not known.template:
            known.template = write_template(title)
            self._bytes += len(known.template)
        return fill_template(known.template, pathways, steering_uri=steering_uri)

    def mpd(self, title: Title, pathways: Sequence[Pathway], *, steering_url: str) -> bytes:
        """The same as `dash.write_mpd`."""
        known = self._known(title)
        if known.frame is None:
            known.frame = write_frame(title)
            self._bytes += len(known.frame.head) + len(known.frame.tail)
        return fill_frame(known.frame, pathways, steering_url=steering_url)

    def _known(self, title: Title) -> _Kept:
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
            known = self._by_title[title.title_id] = _Kept(title=title)
        return known
