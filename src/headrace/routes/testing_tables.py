"""Builders for tests of routes: attributes, tables as chunks, judged tables."""

import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from headrace.routes.chunks import chunk_digest, chunk_number, pack_chunk, prefix_bytes, table_digest
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
from headrace.routes.times import pack_times, time_column

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
    """A table cut as far as can be: its digest, its places, its chunks by digest."""
    return _named(
        {
            number: pack_chunk(family, {prefix: one.attributes for prefix, one in part.items()})
            for number, part in _parts(routes)
        }
    )


def pack_old_table(routes: Mapping[Prefix, Heard]) -> tuple[str, tuple[ChunkPlace, ...], dict[str, bytes]]:
    """A table of IPv4 as earlier releases sent it."""
    return _named({number: pack_old_chunk(AddressFamily.IPV4, part) for number, part in _parts(routes)})


def _parts(routes: Mapping[Prefix, Heard]) -> list[tuple[int, dict[Prefix, Heard]]]:
    parts: dict[int, dict[Prefix, Heard]] = {}
    for prefix, one in routes.items():
        parts.setdefault(chunk_number(prefix), {})[prefix] = one
    return sorted(parts.items())


def pack_old_chunk(family: AddressFamily, routes: Mapping[Prefix, Heard]) -> bytes:
    """A chunk as earlier releases wrote it: with times in it."""
    payload = zlib.decompress(pack_chunk(family, {prefix: one.attributes for prefix, one in routes.items()})[4:])
    behind = struct.calcsize("<BIII") + len(routes) * (prefix_bytes(family) + 4)
    seconds = time_column(int(routes[prefix].learned_s) for prefix in sorted(routes))
    return b"HRC1" + zlib.compress(payload[:behind] + seconds + payload[behind:])


def pack_table_times(routes: Mapping[Prefix, Heard]) -> tuple[str, tuple[ChunkPlace, ...], dict[str, bytes]]:
    """The times of a table, as `pack_table` gives its routes."""
    columns = (time_column(int(part[prefix].learned_s) for prefix in sorted(part)) for _, part in _parts(routes))
    return _named({0: pack_times(1, 0, columns)} if routes else {})


def _named(packed: Mapping[int, bytes]) -> tuple[str, tuple[ChunkPlace, ...], dict[str, bytes]]:
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
