"""The file of the forecast on the disk: read again when it changes; the last good one is kept in memory."""

import logging
import os
from pathlib import Path

from headrace.base.logs import event
from headrace.demand.forecast_titles import TitleForecast
from headrace.wire.errors import MalformedError
from headrace.wire.forecast import MOST_FORECAST_BYTES, read_forecast

_log = logging.getLogger(__name__)


class ForecastFile:
    """What is known of one file. A missing one is none: demand is not known, or not any more."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._forecast: TitleForecast | None = None

    def look(self) -> TitleForecast | None:
        """The newest forecast that could be read. Blocks while there is a new one to read."""
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except FileNotFoundError:
            self._seen = self._forecast = None
            return None
        except OSError as error:
            event(_log, "forecast_unreadable", level=logging.WARNING, file=self._file, error=error.strerror)
            return self._forecast
        mark = (found.st_mtime_ns, found.st_size, found.st_ino)
        if mark != self._seen:
            self._read(self._file, mark)
        return self._forecast

    def _read(self, file: Path, mark: tuple[int, int, int]) -> None:
        self._seen = mark
        try:
            if mark[1] > MOST_FORECAST_BYTES:
                raise MalformedError(f"forecast of {mark[1]} bytes is over the limit of {MOST_FORECAST_BYTES}")
            with file.open("rb") as opened:
                body = opened.read(MOST_FORECAST_BYTES + 1)
                read = os.fstat(opened.fileno())
            self._forecast = read_forecast(body)
            # Of the file that was read: another may have taken its name in the meantime.
            self._seen = (read.st_mtime_ns, read.st_size, read.st_ino)
        except (OSError, MalformedError, UnicodeDecodeError) as error:
            event(_log, "forecast_refused", level=logging.WARNING, file=file, error=str(error))
            return
        event(_log, "forecast_read", file=file, titles=len(self._forecast.titles), made_s=self._forecast.made_s)
