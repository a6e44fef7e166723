"""What players are answered: a dictionary look-up for most of them, within the turn of the loop that read the request.

A request is read (`requests`, `clients`), decided (`answers`) and counted (`counters`); the snapshot is exchanged under
it by one assignment (`keeper`). Answers to players carry the snapshot's version and age, may be read by any web page
(CORS) and are never cached: they hold for one client at one moment. Reading HTTP off a socket is `adapters/http`'s.
"""

import hmac
import logging
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import parse_qs

from headrace.base.clock import Clock
from headrace.playback.adapters.session_log import SessionLog
from headrace.playback.adapters.tally import TallyFolder
from headrace.playback.answer import JSON, Answer, finished, problem
from headrace.playback.answers import Answers, Place
from headrace.playback.clients import ClientReader, is_loopback
from headrace.playback.config import PlaybackConfig
from headrace.playback.counters import SAMPLE_EVERY, Counters, add_up, exposition, to_record
from headrace.playback.requests import Asked, Kind, read_cmcd, read_not, read_path
from headrace.steering.compile import CompiledSnapshot
from headrace.steering.manifest import UNMEASURED_BPS, QueryError, read_query
from headrace.wire.codec import encode

_log = logging.getLogger(__name__)

_MASTER, _MPD, _FILE = Kind.MASTER, Kind.MPD, Kind.FILE
"""Looked up once: members of an enumeration cost more than names of a module, and each request asks."""
_EXPLAIN_PATH = "/v1/explain"
MOST_PATHS = 200_000
MOST_CLIENTS_COUNTED = 200_000
MOST_HOSTS = 1000
TEXT = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = "GET, HEAD, OPTIONS"
_PREFLIGHT = (
    ("access-control-allow-methods", _METHODS),
    ("access-control-allow-headers", "*"),
    ("access-control-max-age", "86400"),
)

Headers = Mapping[bytes, bytes]
"""Request headers by name in lower case; several lines of one name are one value, joined by commas (RFC 9110, 5.3)."""


class Peer(NamedTuple):
    """The other end of a connection."""

    address: str
    """As text, without port; an IPv4 address as one."""
    scheme: str
    is_proxy: bool
    """True when it is believed what it says of its clients."""


class PlaybackService:
    """One worker's state and the answers to its requests."""

    def __init__(
        self, config: PlaybackConfig, clock: Clock, counters: Counters, tally: TallyFolder, token: str
    ) -> None:
        self.answers: Answers | None = None
        """Answers of the snapshot in force; None until there is one. Exchanged as a whole."""
        self.is_overloaded = False
        self.past: Callable[[float], CompiledSnapshot | None] = _no_past
        """The snapshot in force at a moment."""
        self._config = config
        self._clock = clock
        self._counters = counters
        self._tally = tally
        self._token = token
        self._clients = ClientReader(config.clients.trusted_proxies)
        self._trusts_proxies = bool(config.clients.trusted_proxies)
        self._address_header = config.clients.address_header.encode()
        self._is_forwarded = config.clients.address_header == "forwarded"
        self._most_asked = config.limits.per_client_per_10s
        self._has_public_url = bool(config.answers.public_url)
        self._most_url_bytes = config.limits.url_bytes
        self._paths: dict[str, Asked] = {}
        self._base_urls: dict[tuple[str, bytes], str] = {}
        self._asked_by: dict[str, int] = {}
        self._begun_by: dict[str, int] = {}
        self.session_log = SessionLog(config.log.file, most_bytes=config.log.most_bytes)
        self._has_log = bool(config.log.file)
        self._most_begun = config.load.sessions_per_client
        self._window = 0
        self._number = 0
        self._tails: tuple[bytes, bytes] | None = None

    def meet(self, address: str, scheme: str) -> Peer:
        """A new connection's other end."""
        return Peer(address, scheme, self._trusts_proxies and self._clients.is_proxy(address))

    def may_block(self, target: str) -> bool:
        """True when the answer may read a snapshot from disk: such requests are answered in a thread."""
        return target.startswith(_EXPLAIN_PATH) and "at=" in target

    def respond(self, peer: Peer, method: bytes, target: str, headers: Headers, is_last: bool) -> bytes:
        """All bytes of the answer to one request. The top of the loop over requests: whatever fails becomes a 500.

        Args:
            target: path and query, as they were sent.
            is_last: the connection ends with this answer, which says so.
        """
        self._number += 1
        is_measured = not self._number % SAMPLE_EVERY
        started_s = self._clock.monotonic_s() if is_measured else 0.0
        try:
            answer = self.answer(peer, method, target, headers)
        except Exception:
            _log.exception("request_failed")
            answer = problem(Kind.OTHER, 500, "internal", "this request failed here; the log says why")
        if is_measured:
            self._counters.took(self._clock.monotonic_s() - started_s)
        counts = self._counters.answers
        counts[answer.label] = counts.get(answer.label, 0) + 1
        tail = (self._tails or self._new_tails())[is_last]
        if method == b"HEAD":
            return answer.head + tail
        return b"".join((answer.head, tail, answer.body))

    def refuse(self, status: int, code: str, detail: str) -> bytes:
        """The last answer on a connection that says what cannot be read or is too much."""
        answer = problem(Kind.OTHER, status, code, detail)
        self._counters.answers[answer.label] = self._counters.answers.get(answer.label, 0) + 1
        return b"".join((answer.head, (self._tails or self._new_tails())[True], answer.body))

    def answer(self, peer: Peer, method: bytes, target: str, headers: Headers) -> Answer:
        """Decide an answer."""
        path, _, query = target.partition("?")
        asked = self._paths.get(path) or self._read_path(path)
        if method not in {b"GET", b"HEAD"}:
            return _answer_to_other(asked, method)
        if len(target) > self._most_url_bytes:
            return problem(asked.kind, 414, "uri-too-long", f"at most {self._most_url_bytes} bytes are read")
        if not asked.is_for_players:
            return self._for_operators(asked, peer, query, headers)
        answers = self.answers
        if answers is None:
            return self._not_now(asked.kind, "no-snapshot", "this steering node has no snapshot yet")
        kind = asked.kind
        client, place = self._client(answers, peer, headers)
        if kind is _MASTER or kind is _MPD:
            base_url = self._base_url(peer, headers) if kind is _MPD else ""
            is_gzip = b"gzip" in headers.get(b"accept-encoding", b"")
            key = (path, base_url, is_gzip)
            answer = answers.find(place, key, client, asked) or answers.playlist(
                place, asked, base_url, client=client, key=key, is_gzip=is_gzip
            )
            if answer.status == 200 and method == b"GET":
                self._begun(answers, asked, answer, client)
            return answer
        if kind is _FILE:
            return self._redirect(answers, place, asked, path, query)
        answer = self._steering(answers, place, asked, client, path, query)
        if answer.first:
            self._give(answers, answer, client)
        return answer

    def new_second(self) -> None:
        """Called about each second: refreshes the age in headers, the window of limits and the counters on disk."""
        self._tails = None
        window = int(self._clock.monotonic_s() / 10)
        if window != self._window:
            self._window = window
            self._asked_by.clear()
            self._begun_by.clear()

    def leave_counters(self) -> None:
        """Write the counters for the other workers, and the log; blocks shortly."""
        self.session_log.write()
        self._tally.leave(to_record(self._counters))

    def install(self, answers: Answers) -> None:
        """Put another snapshot in force."""
        self.answers = answers
        self._tails = None

    def _read_path(self, path: str) -> Asked:
        asked = read_path(path) if len(path) <= self._most_url_bytes else Asked(kind=Kind.OTHER)
        if asked.kind is not Kind.OTHER and asked.kind is not Kind.FILE:
            if len(self._paths) >= MOST_PATHS:
                self._paths.clear()
            self._paths[path] = asked
        return asked

    def _client(self, answers: Answers, peer: Peer, headers: Headers) -> tuple[str, Place]:
        """The client's address and its place."""
        client = peer.address
        if peer.is_proxy:
            given = headers.get(self._address_header, b"").decode("latin-1")
            if self._is_forwarded:
                client = self._clients.from_forwarded(given) or client
            elif (place := answers.find_place(given)) is not None:
                return given, place  # One bare address, as most are: nothing of it needs to be read.
            else:
                client = self._clients.from_x_forwarded_for(given) or client
        return client, answers.place(client)

    def _steering(self, answers: Answers, place: Place, asked: Asked, client: str, path: str, query: str) -> Answer:
        most = self._most_asked
        if most or self.is_overloaded:
            count = self._asked_by[client] = self._asked_by.get(client, 0) + 1
            if self.is_overloaded or count > most:
                return self._too_many(asked)
            if len(self._asked_by) > MOST_CLIENTS_COUNTED:
                self._asked_by.clear()
        head, _, tail = query.rpartition("_throughput=")
        key: object = query
        if len(tail) <= 13 and tail.isascii() and tail.isdecimal():
            bps = int(tail)
            key = (path, head, bps != UNMEASURED_BPS and bps < answers.needed_bps(asked))
            kept = answers.find(place, key, client, asked)
            if kept is not None:
                return kept
        try:
            return answers.steering(place, asked, read_query(query), client=client, key=None if key is query else key)
        except QueryError as error:
            return problem(asked.kind, 400, "invalid-query", str(error))

    def _begun(self, answers: Answers, asked: Asked, answer: Answer, client: str) -> None:
        """Count a session that begins."""
        tiers = self._counters.tiers
        tiers[answer.tier] = tiers.get(answer.tier, 0) + 1
        if self._has_log and asked.title_id is not None:
            now_s = self._clock.now_s()
            self.session_log.add(now_s, client, asked.title_id, answer.first, answer.session_bps)
        if answer.first:
            self._give(answers, answer, client)

    def _give(self, answers: Answers, answer: Answer, client: str) -> None:
        """An appliance gets a session, new or from another one: in the ledger at once, before any report shows it.

        One client counts only so often: it can fill nobody's appliance with words.
        """
        begun = self._begun_by.get(client, 0)
        if begun >= self._most_begun:
            return
        if len(self._begun_by) > MOST_CLIENTS_COUNTED:
            self._begun_by.clear()
        self._begun_by[client] = begun + 1
        answers.ledger.give(answer.first, answer.session_bps, self._clock.now_s())

    def _too_many(self, asked: Asked) -> Answer:
        reason = "overloaded" if self.is_overloaded else "too-many-requests"
        retry_after_s = self._config.limits.retry_after_s
        return problem(asked.kind, 429, reason, "ask again later", retry_after_s=retry_after_s)

    def _redirect(self, answers: Answers, place: Place, asked: Asked, path: str, query: str) -> Answer:
        try:
            sources = read_not(query)
        except ValueError as error:
            return problem(asked.kind, 400, "invalid-query", str(error))
        return answers.redirect(place, asked, sources, path + read_cmcd(query))

    def _base_url(self, peer: Peer, headers: Headers) -> str:
        """This service's URL as this client sees it; '' where it is set, or where the client's Host is none."""
        if self._has_public_url:
            return ""
        host, scheme = headers.get(b"host", b""), peer.scheme
        if peer.is_proxy and headers.get(b"x-forwarded-proto") == b"https":
            scheme = "https"
        known = self._base_urls.get((scheme, host))
        if known is None:
            if len(self._base_urls) >= MOST_HOSTS:
                self._base_urls.clear()
            text = host.decode("latin-1")
            known = self._base_urls[(scheme, host)] = f"{scheme}://{text}" if _is_host(text) else ""
        return known

    def _not_now(self, kind: Kind, code: str, detail: str) -> Answer:
        return problem(kind, 503, code, detail, retry_after_s=self._config.limits.retry_after_s)

    def _for_operators(self, asked: Asked, peer: Peer, query: str, headers: Headers) -> Answer:
        if asked.kind is Kind.HEALTH:
            return self._health()
        if asked.kind is Kind.METRICS:
            return self._refusal(peer, headers, asked.kind) or self._metrics()
        if asked.kind is Kind.EXPLAIN:
            return self._refusal(peer, headers, asked.kind) or self._explain(query)
        return problem(asked.kind, 404, "not-found", "nothing is answered at this path")

    def _health(self) -> Answer:
        if self.answers is None:
            return self._not_now(Kind.HEALTH, "no-snapshot", "this steering node has no snapshot yet")
        compiled = self.answers.compiled
        body = b'{"status":"ok","snapshot_version":%d,"snapshot_age_s":%.1f}' % (compiled.version, self._age_s())
        return finished(200, JSON, body, "health 200 ok")

    def _metrics(self) -> Answer:
        total = add_up([to_record(self._counters), *self._tally.others()])
        compiled = self.answers.compiled if self.answers else None
        kept_bytes = self.answers.kept_bytes if self.answers else 0
        body = exposition(total, compiled, kept_bytes=kept_bytes, now_s=self._clock.now_s())
        return finished(200, TEXT, body, "metrics 200 ok")

    def _explain(self, text: str) -> Answer:
        if self.answers is None:
            return self._not_now(Kind.EXPLAIN, "no-snapshot", "this steering node has no snapshot yet")
        try:
            query = parse_qs(text, max_num_fields=32, errors="replace")
        except ValueError as error:
            return problem(Kind.EXPLAIN, 400, "invalid-query", str(error))
        client, title = query.get("client", [""])[0], query.get("title", [""])[0]
        now_s, past = self._clock.now_s(), None
        if "at" in query:
            at_s = _instant(query["at"][0])
            if at_s is None:
                return problem(Kind.EXPLAIN, 400, "invalid-time", "at: seconds since 1970")
            now_s, past = at_s, self.past(at_s)
            if past is None:
                return problem(
                    Kind.EXPLAIN, 404, "not-kept", "no snapshot of that time is kept; see [snapshot] history_s"
                )
        asked = read_path(f"/v1/titles/{title}/master.m3u8")
        titles = (past or self.answers.compiled).library.titles
        if asked.title_id is None or asked.title_id not in titles:
            return problem(Kind.EXPLAIN, 404, "unknown-title", f"no title {title[:140]!r} is published")
        found = self.answers.explain(client, asked.title_id, now_s=now_s, past=past)
        if found is None:
            return problem(Kind.EXPLAIN, 400, "invalid-client", f"client {client[:60]!r} is not an IP address")
        return finished(200, JSON, encode(found), "explain 200 ok")

    def _refusal(self, peer: Peer, headers: Headers, kind: Kind) -> Answer | None:
        """Why this request may not look inside; None when it may."""
        if self._token:
            given = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
            if hmac.compare_digest(given, self._token.encode()):
                return None
            return problem(kind, 401, "unauthorized", "this needs the token of explain.token_file")
        is_forwarded = any(headers.get(name) for name in (b"x-forwarded-for", b"forwarded"))
        if is_forwarded or not is_loopback(peer.address):
            return problem(kind, 403, "forbidden", "only this machine may ask, as explain.token_file is not set")
        return None

    def _new_tails(self) -> tuple[bytes, bytes]:
        """What stands between head and body in every answer of this second; the other one ends its connection."""
        now_s = self._clock.now_s()
        lines = [
            f"date: {formatdate(now_s, usegmt=True)}",
            "cache-control: no-store",
            "access-control-allow-origin: *",
        ]
        if self.answers is not None:
            lines.append(f"headrace-snapshot: version={self.answers.compiled.version}; age={self._age_s():.0f}")
        tail = "\r\n".join([*lines, "", ""]).encode("ascii")
        self._tails = (tail, b"connection: close\r\n" + tail)
        return self._tails

    def _age_s(self) -> float:
        assert self.answers is not None
        return max(0.0, self._clock.now_s() - self.answers.compiled.built_at_s)


def _no_past(_: float) -> None:
    return None


def _instant(text: str) -> float | None:
    """Seconds since 1970."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e11 else None


def _answer_to_other(asked: Asked, method: bytes) -> Answer:
    if method == b"OPTIONS":
        return finished(204, "", b"", f"{asked.kind} 204 preflight", headers=_PREFLIGHT)
    detail = f"{_METHODS} are answered here"
    return problem(asked.kind, 405, "method-not-allowed", detail, headers=(("allow", _METHODS),))


def _is_host(text: str) -> bool:
    """A Host header that may go into a URL: letters, digits and the marks of names, addresses and ports."""
    return 0 < len(text) <= 260 and all(c.isascii() and (c.isalnum() or c in ".-_:[]") for c in text)
