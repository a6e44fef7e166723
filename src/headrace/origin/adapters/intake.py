"""Look at a source on disk: which files it has, what it is, whether it is whole, which renditions it gives."""

import asyncio
import os
from pathlib import Path

from headrace.catalog.model import TrackKind
from headrace.origin.adapters.package import look_at, read_package
from headrace.origin.adapters.work_folder import WorkFolder
from headrace.origin.config import PublishConfig
from headrace.origin.encode import plan_steps
from headrace.origin.errors import EmptySourceError, SourceUnreadableError
from headrace.origin.model import Intake
from headrace.origin.packaged import plan_packaged_steps
from headrace.origin.ports import MediaTools, Moved
from headrace.origin.probe import need_video


def list_source(source: Path) -> tuple[tuple[str, Path], ...]:
    """Every file of the source by its name in it, in a fixed order.

    Raises:
        SourceUnreadableError, EmptySourceError: missing, not readable, nothing in it.
    """
    try:
        return _listed(source)
    except OSError as error:
        raise SourceUnreadableError(f"{source} cannot be read: {error.strerror or error}") from None


async def open_source(source: Path, config: PublishConfig, tools: MediaTools, work: WorkFolder, moved: Moved) -> Intake:
    """Probe the source and plan its renditions.

    Raises:
        NotVideoError, TruncatedError, NoVideoStreamError, UnsupportedSourceError: what is wrong with it.
    """
    if await asyncio.to_thread(source.is_dir):
        looks = await look_at(await asyncio.to_thread(read_package, source), work, tools)
        duration_s = max((one.track.duration_s for one in looks if one.track.kind is TrackKind.VIDEO), default=0.0)
        duration_s = duration_s or max(one.source.duration_s for one in looks)
        return Intake(file=source, duration_s=duration_s, steps=plan_packaged_steps(looks))
    probed = await tools.probe(source)
    video = need_video(probed, name=str(source))
    duration_s = await tools.check_whole(source, probed, video, moved)
    return Intake(file=source, duration_s=duration_s, steps=plan_steps(probed, video, config), dropped=probed.dropped)


def _listed(source: Path) -> tuple[tuple[str, Path], ...]:
    if not source.exists():
        raise SourceUnreadableError(f"{source} does not exist")
    is_folder = source.is_dir()
    files = sorted(one for one in source.rglob("*") if one.is_file()) if is_folder else [source]
    for file in files:
        if not file.is_file():
            raise SourceUnreadableError(f"{file} is not a file")
        if not os.access(file, os.R_OK, effective_ids=True):
            raise SourceUnreadableError(f"{file} may not be read: check its permissions")
    if not any(file.stat().st_size for file in files):
        raise EmptySourceError(f"{source} is empty (zero bytes)")
    return tuple((str(file.relative_to(source)) if is_folder else "", file) for file in files)
