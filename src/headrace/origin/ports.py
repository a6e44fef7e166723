"""What a publish needs from outside: a byte store, a registry of titles, tools for media, somebody who watches."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from headrace.base.ids import Sha256, TitleId
from headrace.origin.model import Source, Step, VideoTrack
from headrace.origin.progress import Progress
from headrace.wire.operator import TitleRegistration, TitleView

Watch = Callable[[Progress], None]
"""Called with each step forward; must return at once."""
Moved = Callable[[float], None]
"""Called with how far one task is: seconds of media, or bytes stored."""


class Put(StrEnum):
    """What a put did."""

    STORED = "stored"
    ALREADY_THERE = "already-there"


class ByteStore(Protocol):
    """Immutable files by content path. A file is visible only when whole and verified; a put may be repeated."""

    async def check(self) -> None:
        """Write and leave nothing but a probe.

        Raises:
            StoreUnreachableError: the store does not answer, or does not let us write.
            DiskFullError: there is no room at all.
        """
        ...

    async def put(self, path: str, file: Path, sha256: Sha256) -> Put:
        """Store `file` at `path` (as of `catalog.content_path`) unless the same bytes are there already.

        Other bytes under this name (a damaged file) are replaced.

        Raises:
            StoreUnreachableError: no answer in time, no permission, or what was stored reads back differently.
            DiskFullError: no room left; nothing half stored is visible.
            SourceUnreadableError: `file` does not have this SHA-256 (it changed since).
        """
        ...

    async def size_bytes(self, path: str) -> int | None:
        """Size of a stored file; None when it is not there."""
        ...


class TitleRegistry(Protocol):
    """The titles that the control plane knows."""

    async def check(self, title_id: TitleId) -> None:
        """See whether the registry answers and would let us register; raises the errors of `wire`."""
        ...

    async def find(self, title_id: TitleId) -> TitleView | None:
        """The registered title; None when there is none."""
        ...

    async def register(self, registration: TitleRegistration) -> TitleView:
        """All or nothing.

        Raises:
            TitleConflictError: the registered version is not the expected one.
        """
        ...


class MediaTools(Protocol):
    """ffprobe, ffmpeg and the packager."""

    async def probe(self, file: Path) -> Source:
        """What `file` is; raises NotVideoError, TruncatedError."""
        ...

    async def check_whole(self, file: Path, source: Source, video: VideoTrack, moved: Moved) -> float:
        """Read every packet; gives the duration in seconds. Raises TruncatedError."""
        ...

    async def convert(self, step: Step, file: Path, out: Path, moved: Moved) -> None:
        """Run ffmpeg as `step` says. Raises EncodeError, DiskFullError."""
        ...

    async def package(self, step: Step, file: Path, out: Path, segment_s: float) -> str:
        """Make one single-file CMAF rendition; gives the packager's MPD. Raises EncodeError, DiskFullError."""
        ...
