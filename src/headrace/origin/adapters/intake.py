"""Look at a source on disk: which files it has, what it is, whether it is whole, which renditions it gives."""

import os
from pathlib import Path

from headrace.origin.adapters.work_folder import WorkFolder
from headrace.origin.config import PublishConfig
from headrace.origin.encode import plan_steps
from headrace.origin.errors import EmptySourceError, SourceUnreadableError
from headrace.origin.model import Intake
from headrace.origin.ports import MediaTools


def list_source(source: Path) -> tuple[tuple[str, Path], ...]:
    """Every file of the source by its name in it, in a fixed order.

    Raises:
        SourceUnreadableError, EmptySourceError: missing, not readable, nothing in it.
    """
    if not source.exists():
        raise SourceUnreadableError(f"{source} does not exist")
    files = sorted(one for one in source.rglob("*") if one.is_file()) if source.is_dir() else [source]
    for file in files:
        if not os.access(file, os.R_OK) or not file.is_file():
            raise SourceUnreadableError(f"{file} may not be read: check its permissions")
    if not any(file.stat().st_size for file in files):
        raise EmptySourceError(f"{source} is empty (zero bytes)")
    return tuple((str(file.relative_to(source)) if source.is_dir() else "", file) for file in files)


async def open_source(source: Path, config: PublishConfig, tools: MediaTools, work: WorkFolder) -> Intake:
    """Probe the source and plan its renditions.

    Raises:
        NotVideoError, TruncatedError, NoVideoStreamError, UnsupportedSourceError: what is wrong with it.
    """
    probed = await tools.probe(source)
    duration_s = await tools.check_whole(source, probed, lambda media_s: None)
    return Intake(file=source, duration_s=duration_s, steps=plan_steps(probed, config))
