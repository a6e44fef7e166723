"""From the tables of an appliance's sessions to the routes that steering ranks by. Pure.

A table is judged once, however many appliances hear it; when it changes, only the chunks that changed are read and
judged again. The best of several routes for one prefix is the one with the shortest AS path, then the lowest MED
(missing: 0), whoever announced it: steering compares appliances by just these.
"""

import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.base.ids import ApplianceId
from headrace.routes.columns import (
    Columns,
    Listener,
    empty_columns,
    join_columns,
    order_of,
    read_many,
    split_prefixes,
)
from headrace.routes.hygiene import HygieneRules, Reasons, judge_hygiene
from headrace.routes.model import AddressFamily, Hearing, Prefix, RouteColumns
from headrace.routes.rpki import VrpTable


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPlace:
    """A chunk of a table."""

    number: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judge:
    """What routes are judged by."""

    rules: HygieneRules
    vrps: VrpTable | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JudgedTable:
    """A table with the verdict on each of its routes; rows lie chunk by chunk."""

    family: AddressFamily
    listener: Listener
    judge: Judge
    places: tuple[ChunkPlace, ...]
    ends: NDArray[np.int64]
    """Row behind the last one of each chunk."""
    columns: Columns
    reasons: Reasons

    def __len__(self) -> int:
        return len(self.columns)


def empty_table(family: AddressFamily, listener: Listener, judge: Judge) -> JudgedTable:
    """A table without routes."""
    return JudgedTable(
        family=family,
        listener=listener,
        judge=judge,
        places=(),
        ends=np.empty(0, dtype=np.int64),
        columns=empty_columns(family),
        reasons=np.empty(0, dtype=np.uint8),
    )


def chunks_to_read(places: Iterable[ChunkPlace], before: JudgedTable) -> list[str]:
    """Digests of the chunks that `judge_table` needs."""
    known = {place.digest for place in before.places}
    return sorted({place.digest for place in places} - known)


def judge_table(places: Sequence[ChunkPlace], before: JudgedTable, chunks: Mapping[str, bytes]) -> JudgedTable:
    """The table of these chunks.

    Args:
        before: a table of the same session, or an empty one; its rows are taken where chunks are the same, and it says
            by what routes are judged.
        chunks: by digest, at least those of `chunks_to_read`.

    Raises:
        RouteError: a chunk cannot be read.
        KeyError: a chunk is missing.
    """
    known = dict(zip((place.digest for place in before.places), pairwise([0, *before.ends.tolist()]), strict=True))
    fresh = list(dict.fromkeys(place.digest for place in places if place.digest not in known))
    new, counts = read_many(before.family, (chunks[digest] for digest in fresh), before.listener)
    edges = (len(before) + np.append(0, np.cumsum(counts))).tolist()
    known.update(zip(fresh, pairwise(edges), strict=True))
    spans = np.array([known[place.digest] for place in places], dtype=np.int64).reshape(-1, 2)
    sizes = spans[:, 1] - spans[:, 0]
    ends = np.cumsum(sizes)
    # The row numbers of all spans, one behind the other.
    order = np.arange(ends[-1] if len(ends) else 0) + np.repeat(spans[:, 0] - (ends - sizes), sizes)
    reasons = judge_hygiene(new, before.judge.rules, before.judge.vrps)
    return JudgedTable(
        family=before.family,
        listener=before.listener,
        judge=before.judge,
        places=tuple(places),
        ends=ends,
        columns=join_columns(before.family, (before.columns, new)).take(order),
        reasons=np.concatenate((before.reasons, reasons))[order],
    )


def judge_again(table: JudgedTable, judge: Judge) -> JudgedTable:
    """The same routes judged by something else."""
    return JudgedTable(
        family=table.family,
        listener=table.listener,
        judge=judge,
        places=table.places,
        ends=table.ends,
        columns=table.columns,
        reasons=judge_hygiene(table.columns, judge.rules, judge.vrps),
    )


# ---- what differs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableChanges:
    """What a session announced and withdrew between two tables, each in ascending order of prefix."""

    announced: Columns
    withdrawn: Columns
    changed: Columns
    """As they are now; something of what was said of them is another."""
    announced_rows: NDArray[np.intp]
    changed_rows: NDArray[np.intp]
    """Where they are in the table as it is now."""

    @property
    def count(self) -> int:
        return len(self.announced) + len(self.withdrawn) + len(self.changed)


def compare_tables(before: JudgedTable, after: JudgedTable) -> TableChanges:
    """What differs; looks only at chunks that are not in both."""
    both = {place.digest for place in before.places} & {place.digest for place in after.places}
    rows = _rows_without(after, both)
    old, new = before.columns.take(_rows_without(before, both)), after.columns.take(rows)
    joined = join_columns(before.family, (old, new))
    order = order_of(before.family, joined.high, joined.low, joined.lengths)
    first, second = order[:-1], order[1:]
    # The order is stable: of two equal prefixes the old one comes first. None occurs twice on one side.
    is_pair = (
        (joined.high[first] == joined.high[second])
        & (joined.lengths[first] == joined.lengths[second])
        & (first < len(old))
        & (second >= len(old))
    )
    if before.family is AddressFamily.IPV6:
        is_pair &= joined.low[first] == joined.low[second]
    was, now = first[is_pair], second[is_pair]
    is_other = joined.marks[was] != joined.marks[now]
    alone = np.ones(len(joined), dtype=np.bool_)
    alone[was] = alone[now] = False
    single = order[alone[order]]
    announced, changed = single[single >= len(old)], now[is_other]
    return TableChanges(
        announced=joined.take(announced),
        withdrawn=joined.take(single[single < len(old)]),
        changed=joined.take(changed),
        announced_rows=rows[announced - len(old)],
        changed_rows=rows[changed - len(old)],
    )


def _rows_without(table: JudgedTable, left_out: "set[str]") -> NDArray[np.intp]:
    is_wanted = np.array([place.digest not in left_out for place in table.places], dtype=np.bool_)
    return np.flatnonzero(np.repeat(is_wanted, np.diff(table.ends, prepend=0)))


# ---- what counts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CountedTable:
    """A session's table, and the prefixes of it that are damped now."""

    table: JudgedTable
    damped: frozenset[Prefix] = frozenset()

    def mask(self) -> "NDArray[np.bool_]":
        """Which rows count."""
        counts: NDArray[np.bool_] = self.table.reasons == 0
        return counts & ~self.damped_mask() if self.damped else counts

    def damped_mask(self) -> "NDArray[np.bool_]":
        """Which rows are damped, whether or not they would count."""
        columns = self.table.columns
        found = np.zeros(len(columns), dtype=np.bool_)
        width = 5 if columns.family is AddressFamily.IPV4 else 17
        packed = b"".join(prefix for prefix in self.damped if len(prefix) == width)
        for row in np.flatnonzero(np.isin(columns.high, split_prefixes(columns.family, packed)[0])):
            found[row] = columns.prefix(int(row)) in self.damped
        return found


def best_columns(family: AddressFamily, tables: Sequence[CountedTable]) -> Columns:
    """The best counting route of each prefix, in ascending order of prefix."""
    parts = [one.table.columns.take(one.mask()) for one in tables if one.table.family is family]
    joined = join_columns(family, parts)
    if len(parts) <= 1:
        return joined.take(order_of(family, joined.high, joined.low, joined.lengths))
    order = (
        np.lexsort((joined.meds, joined.path_lengths, joined.lengths, joined.low, joined.high))
        if (family is AddressFamily.IPV6)
        else np.lexsort((joined.meds, joined.path_lengths, (joined.high << np.uint64(8)) | joined.lengths))
    )
    is_first = np.ones(len(order), dtype=np.bool_)
    before, after = order[:-1], order[1:]
    is_first[1:] = (joined.high[before] != joined.high[after]) | (joined.lengths[before] != joined.lengths[after])
    if family is AddressFamily.IPV6:
        is_first[1:] |= joined.low[before] != joined.low[after]
    return joined.take(order[is_first])


def choose_routes(tables: Sequence[CountedTable]) -> RouteColumns:
    """What an appliance with these sessions hears, as steering wants it."""
    v4, v6 = (best_columns(family, tables) for family in (AddressFamily.IPV4, AddressFamily.IPV6))
    return make_route_columns(v4, v6)


def make_route_columns(v4: Columns, v6: Columns) -> RouteColumns:
    """Columns in ascending order of prefix, one row a prefix, as RouteColumns with their digest."""
    seen = hashlib.blake2b(digest_size=16)
    made: list[Any] = []
    for columns in (v4, v6):
        prefixes = columns.prefixes()
        paths, meds = array("H"), array("I")
        paths.frombytes(columns.path_lengths.tobytes())
        meds.frombytes(columns.meds.tobytes())
        for part in (prefixes, columns.path_lengths.astype("<u2").tobytes(), columns.meds.astype("<u4").tobytes()):
            seen.update(len(part).to_bytes(8, "little"))
            seen.update(part)
        made += [prefixes, paths, meds]
    return RouteColumns(
        prefixes_v4=made[0],
        path_lengths_v4=made[1],
        meds_v4=made[2],
        prefixes_v6=made[3],
        path_lengths_v6=made[4],
        meds_v6=made[5],
        digest=seen.hexdigest(),
    )


def group_hearings(heard: Mapping[ApplianceId, RouteColumns]) -> tuple[Hearing, ...]:
    """Appliances with equal routes as one hearing, in order of their first appliance; those without routes are left
    out."""
    groups: dict[str, list[ApplianceId]] = {}
    for name in sorted(heard):
        groups.setdefault(heard[name].digest, []).append(name)
    hearings = (Hearing(appliances=tuple(names), routes=heard[names[0]]) for names in groups.values())
    return tuple(one for one in hearings if one.routes.prefixes_v4 or one.routes.prefixes_v6)
