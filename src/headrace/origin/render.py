"""Make one rendition: input bytes, ffmpeg, packager, playlist, facts. Runs the tools it is handed."""

import asyncio
from pathlib import Path

from headrace.catalog.model import FileSuffix, PublishedFile, Rendition, TrackKind
from headrace.origin.adapters.digests import sha256_of
from headrace.origin.adapters.package import read_subtitles, write_pieces
from headrace.origin.adapters.work_folder import WorkFolder, work_errors
from headrace.origin.boxes import HEAD_BYTES, read_index
from headrace.origin.description import read_description
from headrace.origin.errors import EncodeError, TruncatedError
from headrace.origin.model import MediaIndex, Piece, Step, StepResult
from headrace.origin.playlists import average_bps, media_playlist, peak_bps, text_playlist
from headrace.origin.ports import MediaTools, Moved
from headrace.origin.probe import SHORTFALL_RATIO, SHORTFALL_S


async def make_rendition(
    step: Step, source: Path, *, work: WorkFolder, tools: MediaTools, segment_s: float, duration_s: float, moved: Moved
) -> StepResult:
    """Make `step` from `source` (or from its pieces) and keep it in the work folder.

    Args:
        duration_s: of the title; how long the playlist of a subtitle file says it is.
        moved: called with the seconds of media done.

    Raises:
        EncodeError, DiskFullError: nothing is kept of this rendition.
    """
    folder = work.begin(step.rendition_id)
    if step.kind is TrackKind.TEXT:
        media = folder / f"media.{FileSuffix.VTT}"
        pieces = step.pieces
        if not pieces:
            made = folder / "interim.mp4" if step.is_ttml else media
            await tools.convert(step, source, made, moved)
            pieces = (Piece(path=made),) if step.is_ttml else ()
        if pieces:
            await asyncio.to_thread(_join_text, pieces, step.text_shift_s, media)
        result = await asyncio.to_thread(_finish_text, step, media, duration_s)
    else:
        interim, media = folder / "interim.mp4", folder / f"media.{FileSuffix.MP4}"
        if step.pieces:
            source = folder / "joined"
            await asyncio.to_thread(_join_media, step, source)
        await tools.convert(step, source, interim, moved)
        mpd = await tools.package(step, interim, media, segment_s)
        result = await asyncio.to_thread(_finish_media, step, media, mpd)
        _check_length(step, result.duration_s, duration_s)
    with work_errors(folder):
        for left in folder.iterdir():
            if left.stem != "media" or left.suffix == ".mpd":
                left.unlink()
    work.finish(step.rendition_id, result)
    return result


def _join_media(step: Step, target: Path) -> None:
    with work_errors(target.parent):
        write_pieces(step.pieces, target)


def _join_text(pieces: tuple[Piece, ...], shift_s: float, target: Path) -> None:
    with work_errors(target.parent):
        target.write_text(read_subtitles(pieces, shift_s=shift_s), encoding="utf-8")


def _check_length(step: Step, made_s: float, duration_s: float) -> None:
    """A packaged rendition is taken over unseen; one that ends before its playlist says was damaged."""
    is_short = duration_s - made_s > max(SHORTFALL_S, duration_s * SHORTFALL_RATIO)
    if step.pieces and step.kind is TrackKind.VIDEO and is_short:
        raise TruncatedError(
            f"rendition {step.rendition_id} ends after {made_s:.1f} s, but its package says {duration_s:.1f} s"
        )


def _finish_media(step: Step, media: Path, mpd: str) -> StepResult:
    index = _index_of(media)
    facts = read_description(mpd)
    file = _published(step, media, FileSuffix.MP4)
    playlist = _write_playlist(step, media, media_playlist(index, file.sha256))
    rendition = Rendition(
        rendition_id=step.rendition_id,
        kind=step.kind,
        group=step.group,
        file=file.sha256,
        playlist=playlist.sha256,
        codecs=facts.codecs,
        bandwidth_bps=peak_bps(index.segments),
        average_bandwidth_bps=average_bps(index.segments),
        init_range=index.init,
        index_range=index.index,
        timescale=index.timescale,
        width=facts.width,
        height=facts.height,
        frame_rate=facts.frame_rate,
        sample_rate_hz=facts.sample_rate_hz,
        channels=facts.channels,
        language=step.language,
        name=step.name,
        is_default=step.is_default,
    )
    return StepResult(rendition=rendition, files=(file, playlist), duration_s=index.duration_s)


def _finish_text(step: Step, media: Path, duration_s: float) -> StepResult:
    file = _published(step, media, FileSuffix.VTT)
    playlist = _write_playlist(step, media, text_playlist(file.sha256, duration_s))
    bps = max(1, round(file.size_bytes * 8 / duration_s))
    rendition = Rendition(
        rendition_id=step.rendition_id,
        kind=step.kind,
        group=step.group,
        file=file.sha256,
        playlist=playlist.sha256,
        codecs="wvtt",
        bandwidth_bps=bps,
        average_bandwidth_bps=bps,
        language=step.language,
        name=step.name,
        is_default=step.is_default,
    )
    return StepResult(rendition=rendition, files=(file, playlist), duration_s=duration_s)


def _index_of(media: Path) -> MediaIndex:
    try:
        with media.open("rb") as file:
            return read_index(file.read(HEAD_BYTES), size_bytes=media.stat().st_size)
    except OSError as error:
        raise EncodeError(f"the packager left no file {media}: {error.strerror}") from None


def _write_playlist(step: Step, media: Path, text: str) -> PublishedFile:
    place = media.with_suffix(f".{FileSuffix.M3U8}")
    with work_errors(media.parent):
        place.write_text(text, encoding="utf-8")
    return _published(step, place, FileSuffix.M3U8)


def _published(step: Step, place: Path, suffix: FileSuffix) -> PublishedFile:
    with work_errors(place.parent):
        return PublishedFile(
            sha256=sha256_of(place),
            size_bytes=place.stat().st_size,
            suffix=suffix,
            rendition_id=step.rendition_id,
        )
