"""Misses that steering nodes tell: what may be told, and what all nodes together come to. Pure."""

import re
from collections import Counter
from collections.abc import Mapping

from headrace.base.errors import UsageError
from headrace.base.ids import site_id, title_id
from headrace.control.told import HOUR_S, check_bytes, check_hours, check_made
from headrace.steering.misses import MissClass
from headrace.steering.used import UsedRow
from headrace.wire.misses import HOURS, MOST_ROWS, MissesHour, MissesNode, MissesSummary, MissesView

_NODE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def check_node(name: str) -> str:
    """Check the name of a steering node.

    Raises:
        UsageError: it is none.
    """
    if not _NODE.fullmatch(name):
        raise UsageError(f"node {name[:80]!r}: use up to 63 of a-z, 0-9, dot, dash and underscore")
    return name


def check_misses(summary: MissesSummary, *, now_s: float) -> None:
    """Check a summary as it was told.

    Raises:
        UsageError: the first thing that is wrong.
    """
    check_made(summary.made_s, now_s=now_s)
    check_hours([one.hour for one in summary.hours], made_s=summary.made_s, most=HOURS)
    for one in summary.hours:
        for name, size in one.bytes_by_class.items():
            check_bytes(f"hours: {one.hour}: {name}", size)
    if len(summary.rows) > MOST_ROWS:
        raise UsageError(f"rows: {len(summary.rows)} are over the limit of {MOST_ROWS}")
    if len({_key(row) for row in summary.rows}) != len(summary.rows):
        raise UsageError("rows: a site, title and reason stand there twice")
    for row in summary.rows:
        if row.site_id:
            site_id(row.site_id)
        title_id(row.title_id)
        if row.reason is MissClass.NONE:
            raise UsageError(f"rows: {row.title_id}: {row.reason} is no miss")
        check_bytes(f"rows: {row.title_id}", row.bytes)
    check_bytes("unjoined_bytes", summary.unjoined_bytes)


def add_up(told: Mapping[str, MissesSummary], *, now_s: float) -> MissesView:
    """All nodes' misses in the last 48 hours. Each byte is in the log of one node: of the one that gave the session."""
    oldest = int(now_s // HOUR_S) - HOURS
    hours: dict[int, Counter[MissClass]] = {}
    rows: Counter[tuple[str, str, MissClass]] = Counter()
    for summary in told.values():
        for one in summary.hours:
            if one.hour > oldest:
                hours.setdefault(one.hour, Counter()).update(one.bytes_by_class)
        for row in summary.rows:
            rows[_key(row)] += row.bytes
    ranked = sorted(rows.items(), key=lambda each: (-each[1], each[0]))[:MOST_ROWS]
    return MissesView(
        nodes=tuple(MissesNode(node=name, made_s=told[name].made_s) for name in sorted(told)),
        hours=tuple(MissesHour(hour=hour, bytes_by_class=dict(sizes)) for hour, sizes in sorted(hours.items())),
        rows=tuple(UsedRow(site_id=key[0], title_id=key[1], reason=key[2], bytes=size) for key, size in ranked),
    )


def _key(row: UsedRow) -> tuple[str, str, MissClass]:
    return row.site_id, row.title_id, row.reason
