"""The file of validated payloads on the disk: read again when it changes; the last good one is kept in memory."""

import os
from pathlib import Path

from headrace.routes.model import RouteError
from headrace.routes.rpki import RpkiRules, VrpStanding, VrpState, judge_age, parse_vrps

MOST_FILE_BYTES = 1 << 30
"""About ten times what all of RPKI is today."""


class VrpFile:
    """What is known of one file."""

    def __init__(self, file: Path | None, rules: RpkiRules) -> None:
        self._file = file
        self._rules = rules
        self._seen: tuple[int, int, int] | None = None
        self._standing = VrpStanding(state=VrpState.OFF if file is None else VrpState.MISSING)

    def look(self, *, now_s: float) -> VrpStanding:
        """The standing at `now_s`; blocks for seconds when there is a new file."""
        if self._file is not None:
            self._read_if_new(self._file)
        self._standing = judge_age(self._standing, self._rules, now_s=now_s)
        return self._standing

    def _read_if_new(self, file: Path) -> None:
        try:
            found = file.stat()
            mark = (found.st_mtime_ns, found.st_size, found.st_ino)
            if mark == self._seen:
                return
            if found.st_size > MOST_FILE_BYTES:
                raise RouteError(f"{found.st_size} bytes are over the limit of {MOST_FILE_BYTES}")
            with file.open("rb") as opened:
                table = parse_vrps(opened.read(MOST_FILE_BYTES))
                # Of the file that was read: another may have taken its name in the meantime.
                read = os.fstat(opened.fileno())
            self._seen = (read.st_mtime_ns, read.st_size, read.st_ino)
        except (OSError, RouteError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._seen = None if isinstance(error, OSError) else mark
            last = self._standing
            self._standing = VrpStanding(
                state=VrpState.BROKEN, table=last.table, data_s=last.data_s, error=f"{file}: {reason}"
            )
            return
        data_s = read.st_mtime if table.built_s is None else table.built_s
        self._standing = VrpStanding(state=VrpState.GOOD, table=table, data_s=data_s)
