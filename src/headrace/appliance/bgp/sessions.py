"""The sessions of a speaker and their tables: what each message changes, and what is to be done about it. Pure.

A session's table goes out under a name (`packed`) that stays what it was while the session learns anew, so that nobody
sees a table that is half there: old routes stay until End-of-RIB (RFC 4724, 4.2), or until a time has passed for peers
that send none. Over its limit a session is closed and its routes are dropped, as routers do.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.appliance.bgp.messages import Announced, Down, EndOfRib, Happened, Notified, Up, Withdrawn
from headrace.appliance.bgp.settings import BgpPeer, BgpSettings
from headrace.routes.model import RouteError, Session, SessionState
from headrace.routes.table import PackedTable, Table
from headrace.wire.routes import SessionTable

_TOO_MANY = 1
"""Cease subcode Maximum Number of Prefixes Reached (RFC 4486)."""
_QUIET_S = 3.0
"""A first table that grew no more for so long is learned."""
_QUIET_AGAIN_S = 30.0
"""The same when old routes are kept meanwhile: these may wait."""
_PEER_ENDED = "the peer ended it"
_WORDS = {"closing connection": "no connection: the peer refuses, does not answer, or has closed it"}
"""What ExaBGP says, where it says too little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSession:
    """End the session with a Cease notification; the speaker would try again."""

    peer: str
    subcode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakTo:
    """Have sessions with all enabled peers but those left out."""

    left_out: frozenset[str]


Command = EndSession | SpeakTo


class _Live:
    """One session."""

    def __init__(self, peer: BgpPeer, now_s: float) -> None:
        self.peer = peer
        self.table = Table(peer.family)
        self.packed = PackedTable()
        self.state = SessionState.CONNECTING if peer.enabled else SessionState.DISABLED
        self.since_s = now_s
        self.detail = ""
        self.drops = self.updates = self.flawed = 0
        self.is_learning = self.had_routes = False
        self.moved_s = now_s
        """When the session came up or the table changed last."""
        self.is_left_out = False
        self.is_ending = False

    def move(self, state: SessionState, detail: str, now_s: float) -> None:
        if state is not self.state:
            self.state, self.since_s = state, now_s
        self.detail = detail


class Sessions:
    """All sessions of one speaker. Not shared between threads."""

    def __init__(self, settings: BgpSettings, *, now_s: float) -> None:
        self.settings = settings
        self._live = {peer.address: _Live(peer, now_s) for peer in settings.peers}
        self.version = 1
        """Grows with whatever a report would show."""

    # ---- what happens

    def take(self, happened: Happened, *, now_s: float) -> list[Command]:
        """Apply one message of the speaker; gives what is to be done.

        Raises:
            RouteError: attributes that cannot be; the routes are withdrawn (RFC 7606).
        """
        live = self._live.get(happened.peer)
        if live is None or live.state is SessionState.DISABLED:
            return []
        if live.state is SessionState.OVER_LIMIT:
            return self._take_over_limit(live, happened)
        if isinstance(happened, Announced | Withdrawn):
            return self._take_update(live, happened, now_s)
        if isinstance(happened, Up):
            self._come_up(live, now_s)
        elif isinstance(happened, Notified):
            live.detail = f"{_PEER_ENDED}: {show_notification(happened)}"
        elif isinstance(happened, Down):
            self._go_down(live, happened.reason, now_s)
        elif isinstance(happened, EndOfRib) and happened.family is live.peer.family:
            self._has_learned(live)
        return []

    def tick(self, *, now_s: float) -> list[Command]:
        """What time alone brings; to be called about each second."""
        commands: list[Command] = []
        for live in self._live.values():
            if live.is_learning and self._has_waited(live, now_s):
                self._has_learned(live)
            if live.state is SessionState.OVER_LIMIT:
                commands += self._wait_over_limit(live, now_s)
        return commands

    def retry(self, *, now_s: float) -> list[Command]:
        """An operator has mended what was over its limit: try again now."""
        closed = [live for live in self._live.values() if live.state is SessionState.OVER_LIMIT]
        for live in closed:
            self._reopen(live, now_s)
        return [self._speak_to()] if closed else []

    def configure(self, settings: BgpSettings, *, now_s: float) -> list[Command]:
        """Work by other settings from now on; sessions whose peer did not change go on undisturbed."""
        before, self.settings = self._live, settings
        self._live = {}
        for peer in settings.peers:
            live = before.get(peer.address)
            if live is None or live.peer.enabled != peer.enabled:
                live = _Live(peer, now_s)
            live.peer = peer
            self._live[peer.address] = live
        self.version += 1
        return [self._speak_to()]

    def restore(self, session_id: str, chunks: Iterable[bytes], *, since_s: float) -> None:
        """Take the table that a session had when an earlier speaker ended, as one of a session that is down.

        Raises:
            RouteError: the chunks are broken; the session is as if there had been none.
        """
        live = next((live for live in self._live.values() if live.peer.session_id == session_id), None)
        if live is None or not live.peer.enabled:
            return
        table = Table(live.peer.family)
        table.load(chunks)
        if len(table):
            live.table = table
            live.move(SessionState.DOWN, "the speaker was started again", since_s)
            self.version += 1

    # ---- what is

    def tables_to_pack(self) -> list[tuple[str, Table]]:
        """Session ids and tables that have changed and may be shown."""
        return [
            (live.peer.session_id, live.table)
            for live in self._live.values()
            if live.table.changed_chunks and not (live.is_learning and live.state is SessionState.ESTABLISHED)
        ]

    def use_packed(self, session_id: str, packed: PackedTable) -> None:
        """The table under its new name."""
        for live in self._live.values():
            if live.peer.session_id == session_id and live.packed.names != packed.names:
                live.packed = packed
                self.version += 1

    def packed_tables(self) -> dict[str, PackedTable]:
        """What is shown of each session, by its id."""
        return {live.peer.session_id: live.packed for live in self._live.values()}

    def report(self) -> tuple[SessionTable, ...]:
        """All sessions in the order of the settings."""
        return tuple(
            SessionTable(
                session=self._session(live), table_digest=live.packed.digest, times_digest=live.packed.times.digest
            )
            for live in self._live.values()
        )

    def _session(self, live: _Live) -> Session:
        return Session(
            session_id=live.peer.session_id,
            peer_address=live.peer.address,
            peer_as=live.peer.peer_as,
            local_as=self.settings.local_as,
            family=live.peer.family,
            state=live.state,
            since_s=live.since_s,
            detail=live.detail or self._remark(live),
            prefixes=len(live.table),
            most_prefixes=live.peer.most_prefixes,
            drops=live.drops,
            updates=live.updates,
        )

    def _remark(self, live: _Live) -> str:
        if live.is_learning:
            return "learning its table"
        limit = live.peer.most_prefixes
        if limit and live.table.announced >= limit * self.settings.warn_ratio:
            return f"near its limit: more than {self.settings.warn_ratio:.0%} of {limit} prefixes"
        return ""

    # ---- states

    def _come_up(self, live: _Live, now_s: float) -> None:
        live.move(SessionState.ESTABLISHED, "", now_s)
        live.is_learning, live.moved_s = True, now_s
        live.had_routes = bool(len(live.table))
        live.table.begin_again()
        self.version += 1

    def _go_down(self, live: _Live, reason: str, now_s: float) -> None:
        # The peer's own words, which came just before, say more than the speaker's.
        detail = live.detail if live.detail.startswith(_PEER_ENDED) else _WORDS.get(reason, reason)
        if live.state is SessionState.ESTABLISHED:
            live.drops += 1
            live.is_learning = False
            live.move(SessionState.DOWN, detail, now_s)
            self.version += 1
        elif detail != live.detail:
            live.detail = detail
            self.version += 1

    def _take_update(self, live: _Live, happened: Announced | Withdrawn, now_s: float) -> list[Command]:
        if happened.family is not live.peer.family or live.state is not SessionState.ESTABLISHED:
            return []
        live.updates += 1
        live.moved_s = now_s
        was_near = bool(self._remark(live))
        if isinstance(happened, Withdrawn):
            live.table.withdraw(happened.prefixes)
        else:
            self._announce(live, happened, now_s)
        if was_near != bool(self._remark(live)):
            self.version += 1
        limit = live.peer.most_prefixes
        return self._close(live, now_s) if limit and live.table.announced > limit else []

    def _announce(self, live: _Live, happened: Announced, now_s: float) -> None:
        try:
            live.table.announce(happened.prefixes, happened.attributes, now_s=now_s)
        except RouteError:
            live.flawed += 1
            live.table.withdraw(happened.prefixes)
            raise

    def _close(self, live: _Live, now_s: float) -> list[Command]:
        wait_s, limit = self.settings.over_limit_retry_s, live.peer.most_prefixes
        detail = f"closed: it announced more than {limit} prefixes; tried again {wait_s:.0f} s later"
        live.move(SessionState.OVER_LIMIT, detail, now_s)
        live.drops += 1
        live.is_learning, live.is_ending = False, True
        live.table.clear()
        self.version += 1
        return [EndSession(peer=live.peer.address, subcode=_TOO_MANY)]

    def _take_over_limit(self, live: _Live, happened: Happened) -> list[Command]:
        """Left out only once the notification is on its way; before, the peer would not learn why."""
        if isinstance(happened, Down) and live.is_ending:
            return self._leave_out(live)
        return []

    def _wait_over_limit(self, live: _Live, now_s: float) -> list[Command]:
        waited_s = now_s - live.since_s
        if live.is_ending and waited_s > _QUIET_S:
            return self._leave_out(live)
        if not live.is_ending and waited_s >= self.settings.over_limit_retry_s:
            self._reopen(live, now_s)
            return [self._speak_to()]
        return []

    def _leave_out(self, live: _Live) -> list[Command]:
        live.is_ending, live.is_left_out = False, True
        return [self._speak_to()]

    def _reopen(self, live: _Live, now_s: float) -> None:
        live.is_ending = live.is_left_out = False
        live.move(SessionState.CONNECTING, "tried again after it was over its limit", now_s)
        self.version += 1

    def _speak_to(self) -> SpeakTo:
        return SpeakTo(left_out=frozenset(address for address, live in self._live.items() if live.is_left_out))

    def _has_waited(self, live: _Live, now_s: float) -> bool:
        quiet_s = _QUIET_AGAIN_S if live.had_routes else _QUIET_S
        is_quiet = live.table.announced > 0 and now_s - live.moved_s >= quiet_s
        return is_quiet or now_s - live.since_s >= self.settings.learn_most_s

    def _has_learned(self, live: _Live) -> None:
        if live.is_learning:
            live.is_learning = False
            live.table.end_again()
            self.version += 1


def show_notification(said: Notified) -> str:
    """A NOTIFICATION in words, where operators meet it often; else its numbers (RFC 4271, 4.5)."""
    known = {
        (2, 2): "bad peer AS: it expects another AS number of us",
        (2, 6): "unacceptable hold time",
        (2, 7): "unsupported capability",
        (4, 0): "hold timer expired",
        (6, 1): "maximum number of prefixes reached",
        (6, 2): "administrative shutdown",
        (6, 3): "peer de-configured",
        (6, 4): "administrative reset",
        (6, 5): "connection rejected",
        (6, 6): "other configuration change",
        (6, 7): "connection collision resolution",
    }
    words = known.get((said.code, said.subcode)) or known.get((said.code, 0)) or "notification"
    return f"{words} ({said.code}/{said.subcode})" + (f" {said.text}" if said.text else "")
