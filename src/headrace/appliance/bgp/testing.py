"""The control plane's side of routes, in memory: for tests of what an appliance reports."""

import hashlib
from dataclasses import replace

from headrace.appliance.testing_peers import Asked, Told
from headrace.routes.chunks import Chunk, split_chunks, table_digest, unpack_chunk
from headrace.routes.model import Attributes, Heard, Session, parse_prefix, show_prefix
from headrace.routes.times import count_times, is_times, read_times
from headrace.wire.codec import decode, encode
from headrace.wire.operator import Problem
from headrace.wire.routes import (
    MOST_BODY_BYTES,
    RoutesAnswer,
    RoutesRequest,
    SessionTable,
    TableAnswer,
    TableRequest,
)


class FakeRouteControl:
    """Tables by digest, chunks by digest, the last message that counts."""

    def __init__(self) -> None:
        self.requests: list[RoutesRequest] = []
        self.tables: dict[str, TableRequest] = {}
        self.chunks: dict[str, Chunk] = {}
        self.times: dict[str, bytes] = {}
        self._in_force: dict[str, SessionTable] = {}
        """By peer: the last table that was whole when it was named, as the control plane goes about it."""
        self._known: dict[bytes, Attributes] = {}
        self.list_bytes: list[int] = []
        """Sizes of the lists of chunks that came."""
        self.received_chunks = self.received_bytes = 0
        """Chunks of routes; bytes of all."""
        self.fault = ""
        """'', 'unknown' (an old control plane), 'error', 'forgetful' (takes chunks and keeps none), or 'no-base'."""

    async def handle(self, asked: Asked) -> Told:
        """Answer the three calls."""
        if self.fault == "unknown":
            return _problem(404)
        if self.fault == "error":
            return _problem(503)
        if asked.path == "/v1/agent/routes":
            return self._take_sessions(decode(RoutesRequest, asked.body))
        if asked.path == "/v1/agent/routes/table":
            table = decode(TableRequest, asked.body)
            self.list_bytes.append(len(asked.body))
            if table.base_digest:
                base = self.tables.get(table.base_digest)
                if base is None or self.fault == "no-base":
                    return _problem(404)
                refs = {ref.number: ref for ref in base.chunks if ref.number not in table.gone}
                refs |= {ref.number: ref for ref in table.chunks}
                table = replace(table, chunks=tuple(refs[number] for number in sorted(refs)))
            self.tables[table.table_digest] = table
            if table_digest({ref.number: ref.digest for ref in table.chunks}) != table.table_digest:
                return _problem(400)
            missing = tuple(ref.digest for ref in table.chunks if ref.digest not in self.chunks.keys() | self.times)
            return Told(body=encode(TableAnswer(unknown_chunks=missing)))
        for chunk in split_chunks(asked.body, most_bytes=MOST_BODY_BYTES):
            self.received_bytes += len(chunk)
            self._take_chunk(chunk)
        return Told(status=204)

    def _take_chunk(self, packed: bytes) -> None:
        digest, is_kept = hashlib.sha256(packed).hexdigest(), self.fault != "forgetful"
        if is_times(packed):
            count_times(packed)
            self.times |= {digest: packed} if is_kept else {}
            return
        read = unpack_chunk(packed, self._known)
        self.received_chunks += 1
        self.chunks |= {digest: read} if is_kept else {}

    def _take_sessions(self, request: RoutesRequest) -> Told:
        self.requests.append(request)
        named = {digest for each in request.sessions for digest in (each.table_digest, each.times_digest)}
        unknown = named - {""} - self._whole()
        peers = {each.session.peer_address: each for each in request.sessions}
        for peer, each in peers.items():
            if unknown.isdisjoint((each.table_digest, each.times_digest)):
                self._in_force[peer] = each
        self._in_force = {peer: each for peer, each in self._in_force.items() if peer in peers}
        return Told(body=encode(RoutesAnswer(sequence=request.sequence, unknown_tables=tuple(unknown), interval_s=0.2)))

    def _whole(self) -> set[str]:
        return {
            digest
            for digest, table in self.tables.items()
            if all(ref.digest in self.chunks or ref.digest in self.times for ref in table.chunks)
        }

    def table(self, peer: str) -> SessionTable | None:
        """What the last message says of the session with `peer`."""
        tables = self.requests[-1].sessions if self.requests else ()
        return next((each for each in tables if each.session.peer_address == peer), None)

    def session(self, peer: str) -> Session | None:
        """Its session."""
        table = self.table(peer)
        return table.session if table else None

    def routes(self, peer: str) -> dict[str, Heard]:
        """Its routes, once their table and its times are whole; by prefix as people write it."""
        chunks = self._chunks(peer)
        if not chunks:
            return {}
        parts = [self.times[ref.digest] for ref in self.tables[self._in_force[peer].times_digest].chunks]
        times = read_times({number: len(chunk) for number, chunk in chunks.items()}, parts)
        return {
            show_prefix(prefix): Heard(attributes=attributes, learned_s=float(second))
            for number, chunk in chunks.items()
            for (prefix, attributes), second in zip(chunk.routes(), times[number], strict=True)
        }

    def has(self, peer: str, *prefixes: str) -> bool:
        """Whether it has these routes."""
        known = {prefix for chunk in self._chunks(peer).values() for prefix, _ in chunk.routes()}
        return known >= set(map(parse_prefix, prefixes))

    def count(self, peer: str) -> int:
        """How many routes it has."""
        return sum(map(len, self._chunks(peer).values()))

    def _chunks(self, peer: str) -> dict[int, Chunk]:
        table = self._in_force.get(peer) if self.requests else None
        if table is None or not {table.table_digest, table.times_digest} <= self._whole():
            return {}
        return {ref.number: self.chunks[ref.digest] for ref in self.tables[table.table_digest].chunks}


def _problem(status: int) -> Told:
    problem = Problem(title="fault", status=status, code="fault", detail="fault of a test")
    return Told(status=status, body=encode(problem))
