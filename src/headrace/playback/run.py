"""`headrace steer`: check what can be checked before any worker starts, then serve until told to end."""

import os
from pathlib import Path

from headrace.playback.adapters.geo import open_locator
from headrace.playback.adapters.server import serve
from headrace.playback.adapters.tally import TallyFolder
from headrace.playback.config import PlaybackConfig
from headrace.playback.errors import PlaybackError
from headrace.playback.worker import COUNTERS_FOLDER, Launch, read_secret


def run_playback(config: PlaybackConfig, *, is_older_accepted: bool, log_level: str) -> None:
    """Run the service; returns when it is told to end.

    Raises:
        ConfigError: a token file cannot be read.
        PlaybackError: folder, database or address cannot be used.
    """
    read_secret(config.control.token_file)
    if config.explain.token_file:
        read_secret(config.explain.token_file)
    open_locator(config.clients.location_database)
    folder = Path(config.snapshot.folder)
    try:
        TallyFolder(folder / COUNTERS_FOLDER).clear()
    except OSError as error:
        raise PlaybackError(f"cannot use the folder {folder} (snapshot.folder): {error}") from None
    launch = Launch(config=config, is_older_accepted=is_older_accepted, log_level=log_level, parent_pid=os.getpid())
    serve(config.listen, launch)
