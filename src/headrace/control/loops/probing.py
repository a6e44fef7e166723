"""The probing loop: every control node fetches from every appliance by turns and remembers the newest result of each.

It concludes nothing: the deciding loop of the lease-holder weighs the results. Nodes that do not hold the lease leave
theirs as a note in the store, so that one node's broken network is not taken for the fleet's.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import httpx

from headrace.base.clock import Clock
from headrace.base.ids import ApplianceId
from headrace.base.logs import event
from headrace.base.rng import Rng
from headrace.base.tasks import Tasks, run_every
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogFile
from headrace.control.loops.adapters.http_probe import VERIFIED_MOST_BYTES, ProbeAnswer, probe, verify
from headrace.control.loops.choosing import ProbeTarget, choose_probes
from headrace.control.loops.reading import EMPTY_CATALOG, Catalog, FleetState
from headrace.control.loops.settings import ProbeSettings
from headrace.fleet.evidence import MAX_FAILURES_KEPT, ProbeOutcome, ProbeSeen
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError

_log = logging.getLogger(__name__)

TICK_S = 0.2
"""How often due probes are looked for."""
_LOOKED_AT = 200
"""Held files among which a small one is looked for."""


@dataclass(slots=True)
class ProbeCounts:
    """Counters for /metrics."""

    by_outcome: dict[ProbeOutcome, int] = field(default_factory=lambda: dict.fromkeys(ProbeOutcome, 0))


class Prober:
    """Targets in, newest results out."""

    def __init__(self, http: httpx.AsyncClient, settings: ProbeSettings, vantage: str, clock: Clock, rng: Rng) -> None:
        self._http = http
        self._settings = settings
        self._vantage = vantage
        self._clock = clock
        self._rng = rng
        self._targets: dict[ApplianceId, ProbeTarget] = {}
        self._catalog = EMPTY_CATALOG
        self._under_way: set[ApplianceId] = set()
        self._allowance = 0.0
        self._ticked_at_s = 0.0
        self.results: dict[ApplianceId, ProbeSeen] = {}
        self.counts = ProbeCounts()

    def aim(self, targets: Iterable[ProbeTarget], catalog: Catalog) -> None:
        """Replace the targets; results of appliances that are gone are forgotten."""
        self._targets = {target.appliance_id: target for target in targets}
        self._catalog = catalog
        for gone in [name for name in self.results if name not in self._targets]:
            del self.results[gone]

    async def run(self) -> None:
        """Probe until cancelled."""
        async with Tasks() as tasks:
            await run_every("probe", TICK_S, lambda: self._tick(tasks), clock=self._clock, rng=self._rng)

    async def _tick(self, tasks: Tasks) -> None:
        """Start the probes that are due, as far as rate and number under way allow."""
        rate_per_s = float(self._settings.most_per_s)
        now_s = self._clock.now_s()
        passed_s = min(1.0, max(0.0, now_s - self._ticked_at_s))
        self._allowance, self._ticked_at_s = min(rate_per_s, self._allowance + rate_per_s * passed_s), now_s
        most = min(int(self._allowance), self._settings.most_at_once - len(self._under_way))
        idle = [one for name, one in self._targets.items() if name not in self._under_way]
        due = choose_probes(idle, self.results, self._settings, now_s=now_s, most=max(0, most))
        self._allowance -= len(due)
        for target in due:
            self._under_way.add(target.appliance_id)
            tasks.spawn(f"probe {target.appliance_id}", self._probe(target))

    async def _probe(self, target: ProbeTarget) -> None:
        try:
            file = self._pick(target.held) if target.is_turned_up else self._pick_small(target.held)
            if file is None:
                return
            if not target.is_turned_up and file.size_bytes <= VERIFIED_MOST_BYTES:
                answer = await verify(self._http, target.content_url, file, settings=self._settings)
            else:
                first = self._rng.randrange(max(1, file.size_bytes - self._settings.range_bytes + 1))
                answer = await probe(self._http, target.content_url, file, first, settings=self._settings)
            self._note(target.appliance_id, answer)
        finally:
            self._under_way.discard(target.appliance_id)

    def _pick(self, held: FileSet) -> CatalogFile | None:
        """A random held file; numbers are dense enough for a random start to be random enough."""
        page = held.page(self._rng.randrange(self._catalog.highest_no + 1), 1) or held.page(0, 1)
        return next((self._catalog.files[number] for number in page if number in self._catalog.files), None)

    def _pick_small(self, held: FileSet) -> CatalogFile | None:
        """The smallest of some held files: each title has playlists among its files, which are small."""
        start = self._rng.randrange(self._catalog.highest_no + 1)
        page = (*held.page(start, _LOOKED_AT), *held.page(0, _LOOKED_AT))
        known = (self._catalog.files[number] for number in page if number in self._catalog.files)
        return min(known, key=lambda file: file.size_bytes, default=None)

    def _note(self, appliance_id: ApplianceId, answer: ProbeAnswer) -> None:
        now_s = self._clock.now_s()
        before = self.results.get(appliance_id)
        is_ok = answer.outcome is ProbeOutcome.OK
        failed = () if is_ok else (*(before.failed_at_s if before else ()), now_s)[-MAX_FAILURES_KEPT:]
        self.counts.by_outcome[answer.outcome] += 1
        self.results[appliance_id] = ProbeSeen(
            vantage=self._vantage,
            at_s=now_s,
            outcome=answer.outcome,
            failed_at_s=failed,
            detail=answer.detail,
            is_verified=answer.is_verified,
            failing_since_s=0.0 if is_ok else (before.began_s if before else 0.0) or now_s,
        )
        if before is None or before.outcome is not answer.outcome:
            event(_log, "probe_changed", appliance=appliance_id, outcome=answer.outcome, detail=answer.detail or "-")


def targets_of(state: FleetState) -> list[ProbeTarget]:
    """What there is to probe."""
    published = state.catalog.published
    probeable: dict[str, FileSet] = {}
    targets = []
    for row in state.rows:
        digest = row.holdings.digest
        if digest not in probeable:
            probeable[digest] = state.holdings[row.appliance.appliance_id] & published
        targets.append(
            ProbeTarget(
                appliance_id=row.appliance.appliance_id,
                content_url=row.appliance.content_url,
                admin_state=row.appliance.admin_state,
                health_state=row.health.state,
                reported_s=row.report.received_at_s,
                held=probeable[digest],
                is_turned_up=row.health.is_turned_up,
            )
        )
    return targets


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeNote:
    """What a control node lets the lease-holder know."""

    probes: dict[ApplianceId, ProbeSeen]


def write_note(results: dict[ApplianceId, ProbeSeen]) -> str:
    """The text of a note."""
    return encode(ProbeNote(probes=results)).decode()


def read_notes(texts: Iterable[str]) -> dict[ApplianceId, tuple[ProbeSeen, ...]]:
    """The results of all notes by appliance; a note that cannot be read (another release's) is left out."""
    found: dict[ApplianceId, tuple[ProbeSeen, ...]] = {}
    for text in texts:
        try:
            note = decode(ProbeNote, text)
        except MalformedError:
            continue
        for name, seen in note.probes.items():
            found[name] = (*found.get(name, ()), seen)
    return found
