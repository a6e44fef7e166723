"""The titles of a snapshot, found by id or by file without reading all of them.

A million titles with their renditions would be gigabytes of objects. So ids and files are sorted columns of 64-bit
hashes beside the numbers of their titles; a title itself is read when it is asked for, and remembered.
"""

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headrace.base.ids import Sha256
from headrace.catalog.model import Title, TrackKind
from headrace.steering.rendezvous import SLOT_KEYS, hash_key, slot_of

MOST_READ = 20_000
"""Titles that are kept as objects; more are forgotten all at once."""
MOST_FOUND = 1_000_000
"""Ids whose number and slot are remembered."""


class TitleRef(NamedTuple):
    """A title without its renditions."""

    number: int
    """0 for one that everybody holds."""
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledTitle:
    """What steering needs of a title besides its renditions."""

    title: Title
    number: int
    """Its place in the snapshot, from 1."""
    slot: int
    """For rendezvous hashing."""
    key: int
    """64 bits of its id."""
    fingerprint: str
    """8 hexadecimal digits over the title's files: tells a running session's playlist from that of a later publish."""
    least_bps: int
    """Peak rate of the lowest video rendition with the costliest audio: below it, playback stalls."""
    usual_bps: int
    """Average rate of the highest video rendition with the costliest audio: what a session on a good line takes."""

    @property
    def slot_key(self) -> int:
        """What appliances are scored with."""
        return SLOT_KEYS[self.slot]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TitleIndex:
    """Sorted columns: hash beside number of title."""

    ids: "array[int]"
    id_numbers: "array[int]"
    files: "array[int]"
    """First 64 bits of SHA-256."""
    file_numbers: "array[int]"


def index_titles(titles: Iterable[Title]) -> TitleIndex:
    """Build the columns; a file of two titles leads to the first of them."""
    ids, id_numbers, files, file_numbers = array("Q"), array("I"), array("Q"), array("I")
    for number, title in enumerate(titles, start=1):
        ids.append(hash_key(title.title_id))
        id_numbers.append(number)
        for file in title.files:
            files.append(int(file.sha256[:16], 16))
            file_numbers.append(number)
    ids, id_numbers = _sorted(ids, id_numbers)
    files, file_numbers = _sorted(files, file_numbers)
    return TitleIndex(ids=ids, id_numbers=id_numbers, files=files, file_numbers=file_numbers)


def _sorted(hashes: "array[int]", numbers: "array[int]") -> "tuple[array[int], array[int]]":
    keys, values = np.frombuffer(hashes, dtype=np.uint64), np.frombuffer(numbers, dtype=np.uint32)
    order = np.argsort(keys, kind="stable")
    return array("Q", keys[order].tobytes()), array("I", values[order].tobytes())


class Titles(Mapping[str, CompiledTitle]):
    """Titles by id."""

    def __init__(self, titles: Sequence[Title], index: TitleIndex | None = None) -> None:
        self.source = titles
        self._index = index or index_titles(titles)
        self.refs: dict[str, TitleRef] = {}
        """What `ref` found, as far as it is remembered."""
        self._read: dict[int, CompiledTitle] = {}

    def ref(self, title_id: str) -> TitleRef | None:
        """A title, without reading it; None for an unknown id, but for one in 10**12 of them: `get` is exact."""
        known = self.refs.get(title_id)
        if known is None:
            key = hash_key(title_id)
            at = bisect_left(self._index.ids, key)
            if at < len(self._index.ids) and self._index.ids[at] == key:
                known = TitleRef(self._index.id_numbers[at], slot_of(key))
                if len(self.refs) >= MOST_FOUND:
                    self.refs.clear()
                self.refs[title_id] = known
        return known

    def holder(self, sha256: str) -> CompiledTitle | None:
        """The title that a file is of."""
        key = int(sha256[:16], 16)
        at = bisect_left(self._index.files, key)
        while at < len(self._index.files) and self._index.files[at] == key:
            found = self._at(self._index.file_numbers[at])
            if any(file.sha256 == sha256 for file in found.title.files):
                return found
            at += 1
        return None

    def __getitem__(self, title_id: str) -> CompiledTitle:
        ref = self.ref(title_id)
        found = self._at(ref.number) if ref else None
        if found is None or found.title.title_id != title_id:
            raise KeyError(title_id)
        return found

    def __iter__(self) -> Iterator[str]:
        return (str(title.title_id) for title in self.source)

    def __len__(self) -> int:
        return len(self.source)

    def _at(self, number: int) -> CompiledTitle:
        known = self._read.get(number)
        if known is None:
            known = _compiled_title(self.source[number - 1], number)
            if len(self._read) >= MOST_READ:
                self._read.clear()
            self._read[number] = known
        return known


def _compiled_title(title: Title, number: int) -> CompiledTitle:
    video = [one for one in title.renditions if one.kind is TrackKind.VIDEO]
    audio = [one for one in title.renditions if one.kind is TrackKind.AUDIO]
    key = hash_key(title.title_id)
    return CompiledTitle(
        title=title,
        number=number,
        slot=slot_of(key),
        key=key,
        fingerprint=_fingerprint(file.sha256 for file in title.files),
        least_bps=min((one.bandwidth_bps for one in video), default=0)
        + max((one.bandwidth_bps for one in audio), default=0),
        usual_bps=max((one.average_bandwidth_bps for one in video), default=0)
        + max((one.average_bandwidth_bps for one in audio), default=0),
    )


def _fingerprint(names: Iterable[Sha256]) -> str:
    return hashlib.blake2b("".join(sorted(names)).encode(), digest_size=4).hexdigest()
