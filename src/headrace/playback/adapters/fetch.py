"""Fetch a snapshot from the control plane into a folder, and read what lies there."""

import asyncio
import hashlib

from headrace.playback.adapters.disk import SnapshotFile
from headrace.playback.adapters.history import PartFolder
from headrace.steering.compile import CompiledSnapshot, compile_snapshot
from headrace.wire.client import ControlClient
from headrace.wire.errors import MalformedError
from headrace.wire.snapshot import SnapshotParts, read_table, unpack_snapshot


async def pull_sections(client: ControlClient, table: bytes, parts: PartFolder) -> None:
    """Fetch the large sections that are not on disk yet.

    Raises:
        WireError, SnapshotError: one could not be had, was changed on the way, or could not be kept.
    """
    for ref in read_table(table):
        if not ref.is_inside and not parts.has(ref.digest):
            answer = await client.raw("GET", f"/v1/snapshot/parts/{ref.digest}")
            if hashlib.sha256(answer.body).hexdigest() != ref.digest:
                raise MalformedError(f"steering snapshot: section {ref.name} was changed on the way")
            await asyncio.to_thread(parts.put, ref.digest, answer.body)


async def fetch_snapshot(client: ControlClient, file: SnapshotFile) -> None:
    """Have the newest snapshot on disk; raises like `pull_sections`."""
    answer = await client.raw("GET", "/v1/snapshot")
    await pull_sections(client, answer.body, file.parts)
    file.write(answer.body)
    file.parts.keep_only({ref.digest for ref in read_table(answer.body) if not ref.is_inside})


def read_snapshot(file: SnapshotFile) -> CompiledSnapshot | None:
    """What lies on disk; None for nothing.

    Raises:
        SnapshotError, MalformedError: it cannot be read.
    """
    stored = file.read()
    return (
        None
        if stored is None
        else compile_snapshot(unpack_snapshot(stored.data, SnapshotParts(), find=file.parts.find))
    )
