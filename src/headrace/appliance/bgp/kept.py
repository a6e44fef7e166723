"""The tables as they were, on disk, for the next speaker: so that it need not begin with an empty one.

One file for each session, written as a whole: a line of JSON, then chunks and times as the control plane gets them.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.base.logs import event
from headrace.routes.chunks import join_chunks, split_chunks
from headrace.routes.model import RouteError
from headrace.routes.table import PackedTable
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic

_log = logging.getLogger(__name__)
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTable:
    """The first line of a file."""

    session_id: str
    saved_s: float
    table_digest: str


class KeptTables:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[str, tuple[str, str]] = {}

    def write(self, tables: dict[str, PackedTable], *, now_s: float) -> int:
        """Keep what has changed since the last call, and give its bytes; sessions that are not named are forgotten.

        Raises:
            OSError: the disk does not take it.
        """
        written_bytes = 0
        for session_id, packed in tables.items():
            if self._written.get(session_id) == packed.names:
                continue
            head = KeptTable(session_id=session_id, saved_s=now_s, table_digest=packed.digest)
            chunks = join_chunks(
                parts.chunks[parts.digests[number]]
                for parts in (packed, packed.times)
                for number in sorted(parts.digests)
            )
            write_atomic(self._path(session_id), encode(head) + b"\n" + chunks, mode=0o600)
            self._written[session_id] = packed.names
            written_bytes += len(chunks)
        for path in self._folder.glob("*.table"):
            if path not in {self._path(session_id) for session_id in tables}:
                path.unlink(missing_ok=True)
        return written_bytes

    def read(self) -> Iterator[tuple[KeptTable, tuple[bytes, ...]]]:
        """What is kept; files that are broken are logged and passed over."""
        for path in sorted(self._folder.glob("*.table")):
            try:
                head, _, body = path.read_bytes().partition(b"\n")
                kept = decode(KeptTable, head)
                yield kept, split_chunks(body, most_bytes=_MOST_BYTES)
            except (OSError, MalformedError, RouteError) as error:
                event(_log, "bgp_kept_table_broken", level=logging.WARNING, file=path.name, error=error)

    def _path(self, session_id: str) -> Path:
        return self._folder / f"{hashlib.sha256(session_id.encode()).hexdigest()[:16]}.table"
