"""Runs the loops of one control node: everybody probes, the node that holds the lease decides.

Nothing that goes wrong in a turn ends the loop. A node that dies is replaced when its lease expires; one that is
stopped gives the lease up, so that another takes over at once.
"""

import asyncio
import logging
import threading
from dataclasses import replace

from headrace.base.clock import Clock
from headrace.base.logs import event
from headrace.base.rng import Rng
from headrace.base.tasks import Tasks, run_every
from headrace.control.errors import StoreAwayError, StoreError
from headrace.control.loops.adapters.http_probe import open_probe_client
from headrace.control.loops.concluding import Probes, routes_seen
from headrace.control.loops.deciding import Decider
from headrace.control.loops.probing import Prober, read_notes, targets_of, write_note
from headrace.control.loops.reading import FleetState, StoreReader
from headrace.control.loops.routing import Routing
from headrace.control.loops.settings import FleetSettings, LoopUrls
from headrace.control.loops.state import LoopState
from headrace.control.ports import Store
from headrace.fleet.quorum import Probers

_log = logging.getLogger(__name__)

LEASE = "loops"
NOTES = "probes/"
TIDY_S = 60.0
"""Between two prunings of old records."""


async def run_loops(  # noqa: PLR0913  (all that a node consists of)
    *,
    store: Store,
    settings: FleetSettings,
    urls: LoopUrls,
    node: str,
    clock: Clock,
    rng: Rng,
    state: LoopState,
    routing: Routing | None = None,
) -> None:
    """Run until cancelled.

    Args:
        node: this control node's name, another for each; it is the holder of the lease and the vantage of its probes.
        routing: what appliances hear; None: nothing.
    """
    async with open_probe_client(settings.probe) as http, Tasks() as tasks:
        prober = Prober(http, settings.probe, node, clock, rng)
        turner = _Turner(store, settings, urls, node, clock, state, prober)
        turner.routing = routing
        try:
            tasks.spawn("prober", prober.run())
            tasks.spawn("decider", run_every("decide", settings.turn_interval_s, turner.turn, clock=clock, rng=rng))
            await tasks.until_first_failure()
        finally:
            turner.stop()


class _Turner:
    """The turns of one node, whether it holds the lease or not."""

    def __init__(
        self,
        store: Store,
        settings: FleetSettings,
        urls: LoopUrls,
        node: str,
        clock: Clock,
        state: LoopState,
        prober: Prober,
    ) -> None:
        self._store = store
        self._settings = settings
        self._node = node
        self._clock = clock
        self._state = state
        self._prober = prober
        self.routing: Routing | None = None
        self._reader = StoreReader(store)
        self._decider = Decider(store, settings, urls, clock=clock, state=state)
        self._tidied_at_s = 0.0
        self._in_turn = threading.Lock()
        self._is_stopped = False

    async def turn(self) -> None:
        """One turn; what fails is counted here and logged by the loop."""
        started_s = self._clock.monotonic_s()
        try:
            fleet = await asyncio.to_thread(self._turn)
        except StoreAwayError:  # the store's adapter has logged it
            self._state.failed_turns += 1
            return
        except Exception:
            self._state.failed_turns += 1
            raise
        if fleet is not None:
            self._prober.aim(targets_of(fleet), fleet.catalog)
        self._state.probes = dict(self._prober.counts.by_outcome)
        self._state.turns += 1
        self._state.turn_duration_s = self._clock.monotonic_s() - started_s
        self._state.last_turn_s = self._clock.now_s()

    def stop(self) -> None:
        """Wait for a turn under way in its thread and give up the lease."""
        self._is_stopped = True
        with self._in_turn:
            try:
                self._store.give_up_lease(LEASE, self._node)
            except StoreError as error:
                event(_log, "lease_not_given_up", level=logging.WARNING, error=error)

    def _turn(self) -> FleetState | None:
        with self._in_turn:
            if self._is_stopped:
                return None
            now_s = self._clock.now_s()
            lease = None
            if self.routing is None or self.routing.has_read:  # who has not read the routes yet decides nothing
                lease = self._store.take_lease(LEASE, self._node, duration_s=self._settings.lease_s, now_s=now_s)
            if (lease is not None) is not self._state.is_deciding:
                self._state.is_deciding = lease is not None
                event(_log, "lease_taken" if lease else "lease_lost", node=self._node)
                self._decider.forget()
            fleet = self._reader.read()
            if lease is None:
                self._store.put_note(NOTES + self._node, write_note(dict(self._prober.results)), now_s=now_s)
            else:
                if self.routing is not None:
                    hearings = self._decider.hearings = self.routing.current_hearings()
                    new = (row.appliance.appliance_id for row in fleet.rows if not row.health.is_turned_up)
                    fleet = replace(fleet, routes=routes_seen(self.routing.view(), new), hearings=hearings)
                probes, probers = self._all_probes(now_s)
                self._decider.turn(fleet, probes, probers)
                self._tidy(now_s)
            return fleet

    def _all_probes(self, now_s: float) -> tuple[Probes, Probers]:
        """This node's probes and those of the others that are there, and who was there a moment ago."""
        rules = self._settings.health
        notes = self._store.notes(NOTES, since_s=now_s - rules.prober_member_s)
        present = self._store.notes(NOTES, since_s=now_s - rules.prober_present_s).keys()
        others = read_notes(text for key, text in notes.items() if key != NOTES + self._node and key in present)
        own = dict(self._prober.results)
        probes = {
            name: ((own[name],) if name in own else ()) + others.get(name, ()) for name in own.keys() | others.keys()
        }
        myself = frozenset({self._node})
        return probes, Probers(
            present=myself | {key.removeprefix(NOTES) for key in present},
            members=myself | {key.removeprefix(NOTES) for key in notes},
        )

    def _tidy(self, now_s: float) -> None:
        if now_s - self._tidied_at_s >= TIDY_S:
            self._tidied_at_s = now_s
            if self.routing is not None:
                self.routing.sweep(now_s=now_s)
            self._store.drop_notes(NOTES, before_s=now_s - TIDY_S)
            self._store.drop_windows(ended_before_s=now_s - self._settings.maintenance.kept_s)
            dropped = self._store.drop_events(keep=self._settings.events_kept)
            if dropped:
                event(_log, "events_dropped", count=dropped, kept=self._settings.events_kept)
