"""Keeps what appliances hear current: reads what changed in the store, judges it, groups appliances that hear the same.

Each control node does this for itself, from the same store, so that any of them can report and decide. Nothing is
judged here (`routes.hygiene`, `retention`, `damping`, `effective` do): this remembers what was judged before.
"""

import asyncio
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from headrace.base.clock import Clock
from headrace.base.ids import ApplianceId
from headrace.base.logs import event
from headrace.base.rng import Rng
from headrace.base.tasks import Tasks, run_every
from headrace.control.adapters.vrp_file import VrpFile
from headrace.control.errors import StoreAwayError
from headrace.control.ports import RouteStore
from headrace.control.routes import RouteSettings, StoredSession, StoredSpeaker
from headrace.routes.columns import Listener
from headrace.routes.damping import Flap, Flaps
from headrace.routes.effective import (
    ChunkPlace,
    CountedTable,
    Judge,
    JudgedTable,
    choose_routes,
    chunks_to_read,
    compare_tables,
    empty_table,
    group_hearings,
    judge_again,
    judge_table,
)
from headrace.routes.model import Hearing, RouteColumns, RouteError, SessionState
from headrace.routes.retention import Standing, TableRef, choose_table
from headrace.routes.rpki import VrpStanding, VrpState
from headrace.routes.view import HeardAppliance, HeardSession, RoutesView

_log = logging.getLogger(__name__)

VRP_LOOK_S = 5.0
"""Between two looks at the file of validated payloads."""
SETTLE_S = 10.0
"""Between two looks at what has been quiet for long enough, and for appliances that were removed."""
SWEEP_S = 60.0
RETRY_S = 5.0
"""Before a table that could not be read is tried again."""

_AHEAD_ROUTES = 200_000
"""Routes of tables that are read from the store at once."""

SessionKey = tuple[ApplianceId, str]


@dataclass(slots=True)
class RouteCounts:
    """For /metrics of this node."""

    turns: int = 0
    failed_tables: int = 0
    """Tables that could not be read; the ones before stay."""
    changes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("announced", "withdrawn", "changed"), 0))
    """Routes of established sessions."""
    turn_duration_s: float = 0.0
    """Of the last turn that changed something."""


@dataclass(slots=True)
class _Known:
    """What is remembered of one session between turns."""

    drops: int
    changed_s: float
    table: JudgedTable
    digest: str = ""
    times: str = ""
    flaps: Flaps = field(default_factory=Flaps)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ahead:
    """What was read from the store for several appliances at once."""

    lists: Mapping[str, tuple[ChunkPlace, ...]] = field(default_factory=dict)
    chunks: Mapping[str, bytes] = field(default_factory=dict)


class Routing:
    """The routes of the whole fleet, as one node knows them."""

    def __init__(self, store: RouteStore, settings: RouteSettings, clock: Clock, vrp_file: VrpFile) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._vrp_file = vrp_file
        self._in_turn = threading.Lock()
        self._view: RoutesView | None = None
        self._version = -1
        self._speakers: dict[ApplianceId, StoredSpeaker] = {}
        self._heard: dict[ApplianceId, HeardAppliance] = {}
        self._wakes_s: dict[ApplianceId, float] = {}
        self._known: dict[SessionKey, _Known] = {}
        self._tables: dict[tuple[str, Listener], JudgedTable] = {}
        self._columns: dict[tuple[object, ...], tuple[list[CountedTable], RouteColumns]] = {}
        """By the tables they are of, which live as long as their entry: else the id of one could be another's."""
        self._ahead = _Ahead()
        self._again: set[ApplianceId] = set()
        self._judge = Judge(rules=settings.hygiene, vrps=None)
        self._vrps: VrpStanding | None = None
        self._settled_at_s = float("-inf")
        self._swept_at_s = clock.monotonic_s()
        self._tracked = 0
        self._stored_flaps: Mapping[SessionKey, bytes] = {}
        self.counts = RouteCounts()

    def current_hearings(self) -> tuple[Hearing, ...]:
        """Appliances that hear the same routes, with the routes that count; never an empty table because nobody looked
        yet: the first call reads everything.

        Raises:
            StoreError: nothing was read yet and the store cannot be asked.
        """
        return self.view().hearings

    def view(self) -> RoutesView:
        """All that is known, as of the last turn; blocks only before the first."""
        if self._view is None:
            self.turn()
        assert self._view is not None
        return self._view

    @property
    def has_read(self) -> bool:
        """All that is in the store was read once, so that `view` does not block."""
        return self._view is not None

    async def run(self, rng: Rng) -> None:
        """Turn for ever; the top of a loop."""

        async def turn() -> None:
            try:
                await asyncio.to_thread(self.turn)
            except StoreAwayError:  # the store's adapter has logged it
                return

        async def look() -> None:
            # In a thread of its own: half a million payloads take seconds to read, and routes do not wait for them.
            await asyncio.to_thread(self.look_at_payloads)

        async with Tasks() as tasks:
            interval_s = self._settings.turn_interval_s
            tasks.spawn("routing turns", run_every("routing", interval_s, turn, clock=self._clock, rng=rng))
            tasks.spawn("routing payloads", run_every("payloads", VRP_LOOK_S, look, clock=self._clock, rng=rng))
            await tasks.until_first_failure()

    def look_at_payloads(self) -> None:
        """Read the file of validated payloads if there is a new one; the next turn judges by it."""
        before = self._vrps
        standing = self._vrp_file.look(now_s=self._clock.now_s())
        self._vrps = standing
        if before is None or (before.state, before.error) != (standing.state, standing.error):
            level = logging.INFO if standing.state in (VrpState.OFF, VrpState.GOOD) else logging.WARNING
            event(_log, "rpki_data", level=level, state=standing.state, error=standing.error or "-")

    def sweep(self, *, now_s: float) -> None:
        """Store points of damping and drop what nobody refers to, now and then; for the node that decides."""
        monotonic_s = self._clock.monotonic_s()
        if monotonic_s - self._swept_at_s < SWEEP_S:
            return
        self._swept_at_s = monotonic_s
        self._save_flaps()
        swept = self._store.sweep_routes(
            unused_since_s=now_s - self._settings.unused_s, history_since_s=now_s - self._settings.history_s
        )
        if swept.tables or swept.chunks:
            event(_log, "routes_swept", tables=swept.tables, chunks=swept.chunks)

    def _save_flaps(self) -> None:
        # Decisions do not wait for a turn that reads a million routes: next time is soon enough.
        if not self._settings.damping.is_on or not self._in_turn.acquire(timeout=1.0):
            return
        try:
            flaps = {key: known.flaps.pack() for key, known in self._known.items()}
        finally:
            self._in_turn.release()
        self._store.save_flaps({key: packed for key, packed in flaps.items() if packed})

    def turn(self) -> None:
        """Bring the view up to date. Blocks; raises StoreError when the store cannot be asked."""
        with self._in_turn:
            started_s, now_s = self._clock.monotonic_s(), self._clock.now_s()
            if self._view is None and self._settings.damping.is_on:
                self._stored_flaps = self._store.flaps()
            due = self._read_changes() | self._again
            due |= {name for name, wake_s in self._wakes_s.items() if wake_s <= now_s}
            if self._has_new_judge():
                due |= self._speakers.keys()
            due |= self._settle(now_s)
            gone = self._heard.keys() - self._speakers.keys()
            if self._view is not None and not due and not gone:
                return
            # Whatever goes wrong now, those that are due are due again.
            self._again |= due
            for name in gone:
                del self._heard[name]
                self._wakes_s.pop(name, None)
            for some in self._batches(sorted(due & self._speakers.keys()), now_s):
                self._ahead = self._read_ahead(some, now_s)
                for name in some:
                    self._heard[name] = self._hear(self._speakers[name], now_s)
            self._ahead, self._stored_flaps = _Ahead(), {}
            self._again = set()
            self._forget()
            self._publish(now_s)
            self.counts.turns += 1
            self.counts.turn_duration_s = self._clock.monotonic_s() - started_s

    def _read_changes(self) -> set[ApplianceId]:
        version = self._store.routes_version()
        heads = self._store.speaker_versions() if version != self._version or self._view is None else None
        if heads is None:
            # A removed appliance moves no counter of routes; a look now and then finds it.
            if self._clock.monotonic_s() - self._settled_at_s < SETTLE_S:
                return set()
            heads = self._store.speaker_versions()
        known = self._speakers
        changed = [name for name, at in heads.items() if name not in known or known[name].version != at]
        fresh = {one.appliance_id: one for one in self._store.speakers(changed)} if changed else {}
        self._speakers = {name: one for name, one in known.items() if name in heads} | fresh
        self._version = version
        return set(fresh)

    def _has_new_judge(self) -> bool:
        if self._vrps is None:
            self.look_at_payloads()
        standing = self._vrps
        assert standing is not None
        if self._view is not None and self._view.vrps is not standing:
            self._view = replace(self._view, vrps=standing)
        if standing.usable is self._judge.vrps:
            return False
        self._judge = Judge(rules=self._settings.hygiene, vrps=standing.usable)
        return True

    def _settle(self, now_s: float) -> set[ApplianceId]:
        """Let penalties decay; whoever is heard otherwise by it."""
        monotonic_s = self._clock.monotonic_s()
        if monotonic_s - self._settled_at_s < SETTLE_S:
            return set()
        self._settled_at_s = monotonic_s
        due: set[ApplianceId] = set()
        for (name, _), known in self._known.items():
            flaps = known.flaps
            if not len(flaps) and not flaps.session.points:
                continue
            before = (flaps.suppressed, flaps.session.is_suppressed)
            flaps.settle(self._settings.damping, now_s=now_s)
            if before != (flaps.suppressed, flaps.session.is_suppressed):
                due.add(name)
        self._tracked = sum(len(known.flaps) for known in self._known.values())
        return due

    # ---- many appliances that are new here

    def _batches(self, names: Sequence[ApplianceId], now_s: float) -> Iterator[list[ApplianceId]]:
        """As many appliances after each other as have tables that may be read together."""
        batch: list[ApplianceId] = []
        routes = 0
        for name in names:
            batch.append(name)
            routes += sum(table.routes for table in self._new_tables(name, now_s))
            if routes > _AHEAD_ROUTES:
                yield batch
                batch, routes = [], 0
        yield batch

    def _read_ahead(self, names: Iterable[ApplianceId], now_s: float) -> _Ahead:
        """A node that starts has thousands of small tables to read, and asking for each costs more than reading it."""
        wanted = {table.digest for name in names for table in self._new_tables(name, now_s)}
        wanted -= {digest for digest, _ in self._tables}
        if len(wanted) <= 1:
            return _Ahead()
        lists = self._store.route_lists(sorted(wanted))
        digests = sorted({place.digest for places in lists.values() for place in places})
        return _Ahead(lists=lists, chunks=self._store.chunks(digests))

    def _new_tables(self, name: ApplianceId, now_s: float) -> Iterator[TableRef]:
        """Tables of sessions of which none is known; of others only what has changed is read."""
        for one in self._speakers[name].sessions:
            known = self._known.get((name, one.session.session_id))
            table = choose_table(one.told, self._settings.retention, now_s=now_s).table
            if table.digest and (known is None or not known.digest) and table.routes <= _AHEAD_ROUTES:
                yield table

    # ---- one appliance

    def _hear(self, speaker: StoredSpeaker, now_s: float) -> HeardAppliance:
        name, failed_before = speaker.appliance_id, self.counts.failed_tables
        sessions = tuple(self._hear_session(name, one, now_s) for one in speaker.sessions)
        ends = [one.counting.until_s for one in sessions if one.counting.until_s is not None]
        if self.counts.failed_tables != failed_before:
            ends.append(now_s + RETRY_S)
        self._wakes_s[name] = min(ends, default=float("inf"))
        routes = self._routes(_counted(sessions))
        return HeardAppliance(appliance_id=name, sessions=sessions, routes=routes)

    def _hear_session(self, name: ApplianceId, one: StoredSession, now_s: float) -> HeardSession:
        counting = choose_table(one.told, self._settings.retention, now_s=now_s)
        session = one.session
        listener = Listener(
            local_as=session.local_as, own_as=frozenset((session.local_as, *self._settings.hygiene.own_as))
        )
        if session.local_as == session.peer_as:
            # Inside one AS the own number is no loop: the path does not hold it, and an empty one is our own network's.
            listener = replace(listener, own_as=frozenset(self._settings.hygiene.own_as))
        key = (name, session.session_id)
        known = self._known.get(key)
        if known is None or known.table.listener != listener or known.table.family is not session.family:
            nothing = empty_table(session.family, listener, self._judge)
            known = self._known[key] = _Known(drops=session.drops, changed_s=one.told.changed_s, table=nothing)
            known.flaps = self._flaps_of(key, now_s)
        self._note_drops(known, session.drops, now_s)
        table = self._table(name, counting.table, known)
        if table is not None:
            self._note_flaps(known, table, one, counting.standing, now_s)
            known.table, known.digest, known.changed_s = table, counting.table.digest, one.told.changed_s
            known.times = counting.table.times
        flaps = known.flaps
        return HeardSession(
            session=session,
            counting=counting,
            counted=CountedTable(table=known.table, damped=flaps.suppressed),
            times=known.times,
            is_damped=flaps.session.is_suppressed,
            penalty=flaps.session.points,
        )

    def _table(self, name: ApplianceId, wanted: TableRef, known: _Known) -> JudgedTable | None:
        """The judged table; None when it cannot be read now, and the one before stays."""
        if known.table.judge is not self._judge:
            known.table = self._judged_again(known.table, known.digest)
        before = known.table
        if wanted.digest == known.digest:
            return before
        if not wanted.digest:
            return empty_table(before.family, before.listener, self._judge)
        shared = self._tables.get((wanted.digest, before.listener))
        if shared is not None and shared.judge is self._judge and shared.family is before.family:
            return shared
        try:
            table = judge_table(*self._chunks(wanted.digest, before))
        except (RouteError, KeyError) as error:
            self.counts.failed_tables += 1
            event(_log, "table_not_read", level=logging.WARNING, appliance=name, table=wanted.digest, error=error)
            return None
        self._tables[wanted.digest, before.listener] = table
        return table

    def _chunks(
        self, digest: str, before: JudgedTable
    ) -> tuple[tuple[ChunkPlace, ...], JudgedTable, Mapping[str, bytes]]:
        places = self._ahead.lists.get(digest)
        if places is not None:
            return places, before, self._ahead.chunks
        places = self._store.route_list(digest)
        if places is None:
            raise RouteError("the list of its chunks is gone")
        return places, before, self._store.chunks(chunks_to_read(places, before))

    def _judged_again(self, table: JudgedTable, digest: str) -> JudgedTable:
        shared = self._tables.get((digest, table.listener))
        if shared is None or shared.judge is not self._judge:
            shared = judge_again(table, self._judge)
            if digest:
                self._tables[digest, table.listener] = shared
        return shared

    def _flaps_of(self, key: SessionKey, now_s: float) -> Flaps:
        """What the node that decided before remembered, when this one starts."""
        try:
            flaps = Flaps.unpack(self._stored_flaps.get(key, b""))
        except RouteError as error:
            event(_log, "flaps_not_read", level=logging.WARNING, appliance=key[0], session=key[1], error=error)
            return Flaps()
        flaps.settle(self._settings.damping, now_s=now_s)
        self._tracked += len(flaps)
        return flaps

    def _note_drops(self, known: _Known, drops: int, now_s: float) -> None:
        if drops > known.drops:
            known.flaps.drop(min(drops - known.drops, 100), self._settings.damping, now_s=now_s)
        known.drops = drops  # fewer than before: the agent was started anew

    def _note_flaps(
        self, known: _Known, table: JudgedTable, one: StoredSession, standing: Standing, now_s: float
    ) -> None:
        """Count what was announced, withdrawn and changed while the session stood; what a lost session takes with it
        and brings back is the session's flap, not that of each prefix."""
        if table.places == known.table.places:
            return
        if not len(known.table):
            self.counts.changes["announced"] += len(table)
            return
        changes = compare_tables(known.table, table)
        self.counts.changes["announced"] += len(changes.announced)
        self.counts.changes["withdrawn"] += len(changes.withdrawn)
        self.counts.changes["changed"] += len(changes.changed)
        is_new = one.told.changed_s != known.changed_s or not known.digest
        is_young = now_s < one.told.changed_s + self._settings.retention.relearn_s
        is_up = one.session.state is SessionState.ESTABLISHED and standing is Standing.ESTABLISHED
        if not self._settings.damping.is_on or is_new or not is_up or (is_young and known.drops):
            return
        for columns, flap in ((changes.withdrawn, Flap.WITHDRAWN), (changes.changed, Flap.CHANGED)):
            prefixes = (columns.prefix(row) for row in range(len(columns)))
            room = max(0, self._settings.damping.most_tracked - self._tracked)
            self._tracked += known.flaps.punish(prefixes, flap, self._settings.damping, now_s=now_s, room=room)

    def _routes(self, counted: list[CountedTable]) -> RouteColumns:
        """The best routes of these tables; made once, however many appliances have them."""
        key = _key_of(counted)
        found = self._columns.get(key)
        if found is None:
            found = self._columns[key] = (counted, choose_routes(counted))
        return found[1]

    # ---- all of them

    def _forget(self) -> None:
        """Keep only what some session has."""
        sessions = {(name, one.session.session_id) for name, each in self._heard.items() for one in each.sessions}
        self._known = {key: known for key, known in self._known.items() if key in sessions}
        in_use = {id(known.table) for known in self._known.values()}
        self._tables = {key: table for key, table in self._tables.items() if id(table) in in_use}
        used = {_key_of(_counted(each.sessions)) for each in self._heard.values()}
        self._columns = {key: found for key, found in self._columns.items() if key in used}

    def _publish(self, now_s: float) -> None:
        before = self._view
        hearings = group_hearings({name: one.routes for name, one in self._heard.items()})
        if before is not None and _names(before.hearings) == _names(hearings):
            hearings = before.hearings
        elif before is not None:
            event(_log, "hearings_changed", hearings=len(hearings), version=self._version)
        self._view = RoutesView(
            at_s=now_s,
            version=self._version,
            appliances=dict(self._heard),
            hearings=hearings,
            vrps=self._vrps or VrpStanding(state=VrpState.OFF),
        )


def _counted(sessions: Iterable[HeardSession]) -> list[CountedTable]:
    return [one.counted for one in sessions if not one.is_damped and len(one.counted.table)]


def _key_of(counted: Iterable[CountedTable]) -> tuple[object, ...]:
    return tuple((id(one.table), one.damped) for one in counted)


def _names(hearings: Iterable[Hearing]) -> list[tuple[tuple[ApplianceId, ...], str]]:
    return [(one.appliances, one.routes.digest) for one in hearings]
