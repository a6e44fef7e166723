"""How heard routes go from an agent to the control plane: sessions, and the table of each as chunks named by digest.

A table is cut into parts by a hash of the prefix (routes.chunks), so that a change touches one part; parts that are
equal are sent and stored once, whoever has them. When its routes were learned is a second list of parts (routes.times),
named, told and asked for in the same way. Each message is whole in itself and may be lost, repeated or late:

1. POST /v1/agent/routes: all sessions with the digest of their tables; the answer names those not known.
2. POST /v1/agent/routes/table: the digests of one table's chunks, whole or against a table known there; the answer
   names those not known.
3. POST /v1/agent/routes/chunks: chunks, as `routes.chunks.join_chunks` joins them; the answer is empty (204). Then 1
   again: a table counts once all its chunks are there.
"""

from dataclasses import dataclass

from headrace.base.ids import ApplianceId
from headrace.routes.model import Session

MOST_BODY_BYTES = 8 << 20
"""Of the body of one message with chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTable:
    """A session and the name of its table."""

    session: Session
    table_digest: str
    """`routes.chunks.table_digest` of its chunks; '' for an empty table."""
    times_digest: str = ""
    """The same of the times of its routes; '' where nobody knows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutesRequest:
    """POST /v1/agent/routes, authorised by the appliance's credential as bearer."""

    appliance_id: ApplianceId
    boot_id: str
    sequence: int
    """As in ExchangeRequest: grows in one boot; older messages are dropped."""
    sessions: tuple[SessionTable, ...]
    """All of them; a session that is not named is forgotten with its routes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutesAnswer:
    """Which tables the control plane wants to learn."""

    sequence: int
    unknown_tables: tuple[str, ...] = ()
    """Digests of tables and times whose list of chunks, or some chunk, is missing."""
    interval_s: float = 1.0
    """Not sooner again, even when something changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRef:
    """A chunk of a table."""

    number: int
    digest: str
    """SHA-256 of the chunk as it is sent, hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRequest:
    """POST /v1/agent/routes/table."""

    appliance_id: ApplianceId
    table_digest: str
    chunks: tuple[ChunkRef, ...]
    """In ascending order of number: all of them, or those that differ from `base_digest`."""
    base_digest: str = ""
    """A table that the control plane has, from which this list starts; '' for none. Where the control plane does not
    have it, or is too old to know this field, it refuses, and the whole list is sent."""
    gone: tuple[int, ...] = ()
    """Numbers of `base_digest` that have no chunk now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableAnswer:
    """Which chunks are missing."""

    unknown_chunks: tuple[str, ...]
