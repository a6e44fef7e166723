"""Read a packaged folder: find its master playlist or MPD, see that all pieces are there, probe the tracks."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from headrace.catalog.model import TrackKind
from headrace.origin.adapters.work_folder import WorkFolder, work_errors
from headrace.origin.dash_source import read_mpd
from headrace.origin.errors import SourceUnreadableError, TruncatedError, UnsupportedSourceError
from headrace.origin.hls_source import is_master, read_master, read_media
from headrace.origin.model import Piece, Source
from headrace.origin.packaged import Look, PackagedTrack, file_of
from headrace.origin.ports import MediaTools
from headrace.origin.ttml import is_stpp, is_ttml, read_stpp, read_ttml
from headrace.origin.webvtt import is_webvtt, join_segments
from headrace.origin.wvtt import is_wvtt, read_wvtt

HEAD_BYTES = 16 * 1024 * 1024
"""Enough of a track for ffprobe to know its streams and where they start."""
CHUNK_BYTES = 4 * 1024 * 1024
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024


def read_package(folder: Path) -> tuple[PackagedTrack, ...]:
    """Every rendition of the package in `folder`; HLS goes before DASH, as it names more.

    Raises:
        UnsupportedSourceError: no package, several of them, or one that cannot be taken over.
        TruncatedError: a piece is missing or too short.
    """
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    playlists = [one for one in files if one.suffix.lower() in {".m3u8", ".m3u"}]
    masters = [one for one in playlists if is_master(_text(one))]
    mpds = [one for one in files if one.suffix.lower() == ".mpd"]
    if masters:
        tracks = tuple(_hls_tracks(_only(masters, folder, "master playlist"), folder))
    elif mpds:
        mpd = _only(mpds, folder, "MPD")
        tracks = read_mpd(_bytes(mpd), name=mpd.name, base=mpd.parent, root=folder)
    elif playlists:
        tracks = (_media_track(_only(playlists, folder, "playlist"), folder, TrackKind.VIDEO),)
    else:
        raise UnsupportedSourceError(f"{folder} holds neither an HLS playlist (.m3u8) nor a DASH MPD (.mpd)")
    for track in tracks:
        for piece in track.pieces:
            _check_piece(piece)
    return tracks


async def look_at(tracks: Iterable[PackagedTrack], work: WorkFolder, tools: MediaTools) -> tuple[Look, ...]:
    """Probe the head of each track of picture or sound."""
    looks = []
    for track in tracks:
        if track.kind is TrackKind.TEXT:
            _check_text(track)
            looks.append(Look(track=track, source=Source(duration_s=track.duration_s, video=None)))
            continue
        head = work.scratch("head")
        with work_errors(work.folder):
            write_pieces(track.pieces, head, limit_bytes=HEAD_BYTES)
        looks.append(Look(track=track, source=await tools.probe(head)))
    return tuple(looks)


def write_pieces(pieces: Iterable[Piece], target: Path, *, limit_bytes: int | None = None) -> None:
    """Join pieces into one file; raises OSError."""
    left = limit_bytes
    with target.open("wb") as out:
        for chunk in _chunks(pieces):
            out.write(chunk if left is None else chunk[:left])
            left = None if left is None else left - len(chunk)
            if left is not None and left <= 0:
                return


def read_subtitles(pieces: Iterable[Piece], *, shift_s: float) -> str:
    """One WebVTT file from text segments, from TTML or from fragmented MP4 with either.

    Args:
        shift_s: what moves the package's time line to the title's.
    """
    bodies = [b"".join(_chunks([piece])) for piece in pieces]
    head = bodies[0][:HEAD_BYTES] if bodies else b""
    if is_wvtt(head):
        return read_wvtt(b"".join(bodies), shift_s=shift_s)
    if is_stpp(head):
        return read_stpp(b"".join(bodies), shift_s=shift_s)
    if is_ttml(head):
        return read_ttml(bodies)
    return join_segments([body.decode("utf-8", "replace") for body in bodies], shift_s=shift_s)


def _chunks(pieces: Iterable[Piece]) -> Iterator[bytes]:
    for piece in pieces:
        with piece.path.open("rb") as file:
            file.seek(piece.first)
            left = piece.length
            while chunk := file.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left)):
                left = None if left is None else left - len(chunk)
                yield chunk


def _hls_tracks(master: Path, folder: Path) -> Iterator[PackagedTrack]:
    for named in read_master(_text(master), name=master.name):
        playlist = file_of(named.uri, base=master.parent, root=folder)
        track = _media_track(playlist, folder, named.kind)
        yield PackagedTrack(
            kind=named.kind,
            pieces=track.pieces,
            duration_s=track.duration_s,
            bandwidth_bps=named.bandwidth_bps,
            language=named.language,
            name=named.name,
            is_default=named.is_default,
            has_own_audio=named.has_own_audio,
        )


def _media_track(playlist: Path, folder: Path, kind: TrackKind) -> PackagedTrack:
    pieces, duration_s = read_media(_text(playlist), name=playlist.name, base=playlist.parent, root=folder)
    return PackagedTrack(kind=kind, pieces=pieces, duration_s=duration_s, has_own_audio=True)


def _check_text(track: PackagedTrack) -> None:
    """Found out before the pictures are worked on."""
    head = next(_chunks(track.pieces[:1]), b"")
    if not any(is_it(head) for is_it in (is_wvtt, is_stpp, is_webvtt, is_ttml)):
        raise UnsupportedSourceError(
            f"subtitles in {track.pieces[0].path} are neither WebVTT nor TTML, plain or in MP4: convert or remove them"
        )


def _check_piece(piece: Piece) -> None:
    try:
        size = piece.path.stat().st_size
    except OSError:
        raise TruncatedError(f"the package names {piece.path}, which is missing; get the whole package") from None
    end = piece.first + (piece.length or 1)
    if size < end:
        raise TruncatedError(f"{piece.path} has {size} bytes, but the package needs {end}; get the whole package")


def _only(found: list[Path], folder: Path, what: str) -> Path:
    """The one in the topmost folder; several there are refused, as nobody but the operator can choose."""
    depth = min(len(one.parts) for one in found)
    top = [one for one in found if len(one.parts) == depth]
    if len(top) > 1:
        names = ", ".join(one.name for one in top[:5])
        raise UnsupportedSourceError(f"{folder} holds {len(top)} files that could be its {what} ({names}); keep one")
    return top[0]


def _text(file: Path) -> str:
    return _bytes(file).decode("utf-8", "replace")


def _bytes(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_DOCUMENT_BYTES:
            raise UnsupportedSourceError(f"{file} is over {MAX_DOCUMENT_BYTES} bytes: that is no playlist")
        return file.read_bytes()
    except OSError as error:
        raise SourceUnreadableError(f"{file} cannot be read: {error.strerror or error}") from None
