"""Builders for tests of routes: attributes, tables as chunks, judged tables."""

from collections.abc import Iterable, Mapping
from typing import Any

from headrace.routes.chunks import chunk_digest, chunk_number, pack_chunk, table_digest
from headrace.routes.columns import Listener
from headrace.routes.effective import ChunkPlace, Judge, JudgedTable, empty_table, judge_table
from headrace.routes.hygiene import HygieneRules
from headrace.routes.model import (
    AddressFamily,
    Attributes,
    Heard,
    Prefix,
    RouteOrigin,
    Session,
    SessionState,
    parse_prefix,
)

LISTENER = Listener(local_as=64500, own_as=frozenset({64500}))


def make_attributes(*as_path: Any, **fields: Any) -> Attributes:
    """A path and what else is wanted."""
    base = {"as_path": as_path or (64496,), "origin": RouteOrigin.IGP, "next_hop": "192.0.2.1"}
    return Attributes(**{**base, **fields})


def heard(*as_path: Any, learned_s: float = 1_800_000_000.0, **fields: Any) -> Heard:
    """A route."""
    return Heard(attributes=make_attributes(*as_path, **fields), learned_s=learned_s)


def make_routes(prefixes: Iterable[str], *as_path: Any, **fields: Any) -> dict[Prefix, Heard]:
    """The same route for each of these prefixes."""
    return {parse_prefix(text): heard(*as_path, **fields) for text in prefixes}


def pack_table(
    routes: Mapping[Prefix, Heard], family: AddressFamily = AddressFamily.IPV4
) -> tuple[str, tuple[ChunkPlace, ...], dict[str, bytes]]:
    """A table as an appliance sends it: its digest, its places, its chunks by digest."""
    parts: dict[int, dict[Prefix, Heard]] = {}
    for prefix, one in routes.items():
        parts.setdefault(chunk_number(prefix), {})[prefix] = one
    packed = {number: pack_chunk(family, part) for number, part in sorted(parts.items())}
    digests = {number: chunk_digest(body) for number, body in packed.items()}
    places = tuple(ChunkPlace(number=number, digest=digest) for number, digest in digests.items())
    return table_digest(digests), places, {digests[number]: body for number, body in packed.items()}


def judged(
    routes: Mapping[Prefix, Heard],
    family: AddressFamily = AddressFamily.IPV4,
    *,
    rules: HygieneRules | None = None,
    listener: Listener = LISTENER,
    judge: Judge | None = None,
) -> JudgedTable:
    """A judged table of these routes; bogons count, so that addresses of documentation can be used."""
    used = judge or Judge(rules=rules or HygieneRules(takes_bogons=True), vrps=None)
    _, places, chunks = pack_table(routes, family)
    return judge_table(places, empty_table(family, listener, used), chunks)


def make_session(peer: str = "192.0.2.1", family: AddressFamily = AddressFamily.IPV4, **fields: Any) -> Session:
    """An established session."""
    base = {
        "session_id": f"{peer}/{family}",
        "peer_address": peer,
        "peer_as": 64496,
        "local_as": 64500,
        "family": family,
        "state": SessionState.ESTABLISHED,
        "since_s": 1_800_000_000.0,
    }
    return Session(**{**base, **fields})
