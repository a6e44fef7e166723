"""What is known of a source, and the work that makes renditions of it. Plain values, no decisions."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from headrace.base.ids import RenditionId
from headrace.catalog.model import ByteRange, PublishedFile, Rendition, TrackKind


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTrack:
    """The video stream of a source, as it is shown: upright, square pixels."""

    index: int
    width: int
    height: int
    frame_rate: Fraction
    codec: str = ""
    """ffmpeg's name of it: h264, hevc, vp9, av1, ..."""
    is_interlaced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SideTrack:
    """An audio or subtitle stream of a source."""

    index: int
    language: str
    """BCP 47."""
    name: str
    is_default: bool
    channels: int = 0
    codec: str = ""
    """ffmpeg's name of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What ffprobe said of a file."""

    duration_s: float
    """0 when the container does not say."""
    start_s: float = 0.0
    """Time of the first picture or sound, on the file's own time line."""
    video: VideoTrack | None
    audio: tuple[SideTrack, ...] = ()
    text: tuple[SideTrack, ...] = ()
    dropped: tuple[str, ...] = ()
    """Tracks that cannot be kept, each with the reason (bitmap subtitles)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One video rendition to make."""

    height: int
    """Nominal: lines of the shorter side; names the rendition."""
    out_width: int
    out_height: int
    max_bps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes of a file: a segment of a packaged source, an init section, or the whole."""

    path: Path
    first: int = 0
    length: int | None = None
    """None: to the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rendition to make: what goes in, what ffmpeg does with it, what it will be called."""

    rendition_id: RenditionId
    kind: TrackKind
    group: str
    arguments: tuple[str, ...]
    """For ffmpeg, between its input and its output."""
    pieces: tuple[Piece, ...] = ()
    """Joined, they are the input; none: the source file itself."""
    cost: float = 1.0
    """Expected work against other steps; only for the progress shown."""
    language: str = "und"
    name: str = ""
    is_default: bool = False
    text_shift_s: float = 0.0
    """Subtitles that are read here and not by ffmpeg: added to every cue."""
    is_ttml: bool = False
    """Subtitles that ffmpeg can take out of the source but not read: it hands them over in MP4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One entry of a sidx box: bytes and time of a subsegment."""

    first: int
    length: int
    start_s: float
    duration_s: float
    starts_with_key: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaIndex:
    """Where things lie in a single-file CMAF rendition."""

    init: ByteRange
    index: ByteRange
    timescale: int
    segments: tuple[Segment, ...]

    @property
    def duration_s(self) -> float:
        """Sum of all segments."""
        return sum(segment.duration_s for segment in self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """A finished rendition with its two files; kept beside them in the work folder."""

    rendition: Rendition
    files: tuple[PublishedFile, ...]
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """A source that was looked at and found whole, and the renditions to make of it."""

    file: Path
    """The input of every step that has no pieces of its own."""
    duration_s: float
    steps: tuple[Step, ...]
    dropped: tuple[str, ...] = ()
    """Tracks that are not kept, each with the reason."""
