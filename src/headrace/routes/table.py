"""What one session has announced and not withdrawn: its adj-RIB-in, in chunks whose digests follow each change.

Attributes are kept packed, equal ones once, and routes that came with the same ones in the same second share one value:
so a full table fits in memory, and a change costs its chunk packed again, no more.

A session that begins again announces everything again. Until it has, its old routes stay (RFC 4724, 4.2: stale routes
are kept until End-of-RIB); `begin_again` and `end_again` bound that time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from headrace.routes.chunks import (
    CHUNKS,
    chunk_digest,
    chunk_number,
    cut_table,
    pack_attributes,
    pack_rows,
    prefix_bytes,
    table_digest,
    take_apart,
    unpack_attributes,
    unpack_chunk,
)
from headrace.routes.model import AddressFamily, Attributes, Heard, Prefix, RouteError
from headrace.routes.times import cut_times, is_times, pack_times, read_times, time_column

_LEAST_TO_FORGET = 10_000
_Row = tuple[bytes, int]
"""Packed attributes, and the second since which."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedParts:
    """Packed parts and their names."""

    digest: str = ""
    """`table_digest`; '' for none."""
    digests: dict[int, str] = field(default_factory=dict)
    """By number."""
    chunks: dict[str, bytes] = field(default_factory=dict)
    """By digest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedTable(PackedParts):
    """A table as it was at one moment: its chunks, and when its routes were learned."""

    times: PackedParts = field(default_factory=PackedParts)

    @property
    def names(self) -> tuple[str, str]:
        """Of the routes and of their times; other ones: the table is another."""
        return self.digest, self.times.digest


class Table:
    """The routes of one session. Not shared between threads."""

    def __init__(self, family: AddressFamily) -> None:
        self.family = family
        self._parts: list[dict[Prefix, _Row]] = [{} for _ in range(CHUNKS)]
        self._count = 0
        self._changed: set[int] = set()
        self._shown = _Packed()
        self._known: dict[bytes, bytes] = {}
        self._last: tuple[Attributes, bytes] | None = None
        self._forget_at = _LEAST_TO_FORGET
        self._second = 0
        self._of_second: dict[bytes, _Row] = {}
        self._seen: set[Prefix] | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def announced(self) -> int:
        """Routes that count against a limit: those of before that were not announced again do not."""
        return self._count if self._seen is None else len(self._seen)

    @property
    def changed_chunks(self) -> int:
        """How many must be packed before the table can be named."""
        return len(self._changed)

    def routes(self) -> Iterator[tuple[Prefix, Heard]]:
        """All routes, in no order that lasts."""
        for part in self._parts:
            for prefix, (said, second) in part.items():
                yield prefix, Heard(attributes=unpack_attributes(said), learned_s=float(second))

    def announce(self, prefixes: Iterable[Prefix], attributes: Attributes, *, now_s: float) -> int:
        """The peer announces `prefixes`; a route that had the same attributes keeps its time.

        Returns:
            How many routes are new or have changed.

        Raises:
            RouteError: attributes that no peer can send.
        """
        return self._take(prefixes, self._row(self._said(attributes), int(now_s)))

    def _take(self, prefixes: Iterable[Prefix], row: _Row) -> int:
        said, parts, changed, seen = row[0], self._parts, 0, self._seen
        for prefix in prefixes:
            number = chunk_number(prefix)
            before = parts[number].get(prefix)
            if seen is not None:
                seen.add(prefix)
            if before is None:
                self._count += 1
            elif before[0] == said:
                continue
            parts[number][prefix] = row
            self._changed.add(number)
            changed += 1
        return changed

    def withdraw(self, prefixes: Iterable[Prefix]) -> int:
        """The peer withdraws `prefixes`; those not announced are passed over.

        Returns:
            How many routes are gone.
        """
        gone = 0
        for prefix in prefixes:
            number = chunk_number(prefix)
            if self._seen is not None:
                self._seen.discard(prefix)
            if self._parts[number].pop(prefix, None) is not None:
                self._changed.add(number)
                gone += 1
        self._count -= gone
        return gone

    def clear(self) -> None:
        """Forget all routes."""
        self._changed.update(number for number, part in enumerate(self._parts) if part)
        self._parts = [{} for _ in range(CHUNKS)]
        self._count, self._seen = 0, None
        self._known.clear()
        self._of_second.clear()
        self._last = None

    def begin_again(self) -> None:
        """The session begins anew: what it does not announce until `end_again` is gone then."""
        self._seen = set() if self._count else None

    def end_again(self) -> int:
        """The session has announced all it has; gives how many old routes that ends."""
        seen, self._seen = self._seen, None
        if seen is None:
            return 0
        return self.withdraw([prefix for part in self._parts for prefix in part if prefix not in seen])

    def pack(self) -> Iterator[int]:
        """Pack what has changed, one part at each step, so that others can work between the steps.

        Gives numbers of what was packed; what changes behind the walk is packed by the next one. `packed` is of the
        last walk that came to its end.

        Raises:
            RouteError: a chunk is too large.
        """
        counts = list(map(len, self._parts))
        before, changed = self._shown, self._changed
        now = _Packed(cut=cut_table(counts), cut_of_times=cut_times(counts))
        self._changed = set()
        try:
            for number, step in sorted(now.cut.items()):
                if before.cut.get(number) == step and changed.isdisjoint(range(number, CHUNKS, step)):
                    now.take_chunk(before, number)
                else:
                    self._pack_chunk(now, number, step)
                    yield number
            old = now.columns.keys() ^ before.columns.keys()
            old |= {number for number in now.columns if now.columns[number] is not before.columns.get(number)}
            for number, step in sorted(now.cut_of_times.items()):
                span = range(number, CHUNKS, step)
                if before.cut_of_times.get(number) == step and old.isdisjoint(span):
                    now.take_times(before, number)
                elif columns := [now.columns[each] for each in span if each in now.columns]:
                    now.times[number] = pack_times(step, number, columns)
                    yield number
            self._shown, changed = now, set()
        finally:
            self._changed |= changed
        self._forget_attributes()

    def _pack_chunk(self, now: "_Packed", number: int, step: int) -> None:
        rows = {prefix: row for part in self._parts[number::step] for prefix, row in part.items()}
        if rows:
            now.chunks[number] = packed = pack_rows(self.family, {prefix: row[0] for prefix, row in rows.items()})
            now.digests[number] = chunk_digest(packed)
            now.columns[number] = time_column(rows[prefix][1] for prefix in sorted(rows))

    def packed(self) -> PackedTable:
        """The table as far as it was packed; it stays as it is whatever comes later."""
        now = self._shown
        times = {number: chunk_digest(packed) for number, packed in now.times.items()}
        return PackedTable(
            digest=table_digest(now.digests),
            digests=now.digests,
            chunks={now.digests[number]: packed for number, packed in now.chunks.items()},
            times=PackedParts(
                digest=table_digest(times),
                digests=times,
                chunks={times[number]: packed for number, packed in now.times.items()},
            ),
        )

    def load(self, chunks: Iterable[bytes]) -> None:
        """Take routes that were packed before, with the parts of their times; for a table that is empty.

        Raises:
            RouteError: not chunks of this family, or without times.
        """
        times, routes = list[bytes](), list[bytes]()
        for packed in chunks:
            (times if is_times(packed) else routes).append(packed)
        known: dict[bytes, Attributes] = {}
        numbers, rows = _number_chunks(routes)
        learned = read_times(rows, times)
        for packed in routes:
            chunk = unpack_chunk(packed, known)
            if chunk.family is not self.family:
                raise RouteError(f"a chunk of {chunk.family} in a table of {self.family}")
            said = [self._known.setdefault(each, each) for each in chunk.packed_attributes]
            width = prefix_bytes(self.family)
            seconds = chunk.learned_s or learned[numbers[chunk_digest(packed)]]
            for row, (place, second) in enumerate(zip(chunk.places, seconds, strict=True)):
                self._take((chunk.prefixes[row * width : (row + 1) * width],), self._row(said[place], second))

    def _said(self, attributes: Attributes) -> bytes:
        if self._last is None or self._last[0] != attributes:
            packed = pack_attributes(attributes)
            self._last = (attributes, self._known.setdefault(packed, packed))
        return self._last[1]

    def _row(self, said: bytes, second: int) -> _Row:
        if second != self._second:
            self._second = second
            self._of_second.clear()
        row = self._of_second.get(said)
        if row is None:
            row = self._of_second[said] = (said, second)
        return row

    def _forget_attributes(self) -> None:
        """Let go of attributes that no route has any more, now and then."""
        if len(self._known) < self._forget_at:
            return
        self._known = {said: said for part in self._parts for said, _ in part.values()}
        self._of_second.clear()
        self._last = None
        self._forget_at = max(_LEAST_TO_FORGET, 2 * len(self._known))


@dataclass(slots=True, kw_only=True, eq=False)
class _Packed:
    """What one walk has packed, by number; not changed afterwards."""

    cut: dict[int, int] = field(default_factory=dict)
    chunks: dict[int, bytes] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    columns: dict[int, bytes] = field(default_factory=dict)
    """Of times, of each chunk."""
    cut_of_times: dict[int, int] = field(default_factory=dict)
    times: dict[int, bytes] = field(default_factory=dict)

    def take_chunk(self, before: "_Packed", number: int) -> None:
        if number in before.chunks:
            self.chunks[number] = before.chunks[number]
            self.digests[number] = before.digests[number]
            self.columns[number] = before.columns[number]

    def take_times(self, before: "_Packed", number: int) -> None:
        if number in before.times:
            self.times[number] = before.times[number]


def _number_chunks(chunks: Iterable[bytes]) -> tuple[dict[str, int], dict[int, int]]:
    """The number of each chunk of a whole table, by its digest, and how many routes it has; of those that do not say
    themselves when their routes were learned."""
    counts = [0] * CHUNKS
    firsts: list[tuple[str, int, int]] = []
    for packed in chunks:
        part = take_apart(packed)
        width = prefix_bytes(part.family)
        numbers = [chunk_number(part.prefixes[at : at + width]) for at in range(0, len(part.prefixes), width)]
        for number in numbers:
            counts[number] += 1
        if not part.learned_s:
            firsts.append((chunk_digest(packed), numbers[0], part.rows))
    whose = {each: number for number, step in cut_table(counts).items() for each in range(number, CHUNKS, step)}
    return {digest: whose[first] for digest, first, _ in firsts}, {whose[first]: rows for _, first, rows in firsts}
