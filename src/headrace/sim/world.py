"""Appliances, control nodes, steering workers and sessions, a second at a time, on the production decisions.

Modelled: who is alive and can be reached by whom, reports, probes, sessions with a bit rate, what a snapshot knows and
when. Decided by production code: health (`fleet.mass_loss`), leaving (`fleet.lifecycle`), drains, new and running
sessions (`steering.rank`), shedding (`steering.load`). Not modelled: bytes, players' buffers, fill. Chance comes from
one seed; a world with the same seed and faults takes the same way.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from headrace.base.ids import ApplianceId, SiteId
from headrace.base.rng import Rng, make_rng
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import Title
from headrace.fleet.evidence import MAX_FAILURES_KEPT, Evidence, HealthRules, ProbeOutcome, ProbeSeen
from headrace.fleet.health import HealthTrack
from headrace.fleet.lifecycle import Drain, LeaveVerdict, Standing, check_may_leave, conclude_drain
from headrace.fleet.mass_loss import conclude_fleet
from headrace.fleet.model import (
    AdminState,
    Appliance,
    ApplianceReport,
    DiskReport,
    HealthState,
    LoadReport,
    NginxReport,
    Site,
)
from headrace.fleet.quorum import Probers
from headrace.steering.approach import Approaches, approaches
from headrace.steering.compile import CompiledSnapshot, compile_snapshot
from headrace.steering.load import Ledger, draw_of
from headrace.steering.model import SnapshotAppliance, SteeringSnapshot
from headrace.steering.rank import NEW_SESSION, Choice, Limits, Session, Sharing, choose
from headrace.steering.rendezvous import hash_key

REPORT_S = 2
LOADS_S = 5
"""Loads alone give a new snapshot this often."""
TTL_S = 10
"""Running sessions ask again after this."""
DISK = DiskReport(folder="/cache", is_ok=True, total_bytes=10**12, free_bytes=10**11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How large the world is and what its clients do."""

    sites: int = 5
    per_site: int = 4
    control_nodes: int = 3
    capacity_bps: int = 1_000_000_000
    session_bps: float = 5_000_000.0
    session_s: float = 600.0
    """Mean length of a session."""
    peak_ratio: float = 0.55
    """Share of the whole capacity that is in use at the peak."""
    titles: tuple[Title, ...]

    @property
    def peak_sessions(self) -> int:
        """Sessions at the peak."""
        return int(self.peak_ratio * self.sites * self.per_site * self.capacity_bps / self.session_bps)


@dataclass(slots=True, kw_only=True)
class _Appliance:
    appliance: Appliance
    is_alive: bool = True
    reported_s: float = 0.0
    report: ApplianceReport = field(default_factory=ApplianceReport)
    drain: Drain = field(default_factory=Drain)
    sessions: int = 0


@dataclass(slots=True, kw_only=True)
class _Client:
    address: bytes
    title: str
    ends_s: float
    asks_s: float
    written: tuple[ApplianceId, ...]
    current: ApplianceId | None
    moves: int = 0


@dataclass(slots=True, kw_only=True)
class Seen:
    """What went wrong, or might have, since the world began."""

    unanswered: int = 0
    """New sessions without an appliance while an eligible one was there."""
    stranded: int = 0
    """Seconds that sessions spent without an appliance that is alive."""
    most_use: float = 0.0
    """Highest share of its capacity that an appliance was used at."""
    over_s: int = 0
    """Seconds that appliances were over their capacity, summed."""
    falls: dict[ApplianceId, int] = field(default_factory=dict)
    """How often an appliance stopped being healthy: more than once is flapping."""
    moves: int = 0
    """Running sessions that went to another appliance."""
    most_moves: int = 0
    """Of one session."""
    answered: int = 0


class World:
    """The model; `run` lets time pass, everything else happens between two seconds."""

    def __init__(self, plan: Plan, *, seed: int, is_full: bool = True) -> None:
        """A fleet that is healthy and at its peak, unless not `is_full`."""
        self.plan = plan
        self.seen = Seen()
        self.now_s = 1_800_000_000.0
        self._rng: Rng = make_rng(seed)
        self._rules = HealthRules()
        self._limits = Limits()
        self.sites = tuple(
            Site(site_id=SiteId(f"s-{number}"), prefixes=(f"10.{number}.0.0/16", "10.0.0.0/8"), region="all")
            for number in range(plan.sites)
        )
        self._fleet = {
            name: _Appliance(
                appliance=Appliance(
                    appliance_id=name, site_id=site.site_id, content_url="http://x", capacity_bps=plan.capacity_bps
                )
            )
            for site in self.sites
            for name in (ApplianceId(f"{site.site_id}-{number}") for number in range(plan.per_site))
        }
        self._tracks: dict[ApplianceId, HealthTrack] = {}
        self._nodes = [f"c-{number}" for number in range(plan.control_nodes)]
        self._cut_off: set[str] = set()
        self._probes: dict[tuple[str, ApplianceId], ProbeSeen] = {}
        self._is_held, self._watching_since_s = False, 0.0
        self._held = FileSet(range(1, 1 + len(plan.titles)))
        self._ledger = Ledger(self._limits.load, workers=1, settle_s=REPORT_S + 1.0, most_age_s=30.0)
        self._clients: list[_Client] = []
        self._version = 0
        self._compiled: CompiledSnapshot | None = None
        self._ways: dict[int, Approaches] = {}
        self._shown: tuple[object, ...] = ()
        self._arrivals = 0.0
        self._wanted_sessions = 0
        for _ in range(40):  # everybody passes the turn-up checks
            self._second()
        if is_full:
            self._wanted_sessions = plan.peak_sessions
            while len(self._clients) < 0.98 * self._wanted_sessions:
                self._second(rate=self._wanted_sessions / 60)
        self.seen = Seen()

    @property
    def names(self) -> tuple[ApplianceId, ...]:
        """All appliances."""
        return tuple(self._fleet)

    @property
    def is_held(self) -> bool:
        """The last state is kept because most of the fleet seems lost."""
        return self._is_held

    def at_site(self, number: int) -> tuple[ApplianceId, ...]:
        """The appliances of a site."""
        site_id = self.sites[number].site_id
        return tuple(name for name, one in self._fleet.items() if one.appliance.site_id == site_id)

    def healthy(self) -> set[ApplianceId]:
        """As concluded."""
        return {name for name, track in self._tracks.items() if track.health.state is HealthState.HEALTHY}

    def sessions_on(self, name: ApplianceId) -> int:
        """Sessions that an appliance serves."""
        return self._fleet[name].sessions

    def drain_of(self, name: ApplianceId) -> Drain:
        """How far a drain is."""
        return self._fleet[name].drain

    def kill(self, *names: ApplianceId) -> None:
        """End appliances, as by a power cut."""
        for name in names:
            self._fleet[name].is_alive = False

    def start(self, *names: ApplianceId) -> None:
        """Bring them back with what they hold."""
        for name in names:
            self._fleet[name].is_alive = True

    def cut_off(self, *nodes: int) -> None:
        """These control nodes reach no appliance any more; the store they reach."""
        self._cut_off = {self._nodes[number] for number in nodes}

    def move_routes(self, number: int, to: int) -> None:
        """The clients' networks of one site are announced to another site in its place."""
        networks = self.sites[number].prefixes[:-1]
        changed = {
            number: replace(self.sites[number], prefixes=self.sites[number].prefixes[-1:]),
            to: replace(self.sites[to], prefixes=(*networks, *self.sites[to].prefixes)),
        }
        self.sites = tuple(changed.get(at, site) for at, site in enumerate(self.sites))

    def drain(self, *names: ApplianceId, is_forced: bool = False) -> LeaveVerdict:
        """Ask the failure budget, and drain all of them if it allows it."""
        fleet = [
            Standing(appliance=one.appliance, health=self._track(name).health) for name, one in self._fleet.items()
        ]
        verdict = check_may_leave(frozenset(names), fleet)
        if verdict.may_leave or is_forced:
            self._set_admin(names, AdminState.DRAINING)
        return verdict

    def enable(self, *names: ApplianceId) -> None:
        """End a drain."""
        self._set_admin(names, AdminState.ENABLED)

    def restart_everything(self) -> None:
        """Control nodes and steering forget all that is not stored; appliances are up again at once."""
        self._probes.clear()
        self._tracks = {name: HealthTrack(health=track.health) for name, track in self._tracks.items()}
        self._watching_since_s = self.now_s
        self._ledger = Ledger(self._limits.load, workers=1, settle_s=REPORT_S + 1.0, most_age_s=30.0)
        self._compiled, self._shown = None, ()

    def run(self, seconds: int) -> None:
        """Let time pass at the peak's demand."""
        for _ in range(seconds):
            self._second()

    def _set_admin(self, names: Iterable[ApplianceId], state: AdminState) -> None:
        for name in names:
            one = self._fleet[name]
            one.appliance = replace(one.appliance, admin_state=state)

    def _track(self, name: ApplianceId) -> HealthTrack:
        return self._tracks.get(name) or HealthTrack()

    def _second(self, rate: float | None = None) -> None:
        self.now_s += 1
        self._report_and_probe()
        self._conclude()
        self._publish()
        self._end_and_ask()
        wanted = self._wanted_sessions / self.plan.session_s if rate is None else rate
        self._arrivals += wanted
        while self._arrivals >= 1:
            self._arrivals -= 1
            self._arrive()
        self._note_loads()

    def _report_and_probe(self) -> None:
        for number, (name, one) in enumerate(self._fleet.items()):
            if one.is_alive and (int(self.now_s) + number) % REPORT_S == 0:
                one.reported_s = self.now_s
                load = LoadReport(tx_bps=one.sessions * self.plan.session_bps, sessions=one.sessions)
                one.report = ApplianceReport(disks=(DISK,), nginx=NginxReport(is_running=True), load=load)
            for at, node in enumerate(self._nodes):
                before = self._probes.get((node, name))
                is_well = before is not None and before.outcome is ProbeOutcome.OK
                if not is_well or (int(self.now_s) + number + at) % 2 == 0:
                    self._probes[node, name] = self._probe(node, one, before)

    def _probe(self, node: str, one: _Appliance, before: ProbeSeen | None) -> ProbeSeen:
        if one.is_alive and node not in self._cut_off:
            return ProbeSeen(vantage=node, at_s=self.now_s, outcome=ProbeOutcome.OK, is_verified=True)
        failed = (*(before.failed_at_s if before else ()), self.now_s)[-MAX_FAILURES_KEPT:]
        return ProbeSeen(
            vantage=node,
            at_s=self.now_s,
            outcome=ProbeOutcome.UNREACHABLE,
            failed_at_s=failed,
            failing_since_s=(before.began_s if before else 0.0) or self.now_s,
        )

    def _conclude(self) -> None:
        held = len(self._held)
        evidence = [
            Evidence(
                appliance_id=name,
                admin_state=one.appliance.admin_state,
                last_message_s=one.reported_s or None,
                last_report_s=one.reported_s or None,
                report=one.report,
                held_files=held,
                planned_files=held,
                held_of_plan=held,
                probes=tuple(self._probes[node, name] for node in self._nodes if (node, name) in self._probes),
            )
            for name, one in self._fleet.items()
        ]
        nodes = frozenset(self._nodes)
        done = conclude_fleet(
            self._tracks,
            evidence,
            self._rules,
            now_s=self.now_s,
            watching_since_s=self._watching_since_s,
            was_held=self._is_held,
            probers=Probers(present=nodes, members=nodes),
        )
        for name, track in done.tracks.items():
            if name in self.healthy() and track.health.state is not HealthState.HEALTHY:
                self.seen.falls[name] = self.seen.falls.get(name, 0) + 1
        self._tracks, self._is_held = dict(done.tracks), done.is_held
        self._watching_since_s = done.watching_since_s
        for one in self._fleet.values():
            one.drain = conclude_drain(
                one.drain,
                one.appliance.admin_state,
                one.report,
                self.now_s - one.reported_s,
                now_s=self.now_s,
                quiet_s=10.0,
                silent_after_s=self._rules.silent_after_s,
            )

    def _publish(self) -> None:
        """A new snapshot when states changed, or loads are due; steering has it in the same second."""
        states = [
            (one.appliance.admin_state, self._track(name).health.state, self._track(name).health.is_turned_up)
            for name, one in self._fleet.items()
        ]
        shown = (self.sites, *states)
        if shown == self._shown and int(self.now_s) % LOADS_S:
            return
        self._shown = shown
        self._version += 1
        snapshot = SteeringSnapshot(
            version=self._version,
            built_at_s=self.now_s,
            loads_at_s=self.now_s,
            origin_url="",
            sites=self.sites,
            appliances=tuple(self._as_shown(name, one) for name, one in self._fleet.items()),
            titles=self.plan.titles,
        )
        self._compiled = compile_snapshot(snapshot, self._compiled)
        self._ways = {}
        self._ledger.report(self._compiled.appliances, loads_at_s=self.now_s, now_s=self.now_s)

    def _as_shown(self, name: ApplianceId, one: _Appliance) -> SnapshotAppliance:
        return SnapshotAppliance(
            appliance_id=name,
            site_id=one.appliance.site_id,
            content_url=one.appliance.content_url,
            admin_state=one.appliance.admin_state,
            health=self._track(name).health,
            capacity_bps=one.appliance.capacity_bps,
            tx_bps=one.report.load.tx_bps,
            holdings=self._held,
        )

    def _arrive(self) -> None:
        site = self._rng.randrange(self.plan.sites)
        address = bytes((10, site, self._rng.randrange(256), self._rng.randrange(256)))
        title = self.plan.titles[self._rng.randrange(len(self.plan.titles))].title_id
        choice = self._choose(address, title, NEW_SESSION)
        if not choice.chosen:
            self.seen.unanswered += self._has_room()
            return
        self.seen.answered += 1
        written = tuple(one.appliance.appliance_id for one in choice.chosen)
        self._ledger.give(written[0], self.plan.session_bps, self.now_s)
        lasts_s = self.plan.session_s * (0.5 + self._rng.random())
        client = _Client(
            address=address,
            title=title,
            ends_s=self.now_s + lasts_s,
            asks_s=self.now_s + TTL_S,
            written=written,
            current=None,
        )
        self._settle(client, written)
        self._clients.append(client)

    def _has_room(self) -> bool:
        """Whether some appliance may take sessions, so that no answer would be a fault."""
        most_bps = self._limits.load.shed_from_ratio * self.plan.capacity_bps
        return any(
            one.is_alive
            and name in self.healthy()
            and one.appliance.admin_state is AdminState.ENABLED
            and one.sessions * self.plan.session_bps < most_bps
            for name, one in self._fleet.items()
        )

    def _end_and_ask(self) -> None:
        staying = []
        for client in self._clients:
            if client.ends_s <= self.now_s:
                self._leave(client)
                continue
            staying.append(client)
            if client.asks_s <= self.now_s:
                client.asks_s = self.now_s + TTL_S
                choice = self._choose(
                    client.address, client.title, Session(written=client.written, current=client.current)
                )
                was = client.current
                self._settle(client, tuple(one.appliance.appliance_id for one in (*choice.chosen, *choice.kept)))
                if client.current not in (None, was):
                    self._ledger.give(str(client.current), self.plan.session_bps, self.now_s)
            elif client.current is None or not self._fleet[client.current].is_alive:
                self._settle(client, client.written)  # the player's own way out: the next pathway of its list
            self.seen.stranded += client.current is None
        self._clients = staying

    def _choose(self, address: bytes, title_id: str, session: Session) -> Choice:
        compiled = self._compiled
        assert compiled is not None
        class_no = compiled.class_no(address)
        ways = self._ways.get(class_no)
        if ways is None:
            step_km = self._limits.distance_step_km
            ways = self._ways[class_no] = approaches(compiled, class_no, None, distance_step_km=step_km)
        sharing = Sharing(levels=self._ledger.levels, draw=draw_of(address, hash_key(title_id)))
        return choose(compiled, ways, compiled.library.titles[title_id], self._limits, session, sharing)

    def _settle(self, client: _Client, pathways: tuple[ApplianceId, ...]) -> None:
        """Play from the first pathway that is alive."""
        client.written = tuple(dict.fromkeys((*pathways, *client.written)))[:8]
        wanted = next((name for name in pathways if self._fleet[name].is_alive), None)
        if wanted == client.current:
            return
        if client.current is not None:
            client.moves += 1
            self.seen.moves += 1
            self.seen.most_moves = max(self.seen.most_moves, client.moves)
        self._leave(client)
        client.current = wanted
        if wanted is not None:
            self._fleet[wanted].sessions += 1

    def _leave(self, client: _Client) -> None:
        if client.current is not None:
            self._fleet[client.current].sessions -= 1
            client.current = None

    def _note_loads(self) -> None:
        for one in self._fleet.values():
            use = one.sessions * self.plan.session_bps / one.appliance.capacity_bps
            self.seen.most_use = max(self.seen.most_use, use)
            self.seen.over_s += use > 1.0
