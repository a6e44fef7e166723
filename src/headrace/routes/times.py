"""When the routes of a table were learned, packed apart from the routes: so that tables that are equal are equal bytes,
whenever and by whomever they were heard. What is read may come from a broken or hostile appliance.

The times of a table are cut as it is itself, into fewer parts (`cut_times`): a part has those of all chunks whose
numbers are its own, that and its step, that and two steps ... Layout, little-endian:

    "HRT1", then by zlib: step u16, number u16, rows u32, rows x learned second u32; chunk by chunk, in the order of the
    routes in their chunks.
"""

import struct
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence

from headrace.routes.chunks import CHUNKS, as_little, cut_table, from_little, inflate
from headrace.routes.model import RouteError

_MAGIC = b"HRT1"
_HEAD = struct.Struct("<HHI")
_MOST_ROUTES = 1024
"""Of a part that could be cut again."""


def is_times(packed: bytes) -> bool:
    """Whether this is a part of times, by its first bytes, and no chunk of routes."""
    return packed[:4] == _MAGIC


def cut_times(counts: Sequence[int]) -> dict[int, int]:
    """As `chunks.cut_table`, of times; no chunk has times in two parts."""
    return cut_table(counts, _MOST_ROUTES)


def pack_times(step: int, number: int, columns: Iterable[bytes]) -> bytes:
    """One part.

    Args:
        columns: of each of its chunks, in ascending order of number, as `time_column` makes them.
    """
    seconds = b"".join(columns)
    return _MAGIC + zlib.compress(_HEAD.pack(step, number, len(seconds) // 4) + seconds, 1)


def time_column(seconds: Iterable[int]) -> bytes:
    """Seconds since 1970 of the routes of a chunk, in ascending order of prefix, as bytes."""
    return as_little(array("I", seconds))


def count_times(packed: bytes) -> int:
    """How many routes a part is of; raises RouteError when it cannot be read."""
    return len(_read(packed)[2])


def read_times(rows: Mapping[int, int], packed: Iterable[bytes]) -> "dict[int, array[int]]":
    """Seconds since 1970 of the routes of each chunk, by its number.

    Args:
        rows: how many routes each chunk has, by its number.
        packed: all parts, in any order.

    Raises:
        RouteError: broken, or of other routes than these.
    """
    found: dict[int, array[int]] = {}
    for one in packed:
        step, first, seconds = _read(one)
        at = 0
        for number in range(first, CHUNKS, step):
            if number in rows:
                found[number] = seconds[at : at + rows[number]]
                at += rows[number]
        if at != len(seconds):
            raise RouteError("times of other routes")
    if found.keys() != rows.keys():
        raise RouteError("times of some routes are missing")
    return found


def _read(packed: bytes) -> "tuple[int, int, array[int]]":
    payload = inflate(packed, _MAGIC)
    try:
        step, number, rows = _HEAD.unpack_from(payload)
    except struct.error:
        raise RouteError("times that are cut off") from None
    if not 0 <= number < step <= CHUNKS or not rows or len(payload) != _HEAD.size + 4 * rows:
        raise RouteError("times whose sizes do not fit their bytes")
    return step, number, from_little(payload[_HEAD.size :])
