"""Titles in a snapshot: packed records, read when they are asked for, and columns by which they are found."""

import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np

from headrace.catalog.model import Title
from headrace.steering.library import TitleIndex, index_titles
from headrace.wire.codec import decode, encode
from headrace.wire.columns import pack_columns, unpack_columns
from headrace.wire.errors import MalformedError

Body = bytes | memoryview

MAX_BODY_BYTES = 512 * 1024 * 1024
"""Of one section of JSON, unpacked."""


def pack_json(value: object) -> bytes:
    """JSON, packed."""
    return zlib.compress(encode(value), 1)


def inflated(packed: Body) -> bytes:
    """Unpack what `pack_json` packed, bounded."""
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, MAX_BODY_BYTES)
    except zlib.error as error:
        raise MalformedError(f"steering snapshot cannot be unpacked: {error}") from None
    if not inflater.eof:
        raise MalformedError(f"steering snapshot has a section that is cut short or over {MAX_BODY_BYTES} bytes")
    return raw


class LazyTitles(Sequence[Title]):
    """Titles that are read when they are asked for."""

    def __init__(self, offsets: "array[int]", records: Body, digest: str) -> None:
        if not offsets or len(records) != offsets[-1] or np.any(np.diff(np.array(offsets, dtype=np.int64)) < 0):
            raise MalformedError("steering snapshot: titles and their index do not fit")
        self._offsets = offsets
        self._records = records
        self._digest = digest

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, at: int) -> Title: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Title]: ...
    def __getitem__(self, at: int | slice) -> Title | Sequence[Title]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        number = range(len(self))[at]
        record = self._records[self._offsets[number] : self._offsets[number + 1]]
        return decode(Title, inflated(record))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LazyTitles):
            return self._digest == other._digest
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_equal, self, other))

    def __hash__(self) -> int:
        return hash(self._digest)


def _equal(one: object, other: object) -> bool:
    return one == other


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedTitles:
    """Records of titles one after the other."""

    titles: Sequence[Title] = ()
    offsets: "array[int]" = field(default_factory=lambda: array("Q", [0]))
    """Where each record begins; one more than there are titles."""
    records: bytes = b""


def pack_titles(titles: Sequence[Title], last: PackedTitles) -> PackedTitles:
    """Pack titles; one that is the same object as in the last ones is not packed again."""
    numbers = {id(one): number for number, one in enumerate(last.titles)}
    records: list[bytes | memoryview] = []
    offsets, old = array("Q", [0]), memoryview(last.records)
    for title in titles:
        number = numbers.get(id(title))
        record = pack_json(title) if number is None else old[last.offsets[number] : last.offsets[number + 1]]
        records.append(record)
        offsets.append(offsets[-1] + len(record))
    return PackedTitles(titles=titles, offsets=offsets, records=b"".join(records))


def pack_index(titles: Sequence[Title], offsets: "array[int]") -> bytes:
    """Where titles are, by id and by file."""
    index = index_titles(titles)
    columns = {
        "offsets": offsets,
        "ids": index.ids,
        "id_numbers": index.id_numbers,
        "files": index.files,
        "file_numbers": index.file_numbers,
    }
    return pack_columns({name: column.tobytes() for name, column in columns.items()})


def read_index(body: Body) -> "tuple[TitleIndex, array[int]]":
    """What `pack_index` wrote, and the offsets of the records."""
    columns = unpack_columns(body)
    read = {}
    for name, typecode in (("offsets", "Q"), ("ids", "Q"), ("id_numbers", "I"), ("files", "Q"), ("file_numbers", "I")):
        read[name] = array(typecode)
        read[name].frombytes(columns[name])
    offsets = read.pop("offsets")
    titles = len(offsets) - 1
    lengths = [len(read[name]) for name in ("ids", "id_numbers", "files", "file_numbers")]
    if lengths[:2] != [titles, titles] or lengths[2] != lengths[3]:
        raise MalformedError("steering snapshot: the columns of the index of titles differ in length")
    numbers = np.concatenate([np.frombuffer(read[name], dtype=np.uint32) for name in ("id_numbers", "file_numbers")])
    if len(numbers) and not 0 < int(numbers.min()) <= int(numbers.max()) <= titles:
        raise MalformedError("steering snapshot: the index names a title that there is not")
    return TitleIndex(**read), offsets
