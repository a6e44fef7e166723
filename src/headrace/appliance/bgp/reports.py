"""The loop that tells the control plane what is heard: soon after a change, and now and then without one.

Messages may be lost, repeated or late; each turn begins anew with all sessions, and sends what is asked for then. A
control plane that does not know routes is told of once and asked again later.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from headrace.appliance.errors import ApplianceError
from headrace.appliance.ports import RouteReport
from headrace.base.clock import Clock
from headrace.base.ids import ApplianceId
from headrace.base.logs import event
from headrace.base.rng import Rng, backoff_s, jittered
from headrace.routes.chunks import join_chunks
from headrace.wire.codec import encode
from headrace.wire.errors import NotFoundError, RefusedError, UnauthorizedError, WireError
from headrace.wire.routes import (
    MOST_BODY_BYTES,
    ChunkRef,
    RoutesAnswer,
    RoutesRequest,
    SessionTable,
    TableAnswer,
    TableRequest,
)

_log = logging.getLogger(__name__)
_LEAST_INTERVAL_S, _MOST_INTERVAL_S = 0.2, 60.0
_AGAIN_S = 30.0
"""Without a change: the control plane may have lost what it knew."""
_NOT_KNOWN_S = 300.0
"""Pause where the control plane is too old to know routes."""
_CHUNKS_BYTES = 2 << 20
"""Of one message; well below MOST_BODY_BYTES, so that one does not take long."""
_MOST_ROUNDS = 4
"""Of sending what is missing in one turn."""

_Whose = tuple[str, str]
"""A session, and which of its lists: routes or times."""


class Heard(Protocol):
    """What is heard: the speaker."""

    changed: asyncio.Event

    @property
    def sessions(self) -> tuple[SessionTable, ...] | None: ...

    @property
    def flawed(self) -> int: ...

    @property
    def restarts(self) -> int: ...

    async def chunks_of(self, table_digest: str) -> tuple[ChunkRef, ...]: ...

    async def packed_chunks(self, digests: tuple[str, ...]) -> tuple[bytes, ...]: ...


class RouteLink(Protocol):
    """The control plane; each call raises WireError kinds."""

    async def routes(self, request: RoutesRequest) -> RoutesAnswer: ...

    async def route_table(self, request: TableRequest) -> TableAnswer: ...

    async def route_chunks(self, body: bytes) -> None: ...


class RouteReports:
    """One appliance's reports."""

    def __init__(
        self, appliance_id: ApplianceId, heard: Heard, link: RouteLink, *, retry_most_s: float, clock: Clock, rng: Rng
    ) -> None:
        self._appliance_id, self._heard, self._link = appliance_id, heard, link
        self._retry_most_s, self._clock, self._rng = retry_most_s, clock, rng
        self._boot_id = ""
        self._sequence = 0
        self._interval_s = 1.0
        self._failures_in_a_row = 0
        self._failures = 0
        self._sent_bytes = 0
        self._sent_chunks = 0
        self._is_unknown = False
        self._known: dict[_Whose, tuple[str, dict[int, ChunkRef]]] = {}
        """A list that the control plane has whole, and its chunks."""
        self._sent: dict[str, dict[int, ChunkRef]] = {}
        """Lists that were sent and are not known to be whole there."""

    def report(self) -> RouteReport:
        """For /metrics."""
        tables = self._heard.sessions or ()
        return RouteReport(
            sessions=tuple(table.session for table in tables),
            flawed_messages=self._heard.flawed,
            speaker_restarts=self._heard.restarts,
            report_failures=self._failures,
            sent_bytes=self._sent_bytes,
            sent_chunks=self._sent_chunks,
        )

    async def run(self, boot_id: str) -> None:
        """Report until cancelled."""
        self._boot_id = boot_id
        while True:
            try:
                has_said_all = await self._turn()
                self._failures_in_a_row = 0
            except NotFoundError as error:
                has_said_all = False
                self._failures_in_a_row += 1
                self._say_unknown(error)
            except (WireError, ApplianceError) as error:
                has_said_all = False
                self._failed()
                event(
                    _log, "route_report_failed", level=logging.WARNING, kind=type(error).__name__, error=error,
                    failures_in_a_row=self._failures_in_a_row,
                )  # fmt: skip
            except Exception:
                # The top of the loop: routes go on being heard.
                has_said_all = False
                self._failed()
                _log.exception("turn_failed loop=routes")
            await self._clock.sleep(self._pause_s())
            if has_said_all and not self._failures_in_a_row:
                await self._wait_for_change()

    def _failed(self) -> None:
        self._failures += 1
        self._failures_in_a_row += 1

    def _say_unknown(self, error: NotFoundError) -> None:
        if not self._is_unknown:
            self._is_unknown = True
            event(_log, "routes_not_known_to_control", level=logging.WARNING, error=error, again_s=_NOT_KNOWN_S)

    def _pause_s(self) -> float:
        if self._is_unknown and self._failures_in_a_row:
            return jittered(self._rng, _NOT_KNOWN_S)
        if self._failures_in_a_row:
            return backoff_s(self._rng, self._failures_in_a_row - 1, first_s=1.0, most_s=self._retry_most_s)
        return jittered(self._rng, self._interval_s, 0.1)

    async def _wait_for_change(self) -> None:
        limit_s: float | None = jittered(self._rng, _AGAIN_S)
        if self._heard.sessions == ():
            # Nothing is heard and that was said: a fleet without BGP keeps quiet.
            limit_s = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._heard.changed.wait()

    async def _turn(self) -> bool:
        """Say what is heard, and send what is missing; True when nothing was left."""
        for _ in range(_MOST_ROUNDS):
            self._heard.changed.clear()
            tables = self._heard.sessions
            if tables is None:
                return True
            answer = await self._ask(tables)
            lists = _lists_of(tables)
            self._learn_known(lists, frozenset(answer.unknown_tables))
            missing = [(whose, digest) for whose, digest in lists if digest in answer.unknown_tables]
            if not missing:
                return True
            for whose, digest in missing:
                await self._send_list(whose, digest)
        return False

    def _learn_known(self, lists: list[tuple[_Whose, str]], unknown: frozenset[str]) -> None:
        for whose, digest in lists:
            if digest not in unknown and digest in self._sent:
                self._known[whose] = (digest, self._sent[digest])
        self._sent.clear()
        self._known = {whose: self._known[whose] for whose, _ in lists if whose in self._known}

    async def _ask(self, tables: tuple[SessionTable, ...]) -> RoutesAnswer:
        self._sequence += 1
        request = RoutesRequest(
            appliance_id=self._appliance_id, boot_id=self._boot_id, sequence=self._sequence, sessions=tables
        )
        self._sent_bytes += len(encode(request))
        answer = await self._link.routes(request)
        self._is_unknown = False
        self._interval_s = min(_MOST_INTERVAL_S, max(_LEAST_INTERVAL_S, answer.interval_s))
        return answer

    async def _send_list(self, whose: _Whose, digest: str) -> None:
        refs = await self._heard.chunks_of(digest)
        if not refs:
            # Newer ones have taken its place; the next round names those.
            return
        answer = await self._name_chunks(whose, digest, refs)
        self._sent[digest] = {ref.number: ref for ref in refs}
        ours = {ref.digest for ref in refs}
        wanted = [each for each in answer.unknown_chunks if each in ours]
        event(_log, "route_table_sent", what=whose[1], table=digest[:16], chunks=len(refs), missing=len(wanted))
        for start in range(0, len(wanted), 64):
            for body in _bodies(await self._heard.packed_chunks(tuple(wanted[start : start + 64]))):
                await self._link.route_chunks(body)
                self._sent_bytes += len(body)
        self._sent_chunks += len(wanted)

    async def _name_chunks(self, whose: _Whose, digest: str, refs: tuple[ChunkRef, ...]) -> TableAnswer:
        """Against the last list that the control plane has, if it still has it; else all of them."""
        whole = TableRequest(appliance_id=self._appliance_id, table_digest=digest, chunks=refs)
        known = self._known.pop(whose, None)
        if known is not None:
            base_digest, base = known
            changed = tuple(ref for ref in refs if base.get(ref.number) != ref)
            gone = tuple(sorted(base.keys() - {ref.number for ref in refs}))
            try:
                return await self._say_table(replace(whole, chunks=changed, base_digest=base_digest, gone=gone))
            except UnauthorizedError:
                raise
            except RefusedError as error:
                event(_log, "route_table_sent_whole", table=digest[:16], error=error)
        return await self._say_table(whole)

    async def _say_table(self, request: TableRequest) -> TableAnswer:
        self._sent_bytes += len(encode(request))
        return await self._link.route_table(request)


def _lists_of(tables: Iterable[SessionTable]) -> list[tuple[_Whose, str]]:
    """All lists of chunks, by whose they are."""
    named = (
        ((table.session.session_id, what), digest)
        for table in tables
        for what, digest in (("routes", table.table_digest), ("times", table.times_digest))
    )
    return [(whose, digest) for whose, digest in named if digest]


def _bodies(chunks: Sequence[bytes]) -> list[bytes]:
    """Chunks as bodies of messages, none over the bound by more than its last chunk."""
    assert _CHUNKS_BYTES * 2 < MOST_BODY_BYTES
    groups: list[list[bytes]] = [[]]
    for chunk in chunks:
        if sum(map(len, groups[-1])) + len(chunk) > _CHUNKS_BYTES and groups[-1]:
            groups.append([])
        groups[-1].append(chunk)
    return [join_chunks(group) for group in groups if group]
