"""What messages about routes change: which count, which table of a session is in force, what is told. Pure.

Messages may be lost, repeated and late (`exchange.judge_arrival` places them). A table counts once all of its chunks
are in the store; until then the one before stays.
"""

import ipaddress
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from headrace.base.errors import ConfigError, UsageError
from headrace.base.ids import ApplianceId
from headrace.control.checks import check_message, check_storable
from headrace.control.exchange import past_after
from headrace.control.model import NewEvent
from headrace.routes.chunks import CHUNKS, table_digest
from headrace.routes.damping import DampingRules
from headrace.routes.effective import ChunkPlace
from headrace.routes.hygiene import HygieneRules
from headrace.routes.model import RouteError, Session, SessionState
from headrace.routes.reports import LeakRules, check_scopes
from headrace.routes.retention import NO_TABLE, RetentionRules, TableRef, Told, hear
from headrace.routes.rpki import RpkiRules
from headrace.wire.routes import ChunkRef, RoutesRequest, SessionTable, TableRequest

MOST_SESSIONS = 64
"""Of one appliance."""
MOST_UNFINISHED = 64
"""Tables of one appliance of which parts are missing; the oldest give way."""
MOST_TABLE_BYTES = 512 << 20
"""Of all chunks of one table, packed."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_DETAIL = 300
_PLACE = struct.Struct(">H32s")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """Table [routes] of a control node's configuration."""

    turn_interval_s: float = 0.5
    """Between two looks for changes."""
    report_interval_s: float = 1.0
    """Agents do not report changes sooner than this after each other."""
    most_routes: int = 2_000_000
    """Of one session; a larger table is refused and the one before stays."""
    history_s: float = 86_400.0
    """How far back `headrace routes changes` can look."""
    history_step_s: float = 600.0
    """Tables of the past are kept at most this often."""
    unused_s: float = 120.0
    """Chunks and tables that nobody refers to are dropped after this; a table that is being sent is referred to."""
    hygiene: HygieneRules = field(default_factory=HygieneRules)
    rpki: RpkiRules = field(default_factory=RpkiRules)
    retention: RetentionRules = field(default_factory=RetentionRules)
    damping: DampingRules = field(default_factory=DampingRules)
    leaks: LeakRules = field(default_factory=LeakRules)


def check_settings(settings: RouteSettings, *, source: str) -> None:
    """Check what the shape of the table does not say; raises ConfigError."""
    hygiene, damping = settings.hygiene, settings.damping
    bounds = (
        ("hygiene.longest_v4", hygiene.longest_v4, 32),
        ("hygiene.shortest_v4", hygiene.shortest_v4, 32),
        ("hygiene.longest_v6", hygiene.longest_v6, 128),
        ("hygiene.shortest_v6", hygiene.shortest_v6, 128),
    )
    for key, value, most in bounds:
        if not 0 <= value <= most:
            raise ConfigError(f"{source}: key 'routes.{key}': {value} is not between 0 and {most}")
    if not 0 < damping.reuse_at < damping.suppress_at <= damping.most:
        raise ConfigError(
            f"{source}: table [routes.damping]: reuse_at, suppress_at and the most that longest_s allows "
            f"({damping.most:.0f}) must be above 0 and in this order"
        )
    try:
        check_scopes(settings.leaks)
    except RouteError as error:
        raise ConfigError(f"{source}: key 'routes.leaks.scopes': {error}") from None
    positive = (settings.turn_interval_s, settings.report_interval_s, damping.half_life_s, settings.history_step_s)
    if min(positive) <= 0:
        raise ConfigError(f"{source}: the intervals of table [routes] must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """A session as it was told last, and which of its tables count."""

    session: Session
    told: Told


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSpeaker:
    """All that is stored of an appliance's sessions."""

    appliance_id: ApplianceId
    boot_id: str = ""
    sequence: int = 0
    past_boots: tuple[str, ...] = ()
    heard_at_s: float | None = None
    version: int = 0
    """Of the store's counter of routes when it changed last."""
    sessions: tuple[StoredSession, ...] = ()
    """In order of session id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTable:
    """The table that a session had from some moment on; '' for an empty one."""

    appliance_id: ApplianceId
    session_id: str
    at_s: float
    table_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep dropped."""

    tables: int = 0
    chunks: int = 0


def check_request(request: RoutesRequest) -> None:
    """Check what an appliance says of its sessions; raises UsageError."""
    check_message(request.boot_id, request.sequence)
    if len(request.sessions) > MOST_SESSIONS:
        raise UsageError(f"sessions: {len(request.sessions)} are over the limit of {MOST_SESSIONS}")
    names = [one.session.session_id for one in request.sessions]
    if len(set(names)) != len(names):
        raise UsageError("sessions: two have the same id")
    for one in request.sessions:
        _check_session(one.session)
        if not all(_DIGEST.fullmatch(digest) for digest in _digests_of(one)):
            raise UsageError("sessions: table_digest or times_digest is no SHA-256 in hexadecimal")


def _check_session(session: Session) -> None:
    where = f"session {session.session_id[:80]!r}"
    if not 0 < len(session.session_id) <= 100 or not session.session_id.isprintable():
        raise UsageError(f"{where}: use 1-100 printable characters")
    try:
        ipaddress.ip_address(session.peer_address)
    except ValueError:
        raise UsageError(f"{where}: peer_address is no address") from None
    numbers = (session.peer_as, session.local_as)
    counts = (session.prefixes, session.most_prefixes, session.drops, session.updates)
    if not all(0 <= number < 2**32 for number in numbers) or not all(0 <= count < 2**53 for count in counts):
        raise UsageError(f"{where}: an AS number or a count is out of range")
    check_storable(where, session)


def base_of(request: TableRequest) -> str:
    """The table that a list was told against, '' for none; raises UsageError."""
    if request.base_digest and not _DIGEST.fullmatch(request.base_digest):
        raise UsageError("base_digest is no SHA-256 in hexadecimal")
    return request.base_digest


def lay_over(request: TableRequest, base: tuple[ChunkPlace, ...] | None) -> TableRequest | None:
    """The whole list of a table that was told against another one; None when that one is not known here."""
    if not request.base_digest:
        return request
    if base is None:
        return None
    refs = {place.number: ChunkRef(number=place.number, digest=place.digest) for place in base}
    for number in request.gone:
        refs.pop(number, None)
    refs |= {ref.number: ref for ref in request.chunks}
    return replace(request, chunks=tuple(refs[number] for number in sorted(refs)), base_digest="", gone=())


def check_table(request: TableRequest) -> tuple[ChunkPlace, ...]:
    """The places of a table as an appliance told them; raises UsageError."""
    numbers = [one.number for one in request.chunks]
    if numbers != sorted(set(numbers)) or any(not 0 <= number < CHUNKS for number in numbers):
        raise UsageError(f"chunks: numbers from 0 to {CHUNKS - 1} in ascending order, none twice")
    if not all(_DIGEST.fullmatch(one.digest) for one in request.chunks):
        raise UsageError("chunks: a digest is no SHA-256 in hexadecimal")
    if not numbers or table_digest({one.number: one.digest for one in request.chunks}) != request.table_digest:
        raise UsageError("table_digest does not fit the chunks")
    return tuple(ChunkPlace(number=one.number, digest=one.digest) for one in request.chunks)


def pack_places(places: Iterable[ChunkPlace]) -> bytes:
    """Places as they are stored."""
    return b"".join(_PLACE.pack(place.number, bytes.fromhex(place.digest)) for place in places)


def read_places(packed: bytes) -> tuple[ChunkPlace, ...]:
    """The reverse of `pack_places`."""
    return tuple(ChunkPlace(number=number, digest=digest.hex()) for number, digest in _PLACE.iter_unpack(packed))


def unknown_tables(request: RoutesRequest, whole: Mapping[str, int]) -> tuple[str, ...]:
    """The tables and times that an appliance named and the store does not have whole."""
    return tuple(sorted(set(named_lists(request)) - set(whole)))


def named_lists(request: RoutesRequest) -> tuple[str, ...]:
    """The tables and times that an appliance named."""
    return tuple(digest for one in request.sessions for digest in _digests_of(one))


def _digests_of(one: SessionTable) -> tuple[str, ...]:
    return tuple(digest for digest in (one.table_digest, one.times_digest) if digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a message that counts changes."""

    speaker: StoredSpeaker
    events: tuple[NewEvent, ...]
    new_tables: tuple[tuple[str, str], ...]
    """Session id and digest, where another table is in force."""
    has_changed: bool
    """Anything but the order of messages."""


def take_message(
    before: StoredSpeaker, request: RoutesRequest, whole: Mapping[str, int], settings: RouteSettings, *, now_s: float
) -> Taken:
    """The stored speaker after `request`.

    Args:
        whole: digests of tables and times that are whole in the store, and how many routes they have.
    """
    known = {one.session.session_id: one for one in before.sessions}
    sessions: list[StoredSession] = []
    for told in sorted(request.sessions, key=lambda one: one.session.session_id):
        session = replace(told.session, detail=told.session.detail[:_MOST_DETAIL])
        last = known.get(session.session_id)
        table = _table(told, whole, settings)
        heard = hear(None if last is None else last.told, session.state, table, settings.retention, now_s=now_s)
        sessions.append(StoredSession(session=session, told=heard))
    past = past_after(before.past_boots, before.boot_id, before.sequence, request.boot_id)
    after = StoredSpeaker(
        appliance_id=before.appliance_id,
        boot_id=request.boot_id,
        sequence=request.sequence,
        past_boots=past,
        heard_at_s=now_s,
        version=before.version,
        sessions=tuple(sessions),
    )
    return Taken(
        speaker=after,
        events=tuple(_events(before, after)),
        new_tables=tuple(_new_tables(known, after)),
        has_changed=after.sessions != before.sessions,
    )


def _table(told: SessionTable, whole: Mapping[str, int], settings: RouteSettings) -> TableRef | None:
    if not told.table_digest:
        return NO_TABLE
    routes = whole.get(told.table_digest)
    if routes is None or routes > settings.most_routes:
        return None
    times = told.times_digest if told.times_digest in whole else ""
    return TableRef(digest=told.table_digest, routes=routes, times=times)


def _new_tables(known: Mapping[str, StoredSession], after: StoredSpeaker) -> Iterable[tuple[str, str]]:
    for one in after.sessions:
        last = known.get(one.session.session_id)
        was = last.told.table.digest if last else None
        if was != one.told.table.digest and (one.told.table.digest or was):
            yield one.session.session_id, one.told.table.digest


def _events(before: StoredSpeaker, after: StoredSpeaker) -> Iterable[NewEvent]:
    old = {one.session.session_id: one.session for one in before.sessions}
    new = {one.session.session_id: one.session for one in after.sessions}
    for name, session in new.items():
        was = old.get(name)
        if was is None:
            yield _event(after, "route-session.added", session, str(session.state))
        elif _is_news(was.state, session.state):
            yield _event(after, "route-session.changed", session, f"{was.state} -> {session.state}")
    for name in old.keys() - new.keys():
        yield _event(after, "route-session.removed", old[name], "no longer configured")


def _is_news(was: SessionState, now: SessionState) -> bool:
    """Whoever tries to connect again and again makes no line for each attempt."""
    trying = (SessionState.CONNECTING, SessionState.DOWN)
    return was is not now and not (was in trying and now in trying)


def _event(speaker: StoredSpeaker, kind: str, session: Session, what: str) -> NewEvent:
    words = f": {session.detail}" if session.detail else ""
    return NewEvent(
        actor=f"appliance:{speaker.appliance_id}",
        kind=kind,
        subject=f"appliance/{speaker.appliance_id}",
        reason=str(session.state),
        detail=f"{session.session_id}, AS{session.peer_as}, {session.prefixes} prefixes, {what}{words}",
    )


def check_chunk_room(told_bytes: int) -> None:
    """Refuse what would make one table larger than any is; raises RouteError."""
    if told_bytes > MOST_TABLE_BYTES:
        raise RouteError(f"a table of {told_bytes} bytes is over the limit of {MOST_TABLE_BYTES}")
