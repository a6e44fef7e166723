"""Answers for one snapshot: decided by `steering`, finished once, and kept until the next snapshot.

Clients that the same sites hear, from about the same place, share their answers (`Place`), so that most requests cost
a few look-ups. What is kept is bounded, in two generations: when the younger one has half of the room, the older one is
forgotten, but for what was asked for again, which costs less than an order of use. Nothing here knows of sockets or
clocks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from isal import isal_zlib

from headrace.base.ids import ApplianceId, TitleId
from headrace.playback.answer import DASH, HLS, JSON, Answer, finished, problem
from headrace.playback.bodies import Bodies
from headrace.playback.clients import packed_address
from headrace.playback.config import PlaybackConfig
from headrace.playback.requests import Asked, Kind
from headrace.steering.approach import Approaches, Location, approaches
from headrace.steering.compile import CompiledSnapshot
from headrace.steering.explain import Explanation, explain
from headrace.steering.load import TAKES, Ledger, draw_of, outcome
from headrace.steering.manifest import Protocol, SteeringQuery, read_session, steering_query, write_manifest
from headrace.steering.model import Exclusion, SnapshotAppliance
from headrace.steering.pathway import Pathway, origin_pathway, pathway_of
from headrace.steering.picks import Given
from headrace.steering.rank import Sharing, choose, choose_new, choose_running, walk

MOST_CLIENTS = 500_000
"""Client addresses whose place is remembered: about 100 MiB."""
MOST_KNOWN = 100_000
"""Titles whose facts are at hand: about 20 MiB."""
KEEPING_BYTES = 500
"""What keeping an answer costs besides its bytes: key and entries."""
FORK_BYTES = 200
CELL_DEGREES = 0.5
"""Places are rounded to cells of this size (at most 56 km), so that neighbours share answers."""

Locator = Callable[[str], Location | None]
"""Where an address is, as far as a geo-IP database knows."""

_GZIP = 31
"""zlib's word for: with gzip's header, and the largest window."""
_GZIP_HEADERS = (("content-encoding", "gzip"), ("vary", "accept-encoding"))
_LABELS = {
    (kind, reason): f"{kind} 200 {reason}" for kind in Kind for reason in ("origin-only", "pathways", "no-pathway")
}


@dataclass(slots=True, kw_only=True, eq=False)
class Fork:
    """An appliance on the way to finished answers: which one it is follows from its level and the client's draw.

    So what is kept stays true while levels move, and is kept once for all clients who meet the same: see `load.Met`.
    """

    name: ApplianceId
    key: int
    is_in_use: bool
    sides: "list[Answer | Fork | None]" = field(default_factory=lambda: [None, None, None])
    """By outcome."""


@dataclass(slots=True, eq=False)
class Kept:
    """What is kept by one key: an answer for all who meet only appliances that take every session, and the others."""

    names: tuple[ApplianceId, ...] = ()
    """The answer holds while none of them has a level: most answers, at the cost of one look."""
    answer: Answer | None = None
    others: Answer | Fork | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Place:
    """Clients that get the same answers, and the answers that are finished."""

    ways: Approaches
    location: Location | None
    answers: dict[object, Kept] = field(default_factory=dict)
    older: dict[object, Kept] = field(default_factory=dict)
    """Not asked for since the last generation began."""
    young_bytes: int = 0
    old_bytes: int = 0
    """What they take, so that a new snapshot takes a place over without a look at each answer."""


class Answers:
    """All answers that one snapshot gives."""

    def __init__(
        self,
        compiled: CompiledSnapshot,
        config: PlaybackConfig,
        locate: Locator | None,
        bodies: Bodies,
        ledger: Ledger,
        last: "Answers | None" = None,
    ) -> None:
        """Start with those answers of the `last` snapshot that this one would give in the same words."""
        self.compiled = compiled
        self._places: dict[str, Place] = {}
        """By client address as text; see `find_place`."""
        self._class_no = compiled.network.routes.class_no
        self._known: dict[TitleId | None, tuple[float, int]] = {}
        self.ledger = ledger
        self.young_bytes = self.old_bytes = 0
        """Of all places."""
        self._settings = settings = config.answers
        self._limits = config.rank_limits
        self._locate = locate
        self._bodies = bodies
        self._retry_after_s = config.limits.retry_after_s
        self._session_bps = config.load.session_bps
        self._shared: dict[tuple[int, Location | None], Place] = {}
        self._distinct: dict[object, Place] = {}
        """Classes of different parts of the address space may well be ranked alike."""
        self._unplaced: dict[int, Place] = {}
        self._ways: dict[ApplianceId, Pathway] = {}
        self._origin = origin_pathway(compiled) if settings.has_origin_pathway else None
        self._public_url = settings.public_url.rstrip("/")
        if last is not None:
            self._take_over(last)

    def place(self, client: str) -> Place:
        """The place of a client, by its address; a text that is no address has no route and no place."""
        return self.find_place(client) or self._place(0, None)

    def find_place(self, client: str) -> Place | None:
        """The place of a client; None when `client` is no IP address.

        Remembered by address only where a geo-IP database is asked: finding the routes alone costs less.
        """
        if self._locate is not None and (place := self._places.get(client)) is not None:
            return place
        packed = packed_address(client)
        if packed is None:
            return None
        class_no = self._class_no(packed)
        if self._locate is None:
            return self._unplaced.get(class_no) or self._place(class_no, None)
        place = self._place(class_no, self._locate(client))
        if len(self._places) >= MOST_CLIENTS:
            self._places.clear()
        self._places[client] = place
        return place

    def _place(self, class_no: int, location: Location | None) -> Place:
        cell = None if location is None else _cell(location)
        place = self._shared.get((class_no, cell))
        if place is None:
            ways = approaches(self.compiled, class_no, cell, distance_step_km=self._limits.distance_step_km)
            place = Place(ways=ways, location=cell)
            place = self._shared[(class_no, cell)] = self._distinct.setdefault(_likeness(place), place)
            if cell is None:
                self._unplaced[class_no] = place
        return place

    def _take_over(self, last: "Answers") -> None:
        """Most snapshots only say that loads moved: a place whose sites decide as before keeps its answers."""
        old, new = last.compiled, self.compiled
        if old.network is not new.network or old.library is not new.library or old.origin_url != new.origin_url:
            return
        if {name: one.content_url for name, one in old.appliances.items()} != {
            name: one.content_url for name, one in new.appliances.items()
        }:
            return  # Clones in steering manifests may name any appliance.
        changed = new.changed
        if changed is None or new.changed_from != id(old):
            return
        for key, place in list(last._shared.items()):
            if not changed.isdisjoint(place.ways.routed.place_of) or not changed.isdisjoint(
                place.ways.last_resort.place_of
            ):
                continue
            self._shared[key] = place
            if key[1] is None:
                self._unplaced[key[0]] = place
            self._distinct[_likeness(place)] = place
        for place in self._distinct.values():
            self.young_bytes += place.young_bytes
            self.old_bytes += place.old_bytes
        self._known = last._known
        if len(self._shared) == len(last._shared):
            self._places = dict(last._places)

    def needed_bps(self, asked: Asked) -> float:
        """Throughput below which a pathway counts as slow for the asked title."""
        known = self._known.get(asked.title_id)
        return known[0] if known else self._facts(asked)[0]

    def _facts(self, asked: Asked) -> tuple[float, int]:
        """Of the asked title: see `needed_bps`, and its key."""
        known = self._known.get(asked.title_id)
        if known is None:
            title = self.compiled.library.titles.get(asked.title_id or "")
            known = (title.least_bps * self._settings.slow_ratio, title.key) if title else (0.0, 0)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[asked.title_id] = known
        return known

    def find(self, place: Place, key: object, client: str, asked: Asked) -> Answer | None:
        """The finished answer for a key, if it still holds."""
        kept = place.answers.get(key)
        if kept is None:
            kept = place.older.pop(key, None)
            if kept is None:
                return None
            place.answers[key] = kept
            moved = _size_kept(kept)
            self._grow(place, moved)
            place.old_bytes -= moved
            self.old_bytes -= moved
        levels = self.ledger.levels
        if kept.answer is not None and (not levels or levels.keys().isdisjoint(kept.names)):
            return kept.answer
        found, draw = kept.others, -1
        while isinstance(found, Fork):
            level = levels.get(found.name)
            if level is None:
                found = found.sides[TAKES]
            else:
                if draw < 0:
                    draw = self._draw(client, asked)
                found = found.sides[outcome(level, draw, found.key, is_in_use=found.is_in_use)]
        return found

    def playlist(
        self, place: Place, asked: Asked, base_url: str, *, client: str, key: object = None, is_gzip: bool = False
    ) -> Answer:
        """A master playlist or an MPD for a new session; gzip makes them six times smaller. Kept by `key`."""
        kind = asked.kind
        title = self.compiled.library.titles.get(asked.title_id or "")
        if title is None:
            return _no_title(asked)
        sharing = Sharing(levels=self.ledger.levels, draw=self._draw(client, asked) if self.ledger.levels else 0)
        given = choose_new(self.compiled, place.ways, title, self._limits, sharing)
        pathways = self._pathways(given.appliances)
        if not pathways:
            detail = "no appliance can serve this title to this client now, and no origin is set"
            return problem(kind, 503, "no-pathway", detail, retry_after_s=self._retry_after_s)
        query = steering_query(pathways, title)
        if kind is Kind.MASTER:
            uri = f"../../steering/hls/{title.title.title_id}?{query}"
            body = self._bodies.master(title.title, pathways, steering_uri=uri)
            content_type = HLS
        else:
            url = f"{self._public_url or base_url}/v1/steering/dash/{title.title.title_id}?{query}"
            body = self._bodies.mpd(title.title, pathways, steering_url=url)
            content_type = DASH
        answer = finished(
            200,
            content_type,
            isal_zlib.compress(body, 1, _GZIP) if is_gzip else body,
            _LABELS[kind, self._reason(pathways)],
            headers=_GZIP_HEADERS if is_gzip else (),
        )
        bps = self._session_bps or title.usual_bps
        answer = answer._replace(first=given.best, tier=self._tier(given), session_bps=bps)
        return self._keep(place, key, answer, given)

    def steering(self, place: Place, asked: Asked, query: SteeringQuery, *, client: str, key: object = None) -> Answer:
        """A steering manifest for a running session; kept by `key`, unless it is None."""
        kind = asked.kind
        title = self.compiled.library.titles.get(asked.title_id or "")
        if title is None:
            if query.written and asked.title_id is not None:
                return problem(kind, 410, "withdrawn", f"title {asked.title_id} is no longer published")
            return _no_title(asked)
        session = read_session(query, title, slow_ratio=self._settings.slow_ratio)
        sharing = Sharing(levels=self.ledger.levels, draw=self._draw(client, asked) if self.ledger.levels else 0)
        given = choose_running(self.compiled, place.ways, title, self._limits, session, sharing)
        pathways = self._pathways(given.appliances)
        if not pathways and not query.written:
            return problem(kind, 503, "no-pathway", "no pathway for this title now", retry_after_s=self._retry_after_s)
        protocol = Protocol.HLS if kind is Kind.HLS_STEERING else Protocol.DASH
        body = write_manifest(protocol, self.compiled, title, pathways, query, ttl_s=self._settings.ttl_s)
        answer = finished(200, JSON, body, _LABELS[kind, self._reason(pathways)])
        if session.current not in (None, given.best):
            answer = answer._replace(first=given.best, session_bps=self._session_bps or title.usual_bps)
        if key is None:
            return answer
        return self._keep(place, key, answer, given)

    def redirect(self, place: Place, asked: Asked, sources: Sequence[ApplianceId], path: str) -> Answer:
        """Where an appliance that lacks a file sends its client: the next best holder, else the origin.

        Only appliances that rank behind every source are named, so a chain of redirects ends at the origin even if
        all holdings are wrong.
        """
        title = self.compiled.library.titles.holder(asked.sha256)
        if title is None:
            return problem(asked.kind, 404, "unknown-file", "no published title has this file")
        sharing = Sharing(levels=self.ledger.levels)
        approach = choose(self.compiled, place.ways, title, self._limits, sharing=sharing).approach
        candidates = walk(self.compiled, approach, title, sharing=sharing)
        ranked = sorted(candidates, key=lambda one: (one.fault is Exclusion.DRAINING, one.fault is not None, one.order))
        names = [one.appliance.appliance_id for one in ranked]
        after = max((names.index(source) + 1 for source in sources if source in names), default=0)
        rest = [one for one in ranked[after:] if one.appliance.appliance_id not in sources]
        target = pathway_of(rest[0].appliance) if rest else self._origin or origin_pathway(self.compiled)
        if target is None:
            detail = "no other appliance holds this file, and no origin is set"
            return problem(asked.kind, 503, "no-pathway", detail, retry_after_s=self._retry_after_s)
        label = f"{asked.kind} 302 {'appliance' if rest else 'origin'}"
        return finished(302, "text/plain", b"", label, headers=(("location", target.base_url + path),))

    def explain(
        self, client: str, title_name: TitleId, *, now_s: float, past: CompiledSnapshot | None = None
    ) -> Explanation | None:
        """Why `client` gets what it gets, or would have got by a `past` snapshot and the loads that it has; None when
        client or title is unknown."""
        compiled = past or self.compiled
        title = compiled.library.titles.get(title_name)
        if packed_address(client) is None or title is None:
            return None
        return explain(
            compiled,
            title,
            self._limits,
            client=client,
            location=self.place(client).location,
            now_s=now_s,
            levels=None if past else self.ledger.levels,
        )

    @property
    def kept_bytes(self) -> int:
        """What finished answers take, about."""
        return self.young_bytes + self.old_bytes

    def _keep(self, place: Place, key: object, answer: Answer, given: Given) -> Answer:
        """Remember a finished answer for all who meet the same appliances with the same outcomes."""
        if self.young_bytes >= self._settings.most_kept_bytes // 2:
            for each in list(self._distinct.values()):
                each.older, each.answers = each.answers, {}
                each.old_bytes, each.young_bytes = each.young_bytes, 0
            self.young_bytes, self.old_bytes = 0, self.young_bytes
        kept = place.answers.get(key)
        if kept is None:
            kept = place.answers[key] = Kept()
        if self.ledger.levels.keys().isdisjoint(given.names):
            self._grow(place, _size(answer) - _size(kept.answer))
            kept.names, kept.answer = given.names, answer
            return answer
        top = [kept.others]
        sides, side = top, 0
        for one in given.met:
            fork = sides[side]
            if not isinstance(fork, Fork) or fork.key != one.key or fork.is_in_use != one.is_in_use:
                self._grow(place, FORK_BYTES - _size(fork))
                fork = sides[side] = Fork(name=one.name, key=one.key, is_in_use=one.is_in_use)
            sides, side = fork.sides, one.outcome
        self._grow(place, _size(answer) - _size(sides[side]))
        sides[side] = answer
        kept.others = top[0]
        return answer

    def _grow(self, place: Place, by_bytes: int) -> None:
        place.young_bytes += by_bytes
        self.young_bytes += by_bytes

    def _draw(self, client: str, asked: Asked) -> int:
        return draw_of(packed_address(client) or b"", self._facts(asked)[1])

    def _tier(self, given: Given) -> str:
        if not given.appliances:
            return "origin"
        if given.is_last_resort:
            return "last-resort"
        site_no = self.compiled.network.site_nos[given.appliances[0].site_id]
        return self.compiled.network.sites[site_no].kind

    def _pathways(self, appliances: Sequence[SnapshotAppliance]) -> list[Pathway]:
        known, pathways = self._ways, []
        for one in appliances:
            pathway = known.get(one.appliance_id)
            if pathway is None:
                pathway = known[one.appliance_id] = pathway_of(one)
            pathways.append(pathway)
        if self._origin:
            pathways.append(self._origin)
        return pathways

    def _reason(self, pathways: Sequence[Pathway]) -> str:
        if not pathways:
            return "no-pathway"
        return "origin-only" if pathways[0] is self._origin else "pathways"


def _likeness(place: Place) -> object:
    """Equal for places that get the same answers."""
    return place.location, place.ways.routed.steps, place.ways.last_resort.steps


def _no_title(asked: Asked) -> Answer:
    if asked.title_id is None:
        return problem(asked.kind, 400, "invalid-title", "title ids are 1-128 letters, digits, inner . _ -")
    return problem(asked.kind, 404, "unknown-title", f"no title {asked.title_id} is published")


def _size(kept: Answer | Fork | None) -> int:
    """Bytes that keeping it costs."""
    if kept is None:
        return 0
    if isinstance(kept, Answer):
        return KEEPING_BYTES + len(kept.head) + len(kept.body)
    return FORK_BYTES + sum(map(_size, kept.sides))


def _size_kept(kept: Kept) -> int:
    return _size(kept.answer) + _size(kept.others)


def _cell(location: Location) -> Location:
    return Location(
        latitude_deg=round(location.latitude_deg / CELL_DEGREES) * CELL_DEGREES,
        longitude_deg=round(location.longitude_deg / CELL_DEGREES) * CELL_DEGREES,
    )
