"""Which table of a session counts while sessions come and go. Pure.

1. An established session's table counts.
2. A session that drops keeps the table that counted, for a graceful time; then it has none (RFC 4724 does so between
   routers). How long is measured on the control plane's own clock, from when it heard of the drop.
3. A session that comes back learns its table anew, route by route: for a while a smaller table does not replace the one
   that is kept, so that steering never sees an empty one.
4. A session that was closed here, by its limit or by an operator, has none at once.
5. Silence is no news: an appliance that does not report keeps what it had; whether it gets clients is a matter of its
   health.
"""

from dataclasses import dataclass
from enum import StrEnum

from headrace.routes.model import SessionState


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRules:
    """Table [routes.retention]."""

    grace_s: float = 120.0
    """A session that drops keeps its routes for so long: routers restart in less (RFC 4724's usual restart time)."""
    relearn_s: float = 30.0
    """For so long after a session came back, a table smaller than the kept one does not replace it."""


class Standing(StrEnum):
    """Whether a session's routes count, and why."""

    ESTABLISHED = "established"
    RELEARNING = "relearning"
    """Back, and its table is still smaller than the one that is kept and counts."""
    HELD = "held"
    """Dropped; the last table counts until the graceful time ends."""
    WITHDRAWN = "withdrawn"
    """Dropped for longer than the graceful time."""
    WAITING = "waiting"
    """Not established, and no routes are left of before."""
    OVER_LIMIT = "over-limit"
    """Closed by the appliance: more prefixes than the peer may announce."""
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRef:
    """A table whose chunks are all there."""

    digest: str = ""
    """'' for an empty one."""
    routes: int = 0
    times: str = ""
    """Name of its routes' times (`routes.times`), if they are all there; of equal tables each has its own."""


NO_TABLE = TableRef()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a session's appliance said last, and what counted before that."""

    state: SessionState
    changed_s: float
    """When the control plane first heard of this being established, or of not being so."""
    table: TableRef
    """The newest table that is whole."""
    kept: TableRef = NO_TABLE
    """What counted when the newest message came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """What of a session counts now."""

    table: TableRef
    standing: Standing
    until_s: float | None = None
    """When that ends by itself; None: with the next message."""


def choose_table(told: Told, rules: RetentionRules, *, now_s: float) -> Counting:
    """The table that counts at `now_s`."""
    if told.state is SessionState.OVER_LIMIT:
        return Counting(table=NO_TABLE, standing=Standing.OVER_LIMIT)
    if told.state is SessionState.DISABLED:
        return Counting(table=NO_TABLE, standing=Standing.DISABLED)
    if told.state is SessionState.ESTABLISHED:
        until_s = told.changed_s + rules.relearn_s
        if told.table.routes < told.kept.routes and now_s < until_s:
            return Counting(table=told.kept, standing=Standing.RELEARNING, until_s=until_s)
        return Counting(table=told.table, standing=Standing.ESTABLISHED)
    if not told.kept.digest:
        return Counting(table=NO_TABLE, standing=Standing.WAITING)
    until_s = told.changed_s + rules.grace_s
    if now_s < until_s:
        return Counting(table=told.kept, standing=Standing.HELD, until_s=until_s)
    return Counting(table=NO_TABLE, standing=Standing.WITHDRAWN)


def hear(
    before: Told | None, state: SessionState, table: TableRef | None, rules: RetentionRules, *, now_s: float
) -> Told:
    """What is known after a message.

    Args:
        table: the one that was told; None while some of it is missing: then the last whole one stays.
    """
    if before is None:
        return Told(state=state, changed_s=now_s, table=table or NO_TABLE)
    was_up, is_up = (one is SessionState.ESTABLISHED for one in (before.state, state))
    newest = before.table if table is None else table
    counted = choose_table(before, rules, now_s=now_s).table
    # While it stays established, tables may shrink as they like; only after a drop the kept one is worth more.
    is_relearning = is_up and (not was_up or now_s < before.changed_s + rules.relearn_s)
    is_closed = state in (SessionState.OVER_LIMIT, SessionState.DISABLED)
    kept = NO_TABLE
    if is_relearning:
        kept = counted if counted.routes > newest.routes else NO_TABLE
    elif was_up and not is_up and not is_closed:
        kept = counted
    elif not is_up and not is_closed:
        kept = before.kept
    return Told(state=state, changed_s=before.changed_s if was_up is is_up else now_s, table=newest, kept=kept)
