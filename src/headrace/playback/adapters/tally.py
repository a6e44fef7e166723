"""Counters of workers as files in one folder, one per process; not durable, they only outlive a worker."""

import os
from pathlib import Path

from headrace.playback.counters import CountersRecord
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError


class TallyFolder:
    """The folder of counters."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = folder / f"{os.getpid()}.json"

    def clear(self) -> None:
        """Forget the last run; called before any worker starts."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob("*.json*"):
            path.unlink(missing_ok=True)

    def leave(self, record: CountersRecord) -> None:
        """Write this process's counters; a failure costs figures only."""
        temporary = self._own.with_suffix(".json.new")
        try:
            temporary.write_bytes(encode(record))
            os.replace(temporary, self._own)
        except OSError:
            temporary.unlink(missing_ok=True)

    def others(self) -> list[CountersRecord]:
        """Counters of all other processes of this run."""
        found = []
        for path in self._folder.glob("*.json"):
            if path == self._own:
                continue
            try:
                found.append(decode(CountersRecord, path.read_bytes()))
            except (OSError, MalformedError):
                continue
        return found
