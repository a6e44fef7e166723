"""Batches: what an appliance ships of its access log, so that others learn what was asked for. Names and columns.

A batch is one Parquet file that holds the requests of one piece of one log file, and its name says which piece. So a
piece that is shipped again has the same name, and pieces that overlap can be told by their names alone. A log file is
known by its first line (its instant and a digest), which stays the same however often the file is renamed.

Only what demand needs is shipped: no user agents, no query strings, no full addresses, and of a session id a digest.
"""

import re
from dataclasses import dataclass

from headrace.base.errors import InvalidIdError
from headrace.base.ids import ApplianceId, appliance_id

VERSION = 1
"""Of the columns. A reader refuses versions that it does not know; a new column needs a new version."""

COLUMNS = (
    ("appliance", "string"),
    ("time_ms", "int64"),
    ("duration_ms", "int64"),
    ("file", "string"),
    ("status", "int64"),
    ("is_proxied", "boolean"),
    ("first_byte", "int64"),
    ("last_byte", "int64"),
    ("body_bytes", "int64"),
    ("client", "string"),
    ("session", "int64"),
    ("bitrate_kbps", "int64"),
    ("throughput_kbps", "int64"),
    ("buffer_ms", "int64"),
    ("start_delay_ms", "int64"),
    ("is_starved", "boolean"),
    ("is_startup", "boolean"),
)
"""Name and type of each column, one row a GET of a published file.

`time_ms` is when the request ended, UTC epoch milliseconds. `file` is what stands for the SHA-256 in the path.
`first_byte` and `last_byte` are the single range asked for: no last byte is an open range, no Range is the
open range from 0; no first byte means several ranges or a suffix. `client` is the client's shortened prefix.
`session` is a digest of the CMCD session id; null for none. The last six are CMCD's br, mtp, bl, msd, bs and su.
"""

META_VERSION, META_LINES, META_FLAWED, META_OWN = (
    b"headrace.batch",
    b"headrace.lines",
    b"headrace.flawed",
    b"headrace.own",
)
"""Keys of the Parquet file's metadata: version, lines of the piece, lines that are no records, requests of our own
machines (probes, fills). The rest of the lines asked for no published file."""

_MOST_PIECE_BYTES = 10**15
_NAME = re.compile(
    r"v(?P<version>\d{1,4})/(?P<day>\d{4}-\d\d-\d\d)/(?P<appliance>[a-z0-9-]{1,63})/"
    r"(?P<log>\d{13}-[0-9a-f]{16})-(?P<first>\d{15})-(?P<end>\d{15})\.parquet"
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class BatchName:
    """Which piece of which log a batch holds."""

    day: str
    """UTC day of the log's first line, as 2027-01-15."""
    appliance: ApplianceId
    log: str
    """Instant of the log's first line in milliseconds, and sixteen digits of its SHA-256."""
    first: int
    """Byte of the log with which the piece begins."""
    end: int
    """The first byte after it."""

    @property
    def path(self) -> str:
        """Its path in a store of batches."""
        return f"{self.folder(self.day, self.appliance)}/{self.log}-{self.first:015d}-{self.end:015d}.parquet"

    @staticmethod
    def folder(day: str, appliance: ApplianceId) -> str:
        """Where the batches of an appliance lie whose logs began on a day."""
        return f"v{VERSION}/{day}/{appliance}"


def parse_name(path: str) -> BatchName | None:
    """The name that stands in a path; None for what is no batch of this version."""
    match = _NAME.fullmatch(path)
    if match is None or int(match["version"]) != VERSION:
        return None
    try:
        appliance = appliance_id(match["appliance"])
    except InvalidIdError:
        return None
    first, end = int(match["first"]), int(match["end"])
    if not first < end <= _MOST_PIECE_BYTES:
        return None
    return BatchName(day=match["day"], appliance=appliance, log=match["log"], first=first, end=end)
