"""Named byte columns in one block: a JSON head of names and lengths, then the columns one after the other.

For what is read in bulk (`array.frombytes`, `numpy.frombuffer`, a memory map) instead of value by value.
"""

import json
import struct
from collections.abc import Mapping

from headrace.wire.errors import MalformedError

_LENGTH = struct.Struct("<I")
MOST_HEAD_BYTES = 1 << 20


def pack_columns(columns: Mapping[str, bytes | bytearray | memoryview]) -> bytes:
    """The block. Values are little-endian, as on every machine that we run on."""
    head = json.dumps([[name, len(column)] for name, column in columns.items()], separators=(",", ":")).encode()
    return b"".join([_LENGTH.pack(len(head)), head, *columns.values()])


def unpack_columns(block: bytes | memoryview) -> dict[str, memoryview]:
    """Views into the block, without copying.

    Raises:
        MalformedError: not a block, cut short, or longer than its head says.
    """
    view = memoryview(block)
    if len(view) < _LENGTH.size:
        raise MalformedError("columns: no head")
    (length,) = _LENGTH.unpack_from(view)
    if length > min(MOST_HEAD_BYTES, len(view) - _LENGTH.size):
        raise MalformedError("columns: the head is cut short")
    at = _LENGTH.size + length
    try:
        head = [(str(name), int(size)) for name, size in json.loads(bytes(view[_LENGTH.size : at]))]
    except (ValueError, TypeError) as error:
        raise MalformedError(f"columns: the head cannot be read: {error}") from None
    found = {}
    for name, size in head:
        if not 0 <= size <= len(view) - at:
            raise MalformedError(f"columns: {name} is cut short")
        found[name] = view[at : at + size]
        at += size
    if at != len(view):
        raise MalformedError("columns: more bytes than the head says")
    return found
